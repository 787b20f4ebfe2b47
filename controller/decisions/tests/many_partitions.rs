//! What a broker of very many partitions needs comes in parts that a replica can hold in memory.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_decisions::{
    Context, ControllerDefaults, ControllerRequest, ControllerResponse, ControllerState, IdSource, RequestOrigin,
    SoftState,
};
use ottla_metadata::{BrokerRegistration, MetadataImage, MetadataRecord, PartitionImage};
use ottla_protocol::messages::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use ottla_protocol::{BrokerId, Offset, Timestamp, TopicId};
use uuid::Uuid;

const PARTITIONS: i32 = 12_001;
const AT_ONCE: usize = 10_000;

struct NoIds;

impl IdSource for NoIds {
    fn uuid(&mut self) -> Uuid {
        Uuid::nil()
    }
    fn below(&mut self, _bound: usize) -> usize {
        0
    }
}

fn defaults() -> ControllerDefaults {
    ControllerDefaults {
        node_id: BrokerId(1),
        cluster_id: "cluster".into(),
        num_partitions: 1,
        default_replication_factor: 1,
        delete_topic_enable: true,
        broker_session_timeout_ms: 9000,
        cluster_session_timeout_ms: None,
        mutation_burst_seconds: 11.0,
        internal_topics: Default::default(),
        static_configs: Arc::new(BTreeMap::new()),
        supported_features: Vec::new(),
        bootstrap_features: Vec::new(),
    }
}

/// Three brokers; the first leads everything.
fn world() -> ControllerState {
    let ids = [BrokerId(1), BrokerId(2), BrokerId(3)];
    let mut records: Vec<MetadataRecord> = ids
        .iter()
        .map(|&id| MetadataRecord::RegisterBroker {
            registration: BrokerRegistration {
                id,
                epoch: 0,
                incarnation_id: Uuid::nil(),
                listeners: Vec::new(),
                features: Vec::new(),
                rack: None,
                fenced: false,
                in_controlled_shutdown: false,
                log_dirs: Vec::new(),
                cordoned_log_dirs: Vec::new(),
            },
        })
        .collect();
    let topic_id = TopicId(Uuid::from_u128(7));
    records.push(MetadataRecord::Topic { name: "t".into(), id: topic_id });
    for index in 0..PARTITIONS {
        let partition = PartitionImage {
            replicas: ids.to_vec(),
            isr: ids.to_vec(),
            directories: vec![Uuid::nil(); ids.len()],
            leader: Some(BrokerId(1)),
            ..PartitionImage::default()
        };
        records.push(MetadataRecord::Partition { topic_id, index, partition });
    }
    let mut image = MetadataImage::default();
    image.replay_entry(Offset(0), 1, &records);
    ControllerState { image, defaults: Arc::new(defaults()), controllers: [BrokerId(1)].into() }
}

fn led_by(state: &ControllerState, broker: i32) -> usize {
    let partitions = state.image.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.filter(|partition| partition.leader == Some(BrokerId(broker))).count()
}

/// One heartbeat: how many records it needed, and the answer.
fn heartbeat(state: &mut ControllerState, soft: &mut SoftState, broker: i32) -> (usize, BrokerHeartbeatResponse) {
    let request = BrokerHeartbeatRequest::default()
        .with_broker_id(broker.into())
        .with_broker_epoch(0)
        .with_current_metadata_offset(state.image.offset.0)
        .with_want_shut_down(broker == 1);
    let origin = RequestOrigin::internal();
    let next_offset = Offset(state.image.offset.0 + 1);
    let mut cx = Context { origin: &origin, now: Timestamp(0), next_offset, ids: &mut NoIds };
    let decision = state.decide(soft, &ControllerRequest::BrokerHeartbeat(request), &mut cx);
    if !decision.records.is_empty() {
        state.image.replay_entry(next_offset, 1, &decision.records);
    }
    let ControllerResponse::BrokerHeartbeat(response) = decision.response else { unreachable!() };
    (decision.records.len(), response)
}

#[test]
fn a_broker_that_shuts_down_hands_its_partitions_over_in_several_heartbeats() {
    let mut state = world();
    let mut soft = SoftState::activate(&state.image, Timestamp(0));
    let (records, response) = heartbeat(&mut state, &mut soft, 1);
    assert_eq!((records, response.should_shut_down), (AT_ONCE, false));
    assert_eq!(led_by(&state, 1), PARTITIONS as usize + 1 - AT_ONCE, "one record is the broker's own");
    let (records, response) = heartbeat(&mut state, &mut soft, 1);
    assert_eq!((records, response.should_shut_down), (PARTITIONS as usize + 1 - AT_ONCE, false));
    assert_eq!(led_by(&state, 1), 0);
    let (_, response) = heartbeat(&mut state, &mut soft, 1);
    assert!(!response.should_shut_down, "the others have not heard of it");
    heartbeat(&mut state, &mut soft, 2);
    heartbeat(&mut state, &mut soft, 3);
    let (_, response) = heartbeat(&mut state, &mut soft, 1);
    assert!(response.should_shut_down);
    assert!(state.image.brokers[&BrokerId(1)].fenced);
}

#[test]
fn the_record_that_fences_a_broker_is_the_last_one() {
    let mut state = world();
    let records = state.fence_lost(BrokerId(1), 0).unwrap();
    assert_eq!(records.len(), PARTITIONS as usize + 1);
    // What is written in parts may be cut short between two of them: the next controller goes on.
    state.image.replay_entry(Offset(1), 1, &records[..AT_ONCE]);
    assert!(!state.image.brokers[&BrokerId(1)].fenced);
    let rest = state.fence_lost(BrokerId(1), 0).unwrap();
    assert_eq!(rest, records[AT_ONCE..]);
    state.image.replay_entry(Offset(2), 2, &rest);
    assert!(state.image.brokers[&BrokerId(1)].fenced);
    assert_eq!(led_by(&state, 1), 0);
}
