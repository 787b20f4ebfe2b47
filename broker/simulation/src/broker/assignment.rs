//! What the image says about this broker's replicas becomes logs and roles.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use ottla_metadata::PartitionImage;
use ottla_protocol::{BrokerId, LeaderEpoch, Offset, Timestamp, TopicPartition};
use ottla_replication::{Leader, LeaderStart};
use ottla_storage::disk::Disk;
use ottla_storage::{Durability, Log, LogConfig, LogOptions};

use super::leading::Leading;
use super::{Following, Process, Replica, Role, log_dir};
use crate::context::Context;
use crate::observation::Observation;
use crate::plan::{LAG_MAX_MS, LossRule};

impl Process {
    /// Opens every log on the disk, as a broker does before it registers.
    pub(super) fn open_logs(&mut self, cx: &mut Context) -> bool {
        let Ok(entries) = self.disk.list(Path::new("/data")) else { return false };
        let mut found: Vec<i32> = entries
            .iter()
            .filter(|entry| entry.is_dir)
            .filter_map(|entry| entry.name.strip_prefix("t-")?.parse().ok())
            .collect();
        found.sort_unstable();
        found.into_iter().all(|partition| self.open_log(partition, false, cx))
    }

    fn open_log(&mut self, partition: i32, is_new: bool, cx: &mut Context) -> bool {
        let left = if is_new { None } else { self.left.logs.get(&partition).copied() };
        let left = left.unwrap_or_default();
        let config = LogConfig {
            segment_bytes: cx.plan.segment_bytes,
            index_interval_bytes: cx.plan.index_interval_bytes,
            file_delete_delay_ms: 0,
            // The journal that makes `strict` fast is not in this world: every append is flushed by itself.
            durability: Durability::Replicated,
            retention_bytes: cx.plan.retention_bytes,
            flush_messages: if cx.plan.loss == LossRule::Strict { 1 } else { i64::MAX },
            message_timestamp_after_max_ms: i64::MAX,
            ..LogConfig::default()
        };
        let options = LogOptions {
            config: Arc::new(config),
            recovery_point: Offset(left.recovery_point),
            high_watermark: Offset(left.high_watermark),
            log_start: Offset(left.log_start),
            clean_shutdown: is_new || self.left.clean_epoch.is_some(),
            disk: Arc::new(self.disk.clone()),
            health: Arc::clone(&self.health),
            open_files: Arc::clone(&self.open_files),
            ..LogOptions::new(TopicPartition::new("t", partition), Timestamp(self.wall_clock(cx)))
        };
        match Log::open(log_dir(partition), options) {
            Ok((log, report)) => {
                let node = self.node;
                cx.tell(|| {
                    let (offsets, epoch) = (log.offsets(), log.latest_epoch());
                    let (start, end) = (offsets.log_start, offsets.log_end);
                    let cut = report.cut.as_ref().map(|cut| (cut.offset, cut.reason.clone()));
                    let producers: Vec<(i64, i32)> =
                        log.producers().iter().map(|p| (p.producer_id.0, p.last_sequence)).collect();
                    format!(
                        "broker {node} opens t-{partition}: {start}..{end}, epoch {epoch:?}, {left:?}, cut {cut:?}, \
                         producers {producers:?}"
                    )
                });
                self.replicas.insert(partition, Replica { log: Arc::new(log), role: Role::None });
                if !is_new {
                    cx.observe(Observation::Opened { broker: node, partition });
                }
                true
            }
            Err(error) => {
                // A directory in which nothing can be begun has failed, unless it is full.
                if is_new && error.kind() != std::io::ErrorKind::StorageFull {
                    self.wish.get_or_insert(super::Wish::Halt);
                }
                false
            }
        }
    }

