//! A snapshot at any entry and the entries after it give the image that all entries give, to the byte.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use ottla_metadata::wire::{Input, Wire};
use ottla_metadata::{
    AccessControlEntry, BrokerRegistration, BrokerRegistrationChange, ConfigKind, ConfigResource, Endpoint,
    FeatureRange, MetadataImage, MetadataRecord, PartitionChange, PartitionImage, QuotaEntity, ScramCredential,
    ScramMechanism, snapshot,
};
use ottla_protocol::{BrokerId, LeaderEpoch, Offset, ProducerId, TopicId};
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

fn name() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![Just("a"), Just("b.c"), Just("orders"), Just("größe")].prop_map(Arc::from)
}

// Few values, so that records meet each other.
fn topic_id() -> impl Strategy<Value = TopicId> {
    (1_u128..6).prop_map(|id| TopicId(Uuid::from_u128(id)))
}

fn broker() -> impl Strategy<Value = BrokerId> {
    (0..4).prop_map(BrokerId)
}

fn brokers() -> impl Strategy<Value = Vec<BrokerId>> {
    vec(broker(), 0..4)
}

fn dirs() -> impl Strategy<Value = Vec<Uuid>> {
    vec((0_u128..300).prop_map(Uuid::from_u128), 0..3)
}

fn registration() -> impl Strategy<Value = BrokerRegistration> {
    (broker(), 0..100_i64, proptest::option::of(name()), any::<bool>(), any::<bool>(), dirs(), dirs()).prop_map(
        |(id, epoch, rack, fenced, in_controlled_shutdown, log_dirs, cordoned_log_dirs)| BrokerRegistration {
            id,
            epoch,
            incarnation_id: Uuid::from_u128(epoch as u128),
            listeners: vec![Endpoint { name: "L".into(), host: "h".into(), port: 9092, security_protocol: 3 }],
            features: vec![FeatureRange { name: "f".into(), min: 0, max: 3 }],
            rack,
            fenced,
            in_controlled_shutdown,
            log_dirs,
            cordoned_log_dirs,
        },
    )
}

fn partition() -> impl Strategy<Value = PartitionImage> {
    (brokers(), brokers(), dirs(), proptest::option::of(broker()), any::<bool>()).prop_map(
        |(replicas, isr, directories, leader, recovering)| PartitionImage {
            replicas,
            isr,
            directories,
            leader,
            recovering,
            leader_epoch: LeaderEpoch(7),
            partition_epoch: 9,
            ..PartitionImage::default()
        },
    )
}

fn change() -> impl Strategy<Value = PartitionChange> {
    use proptest::option::of;
    (
        (topic_id(), 0..4, of(brokers()), of(brokers()), of(brokers()), of(brokers())),
        (of(brokers()), of(brokers()), of(dirs()), of(of(broker())), of(any::<bool>())),
    )
        .prop_map(|((topic_id, partition, replicas, isr, adding_replicas, removing_replicas), rest)| {
            let (eligible_leader_replicas, last_known_elr, directories, leader, recovering) = rest;
            PartitionChange {
                topic_id,
                partition,
                replicas,
                isr,
                adding_replicas,
                removing_replicas,
                eligible_leader_replicas,
                last_known_elr,
                directories,
                leader,
                recovering,
            }
        })
}

fn resource() -> impl Strategy<Value = ConfigResource> {
    let kind = prop_oneof![
        Just(ConfigKind::Topic),
        Just(ConfigKind::Broker),
        Just(ConfigKind::Group),
        Just(ConfigKind::ClientMetrics)
    ];
    (kind, name()).prop_map(|(kind, name)| ConfigResource { kind, name })
}

fn acl() -> impl Strategy<Value = AccessControlEntry> {
    (2..8_i8, name(), name()).prop_map(|(resource_type, resource_name, principal)| AccessControlEntry {
        resource_type,
        resource_name,
        pattern_type: 3,
        principal,
        host: "*".into(),
        operation: 2,
        permission_type: 3,
    })
}

