//! How a controller finds its quorum, and its place in it, where voters change while the cluster runs.
//!
//! ```text
//!   no log yet ──► asks the bootstrap servers ──► one belongs to a quorum: is sent its log, as an observer
//!                                             └─► none does, all have answered, this node is named first: founds it
//!   observer   ──► (auto join) asks for a vote     voter elsewhere than it was ──► says where
//! ```
//!
//! Nobody founds a quorum while one of those who may know of an old one has not answered.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver as _;
use ottla_metadata::Endpoint;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::controller::broker_id;
use crate::message::{self, Answer, Attach, Attached, Message, VoterChangeKind, VoterChanged, WireVoterChange};
use crate::options::{AutoJoin, Joining};
use crate::raft::network::{Destination, Lane, Transport};
use crate::raft::types::VoterNode;
use crate::voters::{Members, Voters};

/// Pause between two attempts while there is no quorum.
const RETRY: Duration = Duration::from_millis(100);
/// Pause between two looks at one's own place.
const LOOK: Duration = Duration::from_secs(1);
/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Longest wait for a change of the voters.
const CHANGE_MAX: Duration = Duration::from_secs(25);
/// Nothing is said before.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often somebody is told that nothing moves.
const COMPLAIN_EVERY: Duration = Duration::from_secs(30);

/// What another member said of this node when it refused its messages: the directory it knows this node id by.
pub(crate) type KnownAs = Arc<Mutex<Option<String>>>;

/// The task that does it.
pub(crate) struct Joiner {
    pub voters: Voters,
    pub transport: Arc<dyn Transport>,
    pub id: u64,
    /// This node as it wants to be known.
    pub node: VoterNode,
    pub joining: Joining,
    pub bootstrap: Vec<Endpoint>,
    /// There is neither a log nor a vote on this disk.
    pub is_new: bool,
    pub known_as: KnownAs,
    pub active: watch::Receiver<Option<u64>>,
    /// Bootstrap servers that turned out to be this node.
    own_addresses: Vec<Endpoint>,
    began: Instant,
    complained: Option<(String, Instant)>,
}

/// What came of asking around.
enum Asked {
    Attached,
    /// Nobody belongs to a quorum, everybody has answered.
    NoQuorum,
    Wait,
}

