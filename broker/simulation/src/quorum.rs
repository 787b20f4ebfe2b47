//! Three controllers over a metadata log whose commits, terms and leader changes are simulated.
//!
//! ```text
//!   requests ──► decide on the committed image ──► one proposal in flight ──► committed (or not) ──► answers
//! ```
//!
//! Raft itself is not here: the log is what a majority agreed on. What may go wrong around it is: a leader that lost its
//! office and does not know it, a proposal whose fate nobody learns, an entry of an old leader that a new one commits.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use ottla_decisions::{
    ControllerDefaults, ControllerRequest, ControllerResponse, ControllerState, RequestOrigin, SoftState,
};
use ottla_metadata::{FeatureRange, MetadataImage, MetadataRecord, snapshot};
use ottla_protocol::{BrokerId, ErrorCode, Offset, Timestamp};
use ottla_state_machine::StateMachine;

use crate::context::{Context, Event};
use crate::message::{CONTROLLERS, Entry, FIRST_CONTROLLER, Message, Node};
use crate::nodes::Nodes;
use crate::observation::{Decided, Observation};
use crate::plan::SESSION_TIMEOUT_MS;

/// A leader that does not hear from a majority for so long is replaced.
const ELECTION_TIMEOUT_MS: i64 = 120;
/// Answers to one metadata fetch.
const ENTRIES_MAX: usize = 20;

/// The controllers and the log they agree on.
#[derive(Debug)]
pub struct Quorum {
    /// Committed entries; the offset of an entry is its index.
    log: Vec<Rc<Entry>>,
    term: i32,
    leader: Option<usize>,
    unhealthy_since: Option<i64>,
    /// Since when the same controller leads and is heard by a majority.
    steady_since: Option<i64>,
    controllers: Vec<Controller>,
    defaults: Arc<ControllerDefaults>,
    next_balance: i64,
}

#[derive(Debug)]
struct Controller {
    state: ControllerState,
    office: Option<Office>,
}

#[derive(Debug)]
struct Office {
    term: i32,
    soft: SoftState,
    waiting: VecDeque<(Node, u64, Rc<ControllerRequest>)>,
    in_flight: Option<Proposal>,
}

#[derive(Debug)]
struct Proposal {
    id: u64,
    base: usize,
    records: Vec<MetadataRecord>,
    answers: Vec<(Node, u64, Rc<ControllerResponse>)>,
}

const fn node(index: usize) -> Node {
    FIRST_CONTROLLER + index as Node
}

impl Quorum {
    pub fn new(cx: &Context) -> Self {
        let features = [
            ("metadata.version", 7, 30),
            ("group.version", 0, 1),
            ("transaction.version", 0, 2),
            ("eligible.leader.replicas.version", 0, 1),
        ];
        let level = |name: &str, max: i16| if name.starts_with("eligible") { i16::from(cx.plan.elr) } else { max };
        let defaults = Arc::new(ControllerDefaults {
            node_id: BrokerId(i32::from(FIRST_CONTROLLER)),
            cluster_id: "cluster".into(),
            num_partitions: 1,
            default_replication_factor: 3,
            delete_topic_enable: true,
            broker_session_timeout_ms: SESSION_TIMEOUT_MS,
            cluster_session_timeout_ms: None,
            mutation_burst_seconds: 11.0,
            internal_topics: Default::default(),
            static_configs: Arc::new(
                [("min.insync.replicas".to_owned(), cx.plan.min_insync_replicas.to_string())].into(),
            ),
            supported_features: features
                .iter()
                .map(|(name, min, max)| FeatureRange { name: (*name).into(), min: *min, max: *max })
                .collect(),
            bootstrap_features: features.iter().map(|(name, _, max)| ((*name).into(), level(name, *max))).collect(),
        });
        let state = ControllerState {
            image: MetadataImage::default(),
            defaults: Arc::clone(&defaults),
            controllers: Default::default(),
        };
        let controllers = (0..CONTROLLERS).map(|_| Controller { state: state.clone(), office: None }).collect();
        Self {
            log: Vec::new(),
            term: 0,
            leader: None,
            unhealthy_since: None,
            steady_since: None,
            controllers,
            defaults,
            next_balance: 500,
        }
    }

