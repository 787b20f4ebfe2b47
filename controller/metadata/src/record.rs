//! The records of the metadata log, in the vocabulary of Kafka's own.

use std::sync::Arc;

use ottla_protocol::{BrokerId, ProducerId, TopicId};
use uuid::Uuid;

use crate::acls::AccessControlEntry;
use crate::cluster::BrokerRegistration;
use crate::configs::ConfigResource;
use crate::quotas::QuotaEntity;
use crate::scram::{ScramCredential, ScramMechanism};
use crate::topics::PartitionImage;
use crate::wire::{DecodeError, Input, Wire, put_uvarint, wire_struct};

wire_struct! {
    /// What became different about a registered broker; `None` is unchanged.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct BrokerRegistrationChange {
        pub id: BrokerId,
        pub epoch: i64,
        pub fenced: Option<bool>,
        pub in_controlled_shutdown: Option<bool>,
        pub log_dirs: Option<Vec<Uuid>>,
        pub cordoned_log_dirs: Option<Vec<Uuid>>,
    }
}

wire_struct! {
    /// What became different about a partition; `None` is unchanged.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct PartitionChange {
        pub topic_id: TopicId,
        pub partition: i32,
        pub replicas: Option<Vec<BrokerId>>,
        pub isr: Option<Vec<BrokerId>>,
        pub adding_replicas: Option<Vec<BrokerId>>,
        pub removing_replicas: Option<Vec<BrokerId>>,
        pub eligible_leader_replicas: Option<Vec<BrokerId>>,
        pub last_known_elr: Option<Vec<BrokerId>>,
        pub directories: Option<Vec<Uuid>>,
        /// `Some(None)` is "now without a leader". Naming a leader bumps the leader epoch, be it the same one.
        pub leader: Option<Option<BrokerId>>,
        pub recovering: Option<bool>,
    }
}

impl PartitionChange {
    /// A change of nothing yet.
    pub fn new(topic_id: TopicId, partition: i32) -> Self {
        Self { topic_id, partition, ..Self::default() }
    }

    /// Nothing but the partition epoch would change.
    pub fn is_empty(&self) -> bool {
        *self == Self::new(self.topic_id, self.partition)
    }
}

macro_rules! records {
    ($( $(#[$doc:meta])* $name:ident = $kind:literal { $( $(#[$field_doc:meta])* $field:ident : $type:ty, )* } )*) => {
        /// One change of the cluster's state.
        #[derive(Debug, Clone, PartialEq)]
        pub enum MetadataRecord {
            $( $(#[$doc])* $name { $( $(#[$field_doc])* $field: $type, )* }, )*
        }

        impl Wire for MetadataRecord {
            fn write(&self, out: &mut Vec<u8>) {
                let mut fields = Vec::with_capacity(64);
                let kind: u64 = match self {
                    $( Self::$name { $( $field, )* } => { $( $field.write(&mut fields); )* $kind } )*
                };
                put_uvarint(out, kind);
                put_uvarint(out, RECORD_VERSION);
                put_uvarint(out, fields.len() as u64);
                out.extend_from_slice(&fields);
            }

            fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
                let kind = input.uvarint()?;
                let version = input.uvarint()?;
                if version > RECORD_VERSION {
                    return Err(DecodeError::TooNew { kind, version });
                }
                let length = input.count()?;
                let mut fields = Input::new(input.take(length)?);
                let record = match kind {
                    $( $kind => Self::$name { $( $field: Wire::read(&mut fields)?, )* }, )*
                    _ => return Err(DecodeError::TooNew { kind, version }),
                };
                if fields.is_empty() { Ok(record) } else { Err(DecodeError::Invalid("record length")) }
            }
        }
    };
}

/// The version every kind is written at. A kind that grows a field gets its own.
const RECORD_VERSION: u64 = 0;

// The numbers are ours and for ever: a retired one is not given out again.
records! {
    /// A broker came, or came again with a new epoch.
    RegisterBroker = 1 { registration: BrokerRegistration, }
    /// A broker was taken out of the cluster.
    UnregisterBroker = 2 { id: BrokerId, epoch: i64, }
    /// A broker was fenced, unfenced, began to shut down, or its log directories changed.
    BrokerChange = 3 { change: BrokerRegistrationChange, }
    /// A topic, still without partitions.
    Topic = 4 { name: Arc<str>, id: TopicId, }
    /// A topic and all that hangs on it is gone.
    RemoveTopic = 5 { id: TopicId, }
    /// A new partition, complete.
    Partition = 6 { topic_id: TopicId, index: i32, partition: PartitionImage, }
    /// A partition changed.
    PartitionChanged = 7 { change: PartitionChange, }
    /// A dynamic config; no value takes it away.
    Config = 8 { resource: ConfigResource, key: Arc<str>, value: Option<Arc<str>>, }
    /// A finalized feature level; 0 disables.
    FeatureLevel = 9 { name: Arc<str>, level: i16, }
    /// Producer ids below this are given out.
    ProducerIds = 10 { broker: BrokerId, broker_epoch: i64, next: ProducerId, }
    /// A quota; no value takes it away.
    ClientQuota = 11 { entity: QuotaEntity, key: Arc<str>, value: Option<f64>, }
    /// An access rule.
    AccessControl = 12 { id: Uuid, entry: AccessControlEntry, }
    /// An access rule is gone.
    RemoveAccessControl = 13 { id: Uuid, }
    /// A credential was set.
    UserScramCredential = 14 { user: Arc<str>, mechanism: ScramMechanism, credential: ScramCredential, }
    /// A credential is gone.
    RemoveUserScramCredential = 15 { user: Arc<str>, mechanism: ScramMechanism, }
    /// Eligible leader replicas are forgotten, for one topic or (no name) all.
    ClearElr = 16 { topic: Option<Arc<str>>, }
    /// Nothing: marks the log as alive.
    NoOp = 17 {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn records_are_refused_when_newer_or_longer_than_known() {
        let mut bytes = Vec::new();
        MetadataRecord::FeatureLevel { name: "metadata.version".into(), level: 30 }.write(&mut bytes);
        assert!(MetadataRecord::read(&mut Input::new(&bytes)).is_ok());
        let mut newer = bytes.clone();
        newer[1] = 9;
        assert_eq!(MetadataRecord::read(&mut Input::new(&newer)), Err(DecodeError::TooNew { kind: 9, version: 9 }));
        let mut longer = bytes.clone();
        longer[2] += 1;
        longer.push(0);
        assert_eq!(MetadataRecord::read(&mut Input::new(&longer)), Err(DecodeError::Invalid("record length")));
        assert_eq!(
            MetadataRecord::read(&mut Input::new(&[99, 0, 0])),
            Err(DecodeError::TooNew { kind: 99, version: 0 })
        );
    }
}