impl Joiner {
    #[expect(clippy::too_many_arguments, reason = "called once, with the parts of a member")]
    pub(crate) fn new(
        voters: Voters,
        transport: Arc<dyn Transport>,
        id: u64,
        node: VoterNode,
        joining: Joining,
        bootstrap: Vec<Endpoint>,
        is_new: bool,
        known_as: KnownAs,
        active: watch::Receiver<Option<u64>>,
    ) -> Self {
        let (own_addresses, began, complained) = (Vec::new(), Instant::now(), None);
        Self {
            voters,
            transport,
            id,
            node,
            joining,
            bootstrap,
            is_new,
            known_as,
            active,
            own_addresses,
            began,
            complained,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut first_missed = BTreeMap::new();
        let mut news = self.voters.raft.server_metrics();
        loop {
            news.borrow_and_update();
            let pause = self.step().await;
            self.voters.tidy(&mut first_missed).await;
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => {
                    if news.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Does what is due; how long to wait before the next look, `None` for until something changes.
    async fn step(&mut self) -> Option<Duration> {
        let metrics = self.voters.metrics();
        if metrics.running_state.is_err() {
            return Some(LOOK);
        }
        let members = Members::of(&metrics);
        let votes = members.voter_directory(self.id) == Some(self.node.directory_id.as_str());
        // On its way through the log a new member meets its old self as a voter, perhaps the only one: that one may not stand.
        self.voters.raft.runtime_config().elect(votes);
        if votes {
            self.is_new = false;
            return self.as_voter(&members).await;
        }
        let is_learner = members.nodes.get(&self.id).is_some_and(|node| node.directory_id == self.node.directory_id);
        if is_learner && metrics.current_leader.is_some() {
            self.is_new = false;
            return self.as_observer(&members).await;
        }
        match self.ask_around(&members).await {
            Asked::Attached => Some(RETRY),
            Asked::NoQuorum if self.is_new && self.is_founder() => {
                self.found().await;
                None
            }
            Asked::NoQuorum | Asked::Wait => Some(RETRY),
        }
    }

    async fn as_voter(&mut self, members: &Members) -> Option<Duration> {
        let known = members.nodes.get(&self.id)?;
        if known.endpoints == self.node.endpoints || self.node.endpoints.is_empty() {
            // A quorum of one without observers sleeps.
            return (members.nodes.len() > 1).then_some(LOOK * 10);
        }
        match self.change(members, VoterChangeKind::Update, self.node.clone()).await {
            Ok(()) => {
                let endpoints: Vec<String> =
                    self.node.endpoints.iter().map(|at| format!("{}://{}:{}", at.name, at.host, at.port)).collect();
                tracing::info!(endpoints = endpoints.join(","), "the quorum knows where this voter is now");
                None
            }
            Err(reason) => {
                self.complain(format!("the quorum has not heard yet where this voter is now: {reason}"));
                Some(RETRY)
            }
        }
    }

    async fn as_observer(&mut self, members: &Members) -> Option<Duration> {
        let joins = match self.joining.auto_join {
            AutoJoin::Never => false,
            AutoJoin::Always => true,
            AutoJoin::Below(count) => members.voters.len() < count,
        };
        if joins && let Err(reason) = self.change(members, VoterChangeKind::Add, self.node.clone()).await {
            self.complain(format!("this controller could not become a voter yet: {reason}"));
        }
        Some(LOOK)
    }

    /// Whether the first of the bootstrap servers is this node, so that exactly one may found.
    fn is_founder(&self) -> bool {
        self.bootstrap.first().is_some_and(|first| self.is_own(first))
    }

    fn is_own(&self, address: &Endpoint) -> bool {
        let by_name = self.node.endpoints.iter().any(|own| *own.host == *address.host && own.port == address.port);
        by_name || self.own_addresses.contains(address)
    }

    async fn found(&mut self) {
        let alone = self.bootstrap.len() < 2;
        if alone && !self.joining.listen_before_founding.is_zero() {
            tokio::time::sleep(self.joining.listen_before_founding).await;
        }
        let known_as = self.known_as.lock().clone();
        if let Some(directory) = known_as {
            return self.is_known_as(&directory);
        }
        self.voters.raft.runtime_config().elect(true);
        match self.voters.raft.initialize(BTreeMap::from([(self.id, self.node.clone())])).await {
            Ok(()) => tracing::info!(node = self.id, "this node founds a quorum of controllers"),
            Err(error) => return self.complain(format!("the quorum could not be founded: {error}")),
        }
        self.is_new = false;
        let led = tokio::time::timeout(CHANGE_MAX, self.active.wait_for(Option::is_some)).await;
        if matches!(led, Ok(Ok(_))) && Members::of(&self.voters.metrics()).nodes.len() < 2 {
            // Nobody else can lead or wait for a heartbeat: without ticks an idle node sleeps.
            self.voters.raft.runtime_config().tick(false);
        }
    }

    /// Asks everybody who may belong to the quorum to be sent its log.
    async fn ask_around(&mut self, members: &Members) -> Asked {
        let known = members.nodes.iter().filter(|(id, _)| **id != self.id);
        let known = known.filter_map(|(id, node)| {
            Some(Destination { id: Some(broker_id(*id)), endpoint: Some(message::endpoint(node)?) })
        });
        let others = self.bootstrap.iter().filter(|address| !self.is_own(address));
        let others = others.map(|address| Destination { id: None, endpoint: Some(address.clone()) });
        let all: Vec<Destination> = known.chain(others).collect();
        if all.is_empty() && !self.is_founder() {
            self.complain(
                "controller.quorum.bootstrap.servers names nobody who could have founded the quorum: name a node of \
                 the cluster, or this node by the address of its controller listener"
                    .to_owned(),
            );
            return Asked::Wait;
        }
        let mut silent = Vec::new();
        for to in all {
            match self.attach(to.clone()).await {
                Ok(Attached::NotLeader { leader: Some((id, node)), .. }) if id != self.id => {
                    let leader = Destination { id: Some(broker_id(id)), endpoint: message::endpoint(&node) };
                    match self.attach(leader).await {
                        Ok(answer) => {
                            if let Some(asked) = self.judge(answer).await {
                                return asked;
                            }
                        }
                        Err(error) => silent.push(error.to_string()),
                    }
                }
                Ok(Attached::Yourself) => self.own_addresses.extend(to.endpoint),
                Ok(Attached::NotLeader { is_new: true, .. }) => {}
                Ok(Attached::NotLeader { .. }) => silent.push(format!("{} waits for a leader", show(&to))),
                Ok(answer) => {
                    if let Some(asked) = self.judge(answer).await {
                        return asked;
                    }
                }
                Err(error) => silent.push(error.to_string()),
            }
        }
        if silent.is_empty() {
            if !self.is_new || !self.is_founder() {
                self.complain(
                    "waiting for the quorum to be founded by the first of controller.quorum.bootstrap.servers".into(),
                );
            }
            return Asked::NoQuorum;
        }
        let why = if self.is_new && self.is_founder() {
            "so that no second quorum is founded beside one that they may know, this node waits for all of \
             controller.quorum.bootstrap.servers"
        } else {
            "no place in the quorum yet"
        };
        self.complain(format!("{why}: {}", silent.join("; ")));
        Asked::Wait
    }

    async fn judge(&mut self, answer: Attached) -> Option<Asked> {
        match answer {
            Attached::Member => {
                self.complained = None;
                Some(Asked::Attached)
            }
            Attached::NotLeader { .. } | Attached::Yourself => None,
            Attached::Static => {
                self.complain(
                    "the voters of this cluster are those of its controller.quorum.voters (kraft.version 0) and do not \
                     change: start this node with the same controller.quorum.voters, or as a broker only"
                        .to_owned(),
                );
                Some(Asked::Wait)
            }
            Attached::KnownAs(directory) => {
                if self.joining.auto_join == AutoJoin::Never {
                    self.is_known_as(&directory);
                } else {
                    tracing::warn!(
                        node = self.id,
                        lost = directory,
                        "this node's disk was lost or replaced: its old self loses its vote, and it joins as a new voter"
                    );
                    let old = VoterNode { directory_id: directory, endpoints: Vec::new() };
                    let members = Members::of(&self.voters.metrics());
                    if let Err(reason) = self.change(&members, VoterChangeKind::Remove, old).await {
                        self.complain(format!("the old voter of this node's id was not removed yet: {reason}"));
                    }
                }
                Some(Asked::Wait)
            }
        }
    }

    fn is_known_as(&mut self, directory: &str) {
        self.complain(crate::member::replaced_disk(self.id, directory, &self.node.directory_id));
    }

    async fn attach(&self, to: Destination) -> io::Result<Attached> {
        let message = Message::Attach(Attach { id: self.id, node: self.node.clone() });
        self.ask(to, &message, ANSWER_MAX).await
    }

    /// Has the leader change this node's place. Whoever may know the leader is asked.
    async fn change(&self, members: &Members, kind: VoterChangeKind, node: VoterNode) -> Result<(), String> {
        let timeout_ms = u32::try_from(CHANGE_MAX.as_millis()).unwrap_or(u32::MAX);
        let below = match (kind, self.joining.auto_join) {
            (VoterChangeKind::Add, AutoJoin::Below(count)) => u32::try_from(count).unwrap_or(u32::MAX),
            _ => 0,
        };
        let change = WireVoterChange { kind, id: self.id, node, timeout_ms, wait_until_committed: true, below };
        let leader = self.voters.metrics().current_leader;
        if leader == Some(self.id) {
            let done = match kind {
                VoterChangeKind::Update => self.voters.update(self.id, change.node).await,
                // Who leads votes already.
                VoterChangeKind::Add | VoterChangeKind::Remove => Ok(()),
            };
            return done.map_err(|error| error.message);
        }
        let of_leader = leader.and_then(|id| Some((id, members.nodes.get(&id)?)));
        let mut to: Vec<Destination> = of_leader
            .map(|(id, node)| Destination { id: Some(broker_id(id)), endpoint: message::endpoint(node) })
            .into_iter()
            .collect();
        if to.is_empty() {
            for address in self.bootstrap.iter().filter(|address| !self.is_own(address)) {
                let address = Destination { id: None, endpoint: Some(address.clone()) };
                if let Ok(Attached::NotLeader { leader: Some((id, node)), .. }) = self.attach(address.clone()).await {
                    to.push(Destination { id: Some(broker_id(id)), endpoint: message::endpoint(&node) });
                } else {
                    to.push(address);
                }
            }
        }
        let mut reason = "no leader is known".to_owned();
        for to in to {
            match self.ask::<VoterChanged>(to, &Message::ChangeVoters(change.clone()), CHANGE_MAX).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err((_, message))) => reason = message,
                Err(error) => reason = error.to_string(),
            }
        }
        Err(reason)
    }

    async fn ask<T: for<'de> Deserialize<'de>>(
        &self,
        to: Destination,
        message: &Message,
        patience: Duration,
    ) -> io::Result<T> {
        let message: Bytes = message::write(message)?;
        let shown = show(&to);
        let call = self.transport.call(to, Lane::Control, message);
        let silent = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer from {shown}"));
        let bytes = tokio::time::timeout(patience, call).await.map_err(silent)??;
        message::read::<Answer<T>>(&bytes)?.map_err(io::Error::other)
    }

    /// Says it once, and again after a while. Nodes that start together need a moment to find each other.
    fn complain(&mut self, text: String) {
        if self.began.elapsed() < PATIENCE {
            return;
        }
        let is_due = match &self.complained {
            None => true,
            Some((said, at)) if *said == text => at.elapsed() >= COMPLAIN_EVERY,
            Some((_, at)) => at.elapsed() >= LOOK,
        };
        if is_due {
            tracing::warn!("{text}");
            self.complained = Some((text, Instant::now()));
        }
    }
}

/// Where something goes, for people.
pub(crate) fn show(to: &Destination) -> String {
    to.endpoint.as_ref().map_or_else(|| "nobody".to_owned(), |at| format!("{}:{}", at.host, at.port))
}
