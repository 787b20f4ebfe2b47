//! The memory that all connections share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::{REQUEST_MEMORY_BYTES, UNREAD_ANSWERS_BYTES, WIDE_INBOXES_BYTES};
use crate::config::Settings;

/// Bytes per unit of the semaphore, so that any budget fits into its count.
const UNIT_BYTES: usize = 1024;

/// The budgets of all connections. They are apart from each other: a request that has its frame may wait for memory to be
/// decoded into, and readers that do not read must not hold up those who write.
#[derive(Clone)]
pub struct Memory {
    /// Frames of long requests, until they are done.
    pub frames: RequestMemory,
    /// Read buffers of connections that send long requests.
    pub inboxes: RequestMemory,
    /// What long requests are decoded into, until they were handled.
    pub elements: RequestMemory,
    /// Answers that their clients do not take.
    pub unread: RequestMemory,
}

impl Memory {
    /// `queued.max.request.bytes` for each, or what is usual.
    pub fn of(settings: &Settings) -> Self {
        match settings.usize("queued.max.request.bytes") {
            0 => Self {
                frames: RequestMemory::new(REQUEST_MEMORY_BYTES.max(settings.usize("socket.request.max.bytes"))),
                inboxes: RequestMemory::new(WIDE_INBOXES_BYTES),
                elements: RequestMemory::new(REQUEST_MEMORY_BYTES),
                unread: RequestMemory::new(UNREAD_ANSWERS_BYTES),
            },
            bytes => Self::new(bytes),
        }
    }

    pub fn new(bytes: usize) -> Self {
        Self {
            frames: RequestMemory::new(bytes),
            inboxes: RequestMemory::new(WIDE_INBOXES_BYTES.min(bytes)),
            elements: RequestMemory::new(bytes),
            unread: RequestMemory::new(bytes),
        }
    }
}

/// A budget of bytes. Cheap to clone.
#[derive(Clone)]
pub struct RequestMemory {
    units: Arc<Semaphore>,
    units_max: u32,
    waiting: Arc<AtomicUsize>,
}

/// Somebody who waits for memory.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bytes that are set aside until this is dropped.
pub type Reserved = OwnedSemaphorePermit;

impl RequestMemory {
    pub fn new(bytes: usize) -> Self {
        let units = (bytes / UNIT_BYTES).clamp(1, u32::MAX as usize >> 4);
        let units_max = u32::try_from(units).unwrap_or(u32::MAX);
        Self { units: Arc::new(Semaphore::new(units)), units_max, waiting: Arc::default() }
    }

    /// Waits until `bytes` are free and sets them aside; first come, first served. More than there is counts as all.
    pub async fn reserve(&self, bytes: usize) -> Option<Reserved> {
        if let Some(reserved) = self.try_reserve(bytes) {
            return Some(reserved);
        }
        let _waiting = Waiting::new(&self.waiting);
        Arc::clone(&self.units).acquire_many_owned(self.units_for(bytes)).await.ok()
    }

    /// Sets `bytes` aside if they are free right now, and nobody waits.
    pub fn try_reserve(&self, bytes: usize) -> Option<Reserved> {
        Arc::clone(&self.units).try_acquire_many_owned(self.units_for(bytes)).ok()
    }

    /// True while somebody waits.
    pub fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    fn units_for(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).clamp(1, self.units_max)
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
        let mut second = Box::pin(memory.reserve(4096));
        assert!(tokio::time::timeout(std::time::Duration::from_millis(5), &mut second).await.is_err());
        assert!(memory.is_short());
        drop(second);
        assert!(!memory.is_short(), "nobody waits any more");
        drop(first);
        assert!(memory.reserve(1 << 30).await.is_some(), "a request larger than everything gets everything");
    }
}
