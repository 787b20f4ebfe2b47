//! The features of this build, and the levels that a new cluster begins with.
//!
//! A level is listed only once everything it promises is built: clients and other brokers rely on it.

use std::sync::Arc;

use ottla_metadata::FeatureRange;

/// Name, lowest and highest level that this build can run, level of a new cluster.
const FEATURES: &[(&str, i16, i16, i16)] = &[
    ("eligible.leader.replicas.version", 0, 1, 1),
    ("group.version", 0, 1, 1),
    ("kraft.version", 0, 1, 0),
    ("metadata.version", 7, 30, 30),
    ("transaction.version", 0, 2, 2),
];

/// What this build can run.
pub fn supported() -> Vec<FeatureRange> {
    let built = FEATURES.iter().filter(|(_, _, max, _)| *max > 0);
    built.map(|&(name, min, max, _)| FeatureRange { name: name.into(), min, max }).collect()
}

/// What a new cluster begins with. `voters_change`: its voters are not those of a configuration.
pub fn of_new_cluster(voters_change: bool) -> Vec<(Arc<str>, i16)> {
    let level = |&(name, _, _, level): &(&'static str, i16, i16, i16)| match name {
        "kraft.version" => (Arc::from(name), i16::from(voters_change)),
        _ => (Arc::from(name), level),
    };
    FEATURES.iter().map(level).filter(|(_, level)| *level > 0).collect()
}
