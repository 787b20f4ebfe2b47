//! Every configuration key there is: name, type, default, limits, how it may be changed, what it means.
//!
//! Four tables, one per kind of resource, are text files beside this one. [`broker`], [`topic`], [`group`] and
//! [`client_metrics`] look a key up; [`ConfigDef::check`] judges a value with the words that Apache Kafka's tools print.

mod check;
mod client_metrics;
mod groups;
mod synonyms;
mod table;
mod topics;
mod value;

pub use check::InvalidValue;
pub use client_metrics::{InvalidSubscription, validate_client_metrics};
pub use groups::{group_broker_synonym, validate_group};
pub use synonyms::{Negative, broker_synonyms, in_ms, listener_key, topic_broker_synonym, topic_broker_synonyms};
pub use table::{ConfigDef, Limits, Table, UpdateMode, ValueType};
pub use topics::{validate_topic, validate_topic_configs};
pub use value::{Value, append_to_list, java_double, split_list, subtract_from_list};

/// The definition of a broker's key; internal keys included.
pub fn broker(name: &str) -> Option<&'static ConfigDef> {
    Table::broker().get(name)
}

/// The definition of a topic's key.
pub fn topic(name: &str) -> Option<&'static ConfigDef> {
    Table::topic().get(name)
}

/// The definition of a group's key.
pub fn group(name: &str) -> Option<&'static ConfigDef> {
    Table::group().get(name)
}

/// The definition of a key of a client metrics subscription.
pub fn client_metrics(name: &str) -> Option<&'static ConfigDef> {
    Table::client_metrics().get(name)
}

/// The default of a broker's key as text; `None` when it has none or there is no such key.
pub fn broker_default(name: &str) -> Option<&'static str> {
    broker(name)?.default
}
