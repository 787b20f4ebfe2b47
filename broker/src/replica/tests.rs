#![allow(clippy::unwrap_used)]
//! One replica through changes of its leadership.

use std::sync::Arc;
use std::time::Duration;

use ottla_protocol::record_batch::BatchBuilder;
use ottla_protocol::{BrokerId, ErrorCode, LeaderEpoch, Offset, Timestamp, TopicId, TopicPartition};
use ottla_storage::disk::faulty::FaultyDisk;
use ottla_storage::{AppendOrigin, Durability, Log, LogConfig, LogOptions, Verification};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::partition::{LeaderAppend, Partition, PartitionState};
use super::throttle::Throttled;

const A: BrokerId = BrokerId(1);
const B: BrokerId = BrokerId(2);
const NOW: Timestamp = Timestamp(10_000);

fn replica() -> Partition {
    replica_of(0)
}

/// Replica of partition `index` of topic `t` on broker 1, with no role yet.
pub(crate) fn replica_of(index: i32) -> Partition {
    let id = TopicPartition::new("t", index);
    let config = LogConfig { durability: Durability::Replicated, ..LogConfig::default() };
    let options = LogOptions {
        disk: Arc::new(FaultyDisk::default()),
        config: Arc::new(config),
        ..LogOptions::new(id.clone(), NOW)
    };
    let (log, _) = Log::open(format!("/data/t-{index}").into(), options).unwrap();
    let (proposals, _) = mpsc::unbounded_channel();
    Partition::new(id, TopicId(uuid::Uuid::from_u128(1)), A, Arc::new(log), proposals)
}

/// The metadata of a partition on brokers 1 and 2.
pub(crate) fn led_by(leader: BrokerId, epoch: i32, isr: &[BrokerId]) -> PartitionState {
    PartitionState {
        leader: Some(leader),
        leader_epoch: LeaderEpoch(epoch),
        partition_epoch: epoch,
        replicas: vec![A, B],
        isr: isr.to_vec(),
        eligible: Arc::new(isr.iter().copied().collect()),
        min_insync_replicas: 1,
        lag_max_ms: 30_000,
        throttled: Throttled::default(),
    }
}

pub(crate) fn assume(replica: &Partition, state: PartitionState, now: Timestamp) {
    replica.assume(state, now).unwrap();
}

pub(crate) fn leave(replica: &Partition) {
    replica.leave();
}

pub(crate) fn fail_disk(replica: &Partition) {
    replica.on_disk_failed();
}

/// Until when the follower had everything, as far as the leader knows.
pub(crate) fn last_caught_up(replica: &Partition, follower: BrokerId) -> Timestamp {
    let state = replica.state.lock();
    let mut followers = state.leader().unwrap().followers();
    followers.find(|(broker, _)| *broker == follower).unwrap().1.last_caught_up
}

/// Where the log ends then, and under which epoch that is.
pub(crate) fn append(replica: &Partition, value: &[u8]) -> (Offset, LeaderEpoch) {
    let mut builder = BatchBuilder::new();
    builder.push(NOW, None, Some(value), &[]);
    let how = LeaderAppend {
        required_acks: -1,
        origin: AppendOrigin::Client,
        now: NOW,
        verification: Verification::NotNeeded,
        only_at: None,
    };
    let info = replica.append_as_leader(builder.build(), &how).unwrap();
    (info.last_offset.plus(1), info.leader_epoch)
}

/// What was appended under one leadership may be gone under the next, and another record at its offset committed.
#[tokio::test(start_paused = true)]
async fn records_of_an_earlier_leadership_are_not_called_committed() {
    let replica = replica();
    replica.assume(led_by(A, 5, &[A, B]), NOW).unwrap();
    let (end, epoch) = append(&replica, b"not on B yet");
    assert_eq!(replica.is_committed(end, epoch), None);
    // B leads for a while, and its log goes on without that record.
    replica.assume(led_by(B, 6, &[B]), NOW).unwrap();
    assert_eq!(replica.is_committed(end, epoch), Some(Err(ErrorCode::NotLeaderOrFollower)));
    replica.log().truncate_to(Offset(0)).unwrap();
    replica.assume(led_by(A, 7, &[A]), NOW).unwrap();
    let (other_end, other_epoch) = append(&replica, b"another");
    assert_eq!((other_end, other_epoch), (end, LeaderEpoch(7)));
    assert_eq!(replica.is_committed(end, other_epoch), Some(Ok(())));
    assert_eq!(replica.is_committed(end, epoch), Some(Err(ErrorCode::NotLeaderOrFollower)));
    let deadline = Instant::now() + Duration::from_secs(5);
    assert_eq!(replica.wait_for_high_watermark(end, epoch, deadline).await, Err(ErrorCode::NotLeaderOrFollower));
    assert_eq!(replica.wait_for_high_watermark(end, other_epoch, deadline).await, Ok(()));
}
