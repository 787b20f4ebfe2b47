//! How many connections there may be, in all and from one address, and how many new ones each second.

use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use ottla_protocol::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::limits::DESCRIPTORS_FOR_FILES_MIN;
use crate::api::ListenerInfo;
use crate::clock;
use crate::config::Effective;
use crate::quotas::{Quotas, Rate, Windows};

const NO_ROOM_TOLD_MS: i64 = 60_000;

/// Counts connections against `max.connections` and `max.connections.per.ip`. Cheap to clone.
#[derive(Clone)]
pub struct Admission {
    shared: Arc<Shared>,
}

struct Shared {
    config: Effective,
    quotas: Quotas,
    windows: Windows,
    counts: Mutex<Counts>,
    overrides: Mutex<Overrides>,
    told_no_room: Mutex<Option<Timestamp>>,
    /// Rung when a connection ends.
    freed: Notify,
    /// What the process's limit of file descriptors leaves for sockets.
    descriptors_max: usize,
    /// Other brokers come by this listener, beside those of clients: it has a limit of its own only, or clients that use up
    /// the broker's would cut it off from its cluster.
    between_brokers: Option<String>,
}

/// `max.connections.per.ip.overrides`, read once for as long as it stays the same: hosts may be named, as in Kafka.
#[derive(Default)]
struct Overrides {
    text: String,
    limits: HashMap<IpAddr, usize>,
}

impl Overrides {
    fn resolve(text: String) -> Self {
        let mut limits = HashMap::new();
        for (host, limit) in text.split(',').filter_map(|entry| entry.trim().rsplit_once(':')) {
            let host = host.trim().trim_matches(['[', ']']);
            let Ok(limit) = limit.trim().parse() else { continue };
            match (host, 0).to_socket_addrs() {
                Ok(addresses) => limits.extend(addresses.map(|address| (address.ip().to_canonical(), limit))),
                Err(error) => {
                    tracing::warn!(host, %error, "a limit of connections is for a host that has no address, and is ignored");
                }
            }
        }
        Self { text, limits }
    }
}

#[derive(Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
    by_listener: HashMap<Arc<str>, usize>,
    /// New connections, against `max.connection.creation.rate`: those of the broker and those of each listener.
    created: Rate,
    created_by_listener: HashMap<Arc<str>, Rate>,
}

/// The right to be connected, until it is dropped.
pub struct Ticket {
    shared: Arc<Shared>,
    address: IpAddr,
    listener: Arc<str>,
}

/// Why a connection is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The address has as many as it may.
    TooMany,
    /// The address makes too many each second (`kafka-configs --entity-type ips`): closed after this long.
    TooFast(Duration),
}

