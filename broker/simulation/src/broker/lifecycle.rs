//! A broker's life with the controller: start, registration, heartbeats, controlled shutdown.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use ottla_decisions::{ControllerResponse, IdSource};
use ottla_metadata::MetadataImage;
use ottla_protocol::messages::{
    AssignReplicasToDirsRequest, BrokerHeartbeatRequest, BrokerRegistrationRequest, assign_replicas_to_dirs_request,
    broker_registration_request,
};
use ottla_protocol::{ErrorCode, StrBytes, Timestamp};
use ottla_storage::OpenFiles;
use uuid::Uuid;

use super::checkpoint::take_over;
use super::{Ask, Broker, Process, Wish};
use crate::context::{Context, Event};
use crate::message::{CONTROLLERS, FIRST_CONTROLLER, Message, Node};
use crate::plan::{HEARTBEAT_MS, LAG_MAX_MS, REQUEST_TIMEOUT_MS, TICK_MS};

impl Broker {
    /// Begins a life on what is on the disk. False if the disk does not let it.
    pub fn start(&mut self, life: u64, cx: &mut Context) -> bool {
        let Ok(left) = take_over(&self.disk) else { return false };
        let node = self.node;
        let mut process = Process {
            node,
            life,
            incarnation: cx.uuid(),
            dir_id: self.dir_id,
            disk: self.disk.clone(),
            health: Arc::default(),
            open_files: Arc::new(OpenFiles::new(64)),
            left,
            epoch: None,
            image: MetadataImage::default(),
            applied: MetadataImage::default(),
            replicas: BTreeMap::new(),
            asks: BTreeMap::new(),
            controller: FIRST_CONTROLLER,
            next_heartbeat: 0,
            has_heard_of_controller: false,
            metadata_asked_at: i64::MIN,
            next_flush: cx.now + 200,
            next_checkpoint: cx.now + cx.plan.checkpoint_ms / 2,
            next_lag_check: cx.now + LAG_MAX_MS / 2,
            wants_shutdown: false,
            skew: self.clock_skew,
            wish: None,
            touched: BTreeSet::new(),
        };
        if !process.open_logs(cx) {
            return false;
        }
        cx.tell(|| format!("broker {node} starts (clean: {:?})", process.left.clean_epoch));
        self.process = Some(process);
        cx.after(1, Event::Tick { node, life });
        true
    }
}

impl Process {
    pub fn on_tick(&mut self, cx: &mut Context) {
        cx.after(TICK_MS, Event::Tick { node: self.node, life: self.life });
        if cx.now - self.metadata_asked_at.max(i64::MIN / 2) >= REQUEST_TIMEOUT_MS {
            self.metadata_asked_at = cx.now;
            let to = FIRST_CONTROLLER + cx.below(usize::from(CONTROLLERS)) as u16;
            cx.send(self.node, to, Message::MetadataFetch { from: self.image.offset.0 + 1 });
        }
        if cx.now >= self.next_heartbeat {
            self.next_heartbeat = cx.now + HEARTBEAT_MS;
            match self.epoch {
                None => self.register(cx),
                Some(epoch) => self.heartbeat(epoch, cx),
            }
        }
        self.fetch_all(cx);
        self.propose_again(cx);
        if cx.now >= self.next_lag_check {
            self.next_lag_check = cx.now + LAG_MAX_MS / 2;
            self.check_lag(cx);
            self.report_dirs(cx);
        }
        if cx.now >= self.next_flush {
            self.next_flush = cx.now + 150 + cx.below(400) as i64;
            for replica in self.replicas.values() {
                // A failed sync takes the directory offline, which ends the process.
                let _ = replica.log.flush();
            }
            if cx.plan.retention_bytes >= 0 {
                self.apply_retention(cx);
            }
        }
        if cx.now >= self.next_checkpoint {
            self.next_checkpoint = cx.now + 100 + cx.below(cx.plan.checkpoint_ms as usize - 100) as i64;
            self.checkpoint();
        }
        self.settle(cx);
    }

    fn is_superseded(&self) -> bool {
        let own = ottla_protocol::BrokerId(i32::from(self.node));
        self.image.brokers.get(&own).is_some_and(|broker| self.epoch.is_some_and(|epoch| epoch < broker.epoch))
    }

    fn apply_retention(&mut self, cx: &mut Context) {
        let now = Timestamp(self.wall_clock(cx));
        for (partition, replica) in &self.replicas {
            // As a failed sync.
            if replica.log.apply_retention(now).is_ok_and(|gone| gone > 0) {
                self.touched.insert(*partition);
            }
        }
    }

    fn register(&mut self, cx: &mut Context) {
        let previous = self.left.clean_epoch.unwrap_or(-1);
        let request = registration(self.node, self.incarnation, self.dir_id, previous);
        self.ask(Ask::Register, request.into(), cx);
    }

