//! Client quotas: limits by user, client id or address.

use std::sync::Arc;

use imbl::OrdMap;

use crate::wire::{DecodeError, Input, Wire};

/// Whom a quota is for: `(type, name)` pairs sorted by type; no name is the default of the type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct QuotaEntity(pub Vec<(Arc<str>, Option<Arc<str>>)>);

impl QuotaEntity {
    /// Puts the pairs in order.
    pub fn new(mut parts: Vec<(Arc<str>, Option<Arc<str>>)>) -> Self {
        parts.sort();
        Self(parts)
    }

    /// The name for a type: `None` when the type is no part, `Some(None)` for the default.
    pub fn name(&self, kind: &str) -> Option<Option<&Arc<str>>> {
        self.0.iter().find(|(part, _)| &**part == kind).map(|(_, name)| name.as_ref())
    }
}

impl Wire for QuotaEntity {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        Ok(Self(Wire::read(input)?))
    }
}

/// All client quotas.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClientQuotasImage {
    entities: OrdMap<QuotaEntity, OrdMap<Arc<str>, f64>>,
}

impl ClientQuotasImage {
    /// What is set for exactly this entity.
    pub fn get(&self, entity: &QuotaEntity) -> Option<&OrdMap<Arc<str>, f64>> {
        self.entities.get(entity)
    }

    /// Every entity with something set.
    pub fn iter(&self) -> impl Iterator<Item = (&QuotaEntity, &OrdMap<Arc<str>, f64>)> {
        self.entities.iter()
    }

    /// True for a copy of the other that was not changed since; false for any other, even an equal one.
    pub fn is_same(&self, other: &Self) -> bool {
        self.entities.ptr_eq(&other.entities)
    }

    /// True when no quota is set at all.
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty()
    }

    pub(crate) fn set(&mut self, entity: &QuotaEntity, key: &Arc<str>, value: Option<f64>) {
        let mut values = self.entities.get(entity).cloned().unwrap_or_default();
        match value {
            Some(value) => values.insert(Arc::clone(key), value),
            None => values.remove(key),
        };
        if values.is_empty() {
            self.entities.remove(entity);
        } else {
            self.entities.insert(entity.clone(), values);
        }
    }
}
