//! Which versions of which API this crate reads and writes.

use kafka_protocol::protocol::{Message, VersionRange};

/// On which listeners Kafka offers an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listeners {
    pub broker: bool,
    pub controller: bool,
}

impl Listeners {
    pub const BROKER: Self = Self { broker: true, controller: false };
    pub const CONTROLLER: Self = Self { broker: false, controller: true };
    pub const BOTH: Self = Self { broker: true, controller: true };
}

/// One API as a handler offers it: key, Kafka's name, advertised versions (both inclusive), listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiSpec {
    pub key: i16,
    pub name: &'static str,
    pub min: i16,
    pub max: i16,
    pub listeners: Listeners,
}

/// Our own messages between nodes of a cluster begin here, far above Kafka's keys.
pub const PRIVATE_KEY_MIN: i16 = 20_000;

impl ApiSpec {
    /// Served on controller listeners, never advertised: no client knows it.
    pub const fn is_private(&self) -> bool {
        self.key >= PRIVATE_KEY_MIN
    }

    /// The API with every version of [`advertised`]. Evaluated in a `const`, an unknown key does not compile.
    #[expect(clippy::panic, reason = "a constant of an API that does not exist is a compile error")]
    pub const fn of(key: i16) -> Self {
        let mut index = 0;
        while index < APIS.len() {
            if APIS[index].key == key {
                return APIS[index];
            }
            index += 1;
        }
        panic!("no API has this key")
    }
}

/// Versions of `key` as ApiVersions lists them (both inclusive); `None` for an API this crate does not know.
///
/// Produce is listed from 0 although 0 to 2 are refused: librdkafka takes a higher minimum for a broker without
/// Produce (KAFKA-18659).
pub const fn advertised(key: i16) -> Option<(i16, i16)> {
    match find(key) {
        Some(api) => Some((api.min, api.max)),
        None => None,
    }
}

/// Versions of `key` that requests are decoded and answers encoded in (both inclusive).
pub const fn supported(key: i16) -> Option<(i16, i16)> {
    match find(key) {
        Some(api) if key == 0 => Some((3, api.max)),
        Some(api) => Some((api.min, api.max)),
        None => None,
    }
}

/// Every API, in order of its key.
pub const fn apis() -> &'static [ApiSpec] {
    APIS
}

const fn find(key: i16) -> Option<ApiSpec> {
    let mut index = 0;
    while index < APIS.len() {
        if APIS[index].key == key {
            return Some(APIS[index]);
        }
        index += 1;
    }
    None
}

pub(crate) const fn both<Q: Message, A: Message>(key: i16) -> (i16, i16) {
    let VersionRange { min, max } = Q::VERSIONS;
    let VersionRange { min: answer_min, max: answer_max } = A::VERSIONS;
    let min = if min > answer_min { min } else { answer_min };
    let max = if max < answer_max { max } else { answer_max };
    (if key == 0 { 0 } else { min }, max)
}

use crate::request::APIS;
