//! Access control entries.

use std::sync::Arc;

use imbl::OrdMap;
use uuid::Uuid;

use crate::wire::wire_struct;

wire_struct! {
    /// One rule. The numbers are Kafka's on the wire.
    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct AccessControlEntry {
        /// 2 topic, 3 group, 4 cluster, 5 transactional id, 6 delegation token, 7 user.
        pub resource_type: i8,
        pub resource_name: Arc<str>,
        /// 3 literal, 4 prefixed.
        pub pattern_type: i8,
        /// `User:alice`; `User:*` is everybody.
        pub principal: Arc<str>,
        /// An address, or `*`.
        pub host: Arc<str>,
        /// 2 all, 3 read, 4 write, 5 create, 6 delete, 7 alter, 8 describe, 9 cluster action, 10 describe configs,
        /// 11 alter configs, 12 idempotent write, 13 create tokens, 14 describe tokens, 15 two phase commit.
        pub operation: i8,
        /// 2 deny, 3 allow.
        pub permission_type: i8,
    }
}

/// All rules by their id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AclsImage {
    by_id: OrdMap<Uuid, Arc<AccessControlEntry>>,
}

impl AclsImage {
    /// Every rule with its id.
    pub fn iter(&self) -> impl Iterator<Item = (Uuid, &Arc<AccessControlEntry>)> {
        self.by_id.iter().map(|(id, acl)| (*id, acl))
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// True when there is no rule.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(crate) fn insert(&mut self, id: Uuid, acl: &AccessControlEntry) {
        self.by_id.insert(id, Arc::new(acl.clone()));
    }

    pub(crate) fn remove(&mut self, id: Uuid) {
        self.by_id.remove(&id);
    }
}