    /// The image at the end of the committed log, by whoever has it.
    pub fn committed(&self) -> MetadataImage {
        let newest = self.controllers.iter().max_by_key(|controller| controller.state.image.offset);
        let mut image = newest.map_or_else(MetadataImage::default, |controller| controller.state.image.clone());
        self.replay_into(&mut image, self.log.len());
        image
    }

    pub fn log(&self) -> &[Rc<Entry>] {
        &self.log
    }

    /// For how long nothing has kept the controller from its work.
    pub fn steady_for(&self, now: i64) -> i64 {
        self.steady_since.map_or(0, |since| now - since)
    }

    pub fn leader(&self) -> Option<Node> {
        self.leader.map(node)
    }

    /// What the committed image needs of a broker's registration: the epoch, when it is registered and not fenced.
    pub fn images(&self) -> impl Iterator<Item = (Node, &MetadataImage)> {
        self.controllers.iter().enumerate().map(|(index, controller)| (node(index), &controller.state.image))
    }

    fn replay_into(&self, image: &mut MetadataImage, end: usize) {
        let from = usize::try_from(image.offset.0 + 1).unwrap_or(0);
        for (offset, entry) in self.log.iter().enumerate().take(end).skip(from) {
            image.replay_entry(Offset(offset as i64), entry.epoch, &entry.records);
        }
    }

    /// A controller was killed: what it had in memory is gone, and comes back from a snapshot and the log.
    pub fn restart(&mut self, controller: Node, cx: &mut Context) {
        let end = self.log.len();
        let snapshot_end = cx.below(end + 1);
        let mut image = MetadataImage::default();
        self.replay_into(&mut image, snapshot_end);
        #[expect(clippy::expect_used, reason = "the snapshot was written a line above")]
        let mut image = snapshot::decode(&snapshot::encode(&image)).expect("a snapshot that can be read");
        self.replay_into(&mut image, end);
        let index = usize::from(controller - FIRST_CONTROLLER);
        if self.leader == Some(index) {
            self.leader = None;
        }
        self.settle_abandoned(index, cx);
        self.controllers[index] = Controller {
            state: ControllerState { image, defaults: Arc::clone(&self.defaults), controllers: Default::default() },
            office: None,
        };
    }

    fn has_majority(index: usize, nodes: &Nodes, cx: &Context) -> bool {
        let others = (0..usize::from(CONTROLLERS)).filter(|other| *other != index);
        let heard = others
            .filter(|other| {
                let (own, other) = (node(index), node(*other));
                nodes.is_running(other) && cx.network.reaches(own, other) && cx.network.reaches(other, own)
            })
            .count();
        nodes.is_running(node(index)) && (heard + 1) * 2 > usize::from(CONTROLLERS)
    }

    /// Elections, replication to the other controllers, and what a leader does on its own account.
    pub fn tick(&mut self, nodes: &Nodes, cx: &mut Context) {
        cx.after(10, Event::QuorumTick);
        let healthy = self.leader.is_some_and(|leader| Self::has_majority(leader, nodes, cx));
        if healthy {
            self.unhealthy_since = None;
            self.steady_since.get_or_insert(cx.now);
        } else {
            self.steady_since = None;
            let since = *self.unhealthy_since.get_or_insert(cx.now);
            if cx.now - since >= ELECTION_TIMEOUT_MS || self.term == 0 {
                self.elect(nodes, cx);
            }
        }
        self.replicate(nodes, cx);
        for index in 0..self.controllers.len() {
            if nodes.is_running(node(index)) {
                self.look_after(index, nodes, cx);
            }
        }
    }