impl Admission {
    pub fn new(config: Effective, quotas: Quotas) -> Self {
        let windows = quotas.windows();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        let descriptors = usize::try_from(limit).unwrap_or(usize::MAX);
        let descriptors_max =
            (descriptors - descriptors / 4).min(descriptors.saturating_sub(DESCRIPTORS_FOR_FILES_MIN));
        let settings = &config.settings;
        let several = settings.listeners.iter().filter(|listener| !listener.is_controller).count() > 1;
        let between_brokers = ["inter.broker.listener.name", "security.inter.broker.protocol"]
            .into_iter()
            .find_map(|key| settings.text(key).map(str::to_uppercase))
            .filter(|_| several);
        let shared = Shared {
            config,
            quotas,
            windows,
            counts: Mutex::default(),
            overrides: Mutex::default(),
            told_no_room: Mutex::default(),
            freed: Notify::new(),
            descriptors_max: descriptors_max.max(16),
            between_brokers,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Waits until one more connection may be accepted, as Kafka does when `max.connections` is reached.
    pub async fn wait_for_room(&self, listener: &ListenerInfo) {
        loop {
            let freed = self.shared.freed.notified();
            if self.shared.has_room(listener) {
                return;
            }
            self.shared.tell_no_room(listener);
            // Woken when a connection ends; looks again now and then, because the limit may be raised meanwhile.
            let _ = tokio::time::timeout(Duration::from_secs(1), freed).await;
        }
    }

    /// Counts a new connection on a listener and holds the listener back while there are too many each second (KIP-612).
    pub async fn pace(&self, listener: &ListenerInfo) {
        let wait = self.shared.record(listener);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Admits a connection that was counted, unless its address has or makes too many.
    ///
    /// # Errors
    /// Why it is not let in.
    pub fn admit(&self, listener: &ListenerInfo, address: IpAddr) -> Result<Ticket, Denied> {
        let shared = &self.shared;
        let address = address.to_canonical();
        if let Some(wait) = shared.quotas.connection(address) {
            shared.take_back(listener);
            return Err(Denied::TooFast(wait));
        }
        let limit = self.limit_for(address);
        let mut counts = shared.counts.lock();
        let from_here = counts.by_address.entry(address).or_default();
        if *from_here >= limit {
            return Err(Denied::TooMany);
        }
        *from_here += 1;
        counts.all += 1;
        *counts.by_listener.entry(Arc::clone(&listener.name)).or_default() += 1;
        Ok(Ticket { shared: Arc::clone(shared), address, listener: Arc::clone(&listener.name) })
    }

    /// Connections right now.
    pub fn count(&self) -> usize {
        self.shared.counts.lock().all
    }

    /// `max.connections.per.ip`, or what `max.connections.per.ip.overrides` (`address:limit,...`) says.
    fn limit_for(&self, address: IpAddr) -> usize {
        let text = self.shared.config.text("max.connections.per.ip.overrides").unwrap_or_default();
        let mut known = self.shared.overrides.lock();
        if known.text != text {
            *known = Overrides::resolve(text);
        }
        known
            .limits
            .get(&address)
            .copied()
            .unwrap_or_else(|| usize::try_from(self.shared.config.i64("max.connections.per.ip")).unwrap_or(0))
    }
}

impl Shared {
    /// Whether the limits of the whole broker leave a listener alone.
    fn is_apart(&self, listener: &ListenerInfo) -> bool {
        listener.is_controller || self.between_brokers.as_deref() == Some(&*listener.name)
    }

    /// What is set for a listener, else for the broker.
    fn of_listener(&self, listener: &ListenerInfo, key: &str) -> Option<String> {
        let own = format!("listener.name.{}.{key}", listener.name.to_lowercase());
        self.config.text(&own).or_else(|| self.config.text(key))
    }

    /// Once a minute: whoever cannot connect looks for the reason here.
    fn tell_no_room(&self, listener: &ListenerInfo) {
        let now = clock::steady();
        let mut told = self.told_no_room.lock();
        if told.is_none_or(|last| now.0 - last.0 >= NO_ROOM_TOLD_MS) {
            *told = Some(now);
            let connections = self.counts.lock().all;
            tracing::warn!(listener = %listener.name, connections, "no room for more connections (max.connections): new ones wait until others end");
        }
    }

    fn has_room(&self, listener: &ListenerInfo) -> bool {
        const KEY: &str = "max.connections";
        let limit = |text: Option<String>| text.and_then(|text| text.trim().parse().ok()).unwrap_or(usize::MAX);
        let (own, all) = (limit(self.of_listener(listener, KEY)), limit(self.config.text(KEY)));
        let counts = self.counts.lock();
        counts.by_listener.get(&listener.name).is_none_or(|count| *count < own)
            && counts.all < self.descriptors_max
            && (self.is_apart(listener) || counts.all < all)
    }

    /// Counts a new connection; how long the listener should wait, for the broker's limit or its own.
    fn record(&self, listener: &ListenerInfo) -> Duration {
        const KEY: &str = "max.connection.creation.rate";
        let bound = |text: Option<String>| text.and_then(|text| text.trim().parse().ok()).unwrap_or(f64::MAX);
        let (own, all) = (bound(self.of_listener(listener, KEY)), bound(self.config.text(KEY)));
        let (now, windows) = (clock::steady().0, self.windows);
        let mut counts = self.counts.lock();
        let mut wait_ms = 0;
        if !self.is_apart(listener) {
            counts.created.record(1.0, now, windows);
            wait_ms = counts.created.excess_ms(all, now, windows);
        }
        let rate = counts.created_by_listener.entry(Arc::clone(&listener.name)).or_default();
        rate.record(1.0, now, windows);
        wait_ms = wait_ms.max(rate.excess_ms(own, now, windows)).min(windows.size_ms);
        Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0))
    }

    /// A connection that is not let in does not count.
    fn take_back(&self, listener: &ListenerInfo) {
        let (now, windows) = (clock::steady().0, self.windows);
        let mut counts = self.counts.lock();
        if !self.is_apart(listener) {
            counts.created.record(-1.0, now, windows);
        }
        if let Some(rate) = counts.created_by_listener.get_mut(&listener.name) {
            rate.record(-1.0, now, windows);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut counts = self.shared.counts.lock();
        counts.all -= 1;
        if let Some(count) = counts.by_listener.get_mut(&self.listener) {
            *count -= 1;
        }
        if let Some(count) = counts.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&self.address);
            }
        }
        drop(counts);
        // Who waits may be of another listener, which has no room.
        self.shared.freed.notify_waiters();
    }
}
