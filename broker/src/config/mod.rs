//! The broker's configuration under Kafka's names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ottla_protocol::BrokerId;

/// One entry of `listeners` with what is advertised for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSettings {
    pub name: String,
    pub bind_host: String,
    pub bind_port: u16,
    pub advertised_host: String,
    pub advertised_port: u16,
    pub is_controller: bool,
}

/// The static configuration: what the files, the environment and the command line said, over Kafka's defaults.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub node_id: BrokerId,
    pub log_dirs: Vec<PathBuf>,
    pub listeners: Vec<ListenerSettings>,
    /// Keys that were set, with the text they were set to.
    pub explicit: BTreeMap<String, String>,
}

/// Typed look-ups by Kafka's key, default included. The key must be one of `config_def`'s broker keys.
impl Settings {
    pub fn text(&self, _key: &str) -> Option<&str> {
        todo!()
    }
    pub fn i32(&self, _key: &str) -> i32 {
        todo!()
    }
    pub fn i64(&self, _key: &str) -> i64 {
        todo!()
    }
    pub fn f64(&self, _key: &str) -> f64 {
        todo!()
    }
    pub fn bool(&self, _key: &str) -> bool {
        todo!()
    }
    pub fn list(&self, _key: &str) -> Vec<String> {
        todo!()
    }
}