    fn heartbeat(&mut self, epoch: i64, cx: &mut Context) {
        let request = BrokerHeartbeatRequest::default()
            .with_broker_id(i32::from(self.node).into())
            .with_broker_epoch(epoch)
            .with_current_metadata_offset(self.applied.offset.0)
            .with_want_shut_down(self.wants_shutdown);
        self.ask(Ask::Heartbeat, request.into(), cx);
    }

    /// Replicas that the image believes in another directory, such as one that was lost.
    fn report_dirs(&mut self, cx: &mut Context) {
        let Some(epoch) = self.epoch else { return };
        let own = ottla_protocol::BrokerId(i32::from(self.node));
        let Some(topic) = self.applied.topics.by_name("t") else { return };
        let misplaced: Vec<i32> = (0..)
            .zip(&topic.partitions)
            .filter(|(index, partition)| {
                self.replicas.contains_key(index) && partition.directory(own).is_some_and(|dir| dir != self.dir_id)
            })
            .map(|(index, _)| index)
            .collect();
        if misplaced.is_empty() {
            return;
        }
        use assign_replicas_to_dirs_request::{DirectoryData, PartitionData, TopicData};
        let partitions =
            misplaced.into_iter().map(|index| PartitionData::default().with_partition_index(index)).collect();
        let topic = TopicData::default().with_topic_id(topic.id.0).with_partitions(partitions);
        let request = AssignReplicasToDirsRequest::default()
            .with_broker_id(i32::from(self.node).into())
            .with_broker_epoch(epoch)
            .with_directories(vec![DirectoryData::default().with_id(self.dir_id).with_topics(vec![topic])]);
        self.ask(Ask::AssignDirs, request.into(), cx);
    }

    pub(super) fn on_answer(&mut self, id: u64, answer: Result<Rc<ControllerResponse>, ErrorCode>, cx: &mut Context) {
        let Some(ask) = self.asks.remove(&id) else { return };
        let answer = answer.inspect_err(|_| {
            // Not the active one: another may be.
            self.try_another_controller(cx);
        });
        match (ask, answer.as_deref()) {
            (Ask::Register, Ok(ControllerResponse::RegisterBroker(response)))
                if response.error_code == 0 && self.epoch.is_none() =>
            {
                self.epoch = Some(response.broker_epoch);
                self.next_heartbeat = cx.now;
                self.assume_roles(cx);
            }
            (Ask::Heartbeat, Ok(ControllerResponse::BrokerHeartbeat(response)))
                if response.error_code == 0
                    && response.should_shut_down
                    && self.wants_shutdown
                    && self.wish.is_none() =>
            {
                self.close();
                self.wish.get_or_insert(Wish::ShutDown);
            }
            // Another process has taken this broker's id: whoever started both starts this one anew. The answer alone
            // may be that of a controller which has lost its office.
            (Ask::Heartbeat, Ok(ControllerResponse::BrokerHeartbeat(response)))
                if response.error_code == ErrorCode::StaleBrokerEpoch.code() && self.is_superseded() =>
            {
                let node = self.node;
                cx.tell(|| format!("broker {node} is no longer registered"));
                self.wish.get_or_insert(Wish::Halt);
            }
            (Ask::AlterPartition { partition, leader_epoch, partition_epoch }, answer) => {
                self.on_alter_partition(partition, leader_epoch, partition_epoch, answer, cx);
            }
            _ => {}
        }
    }

    /// Hears who the active controller is, as from its own place in the quorum.
    pub fn hear_of_controller(&mut self, controller: Node) {
        (self.controller, self.has_heard_of_controller) = (controller, true);
    }

    /// Nobody answers any more: the next attempt goes to another controller.
    pub(super) fn try_another_controller(&mut self, cx: &mut Context) {
        // Under mere overload brokers hear of a new controller, and late answers of an old one mislead nobody.
        if cx.plan.only_overload && cx.now < cx.plan.calm_at && self.has_heard_of_controller {
            return;
        }
        self.controller = FIRST_CONTROLLER + cx.below(usize::from(CONTROLLERS)) as u16;
    }
}

/// How a process makes itself known to the controller.
pub fn registration(node: Node, incarnation: Uuid, dir: Uuid, previous: i64) -> BrokerRegistrationRequest {
    let feature = |(name, max): (&'static str, i16)| {
        broker_registration_request::Feature::default()
            .with_name(StrBytes::from_static_str(name))
            .with_min_supported_version(if max > 7 { 7 } else { 0 })
            .with_max_supported_version(max)
    };
    let features = [
        ("metadata.version", 30),
        ("group.version", 1),
        ("transaction.version", 2),
        ("eligible.leader.replicas.version", 1),
    ];
    BrokerRegistrationRequest::default()
        .with_broker_id(i32::from(node).into())
        .with_cluster_id(StrBytes::from_static_str("cluster"))
        .with_incarnation_id(incarnation)
        .with_log_dirs(vec![dir])
        .with_previous_broker_epoch(previous)
        .with_features(features.map(feature).into())
}
