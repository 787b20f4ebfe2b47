//! Elections that do not wait: raft's own begin when the leader's lease and an election timeout have passed. Here a voter
//! stands as soon as it has evidence that the leader is gone (its process ended) or silent (frozen, cut off).
//!
//! Of silence a majority must have the same evidence before anybody stands: one voter that alone hears nothing would only
//! raise the term, and so end the term of a leader that lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::controller::broker_id;
use crate::message::{self, Answer, Message};
use crate::options::ControllerOptions;
use crate::raft::network::{Destination, Lane, Transport};
use crate::raft::types::Raft;
use crate::voters::{Members, is_nil};

/// Between the turns of voters that lost their leader: time for one to win.
const STAND_PAUSE: Duration = Duration::from_millis(60);
/// Before a voter that did not win stands again.
const STAND_AGAIN: Duration = Duration::from_millis(180);
/// Looks at a leader within the silence that it is allowed.
const LOOKS: u32 = 7;

/// A leader of the quorum and when it was last heard of, on a voter that follows it.
pub(crate) type Heard = Arc<Mutex<Option<(u64, Instant)>>>;

/// What a voter knows of its leader. Clones share it.
#[derive(Clone)]
pub(crate) struct Elections {
    raft: Raft,
    active: watch::Receiver<Option<u64>>,
    /// Of the directory that holds the log, as text: the voter of this id may be another.
    directory: Arc<str>,
    election_timeout: Duration,
    silence_max: Duration,
    /// One past the term whose leader is known to be gone.
    leaderless: Arc<AtomicU64>,
    heard: Heard,
    /// When this voter last agreed that the leader is silent: for an election that comes of it.
    agreed: Arc<Mutex<Option<Instant>>>,
}

impl Elections {
    pub(crate) fn new(
        raft: Raft,
        active: watch::Receiver<Option<u64>>,
        directory: Arc<str>,
        options: &ControllerOptions,
    ) -> Self {
        let (election_timeout, silence_max) = (options.election_timeout, options.leader_silence_max);
        Self {
            raft,
            active,
            directory,
            election_timeout,
            silence_max,
            leaderless: Arc::default(),
            heard: Heard::default(),
            agreed: Arc::default(),
        }
    }

    pub(crate) fn heard(&self) -> Heard {
        Arc::clone(&self.heard)
    }

    /// A leader sent entries, or a heartbeat.
    pub(crate) fn note_heard(&self, leader: u64) {
        *self.heard.lock() = Some((leader, Instant::now()));
    }

    /// Whether the leader's lease counts for nothing here.
    pub(crate) fn is_leaderless(&self) -> bool {
        if self.agreed.lock().is_some_and(|at| at.elapsed() < self.election_timeout) {
            return true;
        }
        let metrics = self.raft.metrics().borrow_watched().clone();
        // A candidate raised the term meanwhile; a new leader ends it.
        self.leaderless.load(Ordering::Relaxed) > 0
            && metrics.current_leader.is_none_or(|_| self.leaderless.load(Ordering::Relaxed) > metrics.current_term)
    }

    /// The leader is known to be gone: nobody waits for its lease to end. Voters stand in turn, so that they do not split the
    /// votes.
    pub(crate) async fn leader_lost(&self, leader: u64) {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
        let members = Members::of(&metrics);
        let votes = |directory: &str| is_nil(directory) || *directory == *self.directory;
        if metrics.current_leader != Some(leader) || !members.voter_directory(metrics.id).is_some_and(votes) {
            return;
        }
        let term = metrics.current_term;
        tracing::warn!(leader, epoch = term, "the leader of the quorum is gone: an election begins");
        self.leaderless.store(term + 1, Ordering::Relaxed);
        tokio::time::sleep(STAND_PAUSE * crate::lost::turn(&voters, leader, metrics.id)).await;
        let deadline = Instant::now() + self.election_timeout;
        while Instant::now() < deadline {
            let now = self.raft.metrics().borrow_watched().clone();
            if now.current_term > term && now.current_leader.is_some() {
                break;
            }
            if self.raft.trigger().elect(false).await.is_err() {
                return;
            }
            // Two that stood at once and split the votes must not do so again and again.
            let again = STAND_AGAIN.mul_f64(rand::random_range(1.0..2.0));
            let mut active = self.active.clone();
            let _ = tokio::time::timeout(again, active.wait_for(Option::is_some)).await;
        }
        if self.raft.metrics().borrow_watched().current_leader == Some(metrics.id) {
            let mut active = self.active.clone();
            let _ = tokio::time::timeout(self.election_timeout, active.wait_for(Option::is_some)).await;
        }
    }