    /// Makes what is here equal to what the image says.
    ///
    /// An image from before this life's registration still shows what the life before was: whoever acted on it could
    /// lead under an epoch whose records it has lost. So nothing is assumed before the image holds the registration.
    pub(super) fn assume_roles(&mut self, cx: &mut Context) {
        if self.epoch.is_none_or(|epoch| self.image.offset.0 < epoch) || !self.health.is_online() {
            return;
        }
        let own = BrokerId(i32::from(self.node));
        let image = self.image.clone();
        let mut eligible: BTreeSet<BrokerId> = BTreeSet::new();
        eligible.extend(image.active_brokers().map(|broker| broker.id));
        let partitions: Vec<(i32, Arc<PartitionImage>)> = image
            .topics
            .by_name("t")
            .map_or_else(Vec::new, |topic| (0..).zip(topic.partitions.iter().cloned()).collect());
        for (index, partition) in partitions {
            if !partition.replicas.contains(&own) {
                if self.replicas.remove(&index).is_some() {
                    let node = self.node;
                    cx.tell(|| format!("broker {node} drops t-{index}"));
                    self.remove_log(index);
                }
                continue;
            }
            if !self.replicas.contains_key(&index) && !self.open_log(index, true, cx) {
                continue;
            }
            if self.assume(index, &partition, &eligible, cx).is_err() {
                continue;
            }
            self.touched.insert(index);
        }
        self.applied = image;
    }

    fn remove_log(&mut self, partition: i32) {
        let removed =
            self.disk.remove_dir_all(&log_dir(partition)).and_then(|()| self.disk.sync_dir(Path::new("/data")));
        if removed.is_err() {
            self.wish.get_or_insert(super::Wish::Halt);
        }
        self.left.logs.remove(&partition);
        self.checkpoint();
    }

    fn assume(
        &mut self,
        index: i32,
        partition: &PartitionImage,
        eligible: &BTreeSet<BrokerId>,
        cx: &mut Context,
    ) -> std::io::Result<()> {
        let own = BrokerId(i32::from(self.node));
        let node = self.node;
        let now = Timestamp(cx.now);
        let Some(replica) = self.replicas.get_mut(&index) else { return Ok(()) };
        let epoch = partition.leader_epoch;
        let known = match &replica.role {
            Role::None => LeaderEpoch::UNKNOWN,
            Role::Leader(leading) => leading.leader.epoch(),
            Role::Follower(following) => LeaderEpoch(following.epoch),
        };
        if epoch < known {
            return Ok(());
        }
        if partition.leader == Some(own) {
            let start = LeaderStart {
                local: own,
                epoch,
                partition_epoch: partition.partition_epoch,
                replicas: partition.replicas.clone(),
                isr: partition.isr.clone(),
                eligible: Arc::new(eligible.clone()),
                min_insync_replicas: cx.plan.min_insync_replicas,
                lag_max_ms: LAG_MAX_MS,
            };
            match &mut replica.role {
                Role::Leader(leading) if leading.leader.epoch() == epoch => {
                    leading.leader.update(start, now);
                }
                role => {
                    let log_end = replica.log.offsets().log_end;
                    replica.log.assign_leader_epoch(epoch, log_end)?;
                    let leader = Leader::new(start, log_end, replica.log.high_watermark(), now);
                    if let Role::Leader(leading) = role {
                        leading.give_up(node, cx);
                    }
                    *role = Role::Leader(Box::new(Leading::new(leader)));
                    cx.tell(|| format!("broker {node} leads t-{index} at epoch {epoch} from {log_end}"));
                    cx.observe(Observation::Leads {
                        broker: node,
                        partition: index,
                        epoch: epoch.0,
                        log_end: log_end.0,
                    });
                }
            }
            self.publish(index, cx);
        } else {
            let unchanged = matches!(&replica.role, Role::Follower(following)
                if following.epoch == epoch.0 && following.leader == partition.leader);
            if !unchanged {
                if let Role::Leader(leading) = &mut replica.role {
                    leading.give_up(node, cx);
                }
                cx.tell(|| format!("broker {node} follows {:?} in t-{index} at epoch {epoch}", partition.leader));
                let (epoch, leader) = (epoch.0, partition.leader);
                replica.role = Role::Follower(Following { epoch, leader, outstanding: None, next_fetch: cx.now });
            }
        }
        Ok(())
    }
}
