//! How many connections there may be, in all and from one address, and how many new ones each second.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::limits::DESCRIPTORS_FOR_FILES_MIN;
use crate::clock;
use crate::config::Effective;
use crate::quotas::{Quotas, Rate, Windows};

/// Counts connections against `max.connections` and `max.connections.per.ip`. Cheap to clone.
#[derive(Clone)]
pub struct Admission {
    shared: Arc<Shared>,
}

struct Shared {
    config: Effective,
    quotas: Quotas,
    /// New connections, against `max.connection.creation.rate`.
    created: Mutex<Rate>,
    windows: Windows,
    counts: Mutex<Counts>,
    /// Rung when a connection ends.
    freed: Notify,
    /// What the process's limit of file descriptors leaves for sockets.
    descriptors_max: usize,
}

#[derive(Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The right to be connected, until it is dropped.
pub struct Ticket {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Admission {
    pub fn new(config: Effective, quotas: Quotas) -> Self {
        let windows = quotas.windows();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        let descriptors = usize::try_from(limit).unwrap_or(usize::MAX);
        let descriptors_max =
            (descriptors - descriptors / 4).min(descriptors.saturating_sub(DESCRIPTORS_FOR_FILES_MIN));
        let shared = Shared {
            config,
            quotas,
            created: Mutex::default(),
            windows,
            counts: Mutex::default(),
            freed: Notify::new(),
            descriptors_max: descriptors_max.max(16),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Waits until one more connection may be accepted, as Kafka does when `max.connections` is reached.
    pub async fn wait_for_room(&self) {
        loop {
            let freed = self.shared.freed.notified();
            let limit = self.shared.config.i64("max.connections");
            let limit = usize::try_from(limit).unwrap_or(0).min(self.shared.descriptors_max);
            if self.shared.counts.lock().all < limit {
                return;
            }
            // Woken when a connection ends; looks again now and then, because the limit may be raised meanwhile.
            let _ = tokio::time::timeout(Duration::from_secs(1), freed).await;
        }
    }

    /// Counts a new connection on a listener and holds the listener back while there are too many each second (KIP-612).
    pub async fn pace(&self, listener: &str) {
        let shared = &self.shared;
        // Both limits hold: the listener's own and the broker's.
        let key = "max.connection.creation.rate";
        let own = format!("listener.name.{}.{key}", listener.to_lowercase());
        let bound = [shared.config.text(&own), shared.config.text(key)];
        let bound =
            bound.into_iter().flatten().filter_map(|text| text.trim().parse::<f64>().ok()).fold(f64::MAX, f64::min);
        let wait_ms = {
            let (mut created, now) = (shared.created.lock(), clock::now().0);
            created.record(1.0, now, shared.windows);
            created.excess_ms(bound, now, shared.windows).min(shared.windows.size_ms)
        };
        if wait_ms > 0 {
            tokio::time::sleep(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0))).await;
        }
    }

    /// How long a connection of this address must wait to be closed, because the address makes too many.
    pub fn too_fast(&self, address: IpAddr) -> Option<Duration> {
        self.shared.quotas.connection(address.to_canonical())
    }

    /// Admits a connection, unless its address has too many.
    pub fn admit(&self, address: IpAddr) -> Option<Ticket> {
        let address = address.to_canonical();
        let limit = self.limit_for(address);
        let mut counts = self.shared.counts.lock();
        let from_here = counts.by_address.entry(address).or_default();
        if *from_here >= limit {
            return None;
        }
        *from_here += 1;
        counts.all += 1;
        Some(Ticket { shared: Arc::clone(&self.shared), address })
    }

    /// Connections right now.
    pub fn count(&self) -> usize {
        self.shared.counts.lock().all
    }

    /// `max.connections.per.ip`, or what `max.connections.per.ip.overrides` (`address:limit,...`) says.
    fn limit_for(&self, address: IpAddr) -> usize {
        let overrides = self.shared.config.text("max.connections.per.ip.overrides").unwrap_or_default();
        let special =
            overrides.split(',').filter_map(|entry| entry.trim().rsplit_once(':')).find_map(|(host, limit)| {
                (host.trim_matches(['[', ']']).parse::<IpAddr>().ok()?.to_canonical() == address)
                    .then(|| limit.trim().parse().ok())?
            });
        special.unwrap_or_else(|| usize::try_from(self.shared.config.i64("max.connections.per.ip")).unwrap_or(0))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut counts = self.shared.counts.lock();
        counts.all -= 1;
        if let Some(count) = counts.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&self.address);
            }
        }
        drop(counts);
        self.shared.freed.notify_one();
    }
}
