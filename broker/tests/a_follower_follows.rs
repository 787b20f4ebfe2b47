//! A leader and its follower: what the leader acknowledges is on both, and the follower's log is the leader's, byte for
//! byte. The follower is a data plane without doors: it takes its metadata from the leader's controller in memory, and
//! everything else over the wire.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::{Broker, batch, produce_request, topic};
use ottla::config::sources::Given;
use ottla::config::{Effective, Settings};
use ottla::cordons::Cordons;
use ottla::metadata_cache::MetadataCache;
use ottla::offline_dirs::OfflineDirs;
use ottla::publisher::Publisher;
use ottla::registration::{Heartbeats, Identity, Registered, Registration};
use ottla::replica::{Assignment, FetchOptions, Fetchers, Partition, Partitions, PeerLeaders, Throttle};
use ottla_metadata::Endpoint;
use ottla_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use ottla_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use ottla_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use ottla_protocol::messages::{CreateTopicsRequest, DeleteRecordsRequest, FetchRequest};
use ottla_protocol::{BrokerId, ErrorCode, StrBytes};
use ottla_storage::{LogConfig, LogDirs, LogDirsOptions};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

const LOCAL: BrokerId = BrokerId(2);

/// The data plane of broker 2.
struct Follower {
    partitions: Partitions,
    fetchers: Fetchers,
    log_dirs: Arc<LogDirs>,
    registration: Registration,
    published: JoinHandle<()>,
    path: PathBuf,
}

impl Follower {
    async fn start(leader: &Broker, path: &Path) -> Self {
        let house = &leader.server.house;
        let values = [
            ("node.id", "2"),
            ("process.roles", "broker,controller"),
            ("controller.listener.names", "CONTROLLER"),
            ("listeners", "PLAINTEXT://localhost:0,CONTROLLER://localhost:0"),
            ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"),
            ("controller.quorum.voters", "2@localhost:9093"),
        ];
        let mut values: std::collections::BTreeMap<String, String> =
            values.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        values.insert("log.dirs".to_owned(), path.display().to_string());
        let settings = Arc::new(
            Settings::new(Given { values, cluster_id: None, origin: "test".to_owned(), ..Given::default() }).unwrap(),
        );
        let metadata = MetadataCache::new(Arc::default());
        let effective = Effective::new(Arc::clone(&settings), metadata.clone());
        let partitions = Partitions::new(metadata.clone());
        let log_dirs = LogDirs::open(&[path.to_path_buf()], LogDirsOptions::new(LOCAL, &*house.cluster_id)).unwrap();
        let leaders = Arc::new(PeerLeaders::new(&settings, metadata.clone()));
        let fetchers = Fetchers::new(
            leaders,
            FetchOptions::new(&settings),
            Throttle::new(effective.clone(), "follower.replication.throttled.rate"),
        );
        let (proposals, _) = mpsc::unbounded_channel();
        let config = Arc::new(LogConfig { segment_bytes: 1 << 14, ..LogConfig::default() });
        let configs = Arc::new(move |_: &_, _: &str| Arc::clone(&config));
        let assignment = Assignment::new(
            LOCAL,
            partitions.clone(),
            Arc::clone(&log_dirs),
            configs,
            proposals,
            fetchers.clone(),
            30_000,
        );
        let cordons = Cordons::new(effective, Arc::clone(&log_dirs));
        let (publisher, published) =
            Publisher::start(house.controller.images(), metadata, assignment, cordons.clone()).await;
        let listener = Endpoint { name: "PLAINTEXT".into(), host: "localhost".into(), port: 1, security_protocol: 0 };
        let identity = Identity {
            broker: LOCAL,
            cluster_id: Arc::clone(&house.cluster_id),
            listeners: vec![listener],
            features: ottla::features::supported(),
            rack: None,
            log_dirs: log_dirs.dirs().iter().map(|dir| dir.id).collect(),
            previous_broker_epoch: log_dirs.previous_broker_epoch(),
        };
        let controller = house.controller.clone();
        let often = Duration::from_millis(100);
        let heartbeats = Heartbeats { alone: often, among_others: often };
        let dirs = (cordons, OfflineDirs::new(&log_dirs));
        let registered = Registered::new(controller, publisher, identity, heartbeats, dirs).await.unwrap();
        let registration = registered.unfence().await.unwrap();
        Self { partitions, fetchers, log_dirs, registration, published, path: path.to_path_buf() }
    }

    fn partition(&self, name: &str) -> Arc<Partition> {
        self.partitions.get(name, 0).unwrap()
    }

    async fn stop(self) {
        let epoch = self.registration.broker_epoch();
        self.registration.shutdown(Duration::from_secs(5)).await;
        self.fetchers.shutdown();
        self.published.abort();
        self.log_dirs.shutdown(epoch);
    }
}