    /// Somebody else leads from now on, if anybody can.
    pub fn elect(&mut self, nodes: &Nodes, cx: &mut Context) {
        let able: Vec<usize> =
            (0..self.controllers.len()).filter(|index| Self::has_majority(*index, nodes, cx)).collect();
        if able.is_empty() {
            return;
        }
        let new = able[cx.below(able.len())];
        if let Some(old) = self.leader {
            self.settle_abandoned(old, cx);
        }
        self.term += 1;
        self.leader = Some(new);
        (self.unhealthy_since, self.steady_since) = (None, None);
        self.append(Entry { epoch: self.term, records: vec![MetadataRecord::NoOp {}] }, cx);
        let end = self.log.len();
        let mut image = self.controllers[new].state.image.clone();
        self.replay_into(&mut image, end);
        let controller = &mut self.controllers[new];
        controller.state.image = image;
        let soft = SoftState::activate(&controller.state.image, Timestamp(cx.now));
        controller.office = Some(Office { term: self.term, soft, waiting: VecDeque::new(), in_flight: None });
        let term = self.term;
        cx.tell(|| format!("controller {} leads in term {term}", node(new)));
        cx.history.mix(&[cx.now, 1, new as i64, i64::from(term)]);
        let bootstrap = self.controllers[new].state.bootstrap();
        if !bootstrap.is_empty() {
            self.propose(new, bootstrap, Vec::new(), cx);
        }
    }

    /// What a leader had proposed when it lost its office may have reached the next one, or not.
    fn settle_abandoned(&mut self, old: usize, cx: &mut Context) {
        let Some(office) = &mut self.controllers[old].office else { return };
        let term = office.term;
        let Some(proposal) = office.in_flight.take() else { return };
        let survives = proposal.base == self.log.len() && cx.chance(0.5);
        for (to, id, _) in proposal.answers {
            if cx.chance(0.5) {
                cx.send(node(old), to, Message::Answer { id, answer: Err(ErrorCode::NotController) });
            }
        }
        if survives {
            self.append(Entry { epoch: term, records: proposal.records }, cx);
        }
    }

    fn append(&mut self, entry: Entry, cx: &mut Context) {
        let offset = self.log.len() as i64;
        cx.history.mix(&[cx.now, 2, offset, entry.records.len() as i64]);
        cx.tell(|| format!("committed {offset}: {}", describe(&entry.records)));
        let changed: Vec<i32> = entry
            .records
            .iter()
            .filter_map(|record| match record {
                MetadataRecord::Partition { index, .. } => Some(*index),
                MetadataRecord::PartitionChanged { change } => Some(change.partition),
                _ => None,
            })
            .collect();
        for record in &entry.records {
            if let MetadataRecord::BrokerChange { change } = record
                && change.fenced == Some(false)
            {
                cx.observe(Observation::Unfenced { broker: change.id.0, epoch: change.epoch });
            }
        }
        self.log.push(Rc::new(entry));
        if !changed.is_empty() {
            let image = self.committed();
            let fenced: Vec<i32> = image.brokers.values().filter(|b| b.fenced).map(|b| b.id.0).collect();
            for index in changed {
                if let Some(partition) = image.topics.partition("t", index) {
                    let image = partition.as_ref().clone();
                    cx.observe(Observation::Partition { index, image, fenced: fenced.clone() });
                }
            }
        }
    }

    fn replicate(&mut self, nodes: &Nodes, cx: &mut Context) {
        let Some(leader) = self.leader.filter(|leader| nodes.is_running(node(*leader))) else { return };
        for index in 0..self.controllers.len() {
            let reached = nodes.is_running(node(index)) && cx.network.reaches(node(leader), node(index));
            if index == leader || !reached || !cx.chance(0.7) {
                continue;
            }
            let end = self.log.len();
            let mut image = self.controllers[index].state.image.clone();
            self.replay_into(&mut image, end);
            self.controllers[index].state.image = image;
            // It has heard of the new term.
            self.resign(index, cx);
        }
    }

