//! A broker: a disk that outlives the process, and the process with its replicas.
//!
//! ```text
//!   lifecycle   start, registration, heartbeats, controlled shutdown
//!   assignment  what the image says becomes roles
//!   leading     appends, fetches of followers, proposals of in-sync sets
//!   following   fetches from the leader, truncation
//!   checkpoint  what a directory remembers beside the logs
//! ```
//!
//! These are stand-ins for the hands of the real broker, kept as short as they can be: each decision is taken by the
//! crates that the broker itself runs.

mod assignment;
mod checkpoint;
mod following;
mod leading;
mod lifecycle;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use ottla_metadata::MetadataImage;
use ottla_protocol::{BrokerId, Offset};
use ottla_replication::Leader;
use ottla_storage::disk::faulty::FaultyDisk;
use ottla_storage::{DirHealth, Log, OpenFiles};
use uuid::Uuid;

use crate::context::Context;
use crate::message::{Message, Node};
use crate::observation::{Observation, ReplicaState};

use checkpoint::Left;
use leading::Leading;

pub use lifecycle::registration;

/// The machine.
#[derive(Debug)]
pub struct Broker {
    pub node: Node,
    pub disk: FaultyDisk,
    pub dir_id: Uuid,
    pub process: Option<Process>,
    /// What the wall clock of this machine is off by.
    pub clock_skew: i64,
}

/// One life of a broker.
#[derive(Debug)]
pub struct Process {
    node: Node,
    life: u64,
    incarnation: Uuid,
    dir_id: Uuid,
    disk: FaultyDisk,
    health: Arc<DirHealth>,
    open_files: Arc<OpenFiles>,
    left: Left,
    /// Set once the controller has registered this life.
    epoch: Option<i64>,
    image: MetadataImage,
    /// The last image that became roles.
    applied: MetadataImage,
    replicas: BTreeMap<i32, Replica>,
    asks: BTreeMap<u64, Ask>,
    controller: Node,
    has_heard_of_controller: bool,
    next_heartbeat: i64,
    metadata_asked_at: i64,
    next_flush: i64,
    next_checkpoint: i64,
    next_lag_check: i64,
    wants_shutdown: bool,
    skew: i64,
    /// What the process wants from the world.
    pub wish: Option<Wish>,
    touched: BTreeSet<i32>,
}

/// How a process ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// The controller let it go and all is closed.
    ShutDown,
    /// Its only log directory has failed.
    Halt,
}

#[derive(Debug)]
enum Ask {
    Register,
    Heartbeat,
    AlterPartition { partition: i32, leader_epoch: i32, partition_epoch: i32 },
    AssignDirs,
}

#[derive(Debug)]
struct Replica {
    log: Arc<Log>,
    role: Role,
}

#[derive(Debug)]
enum Role {
    None,
    Leader(Box<Leading>),
    Follower(Following),
}

#[derive(Debug)]
struct Following {
    epoch: i32,
    leader: Option<BrokerId>,
    /// The fetch under way and when it was sent.
    outstanding: Option<(u64, i64)>,
    next_fetch: i64,
}

fn log_dir(partition: i32) -> PathBuf {
    PathBuf::from(format!("/data/t-{partition}"))
}

impl Broker {
    pub fn new(node: Node, cx: &mut Context) -> Self {
        use ottla_decisions::IdSource;
        Self { node, disk: new_disk(), dir_id: cx.uuid(), process: None, clock_skew: 0 }
    }

    /// Another disk, with nothing on it.
    pub fn wipe(&mut self, cx: &mut Context) {
        use ottla_decisions::IdSource;
        self.disk = new_disk();
        self.dir_id = cx.uuid();
    }

    /// The log of a partition as the running process sees it.
    pub fn log(&self, partition: i32) -> Option<&Arc<Log>> {
        self.process.as_ref()?.replicas.get(&partition).map(|replica| &replica.log)
    }

    /// What the running process leads of a partition.
    pub fn leader(&self, partition: i32) -> Option<&Leader> {
        match &self.process.as_ref()?.replicas.get(&partition)?.role {
            Role::Leader(leading) => Some(&leading.leader),
            _ => None,
        }
    }

    pub fn image(&self) -> Option<&MetadataImage> {
        self.process.as_ref().map(|process| &process.image)
    }
}

