//! Producer ids: taken one by one from blocks of a thousand that the controller hands out.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use ottla_protocol::{ErrorCode, ProducerId};
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

/// Fetches the next block: its first id and its length.
pub type FetchBlock =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(i64, i32), ErrorCode>> + Send>> + Send + Sync>;

/// With fewer ids left than this the next block is fetched ahead.
const FETCH_AHEAD_BELOW: i64 = 100;

/// This broker's share of the cluster's producer ids. Cheap to clone.
#[derive(Clone)]
pub struct ProducerIds(Arc<Inner>);

struct Inner {
    blocks: Mutex<Blocks>,
    fetching: AsyncMutex<()>,
    fetch: FetchBlock,
    first_unknown: Box<dyn Fn() -> i64 + Send + Sync>,
    /// Its answer: no id below is given out.
    floor: OnceLock<i64>,
}

#[derive(Default)]
struct Blocks {
    next: i64,
    end: i64,
    /// Fetched ahead.
    reserve: Option<(i64, i64)>,
}

impl Blocks {
    fn take(&mut self) -> Option<ProducerId> {
        if self.next == self.end {
            (self.next, self.end) = self.reserve.take()?;
        }
        self.next += 1;
        Some(ProducerId(self.next - 1))
    }

    fn is_low(&self) -> bool {
        self.reserve.is_none() && self.end - self.next < FETCH_AHEAD_BELOW
    }
}

impl ProducerIds {
    /// `first_unknown` is asked once: logs that came from another cluster know ids that were never given out here, and a
    /// new producer under one of them would be taken for the old one.
    pub fn new(fetch: FetchBlock, first_unknown: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        let floor = OnceLock::new();
        let first_unknown = Box::new(first_unknown);
        Self(Arc::new(Inner { blocks: Mutex::default(), fetching: AsyncMutex::new(()), fetch, first_unknown, floor }))
    }

    /// An id, if one is at hand; the next block is fetched in the background before this one is empty.
    pub fn take(&self) -> Option<ProducerId> {
        let (taken, low) = {
            let mut blocks = self.0.blocks.lock();
            (blocks.take(), blocks.is_low())
        };
        if low && self.0.fetching.try_lock().is_ok() {
            let ids = self.clone();
            tokio::spawn(async move {
                if let Err(error) = ids.refill().await {
                    tracing::warn!(?error, "no new block of producer ids");
                }
            });
        }
        taken
    }

    /// An id, waiting for a block if there is none.
    ///
    /// # Errors
    /// `CoordinatorLoadInProgress` while the controller hands out none: the client is to try again.
    pub async fn next(&self) -> Result<ProducerId, ErrorCode> {
        if let Some(id) = self.take() {
            return Ok(id);
        }
        self.refill().await.map_err(|_| ErrorCode::CoordinatorLoadInProgress)?;
        self.0.blocks.lock().take().ok_or(ErrorCode::CoordinatorLoadInProgress)
    }

    /// Waits until an id is at hand, for those who cannot wait later.
    pub async fn ensure(&self) {
        let empty = {
            let blocks = self.0.blocks.lock();
            blocks.next == blocks.end && blocks.reserve.is_none()
        };
        if empty && let Err(error) = self.refill().await {
            tracing::warn!(?error, "no block of producer ids");
        }
    }

    async fn refill(&self) -> Result<(), ErrorCode> {
        let _one_at_a_time = self.0.fetching.lock().await;
        if !self.0.blocks.lock().is_low() {
            return Ok(());
        }
        let floor = *self.0.floor.get_or_init(|| (self.0.first_unknown)());
        let block = loop {
            let (first, length) = (self.0.fetch)().await?;
            let end = first + i64::from(length);
            if end > floor {
                break (first.max(floor), end);
            }
        };
        let mut blocks = self.0.blocks.lock();
        if blocks.next == blocks.end {
            (blocks.next, blocks.end) = block;
        } else {
            blocks.reserve = Some(block);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[tokio::test]
    async fn every_id_is_given_out_once_and_none_is_skipped_in_a_block() {
        let blocks = Arc::new(AtomicI64::new(0));
        let counter = Arc::clone(&blocks);
        let ids = ProducerIds::new(
            Arc::new(move || {
                let first = counter.fetch_add(1, Ordering::Relaxed) * 1000;
                Box::pin(async move { Ok((first, 1000)) })
            }),
            || 0,
        );
        let mut seen = BTreeSet::new();
        for _ in 0..3500 {
            assert!(seen.insert(ids.next().await.unwrap()));
            tokio::task::yield_now().await;
        }
        assert_eq!((seen.first(), seen.last()), (Some(&ProducerId(0)), Some(&ProducerId(3499))));
    }

    #[tokio::test]
    async fn without_a_controller_the_client_is_told_to_try_again() {
        let ids = ProducerIds::new(Arc::new(|| Box::pin(async { Err(ErrorCode::NotController) })), || 0);
        assert_eq!(ids.next().await, Err(ErrorCode::CoordinatorLoadInProgress));
    }

    #[tokio::test]
    async fn ids_that_logs_know_already_are_not_given_out() {
        let blocks = Arc::new(AtomicI64::new(0));
        let counter = Arc::clone(&blocks);
        let fetch: FetchBlock = Arc::new(move || {
            let first = counter.fetch_add(1000, Ordering::Relaxed);
            Box::pin(async move { Ok((first, 1000)) })
        });
        let ids = ProducerIds::new(fetch, || 3007);
        assert_eq!(ids.next().await, Ok(ProducerId(3007)));
        assert_eq!(ids.next().await, Ok(ProducerId(3008)));
    }
}
