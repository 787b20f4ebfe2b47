//! The whole of the cluster's state at one offset of the metadata log.

use imbl::OrdMap;
use ottla_protocol::{BrokerId, Offset, ProducerId};
use ottla_state_machine::StateMachine;

use crate::acls::AclsImage;
use crate::cluster::BrokerRegistration;
use crate::configs::{ConfigResource, ConfigsImage};
use crate::features::FeaturesImage;
use crate::quotas::ClientQuotasImage;
use crate::record::{BrokerRegistrationChange, MetadataRecord};
use crate::scram::ScramImage;
use crate::topics::TopicsImage;

/// What the cluster is, as of `offset`. All maps are persistent: a clone is cheap and shares what did not change.
#[derive(Debug, Clone, PartialEq)]
pub struct MetadataImage {
    /// The last entry of the metadata log that is in here; -1 before the first.
    pub offset: Offset,
    /// The term of that entry.
    pub epoch: i32,
    pub brokers: OrdMap<BrokerId, BrokerRegistration>,
    pub topics: TopicsImage,
    pub configs: ConfigsImage,
    pub features: FeaturesImage,
    /// The first producer id that no block holds yet.
    pub next_producer_id: ProducerId,
    pub acls: AclsImage,
    pub client_quotas: ClientQuotasImage,
    pub scram: ScramImage,
}

impl Default for MetadataImage {
    fn default() -> Self {
        Self {
            offset: Offset(-1),
            epoch: 0,
            brokers: OrdMap::new(),
            topics: TopicsImage::default(),
            configs: ConfigsImage::default(),
            features: FeaturesImage::default(),
            next_producer_id: ProducerId(0),
            acls: AclsImage::default(),
            client_quotas: ClientQuotasImage::default(),
            scram: ScramImage::default(),
        }
    }
}

impl MetadataImage {
    /// Brokers that may lead and take replicas.
    pub fn active_brokers(&self) -> impl Iterator<Item = &BrokerRegistration> {
        self.brokers.values().filter(|broker| broker.is_active())
    }

    /// Registered and neither fenced nor shutting down.
    pub fn is_active(&self, broker: BrokerId) -> bool {
        self.brokers.get(&broker).is_some_and(BrokerRegistration::is_active)
    }

    /// Replays one entry of the log: its records, then its place.
    pub fn replay_entry(&mut self, offset: Offset, epoch: i32, records: &[MetadataRecord]) {
        for record in records {
            self.replay(record);
        }
        self.offset = offset;
        self.epoch = epoch;
    }

    fn change_broker(&mut self, change: &BrokerRegistrationChange) {
        let Some(broker) = self.brokers.get_mut(&change.id) else { return };
        if let Some(fenced) = change.fenced {
            broker.fenced = fenced;
        }
        if let Some(shutdown) = change.in_controlled_shutdown {
            broker.in_controlled_shutdown = shutdown;
        }
        if let Some(log_dirs) = &change.log_dirs {
            broker.log_dirs.clone_from(log_dirs);
        }
        if let Some(cordoned) = &change.cordoned_log_dirs {
            broker.cordoned_log_dirs.clone_from(cordoned);
        }
    }
}

impl StateMachine for MetadataImage {
    type Record = MetadataRecord;

    fn replay(&mut self, record: &MetadataRecord) {
        match record {
            MetadataRecord::RegisterBroker { registration } => {
                self.brokers.insert(registration.id, registration.clone());
            }
            MetadataRecord::UnregisterBroker { id, .. } => {
                self.brokers.remove(id);
            }
            MetadataRecord::BrokerChange { change } => self.change_broker(change),
            MetadataRecord::Topic { name, id } => self.topics.add_topic(name, *id),
            MetadataRecord::RemoveTopic { id } => {
                if let Some(topic) = self.topics.remove_topic(*id) {
                    self.configs.remove(&ConfigResource::topic(topic.name.clone()));
                }
            }
            MetadataRecord::Partition { topic_id, index, partition } => {
                self.topics.set_partition(*topic_id, *index, partition);
            }
            MetadataRecord::PartitionChanged { change } => self.topics.change_partition(change),
            MetadataRecord::Config { resource, key, value } => self.configs.set(resource, key, value.as_ref()),
            MetadataRecord::FeatureLevel { name, level } => self.features.set(name, *level),
            MetadataRecord::ProducerIds { next, .. } => self.next_producer_id = *next,
            MetadataRecord::ClientQuota { entity, key, value } => self.client_quotas.set(entity, key, *value),
            MetadataRecord::AccessControl { id, entry } => self.acls.insert(*id, entry),
            MetadataRecord::RemoveAccessControl { id } => self.acls.remove(*id),
            MetadataRecord::UserScramCredential { user, mechanism, credential } => {
                self.scram.insert(user, *mechanism, credential);
            }
            MetadataRecord::RemoveUserScramCredential { user, mechanism } => self.scram.remove(user, *mechanism),
            MetadataRecord::ClearElr { topic } => self.topics.clear_elr(topic.as_deref()),
            MetadataRecord::NoOp {} => {}
        }
    }
}
