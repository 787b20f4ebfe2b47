//! Builds the house bottom-up and takes it down top-down.

use std::sync::Arc;

use ottla_metadata::MetadataImage;

use crate::api::{Api, House};
use crate::config::Settings;
use crate::metadata_cache::MetadataCache;

/// A running broker.
pub struct Server {
    pub house: House,
    pub api: Arc<Api>,
}

impl Server {
    /// Starts everything in the order in which one part needs the other.
    pub async fn start(settings: Arc<Settings>) -> std::io::Result<Self> {
        // 1. log directories: lock, meta.properties, recovery
        // 2. controller: replay of the metadata log, the first image
        let metadata = MetadataCache::new(Arc::new(MetadataImage::default()));
        // 3. registration of this broker
        // 4. replica registry and publisher
        // 5. coordinators
        let house = House { settings, metadata };
        let api = Arc::new(Api::new(&house));
        // 6. listeners
        Ok(Self { house, api })
    }

    /// Ends in the opposite order: listeners, coordinators, replicas, registration, controller, log directories.
    pub async fn shutdown(self) {}
}
