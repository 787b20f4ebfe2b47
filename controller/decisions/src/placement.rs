//! Where new replicas go: striped over racks, then over the brokers of each rack.
//!
//! ```text
//!   racks      A: 0 3     B: 1 4     C: 2 5          replication factor 3
//!   partition 0   A0 B1 C2
//!   partition 1   B4 C5 A3        the next rack leads, the next broker of each rack is taken
//!   partition 2   C2 A0 B1
//! ```
//!
//! The first replica is an active broker; fenced ones are taken only where a rack has no active one left.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_metadata::MetadataImage;
use ottla_protocol::{BrokerId, ErrorCode};

use crate::error::ApiError;
use crate::state::IdSource;

type ActiveAndFenced = (Vec<BrokerId>, Vec<BrokerId>);

struct Ring {
    brokers: Vec<BrokerId>,
    /// Where the current partition begins in `brokers`.
    start: usize,
    /// How many of `brokers` the current partition has taken.
    taken: usize,
}

impl Ring {
    fn new(brokers: Vec<BrokerId>, ids: &mut dyn IdSource) -> Self {
        let start = if brokers.is_empty() { 0 } else { ids.below(brokers.len()) };
        Self { brokers, start, taken: 0 }
    }

    fn next(&mut self) -> Option<BrokerId> {
        let position = self.start + self.taken;
        if self.taken == self.brokers.len() {
            return None;
        }
        self.taken += 1;
        self.brokers.get(position % self.brokers.len()).copied()
    }

    fn next_partition(&mut self) {
        self.taken = 0;
        if !self.brokers.is_empty() {
            self.start = (self.start + 1) % self.brokers.len();
        }
    }
}

struct Rack {
    active: Ring,
    fenced: Ring,
}

/// Replica lists for `partitions` new partitions.
///
/// # Errors
/// `InvalidReplicationFactor` in Kafka's words.
pub fn place(
    image: &MetadataImage,
    partitions: usize,
    replication_factor: i16,
    ids: &mut dyn IdSource,
) -> Result<Vec<Vec<BrokerId>>, ApiError> {
    let invalid = |message: String| ApiError::new(ErrorCode::InvalidReplicationFactor, message);
    let mut by_rack: BTreeMap<Option<Arc<str>>, ActiveAndFenced> = BTreeMap::new();
    for broker in image.brokers.values().filter(|broker| broker.has_uncordoned_dir()) {
        let (active, fenced) = by_rack.entry(broker.rack.clone()).or_default();
        if broker.fenced { fenced } else { active }.push(broker.id);
    }
    let total: usize = by_rack.values().map(|(active, fenced)| active.len() + fenced.len()).sum();
    let active: usize = by_rack.values().map(|(active, _)| active.len()).sum();
    let factor = usize::try_from(replication_factor).unwrap_or(0);
    if factor == 0 {
        return Err(invalid(format!(
            "Invalid replication factor {replication_factor}: the replication factor must be positive."
        )));
    }
    if active == 0 {
        return Err(invalid(
            "All brokers are currently fenced, or have all their log directories cordoned.".to_owned(),
        ));
    }
    if factor > total {
        return Err(invalid(format!(
            "The target replication factor of {factor} cannot be reached because only {total} broker(s) are registered \
             or some brokers have all their log directories cordoned."
        )));
    }
    let mut racks: Vec<Rack> = by_rack
        .into_values()
        .map(|(active, fenced)| Rack { active: Ring::new(active, ids), fenced: Ring::new(fenced, ids) })
        .collect();
    let mut first_rack = ids.below(racks.len());
    let mut placed = Vec::with_capacity(partitions);
    for _ in 0..partitions {
        placed.push(place_one(&mut racks, first_rack, factor));
        first_rack = (first_rack + 1) % racks.len();
        for rack in &mut racks {
            rack.active.next_partition();
            rack.fenced.next_partition();
        }
    }
    Ok(placed)
}

/// There are at least `factor` brokers and one of them is active, so both loops end.
fn place_one(racks: &mut [Rack], first_rack: usize, factor: usize) -> Vec<BrokerId> {
    let count = racks.len();
    let mut replicas = Vec::with_capacity(factor);
    let mut leader_rack = first_rack;
    for position in 0..count {
        leader_rack = (first_rack + position) % count;
        if let Some(leader) = racks[leader_rack].active.next() {
            replicas.push(leader);
            break;
        }
    }
    let mut position = leader_rack + 1;
    while replicas.len() < factor {
        let rack = &mut racks[position % count];
        replicas.extend(rack.active.next().or_else(|| rack.fenced.next()));
        position += 1;
    }
    replicas
}
