//! The memory that long requests of all connections share.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes per unit of the semaphore, so that any budget fits into its count.
const UNIT_BYTES: usize = 1024;

/// A budget of bytes. Cheap to clone.
#[derive(Clone)]
pub struct RequestMemory {
    units: Arc<Semaphore>,
    units_max: u32,
}

/// Bytes that are set aside until this is dropped.
pub type Reserved = OwnedSemaphorePermit;

impl RequestMemory {
    pub fn new(bytes: usize) -> Self {
        let units = (bytes / UNIT_BYTES).clamp(1, u32::MAX as usize >> 4);
        Self { units: Arc::new(Semaphore::new(units)), units_max: u32::try_from(units).unwrap_or(u32::MAX) }
    }

    /// Waits until `bytes` are free and sets them aside; first come, first served. More than there is counts as all.
    pub async fn reserve(&self, bytes: usize) -> Option<Reserved> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).clamp(1, self.units_max);
        Arc::clone(&self.units).acquire_many_owned(units).await.ok()
    }

    /// Bytes that nobody has set aside.
    pub fn free_bytes(&self) -> usize {
        self.units.available_permits() * UNIT_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_comes_back() {
        let memory = RequestMemory::new(10 * 1024);
        let first = memory.reserve(8 * 1024).await;
        assert_eq!(memory.free_bytes(), 2 * 1024);
        assert!(tokio::time::timeout(std::time::Duration::from_millis(5), memory.reserve(4096)).await.is_err());
        drop(first);
        assert!(memory.reserve(1 << 30).await.is_some(), "a request larger than everything gets everything");
    }
}
