//! How many connections an address may make each second. An entity may be a host's name or an address in any spelling, as in
//! Kafka: names are looked up once, by a thread that may wait for an answer, and nobody is held back meanwhile.

use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;

use ottla_metadata::ClientQuotasImage;
use parking_lot::Mutex;

const KEY: &str = "connection_creation_rate";

/// The limits by address, read again when the quotas change. Cheap to clone.
#[derive(Clone, Default)]
pub struct Addresses {
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    quotas: ClientQuotasImage,
    /// Addresses of the named hosts: none while they are looked up, and for a host that has none.
    hosts: HashMap<Arc<str>, Vec<IpAddr>>,
    limits: HashMap<IpAddr, f64>,
    default: Option<f64>,
}

impl Addresses {
    /// The limit of an address, which is canonical.
    pub fn limit(&self, quotas: &ClientQuotasImage, address: IpAddr) -> Option<f64> {
        let mut known = self.known.lock();
        if !known.quotas.is_same(quotas) {
            let unknown = known.read(quotas);
            if !unknown.is_empty() {
                let shared = Arc::clone(&self.known);
                tokio::task::spawn_blocking(move || {
                    for host in unknown {
                        let found = look_up(&host);
                        shared.lock().found(host, found);
                    }
                });
            }
        }
        known.limits.get(&address).copied().or(known.default)
    }
}

impl Known {
    /// Takes over what is set now; answers which hosts have to be looked up for it.
    fn read(&mut self, quotas: &ClientQuotasImage) -> Vec<Arc<str>> {
        self.quotas = quotas.clone();
        let hosts: Vec<Arc<str>> =
            entities(quotas).filter_map(|(name, _)| name.filter(|name| literal(name).is_none()).cloned()).collect();
        self.hosts.retain(|host, _| hosts.contains(host));
        let unknown = hosts.into_iter().filter(|host| !self.hosts.contains_key(host)).collect::<Vec<_>>();
        self.hosts.extend(unknown.iter().map(|host| (Arc::clone(host), Vec::new())));
        self.set_limits();
        unknown
    }

    fn found(&mut self, host: Arc<str>, addresses: Vec<IpAddr>) {
        if let Some(known) = self.hosts.get_mut(&host) {
            *known = addresses;
            self.set_limits();
        }
    }

    fn set_limits(&mut self) {
        (self.limits, self.default) = (HashMap::new(), None);
        for (name, bound) in entities(&self.quotas) {
            match name {
                None => self.default = Some(bound),
                Some(name) => match literal(name) {
                    Some(address) => drop(self.limits.insert(address, bound)),
                    None => {
                        let addresses = self.hosts.get(name).into_iter().flatten();
                        self.limits.extend(addresses.map(|address| (*address, bound)));
                    }
                },
            }
        }
    }
}

/// Every name, or the default, with its limit.
fn entities(quotas: &ClientQuotasImage) -> impl Iterator<Item = (Option<&Arc<str>>, f64)> {
    quotas.iter().filter_map(|(entity, values)| Some((entity.name("ip")?, *values.get(KEY)?)))
}

/// The address that is written there: IPv4 inside IPv6 is IPv4.
fn literal(name: &str) -> Option<IpAddr> {
    name.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

fn look_up(host: &str) -> Vec<IpAddr> {
    match (host, 0).to_socket_addrs() {
        Ok(addresses) => addresses.map(|address| address.ip().to_canonical()).collect(),
        Err(error) => {
            tracing::warn!(host, %error, "a rate of connections is for a host that has no address, and holds for nobody");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ottla_metadata::{MetadataImage, MetadataRecord, QuotaEntity};
    use ottla_state_machine::StateMachine;

    use super::*;

    fn quotas(limits: &[(Option<&str>, f64)]) -> ClientQuotasImage {
        let mut image = MetadataImage::default();
        for (name, value) in limits {
            let entity = QuotaEntity::new(vec![("ip".into(), name.map(Arc::from))]);
            image.replay(&MetadataRecord::ClientQuota { entity, key: KEY.into(), value: Some(*value) });
        }
        image.client_quotas
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_limited_in_whatever_spelling_it_was_given() {
        let known = Addresses::default();
        let quotas = quotas(&[
            (Some("::ffff:10.0.0.1"), 1.0),
            (Some("2001:DB8:0::1"), 2.0),
            (Some("10.0.0.2"), 3.0),
            (None, 4.0),
        ]);
        assert_eq!(known.limit(&quotas, address("10.0.0.1")), Some(1.0));
        assert_eq!(known.limit(&quotas, address("2001:db8::1")), Some(2.0));
        assert_eq!(known.limit(&quotas, address("10.0.0.2")), Some(3.0));
        assert_eq!(known.limit(&quotas, address("10.0.0.3")), Some(4.0));
    }

    #[test]
    fn the_limit_of_a_host_holds_for_its_addresses() {
        let mut known = Known::default();
        assert_eq!(known.read(&quotas(&[(Some("web-1"), 5.0)])), ["web-1".into()]);
        assert_eq!(known.limits.len(), 0, "nobody is limited while it is looked up");
        known.found("web-1".into(), vec![address("10.0.0.7"), address("10.0.0.8")]);
        assert_eq!(known.limits[&address("10.0.0.8")], 5.0);
        let changed = quotas(&[(Some("web-1"), 6.0), (Some("web-2"), 1.0)]);
        assert_eq!(known.read(&changed), ["web-2".into()], "what is known is not looked up again");
        assert_eq!(known.limits[&address("10.0.0.7")], 6.0);
        assert!(known.read(&quotas(&[])).is_empty());
        known.found("web-2".into(), vec![address("10.0.0.9")]);
        assert_eq!(known.limits.len(), 0, "nobody asks for it any more");
    }
}
