//! Which quota holds for a client: the most exact one that says something of the kind asked for.

use std::sync::Arc;

use ottla_metadata::{ClientQuotasImage, QuotaEntity};

/// A quota that holds for somebody, and with whom its use is shared.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub bound: f64,
    /// Everybody with the same two names uses up the same quota; an empty name stands for all.
    pub shared_by: (Arc<str>, Arc<str>),
}

/// Looks for `key` (`producer_byte_rate`, ...) for a user and client id, in Kafka's order.
pub fn find(quotas: &ClientQuotasImage, key: &str, user: &Arc<str>, client: &Arc<str>) -> Option<Found> {
    let nobody: Arc<str> = "".into();
    let named = |name: &Arc<str>| Some(Some(Arc::clone(name)));
    let (user_is, client_is, default) = (named(user), named(client), Some(None));
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
        let mut parts: Vec<(Arc<str>, Option<Arc<str>>)> = Vec::with_capacity(2);
        let (has_user, has_client) = (of_user.is_some(), of_client.is_some());
        parts.extend(of_client.map(|name| ("client-id".into(), name)));
        parts.extend(of_user.map(|name| ("user".into(), name)));
        if let Some(bound) = quotas.get(&QuotaEntity::new(parts)).and_then(|values| values.get(key)) {
            let shared_by = (
                Arc::clone(if has_user { user } else { &nobody }),
                Arc::clone(if has_client { client } else { &nobody }),
            );
            return Some(Found { bound: *bound, shared_by });
        }
    }
    None
}
