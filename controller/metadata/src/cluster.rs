//! Brokers: who is registered, where they listen, who is fenced.

use std::sync::Arc;

use ottla_protocol::BrokerId;
use uuid::Uuid;

use crate::wire::wire_struct;

wire_struct! {
    /// Where a broker can be reached under one listener name.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Endpoint {
        /// Listener name, such as `PLAINTEXT`.
        pub name: Arc<str>,
        pub host: Arc<str>,
        pub port: u16,
        /// 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
        pub security_protocol: i16,
    }
}

wire_struct! {
    /// The levels of one feature that a node can run.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct FeatureRange {
        pub name: Arc<str>,
        pub min: i16,
        pub max: i16,
    }
}

wire_struct! {
    /// A broker as it registered itself, and whether it may lead.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct BrokerRegistration {
        pub id: BrokerId,
        /// Where the registration lies in the metadata log; fences what an older life of this broker asks.
        pub epoch: i64,
        /// One per process life; two processes with one id are told apart by it.
        pub incarnation_id: Uuid,
        pub listeners: Vec<Endpoint>,
        pub features: Vec<FeatureRange>,
        pub rack: Option<Arc<str>>,
        /// Fenced brokers lead nothing and are in no ISR.
        pub fenced: bool,
        pub in_controlled_shutdown: bool,
        /// Ids of the log directories that are online.
        pub log_dirs: Vec<Uuid>,
        /// Log directories that take no new partitions.
        pub cordoned_log_dirs: Vec<Uuid>,
    }
}

impl BrokerRegistration {
    /// Unfenced and not on its way out: may take leadership and new replicas.
    pub const fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    /// The endpoint of a listener.
    pub fn listener(&self, name: &str) -> Option<&Endpoint> {
        self.listeners.iter().find(|endpoint| &*endpoint.name == name)
    }

    /// New replicas may be placed here. A broker that named no directories is believed to have one.
    pub fn has_uncordoned_dir(&self) -> bool {
        self.log_dirs.is_empty() || self.log_dirs.iter().any(|dir| !self.cordoned_log_dirs.contains(dir))
    }

    /// The directory a new replica goes to when there is no choice; the unassigned id when there is, for then the broker
    /// decides and reports.
    pub fn default_dir(&self) -> Uuid {
        match self.log_dirs.as_slice() {
            [] => crate::topics::DIR_MIGRATING,
            [only] => *only,
            _ => crate::topics::DIR_UNASSIGNED,
        }
    }

    /// Whether a replica in `dir` is online as far as the broker has said.
    pub fn has_online_dir(&self, dir: Uuid) -> bool {
        use crate::topics::{DIR_LOST, DIR_MIGRATING, DIR_UNASSIGNED};
        dir == DIR_UNASSIGNED
            || dir == DIR_MIGRATING
            || (dir != DIR_LOST && (self.log_dirs.is_empty() || self.log_dirs.contains(&dir)))
    }
}
