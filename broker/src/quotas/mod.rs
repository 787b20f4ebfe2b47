//! Client quotas: bytes produced and fetched, time of the request handlers, new connections. Changes of the metadata are
//! counted by the active controller.
//!
//! A client over its quota is answered with the time it should wait, and its connection is muted for as long (KIP-219).
//! Nothing is looked up while no quota is set.

mod addresses;
mod rate;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ottla_metadata::MetadataImage;
use ottla_metadata::quotas::{Found, Sharers};
use parking_lot::Mutex;

use self::addresses::Addresses;
pub use self::rate::{Rate, Windows};
use crate::clock;
use crate::config::Settings;
use crate::metadata_cache::MetadataCache;

/// Clients whose use is remembered; idle ones are forgotten first, and beyond it new ones share one account.
const ACCOUNTS_MAX: usize = 10_000;

/// What is rationed by the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Produce,
    Fetch,
    /// Time of handlers, in per cent of one thread.
    Request,
}

impl Kind {
    const fn key(self) -> &'static str {
        match self {
            Self::Produce => "producer_byte_rate",
            Self::Fetch => "consumer_byte_rate",
            Self::Request => "request_percentage",
        }
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Client {
    pub user: Arc<str>,
    pub client_id: Arc<str>,
}

/// The quotas of this broker's clients and what they have used. Cheap to clone.
#[derive(Clone)]
pub struct Quotas {
    shared: Arc<Shared>,
}

struct Shared {
    metadata: MetadataCache,
    windows: Windows,
    rates: Mutex<HashMap<(Kind, Sharers), Rate>>,
    addresses: Addresses,
    /// By address.
    connections: Mutex<HashMap<IpAddr, Rate>>,
}

impl Quotas {
    pub fn new(settings: &Settings, metadata: MetadataCache) -> Self {
        let windows = Windows::new(settings.i64("quota.window.num"), settings.i64("quota.window.size.seconds"));
        let (rates, connections) = (Mutex::default(), Mutex::default());
        let shared = Shared { metadata, windows, rates, addresses: Addresses::default(), connections };
        Self { shared: Arc::new(shared) }
    }

    /// How rates are measured.
    pub fn windows(&self) -> Windows {
        self.shared.windows
    }

    /// True when there is something to hold anybody to.
    pub fn is_any_set(&self) -> bool {
        !self.shared.metadata.load().client_quotas.is_empty()
    }

    /// Records what a client used; answers how many milliseconds it should wait before it uses more.
    pub fn record(&self, kind: Kind, client: &Client, amount: f64) -> i32 {
        let shared = &self.shared;
        let image = shared.metadata.load();
        let Some(found) = found(&image, kind.key(), client) else { return 0 };
        let now = clock::steady().0;
        let mut rates = shared.rates.lock();
        if rates.len() >= ACCOUNTS_MAX {
            rates.retain(|_, rate| !rate.is_idle(now, shared.windows));
        }
        let mut account = (kind, found.shared_by);
        if rates.len() >= ACCOUNTS_MAX && !rates.contains_key(&account) {
            account = (kind, ("".into(), "".into()));
        }
        let rate = rates.entry(account).or_default();
        rate.record(amount, now, shared.windows);
        let wait_ms = rate.excess_ms(found.bound, now, shared.windows);
        // Handlers' time is given back within a window, or one slow request would silence a client.
        let wait_ms = if kind == Kind::Request { wait_ms.min(shared.windows.size_ms) } else { wait_ms };
        i32::try_from(wait_ms).unwrap_or(i32::MAX)
    }

    /// The most that an answer to this client should carry: what its quota allows in all windows but the one that runs.
    pub fn fetch_bytes_max(&self, client: &Client) -> usize {
        let image = self.shared.metadata.load();
        let Some(found) = found(&image, Kind::Fetch.key(), client) else { return usize::MAX };
        let bytes = found.bound * self.shared.windows.past_seconds();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let bytes = bytes.clamp(0.0, f64::from(i32::MAX)) as usize;
        bytes
    }

    /// Records a new connection from an address; answers how long it must wait to be closed when there are too many.
    pub fn connection(&self, address: IpAddr) -> Option<Duration> {
        let shared = &self.shared;
        let image = shared.metadata.load();
        if image.client_quotas.is_empty() {
            return None;
        }
        let address = address.to_canonical();
        let bound = shared.addresses.limit(&image.client_quotas, address)?;
        let now = clock::steady().0;
        let mut rates = shared.connections.lock();
        if rates.len() >= ACCOUNTS_MAX {
            rates.retain(|_, rate| !rate.is_idle(now, shared.windows));
        }
        let rate = rates.entry(address).or_default();
        rate.record(1.0, now, shared.windows);
        let wait_ms = rate.excess_ms(bound, now, shared.windows).min(shared.windows.size_ms);
        if wait_ms == 0 {
            return None;
        }
        // It is not let in, so it does not count.
        rate.record(-1.0, now, shared.windows);
        Some(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)))
    }
}

fn found(image: &MetadataImage, key: &str, client: &Client) -> Option<Found> {
    image.client_quotas.find(key, &client.user, &client.client_id)
}