    /// Whether this voter has heard as little of the leader. If so, it lets another have its vote.
    pub(crate) fn agrees(&self, leader: u64) -> bool {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let heard = *self.heard.lock();
        let is_silent = match heard.filter(|(heard, _)| *heard == leader) {
            Some((_, at)) => at.elapsed() >= self.silence_max / 2,
            None => metrics.current_leader != Some(leader),
        };
        if is_silent && metrics.id != leader {
            *self.agreed.lock() = Some(Instant::now());
        }
        is_silent && metrics.id != leader
    }

    /// Whether a majority of the voters, this one among them, hears nothing of the leader.
    async fn others_agree(&self, leader: u64, transport: &dyn Transport) -> bool {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let members = Members::of(&metrics);
        let Ok(message) = message::write(&Message::HearsNothingOf(leader)) else { return false };
        let others = members.voters.iter().filter(|id| **id != metrics.id && **id != leader);
        let mut asked: JoinSet<bool> = JoinSet::new();
        for id in others {
            let endpoint = members.nodes.get(id).and_then(message::endpoint);
            let to = Destination { id: Some(broker_id(*id)), endpoint };
            let call = tokio::time::timeout(self.silence_max, transport.call(to, Lane::Control, message.clone()));
            asked.spawn(async move {
                let Ok(Ok(bytes)) = call.await else { return false };
                matches!(message::read::<Answer<bool>>(&bytes), Ok(Ok(true)))
            });
        }
        let mut agreed = 1;
        while agreed * 2 <= members.voters.len() {
            match asked.join_next().await {
                Some(Ok(true)) => agreed += 1,
                Some(_) => {}
                None => return false,
            }
        }
        true
    }

    /// Has this voter stand when its leader is silent.
    pub(crate) async fn watch_leader(&self, transport: &Arc<dyn Transport>) {
        let silence_max = self.silence_max;
        let look = silence_max / LOOKS;
        let mut news = self.raft.server_metrics();
        let mut since = Instant::now();
        loop {
            let (id, leader) = {
                let metrics = news.borrow_and_update();
                (metrics.id, metrics.current_leader)
            };
            let Some(leader) = leader.filter(|leader| *leader != id) else {
                // Nobody to listen to: a node that leads, or is alone, is not woken for this.
                if news.changed().await.is_err() {
                    return;
                }
                since = Instant::now();
                continue;
            };
            let slept = Instant::now();
            tokio::time::sleep(look).await;
            let now = Instant::now();
            // Late: this process did not run, and what the leader said waits unread.
            if now.duration_since(slept) > look * 2 {
                since = now;
                continue;
            }
            let heard = *self.heard.lock();
            let Some((_, at)) = heard.filter(|(heard, _)| *heard == leader) else { continue };
            // Who asked this voter whether it hears as little is about to stand.
            let another_stands = self.agreed.lock().is_some_and(|at| at.elapsed() < STAND_AGAIN * 2);
            if now.duration_since(at.max(since)) >= silence_max && !another_stands {
                if self.others_agree(leader, transport.as_ref()).await {
                    self.leader_lost(leader).await;
                }
                since = Instant::now() - silence_max / 2;
            }
        }
    }
}