fn record() -> impl Strategy<Value = MetadataRecord> {
    use MetadataRecord as R;
    use proptest::option::of;
    let id = || (0_u128..5).prop_map(Uuid::from_u128);
    let mechanism = || prop_oneof![Just(ScramMechanism::Sha256), Just(ScramMechanism::Sha512)];
    let credential = vec(any::<u8>(), 0..5).prop_map(|salt| ScramCredential {
        stored_key: salt.clone(),
        server_key: salt.clone(),
        salt,
        iterations: 4096,
    });
    let entity = (name(), of(name())).prop_map(|(kind, name)| QuotaEntity::new(std::vec![(kind, name)]));
    let fencing = (broker(), of(any::<bool>()), of(any::<bool>()), of(dirs()), of(dirs())).prop_map(
        |(id, fenced, in_controlled_shutdown, log_dirs, cordoned_log_dirs)| R::BrokerChange {
            change: BrokerRegistrationChange {
                id,
                epoch: 1,
                fenced,
                in_controlled_shutdown,
                log_dirs,
                cordoned_log_dirs,
            },
        },
    );
    prop_oneof![
        1 => registration().prop_map(|registration| R::RegisterBroker { registration }),
        1 => broker().prop_map(|id| R::UnregisterBroker { id, epoch: 1 }),
        1 => fencing,
        // As decisions do: a topic's name and id belong together.
        4 => topic_id().prop_map(|id| R::Topic { name: format!("topic-{id}").into(), id }),
        1 => topic_id().prop_map(|id| R::RemoveTopic { id }),
        8 => (topic_id(), 0..4, partition())
                .prop_map(|(topic_id, index, partition)| R::Partition { topic_id, index, partition }),
        4 => change().prop_map(|change| R::PartitionChanged { change }),
        1 => (resource(), name(), of(name())).prop_map(|(resource, key, value)| R::Config { resource, key, value }),
        1 => (name(), 0..3_i16).prop_map(|(name, level)| R::FeatureLevel { name, level }),
        1 => (broker(), 0..9_i64).prop_map(|(broker, next)| R::ProducerIds { broker, broker_epoch: 1, next: ProducerId(next) }),
        1 => (entity, name(), of(0.5..9.0)).prop_map(|(entity, key, value)| R::ClientQuota { entity, key, value }),
        1 => (id(), acl()).prop_map(|(id, entry)| R::AccessControl { id, entry }),
        1 => id().prop_map(|id| R::RemoveAccessControl { id }),
        1 => (name(), mechanism(), credential)
                .prop_map(|(user, mechanism, credential)| R::UserScramCredential { user, mechanism, credential }),
        1 => (name(), mechanism()).prop_map(|(user, mechanism)| R::RemoveUserScramCredential { user, mechanism }),
        1 => of(topic_id().prop_map(|id| Arc::from(format!("topic-{id}")))).prop_map(|topic| R::ClearElr { topic }),
        1 => Just(R::NoOp {}),
    ]
}

fn replay(image: &mut MetadataImage, entries: &[Vec<MetadataRecord>], from: usize) {
    for (index, records) in entries.iter().enumerate().skip(from) {
        image.replay_entry(Offset(index as i64), index as i32 / 3, records);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_snapshot_and_the_tail_are_the_whole_log(entries in vec(vec(record(), 0..5), 1..24)) {
        let mut whole = MetadataImage::default();
        replay(&mut whole, &entries, 0);
        let bytes = snapshot::encode(&whole);
        for cut in 0..=entries.len() {
            let mut until = MetadataImage::default();
            replay(&mut until, &entries[..cut], 0);
            let mut restored = snapshot::decode(&snapshot::encode(&until)).unwrap();
            prop_assert_eq!(&restored, &until, "snapshot at {}", cut);
            replay(&mut restored, &entries, cut);
            prop_assert_eq!(&restored, &whole, "tail from {}", cut);
            // Applied twice, by two nodes, in two histories: the same bytes.
            prop_assert_eq!(&snapshot::encode(&restored), &bytes);
        }
    }

    #[test]
    fn records_survive_their_bytes(records in vec(record(), 0..20)) {
        let mut bytes = Vec::new();
        records.write(&mut bytes);
        let mut input = Input::new(&bytes);
        prop_assert_eq!(Vec::<MetadataRecord>::read(&mut input).unwrap(), records);
        prop_assert!(input.is_empty());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = Vec::<MetadataRecord>::read(&mut Input::new(&bytes));
        let _ = snapshot::decode(&bytes);
    }

    #[test]
    fn changes_between_images_are_all_found(
        before in vec(record(), 0..40),
        after in vec(record(), 0..10),
    ) {
        let mut old = MetadataImage::default();
        old.replay_entry(Offset(0), 0, &before);
        let mut new = old.clone();
        new.replay_entry(Offset(1), 0, &after);
        let changes = new.topics.changes_since(&old.topics);
        let mut ids: Vec<TopicId> = old.topics.iter().chain(new.topics.iter()).map(|topic| topic.id).collect();
        ids.sort();
        ids.dedup();
        let differing = ids.iter().filter(|id| old.topics.by_id(**id) != new.topics.by_id(**id)).count();
        prop_assert_eq!(changes.len(), differing);
        prop_assert_eq!(new.topics.iter().map(|topic| topic.partitions.len()).sum::<usize>(), new.topics.partition_count());
    }
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let mut image = MetadataImage::default();
    let level = MetadataRecord::FeatureLevel { name: "metadata.version".into(), level: 30 };
    image.replay_entry(Offset(4), 1, &[level]);
    let bytes = snapshot::encode(&image);
    for position in 0..bytes.len() {
        assert!(snapshot::decode(&bytes[..position]).is_err());
        let mut flipped = bytes.clone();
        flipped[position] ^= 1;
        assert!(snapshot::decode(&flipped).is_err(), "bit flip at {position}");
    }
}