    fn resign(&mut self, index: usize, cx: &mut Context) {
        let term = self.term;
        if self.controllers[index].office.as_ref().is_some_and(|office| office.term < term) {
            self.settle_abandoned(index, cx);
            if let Some(office) = self.controllers[index].office.take() {
                for (to, id, _) in office.waiting {
                    cx.send(node(index), to, Message::Answer { id, answer: Err(ErrorCode::NotController) });
                }
            }
        }
    }

    fn look_after(&mut self, index: usize, nodes: &Nodes, cx: &mut Context) {
        let controller = &mut self.controllers[index];
        let Some(office) = &mut controller.office else { return };
        if office.in_flight.is_some() {
            return;
        }
        if let Some((broker, records)) = controller.state.fence_expired(&office.soft, Timestamp(cx.now)) {
            cx.fenced += u64::from(cx.now < cx.plan.calm_at);
            cx.tell(|| format!("controller {} fences {broker}", node(index)));
            self.propose(index, records, Vec::new(), cx);
        } else if cx.now >= self.next_balance {
            self.next_balance = cx.now + 500;
            let records = controller.state.balance_leaders(10);
            if !records.is_empty() {
                self.propose(index, records, Vec::new(), cx);
            }
        }
        self.round(index, nodes, cx);
    }

    /// A message for a controller.
    pub fn on_message(&mut self, to: Node, from: Node, message: Message, nodes: &Nodes, cx: &mut Context) {
        let index = usize::from(to - FIRST_CONTROLLER);
        match message {
            Message::Ask { id, request } => match &mut self.controllers[index].office {
                None => cx.send(to, from, Message::Answer { id, answer: Err(ErrorCode::NotController) }),
                Some(office) => {
                    office.waiting.push_back((from, id, request));
                    self.round(index, nodes, cx);
                }
            },
            Message::MetadataFetch { from: first } => self.on_metadata_fetch(index, from, first, cx),
            _ => {}
        }
    }

    fn on_metadata_fetch(&self, index: usize, from: Node, first: i64, cx: &mut Context) {
        let image = &self.controllers[index].state.image;
        let known = usize::try_from(image.offset.0 + 1).unwrap_or(0);
        let first_index = usize::try_from(first).unwrap_or(0);
        let answer = if first_index < known && cx.chance(0.05) {
            Message::Snapshot(Rc::new(snapshot::encode(image)))
        } else {
            let end = known.min(first_index + ENTRIES_MAX);
            Message::Metadata { first, entries: self.log.get(first_index..end).unwrap_or_default().to_vec() }
        };
        cx.send(node(index), from, answer);
    }

    /// Decides on what waits, as `controller::driver` does.
    fn round(&mut self, index: usize, _nodes: &Nodes, cx: &mut Context) {
        loop {
            let controller = &mut self.controllers[index];
            let Some(office) = &mut controller.office else { return };
            if office.in_flight.is_some() || office.waiting.is_empty() {
                return;
            }
            let mut state = controller.state.clone();
            let next_offset = Offset(state.image.offset.0 + 1);
            let origin = RequestOrigin::internal();
            let mut records = Vec::new();
            let mut answers = Vec::new();
            while let Some((from, id, request)) = office.waiting.pop_front() {
                let now = Timestamp(cx.now);
                let mut of_request = ottla_decisions::Context { origin: &origin, now, next_offset, ids: cx };
                let image = state.image.clone();
                let decision = state.decide(&mut office.soft, &request, &mut of_request);
                for record in &decision.records {
                    state.replay(record);
                }
                let response = Rc::new(decision.response);
                cx.observe(Observation::Decided(Box::new(Decided {
                    now: cx.now,
                    controller: node(index),
                    term: office.term,
                    image,
                    request: Rc::clone(&request),
                    response: Rc::clone(&response),
                    records: decision.records.len(),
                })));
                records.extend(decision.records);
                answers.push((from, id, response));
                if matches!(*request, ControllerRequest::RegisterBroker(_)) {
                    break;
                }
            }
            if records.is_empty() {
                for (to, id, response) in answers {
                    cx.send(node(index), to, Message::Answer { id, answer: Ok(response) });
                }
            } else {
                self.propose(index, records, answers, cx);
            }
        }
    }