async fn create(leader: &Broker, name: &str, configs: &[(&'static str, &'static str)]) {
    let assignment =
        CreatableReplicaAssignment::default().with_partition_index(0).with_broker_ids(vec![1.into(), 2.into()]);
    let configs = configs.iter().map(|&(key, value)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str(key))
            .with_value(Some(StrBytes::from_static_str(value)))
    });
    let created = CreatableTopic::default()
        .with_name(topic(name))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments(vec![assignment])
        .with_configs(configs.collect());
    let request = CreateTopicsRequest::default().with_topics(vec![created]).with_timeout_ms(5000);
    let response = leader.call(7, request).await;
    assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0].error_message);
}

fn isr(leader: &Broker, name: &str) -> Vec<i32> {
    let image = leader.server.house.metadata.load();
    image.topics.partition(name, 0).unwrap().isr.iter().map(|broker| broker.0).collect()
}

/// Waits for what must come; the test's own limit is the patience.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

fn segments(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

/// All bytes of the log, whatever segments they are in.
fn bytes(dir: &Path) -> Vec<u8> {
    let mut bytes: Vec<u8> = segments(dir).into_iter().flat_map(|(_, bytes)| bytes).collect();
    // Behind the records of a file that was just written fast there are zeros, more or fewer.
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_on_both_replicas_byte_for_byte() {
    let leader = Broker::start().await;
    let dir = tempfile::tempdir().unwrap();
    let follower = Follower::start(&leader, dir.path()).await;
    create(&leader, "t", &[("min.insync.replicas", "2")]).await;
    for round in 0..200 {
        let value = format!("{round}-{}", "x".repeat(round * 7 % 500));
        let answer = leader.produce("t", 0, &[&value, "more"]).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, round as i64 * 2));
    }
    let (own, followed) = (leader.server.house.partitions.get("t", 0).unwrap(), follower.partition("t"));
    let led = own.snapshot();
    assert_eq!((led.high_watermark.0, led.log_end.0), (400, 400));
    assert_eq!(followed.snapshot().log_end.0, 400, "acknowledged means appended there");
    // The last high watermark comes without another record.
    until("the high watermark at the follower", || followed.snapshot().high_watermark.0 == 400).await;
    assert_eq!(isr(&leader, "t"), [1, 2]);
    assert!(!followed.is_leader());
    let (one, other) = (bytes(&own.log().dir()), bytes(&followed.log().dir()));
    assert!(!one.is_empty() && one == other, "{} and {} bytes", one.len(), other.len());
    assert!(segments(&followed.log().dir()).len() > 1, "the follower rolls by itself");
    follower.stop().await;
    leader.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_was_away_catches_up_and_joins_again() {
    let leader = Broker::start().await;
    let dir = tempfile::tempdir().unwrap();
    let follower = Follower::start(&leader, dir.path()).await;
    create(&leader, "t", &[("min.insync.replicas", "1")]).await;
    assert_eq!(leader.produce("t", 0, &["both"]).await.error_code, 0);
    let path = follower.path.clone();
    follower.stop().await;
    until("the follower leaves", || isr(&leader, "t") == [1]).await;
    for _ in 0..100 {
        assert_eq!(leader.produce("t", 0, &["alone", "alone"]).await.error_code, 0);
    }
    let follower = Follower::start(&leader, &path).await;
    until("the follower is back", || isr(&leader, "t") == [1, 2]).await;
    let followed = follower.partition("t");
    until("the high watermark at the follower", || followed.snapshot().high_watermark.0 == 201).await;
    let own = leader.server.house.partitions.get("t", 0).unwrap();
    assert!(bytes(&own.log().dir()) == bytes(&followed.log().dir()));
    follower.stop().await;
    leader.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_enough_replicas_nothing_is_acknowledged_and_nothing_becomes_visible() {
    let leader = Broker::start().await;
    let dir = tempfile::tempdir().unwrap();
    let follower = Follower::start(&leader, dir.path()).await;
    create(&leader, "t", &[("min.insync.replicas", "2")]).await;
    assert_eq!(leader.produce("t", 0, &["both"]).await.error_code, 0);
    follower.stop().await;
    until("the follower leaves", || isr(&leader, "t") == [1]).await;
    assert_eq!(leader.produce("t", 0, &["x"]).await.error_code, ErrorCode::NotEnoughReplicas.code());
    let answer = leader.call(12, produce_request("t", 0, 1, batch(&["unsafe"]))).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    let own = leader.server.house.partitions.get("t", 0).unwrap();
    assert_eq!((own.snapshot().high_watermark.0, own.snapshot().log_end.0), (1, 2));
    leader.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_records_are_gone_on_the_follower_when_the_answer_comes() {
    let leader = Broker::start().await;
    let dir = tempfile::tempdir().unwrap();
    let follower = Follower::start(&leader, dir.path()).await;
    create(&leader, "t", &[]).await;
    for _ in 0..10 {
        leader.produce("t", 0, &["a", "b"]).await;
    }
    let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(7);
    let deleted = DeleteRecordsTopic::default().with_name(topic("t")).with_partitions(vec![partition]);
    let response =
        leader.call(2, DeleteRecordsRequest::default().with_topics(vec![deleted]).with_timeout_ms(10_000)).await;
    let answer = &response.topics[0].partitions[0];
    assert_eq!((answer.error_code, answer.low_watermark), (0, 7));
    assert_eq!(follower.partition("t").snapshot().log_start.0, 7);
    follower.stop().await;
    leader.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_behind_the_leaders_log_start_begins_there() {
    let leader = Broker::start().await;
    let dir = tempfile::tempdir().unwrap();
    let follower = Follower::start(&leader, dir.path()).await;
    create(&leader, "t", &[]).await;
    leader.produce("t", 0, &["a", "b"]).await;
    let path = follower.path.clone();
    follower.stop().await;
    until("the follower leaves", || isr(&leader, "t") == [1]).await;
    for _ in 0..10 {
        leader.produce("t", 0, &["a", "b"]).await;
    }
    let own = leader.server.house.partitions.get("t", 0).unwrap();
    own.delete_records_before(ottla_protocol::Offset(9)).unwrap();
    let follower = Follower::start(&leader, &path).await;
    until("the follower is back", || isr(&leader, "t") == [1, 2]).await;
    let followed = follower.partition("t");
    until("the high watermark at the follower", || followed.snapshot().high_watermark.0 == 22).await;
    let snapshot = followed.snapshot();
    assert_eq!((snapshot.log_start.0, snapshot.log_end.0), (9, 22));
    follower.stop().await;
    leader.server.shutdown().await;
}

fn replica_fetch(id: Uuid, replica: i32, broker_epoch: i64, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_fetch_offset(offset)
        .with_current_leader_epoch(0)
        .with_last_fetched_epoch(-1)
        .with_partition_max_bytes(1 << 20);
    let state = ReplicaState::default().with_replica_id(replica.into()).with_replica_epoch(broker_epoch);
    FetchRequest::default()
        .with_replica_state(state)
        .with_max_bytes(1 << 24)
        .with_session_epoch(-1)
        .with_topics(vec![FetchTopic::default().with_topic_id(id).with_partitions(vec![partition])])
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_moves_the_high_watermark_by_claiming_to_be_a_replica() {
    let leader = Broker::start().await;
    let dir = tempfile::tempdir().unwrap();
    let follower = Follower::start(&leader, dir.path()).await;
    create(&leader, "t", &[("min.insync.replicas", "1")]).await;
    let id = leader.topic_id("t").await;
    // From here on nobody fetches for broker 2, though it is in sync.
    follower.fetchers.shutdown();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let answer = leader.call(12, produce_request("t", 0, 1, batch(&["a"]))).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    let own = leader.server.house.partitions.get("t", 0).unwrap();
    until("the record on the leader's disk", || own.log().durable_end().0 == 1).await;
    let epoch = leader.server.house.metadata.load().brokers.get(&LOCAL).unwrap().epoch;
    let refused = ErrorCode::NotLeaderOrFollower.code();
    for (replica, broker_epoch, code) in
        [(2, epoch - 1, refused), (2, -1, refused), (2, epoch + 1, 0), (9, epoch, refused), (-2, -1, 0)]
    {
        let response = leader.call(18, replica_fetch(id, replica, broker_epoch, 1)).await;
        let partition = &response.responses[0].partitions[0];
        assert_eq!(partition.error_code, code, "{replica} of {broker_epoch}");
        assert_eq!(own.snapshot().high_watermark.0, 0, "{replica} of {broker_epoch}");
    }
    // An old version names no registration.
    let mut old = replica_fetch(id, 2, epoch, 1);
    old.replica_state = ReplicaState::default();
    old.replica_id = 2.into();
    old.topics[0].topic_id = Uuid::nil();
    old.topics[0].topic = topic("t");
    let response = leader.call(12, old).await;
    assert_eq!(response.responses[0].partitions[0].error_code, refused);
    assert_eq!(own.snapshot().high_watermark.0, 0);
    let response = leader.call(18, replica_fetch(id, 2, epoch, 1)).await;
    let partition = &response.responses[0].partitions[0];
    assert_eq!((partition.error_code, partition.high_watermark), (0, 1));
    follower.stop().await;
    leader.server.shutdown().await;
}
