//! The metadata image as the whole broker reads it: swapped whole by the publisher, read without locks.

use std::sync::Arc;

use arc_swap::ArcSwap;
use ottla_metadata::MetadataImage;

/// The newest published image. Cheap to clone.
#[derive(Clone)]
pub struct MetadataCache {
    current: Arc<ArcSwap<MetadataImage>>,
}

impl MetadataCache {
    pub fn new(image: Arc<MetadataImage>) -> Self {
        Self { current: Arc::new(ArcSwap::new(image)) }
    }

    /// The newest image.
    pub fn load(&self) -> Arc<MetadataImage> {
        self.current.load_full()
    }

    /// Swaps the image in; only the publisher calls it.
    pub fn store(&self, image: Arc<MetadataImage>) {
        self.current.store(image);
    }
}