    fn propose(
        &mut self,
        index: usize,
        records: Vec<MetadataRecord>,
        answers: Vec<(Node, u64, Rc<ControllerResponse>)>,
        cx: &mut Context,
    ) {
        let id = cx.id();
        let controller = &mut self.controllers[index];
        let base = usize::try_from(controller.state.image.offset.0 + 1).unwrap_or(0);
        if let Some(office) = &mut controller.office {
            office.in_flight = Some(Proposal { id, base, records, answers });
        }
        let delay = if cx.chance(0.1) { 40 } else { 4 };
        let delay = 1 + cx.below(delay) as i64;
        cx.after(delay, Event::Proposed { controller: node(index), proposal: id });
    }

    /// The proposal is where a majority would have it, if there is one.
    pub fn on_proposed(&mut self, controller: Node, proposal: u64, nodes: &Nodes, cx: &mut Context) {
        let index = usize::from(controller - FIRST_CONTROLLER);
        let Some(office) = &mut self.controllers[index].office else { return };
        if office.in_flight.as_ref().is_none_or(|in_flight| in_flight.id != proposal) {
            return;
        }
        let in_office = self.leader == Some(index) && office.term == self.term;
        if in_office && cx.plan.lost_offices > 0.0 && cx.chance(cx.plan.lost_offices) {
            cx.tell(|| format!("controller {controller} loses its office"));
            let term = self.term;
            self.elect(nodes, cx);
            if self.term > term {
                return;
            }
        }
        let Some(office) = &mut self.controllers[index].office else { return };
        if !in_office || !Self::has_majority(index, nodes, cx) {
            // It waits until it is in touch again, or out of office.
            cx.after(20, Event::Proposed { controller, proposal });
            return;
        }
        let Some(Proposal { records, answers, .. }) = office.in_flight.take() else { return };
        self.append(Entry { epoch: self.term, records }, cx);
        let end = self.log.len();
        let mut image = self.controllers[index].state.image.clone();
        self.replay_into(&mut image, end);
        self.controllers[index].state.image = image;
        for (to, id, response) in answers {
            cx.send(controller, to, Message::Answer { id, answer: Ok(response) });
        }
        self.round(index, nodes, cx);
    }
}

fn describe(records: &[MetadataRecord]) -> String {
    let one = |record: &MetadataRecord| match record {
        MetadataRecord::PartitionChanged { change } => {
            let ids =
                |list: &Option<Vec<BrokerId>>| list.as_ref().map(|list| list.iter().map(|id| id.0).collect::<Vec<_>>());
            let mut text = format!("t-{}", change.partition);
            let lists = [
                ("isr", &change.isr),
                ("replicas", &change.replicas),
                ("elr", &change.eligible_leader_replicas),
                ("last-known", &change.last_known_elr),
                ("adding", &change.adding_replicas),
                ("removing", &change.removing_replicas),
            ];
            for (name, list) in lists {
                if let Some(list) = ids(list) {
                    text.push_str(&format!(" {name} {list:?}"));
                }
            }
            if let Some(leader) = change.leader {
                text.push_str(&format!(" leader {:?}", leader.map(|id| id.0)));
            }
            text
        }
        MetadataRecord::Partition { index, partition, .. } => {
            let ids: Vec<i32> = partition.replicas.iter().map(|id| id.0).collect();
            format!("new t-{index} {ids:?}")
        }
        MetadataRecord::RegisterBroker { registration } => {
            format!("broker {} registers as {}", registration.id, registration.epoch)
        }
        MetadataRecord::BrokerChange { change } => {
            format!("broker {} fenced {:?} leaving {:?}", change.id, change.fenced, change.in_controlled_shutdown)
        }
        MetadataRecord::FeatureLevel { .. } => "feature".to_owned(),
        other => format!("{other:?}").chars().take(60).collect(),
    };
    records.iter().map(one).collect::<Vec<_>>().join(", ")
}
