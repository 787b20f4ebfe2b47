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

/// User and client id, empty where the quota is shared by all.
pub type Sharers = (Arc<str>, Arc<str>);

/// A quota that holds for somebody, and with whom its use is shared.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub bound: f64,
    /// Everybody with the same two names uses up the same quota.
    pub shared_by: Sharers,
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

    /// The quota of a kind (`producer_byte_rate`, ...) that holds for a user and client id: of those that say something of it
    /// the most exact one, in Kafka's order.
    pub fn find(&self, key: &str, user: &Arc<str>, client_id: &Arc<str>) -> Option<Found> {
        if self.is_empty() {
            return None;
        }
        let nobody: Arc<str> = "".into();
        let named = |name: &Arc<str>| Some(Some(Arc::clone(name)));
        let (user_is, client_is, default) = (named(user), named(client_id), Some(None));
        let order = [
            (user_is.clone(), client_is.clone()),
            (user_is.clone(), default.clone()),
            (user_is, None),
            (default.clone(), client_is.clone()),
            (default.clone(), default.clone()),
            (default.clone(), None),
            (None, client_is),
            (None, default),
        ];
        for (of_user, of_client) in order {
            let (has_user, has_client) = (of_user.is_some(), of_client.is_some());
            let mut parts: Vec<(Arc<str>, Option<Arc<str>>)> = Vec::with_capacity(2);
            parts.extend(of_client.map(|name| ("client-id".into(), name)));
            parts.extend(of_user.map(|name| ("user".into(), name)));
            if let Some(bound) = self.get(&QuotaEntity::new(parts)).and_then(|values| values.get(key)) {
                let shared_by = (
                    Arc::clone(if has_user { user } else { &nobody }),
                    Arc::clone(if has_client { client_id } else { &nobody }),
                );
                return Some(Found { bound: *bound, shared_by });
            }
        }
        None
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_most_exact_quota_holds() {
        let mut quotas = ClientQuotasImage::default();
        let mut set = |parts: &[(&str, Option<&str>)], bound: f64| {
            let parts = parts.iter().map(|(kind, name)| ((*kind).into(), name.map(Arc::from))).collect();
            quotas.set(&QuotaEntity::new(parts), &"rate".into(), Some(bound));
        };
        set(&[("client-id", None)], 1.0);
        set(&[("user", None)], 2.0);
        set(&[("user", Some("u"))], 3.0);
        set(&[("user", Some("u")), ("client-id", Some("c"))], 4.0);
        let found = |user: &str, client: &str| {
            let found = quotas.find("rate", &user.into(), &client.into()).unwrap();
            (found.bound, found.shared_by.0.to_string(), found.shared_by.1.to_string())
        };
        assert_eq!(found("u", "c"), (4.0, "u".into(), "c".into()));
        assert_eq!(found("u", "d"), (3.0, "u".into(), String::new()));
        assert_eq!(found("v", "c"), (2.0, "v".into(), String::new()), "of the default each user has one");
        assert_eq!(quotas.find("other", &"u".into(), &"c".into()), None);
    }
}
