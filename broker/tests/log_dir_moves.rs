//! AlterReplicaLogDirs: replicas move between the log directories of a broker while they are written to, and DescribeLogDirs
//! tells of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Broker, topic};
use ottla_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use ottla_protocol::messages::{
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, DescribeLogDirsRequest, DescribeLogDirsResponse,
};
use ottla_protocol::record_batch::batches;
use ottla_protocol::{ErrorCode, Offset, StrBytes, TopicPartition};

async fn alter(broker: &Broker, to: &Path, name: &str, partition: i32) -> i16 {
    let topics = vec![AlterReplicaLogDirTopic::default().with_name(topic(name)).with_partitions(vec![partition])];
    let path = StrBytes::from_string(to.display().to_string());
    let dirs = vec![AlterReplicaLogDir::default().with_path(path).with_topics(topics)];
    let response: AlterReplicaLogDirsResponse =
        broker.call(2, AlterReplicaLogDirsRequest::default().with_dirs(dirs)).await;
    response.results[0].partitions[0].error_code
}

/// The directories in which a partition lies, and whether it is only on its way there.
async fn places(broker: &Broker, name: &str, partition: i32) -> Vec<(PathBuf, bool)> {
    let response: DescribeLogDirsResponse = broker.call(4, DescribeLogDirsRequest::default().with_topics(None)).await;
    let mut places = Vec::new();
    for dir in response.results {
        for described in dir.topics.iter().filter(|described| described.name == topic(name)) {
            let of_partition = described.partitions.iter().filter(|found| found.partition_index == partition);
            places.extend(of_partition.map(|found| (PathBuf::from(dir.log_dir.to_string()), found.is_future_key)));
        }
    }
    places
}

/// The values of all records.
fn values(broker: &Broker, name: &str, partition: i32) -> Vec<String> {
    let log = broker.server.house.log_dirs.get(&TopicPartition::new(name, partition)).unwrap();
    let mut next = Offset(0);
    let mut values = Vec::new();
    while next < log.offsets().log_end {
        let read = log.read(next, 1 << 20, Offset(i64::MAX), true).unwrap();
        let bytes = read.records[0].read_all().unwrap();
        for batch in batches(&bytes) {
            let Ok(batch) = batch else { break };
            let mut records = batch.records().unwrap();
            while let Some(record) = records.next_record().unwrap() {
                values.push(String::from_utf8_lossy(record.value.unwrap()).into_owned());
            }
            next = batch.next_offset();
        }
    }
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_moves_while_it_is_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    let dirs = format!("{},{}", a.display(), b.display());
    let keys = [("log.dirs", dirs.as_str())];
    let broker = Broker::start_with(&keys).await;
    broker.create_topic("t", 2).await;
    let at = async |partition| places(&broker, "t", partition).await;
    let (zero, one) = (at(0).await, at(1).await);
    assert_eq!((zero.len(), one.len()), (1, 1));
    assert_ne!(zero, one, "where the fewest are");
    let here = zero[0].0.clone();
    let there = if here == a { &b } else { &a };

    let code = |code: ErrorCode| code as i16;
    assert_eq!(alter(&broker, there, "absent", 0).await, code(ErrorCode::UnknownTopicOrPartition));
    assert_eq!(alter(&broker, Path::new("/nowhere"), "t", 0).await, code(ErrorCode::LogDirNotFound));
    assert_eq!(alter(&broker, &here, "t", 0).await, 0, "it is there");

    let stop = AtomicBool::new(false);
    let write = async {
        let mut written = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let value = format!("value {}", written.len());
            let produced = broker.produce("t", 0, &[&value]).await;
            assert_eq!((produced.error_code, produced.base_offset), (0, i64::try_from(written.len()).unwrap()));
            written.push(value);
        }
        written
    };
    let relocate = async {
        for to in [there, &here, there] {
            assert_eq!(alter(&broker, to, "t", 0).await, 0);
            while at(0).await != [(to.clone(), false)] {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (written, ()) = tokio::join!(write, relocate);
    assert_eq!(values(&broker, "t", 0), written);

    let broker = broker.restart_with(&keys).await;
    assert_eq!(places(&broker, "t", 0).await, [(there.clone(), false)]);
    assert_eq!(values(&broker, "t", 0), written);
    let produced = broker.produce("t", 0, &["more"]).await;
    assert_eq!((produced.error_code, produced.base_offset), (0, i64::try_from(written.len()).unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_emptied_takes_no_replica_in() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    let dirs = format!("{},{}", a.display(), b.display());
    let broker =
        Broker::start_with(&[("log.dirs", dirs.as_str()), ("cordoned.log.dirs", &b.display().to_string())]).await;
    broker.create_topic("t", 1).await;
    assert_eq!(places(&broker, "t", 0).await, [(a.clone(), false)]);
    let cordoned = ErrorCode::InvalidReplicaAssignment as i16;
    assert_eq!(alter(&broker, &b, "t", 0).await, cordoned);
    assert_eq!(alter(&broker, &b, "absent", 0).await, cordoned);
    assert_eq!(places(&broker, "t", 0).await, [(a, false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_move_is_seen_and_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    let dirs = format!("{},{}", a.display(), b.display());
    let slow = [("log.dirs", dirs.as_str()), ("replica.alter.log.dirs.io.max.bytes.per.second", "1")];
    let broker = Broker::start_with(&slow).await;
    broker.create_topic("t", 1).await;
    let value = "x".repeat(500_000);
    for _ in 0..8 {
        assert_eq!(broker.produce("t", 0, &[&value]).await.error_code, 0);
    }
    let here = places(&broker, "t", 0).await[0].0.clone();
    let there = if here == a { &b } else { &a };
    assert_eq!(alter(&broker, there, "t", 0).await, 0);
    let both = [(a.clone(), *there == a), (b.clone(), *there == b)];
    let sorted = async || {
        let mut places = places(&broker, "t", 0).await;
        places.sort();
        places
    };
    assert_eq!(sorted().await, both);
    // Given up, and begun again.
    assert_eq!(alter(&broker, &here, "t", 0).await, 0);
    assert_eq!(sorted().await, [(here.clone(), false)]);
    assert_eq!(alter(&broker, there, "t", 0).await, 0);
    assert_eq!(sorted().await, both);
    let broker = broker.restart_with(&[("log.dirs", dirs.as_str())]).await;
    while places(&broker, "t", 0).await != [(there.clone(), false)] {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(values(&broker, "t", 0).len(), 8);
}
