//! The encoder that lends records writes what the plain encoder writes, byte for byte, in every version.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use ottla_protocol::StrBytes;
use ottla_protocol::TopicId;
use ottla_protocol::fetch_response as own;
use ottla_protocol::fetch_response::{FetchAnswer, FetchedPartition, FetchedTopic};
use ottla_protocol::messages::fetch_response as plain;
use ottla_protocol::messages::{BrokerId, FetchResponse, TopicName};
use ottla_protocol::response::{self, Chunk};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn answer(rng: &mut StdRng, topics: usize, partitions: usize, bytes: usize) -> FetchAnswer<Bytes> {
    let partition = |rng: &mut StdRng, index: usize| FetchedPartition {
        partition_index: index as i32,
        error_code: rng.random_range(0..100),
        high_watermark: rng.random(),
        last_stable_offset: rng.random(),
        log_start_offset: rng.random(),
        diverging_epoch: rng
            .random::<bool>()
            .then(|| own::EpochEndOffset { epoch: rng.random_range(0..9), end_offset: rng.random_range(0..9) }),
        current_leader: rng
            .random::<bool>()
            .then(|| own::LeaderIdAndEpoch { leader_id: rng.random_range(0..9), leader_epoch: rng.random_range(0..9) }),
        snapshot_id: rng
            .random::<bool>()
            .then(|| own::SnapshotId { end_offset: rng.random_range(0..9), epoch: rng.random_range(0..9) }),
        aborted: rng.random::<bool>().then(|| {
            (0..rng.random_range(0..3))
                .map(|_| own::AbortedTransaction { producer_id: rng.random(), first_offset: rng.random() })
                .collect()
        }),
        preferred_read_replica: rng.random_range(-1..3),
        records: (0..rng.random_range(1..3)).map(|_| Bytes::from(vec![rng.random(); bytes])).collect(),
    };
    FetchAnswer {
        throttle_time_ms: rng.random_range(0..100),
        error_code: rng.random_range(0..100),
        session_id: rng.random(),
        topics: (0..topics)
            .map(|index| FetchedTopic {
                topic: StrBytes::from(format!("topic-{index}")),
                topic_id: TopicId(uuid::Uuid::from_u128(rng.random())),
                partitions: (0..partitions).map(|index| partition(rng, index)).collect(),
            })
            .collect(),
        node_endpoints: (0..rng.random_range(0..3))
            .map(|index| own::NodeEndpoint {
                node_id: index,
                host: StrBytes::from_static_str("localhost"),
                port: 9092,
                rack: rng.random::<bool>().then(|| StrBytes::from_static_str("rack")),
            })
            .collect(),
    }
}

fn as_plain(answer: &FetchAnswer<Bytes>, version: i16) -> FetchResponse {
    let since = |first: i16| version >= first;
    let partition = |partition: &FetchedPartition<Bytes>| {
        let mut out = plain::PartitionData::default()
            .with_partition_index(partition.partition_index)
            .with_error_code(partition.error_code)
            .with_high_watermark(partition.high_watermark)
            .with_last_stable_offset(partition.last_stable_offset)
            .with_log_start_offset(if since(5) { partition.log_start_offset } else { -1 })
            .with_records(Some(partition.records.concat().into()))
            .with_aborted_transactions(partition.aborted.as_ref().map(|aborted| {
                aborted
                    .iter()
                    .map(|aborted| {
                        plain::AbortedTransaction::default()
                            .with_producer_id(aborted.producer_id.into())
                            .with_first_offset(aborted.first_offset)
                    })
                    .collect()
            }));
        if since(11) {
            out = out.with_preferred_read_replica(BrokerId(partition.preferred_read_replica));
        }
        if since(12) {
            if let Some(diverging) = partition.diverging_epoch {
                out.diverging_epoch =
                    plain::EpochEndOffset::default().with_epoch(diverging.epoch).with_end_offset(diverging.end_offset);
            }
            if let Some(leader) = partition.current_leader {
                out.current_leader = plain::LeaderIdAndEpoch::default()
                    .with_leader_id(BrokerId(leader.leader_id))
                    .with_leader_epoch(leader.leader_epoch);
            }
            if let Some(snapshot) = partition.snapshot_id {
                out.snapshot_id =
                    plain::SnapshotId::default().with_end_offset(snapshot.end_offset).with_epoch(snapshot.epoch);
            }
        }
        out
    };
    let mut out = FetchResponse::default().with_throttle_time_ms(answer.throttle_time_ms).with_responses(
        answer
            .topics
            .iter()
            .map(|topic| {
                let out = plain::FetchableTopicResponse::default()
                    .with_partitions(topic.partitions.iter().map(partition).collect());
                if since(13) {
                    out.with_topic_id(topic.topic_id.0)
                } else {
                    out.with_topic(TopicName(topic.topic.clone()))
                }
            })
            .collect(),
    );
    if since(7) {
        out = out.with_error_code(answer.error_code).with_session_id(answer.session_id);
    }
    if since(16) {
        out.node_endpoints = answer
            .node_endpoints
            .iter()
            .map(|endpoint| {
                plain::NodeEndpoint::default()
                    .with_node_id(BrokerId(endpoint.node_id))
                    .with_host(endpoint.host.clone())
                    .with_port(endpoint.port)
                    .with_rack(endpoint.rack.clone())
            })
            .collect();
    }
    out
}

fn joined(chunks: Vec<Chunk<Bytes>>) -> Vec<u8> {
    chunks
        .into_iter()
        .flat_map(|chunk| match chunk {
            Chunk::Bytes(bytes) | Chunk::Records(bytes) => bytes,
        })
        .collect()
}

#[test]
fn every_version_is_the_plain_encoding() {
    let mut rng = StdRng::seed_from_u64(1);
    for version in 4..=18 {
        for (topics, partitions) in [(0, 0), (1, 0), (1, 1), (3, 7), (2, 200)] {
            for bytes in [0, 1, 100, 4096] {
                let answer = answer(&mut rng, topics, partitions, bytes);
                let ours = own::encode(77, version, &answer).unwrap();
                let theirs = response::encode(77, version, &as_plain(&answer, version)).unwrap();
                assert!(joined(ours) == theirs, "v{version}, {topics} topics, {partitions} partitions, {bytes} bytes");
            }
        }
    }
}

#[test]
fn records_are_lent_and_not_copied() {
    let records = Bytes::from(vec![1; 1000]);
    let partition = FetchedPartition { records: vec![records.clone()], ..Default::default() };
    let topic = FetchedTopic { topic: "t".into(), topic_id: TopicId::ZERO, partitions: vec![partition] };
    let chunks = own::encode(1, 12, &FetchAnswer { topics: vec![topic], ..Default::default() }).unwrap();
    let lent = chunks.iter().find_map(|chunk| match chunk {
        Chunk::Records(lent) => Some(lent),
        Chunk::Bytes(_) => None,
    });
    assert_eq!(lent.unwrap().as_ptr(), records.as_ptr());
}

#[test]
fn other_versions_are_refused() {
    assert!(own::encode(1, 3, &FetchAnswer::<Bytes>::default()).is_err());
    assert!(own::encode(1, 19, &FetchAnswer::<Bytes>::default()).is_err());
}
