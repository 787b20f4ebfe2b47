//! Internal topics grow with their cluster: made on a single node they have one replica each, and once there are brokers
//! enough they get the replicas that they would have had. A few partitions at a time; one that grows is an ordinary
//! reassignment, which tools show and may cancel.

use std::collections::BTreeMap;

use ottla_metadata::{ConfigResource, MetadataRecord, PartitionImage, TopicImage};
use ottla_protocol::BrokerId;

use crate::state::ControllerState;

const MIN_ISR: &str = "min.insync.replicas";

impl ControllerState {
    /// Whether some internal topic has fewer replicas than it is to have, and there are brokers for them.
    pub fn internal_topics_can_grow(&self) -> bool {
        let active = self.takers().count();
        let growth = &self.defaults.internal_topics;
        growth.partitions_max > 0
            && growth.topics.iter().any(|(name, factor, min_isr)| {
                active >= *factor
                    && self.image.topics.by_name(name).is_some_and(|topic| {
                        topic.partitions.iter().any(|partition| needs_more(partition, *factor))
                            || self.min_isr_to_set(topic, *factor, *min_isr).is_some()
                    })
            })
    }

    /// Brokers that may be given replicas: one that is being emptied is cordoned.
    fn takers(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.image.active_brokers().filter(|broker| broker.has_uncordoned_dir()).map(|broker| broker.id)
    }

    /// The next partitions to grow, and what holds for a topic that has done so.
    pub fn grow_internal_topics(&self) -> Vec<MetadataRecord> {
        let growth = &self.defaults.internal_topics;
        let active: Vec<BrokerId> = self.takers().collect();
        let topics = growth.topics.iter().filter_map(|(name, factor, min_isr)| {
            Some((&**self.image.topics.by_name(name)?, *factor, *min_isr)).filter(|_| active.len() >= *factor)
        });
        let topics: Vec<(&TopicImage, usize, Option<u16>)> = topics.collect();
        let moving = topics.iter().flat_map(|(topic, ..)| &topic.partitions).filter(|p| p.is_reassigning()).count();
        let mut left = growth.partitions_max.saturating_sub(moving);
        let mut records = Vec::new();
        for (topic, factor, min_isr) in topics {
            records.extend(self.min_isr_to_set(topic, factor, min_isr));
            let mut load: BTreeMap<BrokerId, usize> = active.iter().map(|id| (*id, 0)).collect();
            for replica in topic.partitions.iter().flat_map(|partition| &partition.replicas) {
                if let Some(count) = load.get_mut(replica) {
                    *count += 1;
                }
            }
            for (index, partition) in (0..).zip(&topic.partitions) {
                if left == 0 || !needs_more(partition, factor) || partition.is_reassigning() {
                    continue;
                }
                let wanted = self.grown(partition, factor, &mut load);
                if let Ok(Some(record)) = self.begin_reassignment(topic, index, partition, &wanted, true) {
                    records.push(record);
                    left -= 1;
                }
            }
        }
        records
    }

    /// The replicas of a partition and those it gets: of other racks first, then where there are fewest.
    fn grown(&self, partition: &PartitionImage, factor: usize, load: &mut BTreeMap<BrokerId, usize>) -> Vec<BrokerId> {
        let rack = |id: BrokerId| self.image.brokers.get(&id).and_then(|broker| broker.rack.clone());
        let mut wanted = partition.replicas.clone();
        while wanted.len() < factor {
            let racks: Vec<_> = wanted.iter().map(|id| rack(*id)).collect();
            let others = load.iter().filter(|(id, _)| !wanted.contains(id));
            let Some((&next, _)) = others.min_by_key(|(id, count)| (racks.contains(&rack(**id)), **count)) else {
                break;
            };
            if let Some(count) = load.get_mut(&next) {
                *count += 1;
            }
            wanted.push(next);
        }
        wanted
    }

    /// A topic that was made with a `min.insync.replicas` for one replica gets its own once all partitions have grown.
    fn min_isr_to_set(&self, topic: &TopicImage, factor: usize, min_isr: Option<u16>) -> Option<MetadataRecord> {
        let min_isr = min_isr?;
        let resource = ConfigResource::topic(topic.name.clone());
        let now: u16 = self.image.configs.value(&resource, MIN_ISR)?.trim().parse().ok()?;
        let has_grown = |p: &PartitionImage| p.replicas.len() >= factor && !p.is_reassigning();
        let is_due = now < min_isr && topic.partitions.iter().all(|partition| has_grown(partition));
        let value = Some(min_isr.to_string().into());
        is_due.then(|| MetadataRecord::Config { resource, key: MIN_ISR.into(), value })
    }
}

/// What is being removed does not count.
fn needs_more(partition: &PartitionImage, factor: usize) -> bool {
    let staying = partition.replicas.iter().filter(|id| !partition.removing_replicas.contains(id)).count();
    staying < factor
}