fn new_disk() -> FaultyDisk {
    use ottla_storage::disk::Disk;
    let disk = FaultyDisk::default();
    // Nothing fails on a new disk.
    let _ = disk.create_dir_all("/data".as_ref());
    let _ = disk.sync_dir("/".as_ref());
    disk
}

impl Process {
    pub fn epoch(&self) -> Option<i64> {
        self.epoch
    }

    /// The last image that became roles.
    pub fn applied(&self) -> &MetadataImage {
        &self.applied
    }

    pub fn life(&self) -> u64 {
        self.life
    }

    pub fn skew_clock(&mut self, skew: i64) {
        self.skew = skew;
    }

    pub fn shut_down(&mut self) {
        self.wants_shutdown = true;
    }

    pub fn on_message(&mut self, from: Node, message: Message, cx: &mut Context) {
        match message {
            Message::Answer { id, answer } => self.on_answer(id, answer, cx),
            Message::Metadata { first, entries } if first == self.image.offset.0 + 1 => {
                for (offset, entry) in (first..).zip(&entries) {
                    self.image.replay_entry(Offset(offset), entry.epoch, &entry.records);
                    self.observe_image(cx);
                }
                self.metadata_asked_at = i64::MIN;
                self.assume_roles(cx);
            }
            Message::Snapshot(bytes) => {
                if let Ok(image) = ottla_metadata::snapshot::decode(&bytes)
                    && image.offset > self.image.offset
                {
                    self.image = image;
                    self.observe_image(cx);
                    self.assume_roles(cx);
                }
                self.metadata_asked_at = i64::MIN;
            }
            Message::Fetch(request) => self.on_fetch(from, request, cx),
            Message::Fetched(answer) => self.on_fetched(answer, cx),
            Message::Produce(request) => self.on_produce(from, request, cx),
            Message::Read(request) => self.on_read(from, request, cx),
            Message::DeleteRecords { partition, before } => self.on_delete_records(partition, before, cx),
            _ => {}
        }
        self.settle(cx);
    }

    fn observe_image(&self, cx: &mut Context) {
        // Encoding a whole image is dear: a sample tells as well.
        if self.image.offset.0 % 7 == 0 {
            let (node, offset) = (self.node, self.image.offset.0);
            let bytes = ottla_metadata::snapshot::encode(&self.image);
            cx.observe(Observation::Image { node, offset, bytes });
        }
    }

    /// After each event: a failed disk ends the process, and those who watch see what moved.
    fn settle(&mut self, cx: &mut Context) {
        if !self.health.is_online() && self.wish.is_none() {
            let node = self.node;
            cx.tell(|| format!("broker {node} halts: its log directory has failed"));
            self.wish = Some(Wish::Halt);
        }
        for partition in std::mem::take(&mut self.touched) {
            if let Some(state) = self.replica_state(partition) {
                cx.history.mix(&[cx.now, i64::from(state.broker), state.high_watermark, state.log_end]);
                cx.observe(Observation::Replica(state));
            }
        }
    }

    pub fn replica_state(&self, partition: i32) -> Option<ReplicaState> {
        let replica = self.replicas.get(&partition)?;
        let offsets = replica.log.offsets();
        let (leads, epoch) = match &replica.role {
            Role::None => (false, -1),
            Role::Leader(leading) => (true, leading.leader.epoch().0),
            Role::Follower(following) => (false, following.epoch),
        };
        Some(ReplicaState {
            broker: self.node,
            life: self.life,
            partition,
            leads,
            epoch,
            log_start: offsets.log_start.0,
            last_stable: replica.log.last_stable_offset().0,
            high_watermark: replica.log.high_watermark().0,
            log_end: offsets.log_end.0,
        })
    }

    fn ask(&mut self, ask: Ask, request: ottla_decisions::ControllerRequest, cx: &mut Context) -> u64 {
        let id = cx.id();
        self.asks.insert(id, ask);
        if self.asks.len() > 64 {
            self.asks.pop_first();
        }
        cx.send(self.node, self.controller, Message::Ask { id, request: Rc::new(request) });
        id
    }

    fn wall_clock(&self, cx: &Context) -> i64 {
        1_000_000_000 + cx.now + self.skew
    }
}
