//! Dynamic configuration: what was set through the admin API, by resource.

use std::sync::Arc;

use imbl::OrdMap;

use crate::wire::{DecodeError, Input, Wire, wire_struct};

/// What a config hangs on. The number is Kafka's resource type on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum ConfigKind {
    Topic = 2,
    Broker = 4,
    ClientMetrics = 16,
    Group = 32,
}

impl ConfigKind {
    /// The kind for a wire value; `None` for those that are not kept in the metadata (broker loggers, unknown).
    pub const fn from_code(code: i8) -> Option<Self> {
        match code {
            2 => Some(Self::Topic),
            4 => Some(Self::Broker),
            16 => Some(Self::ClientMetrics),
            32 => Some(Self::Group),
            _ => None,
        }
    }

    /// The value on the wire.
    pub const fn code(self) -> i8 {
        self as i8
    }
}

impl Wire for ConfigKind {
    fn write(&self, out: &mut Vec<u8>) {
        self.code().write(out);
    }
    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        Self::from_code(i8::read(input)?).ok_or(DecodeError::Invalid("config kind"))
    }
}

wire_struct! {
    /// A topic, a broker (the empty name is every broker's default), a group or a client metrics subscription.
    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct ConfigResource {
        pub kind: ConfigKind,
        pub name: Arc<str>,
    }
}

impl ConfigResource {
    pub fn new(kind: ConfigKind, name: impl Into<Arc<str>>) -> Self {
        Self { kind, name: name.into() }
    }

    pub fn topic(name: impl Into<Arc<str>>) -> Self {
        Self::new(ConfigKind::Topic, name)
    }

    pub fn broker(id: ottla_protocol::BrokerId) -> Self {
        Self::new(ConfigKind::Broker, id.to_string())
    }

    /// What holds for every broker that has no value of its own.
    pub fn cluster_default() -> Self {
        Self::new(ConfigKind::Broker, "")
    }
}

/// All dynamic configs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigsImage {
    resources: OrdMap<ConfigResource, OrdMap<Arc<str>, Arc<str>>>,
}

impl ConfigsImage {
    /// Everything set on a resource; `None` when nothing is.
    pub fn get(&self, resource: &ConfigResource) -> Option<&OrdMap<Arc<str>, Arc<str>>> {
        self.resources.get(resource)
    }

    /// One value set on a resource.
    pub fn value(&self, resource: &ConfigResource, key: &str) -> Option<&Arc<str>> {
        self.resources.get(resource)?.get(key)
    }

    /// Every resource that has something set.
    pub fn iter(&self) -> impl Iterator<Item = (&ConfigResource, &OrdMap<Arc<str>, Arc<str>>)> {
        self.resources.iter()
    }

    /// The names of one kind that have something set, sorted.
    pub fn names(&self, kind: ConfigKind) -> impl Iterator<Item = &Arc<str>> {
        self.resources.keys().filter(move |resource| resource.kind == kind).map(|resource| &resource.name)
    }

    pub(crate) const fn resources(&self) -> &OrdMap<ConfigResource, OrdMap<Arc<str>, Arc<str>>> {
        &self.resources
    }

    pub(crate) fn set(&mut self, resource: &ConfigResource, key: &Arc<str>, value: Option<&Arc<str>>) {
        let mut values = self.resources.get(resource).cloned().unwrap_or_default();
        match value {
            Some(value) => values.insert(Arc::clone(key), Arc::clone(value)),
            None => values.remove(key),
        };
        if values.is_empty() {
            self.resources.remove(resource);
        } else {
            self.resources.insert(resource.clone(), values);
        }
    }

    pub(crate) fn remove(&mut self, resource: &ConfigResource) {
        self.resources.remove(resource);
    }
}
