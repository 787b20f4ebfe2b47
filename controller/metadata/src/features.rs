//! Finalized feature levels.

use std::sync::Arc;

use imbl::OrdMap;

/// The name of the feature that gates all others.
pub const METADATA_VERSION: &str = "metadata.version";

/// The levels the cluster has agreed on. A feature at level 0 is not listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeaturesImage {
    levels: OrdMap<Arc<str>, i16>,
}

impl FeaturesImage {
    /// The finalized level; 0 when never set or disabled.
    pub fn level(&self, name: &str) -> i16 {
        self.levels.get(name).copied().unwrap_or(0)
    }

    /// The level of `metadata.version`.
    pub fn metadata_version(&self) -> i16 {
        self.level(METADATA_VERSION)
    }

    /// Every feature above level 0, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, i16)> {
        self.levels.iter().map(|(name, level)| (name, *level))
    }

    pub(crate) fn set(&mut self, name: &Arc<str>, level: i16) {
        if level == 0 {
            self.levels.remove(name);
        } else {
            self.levels.insert(Arc::clone(name), level);
        }
    }
}
