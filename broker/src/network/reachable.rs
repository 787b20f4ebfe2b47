//! Says at start what clients are told, and warns about names that cannot work.

use std::net::IpAddr;
use std::time::Duration;

use tracing::{info, warn};

use crate::api::ListenerInfo;

const RESOLVE_MAX: Duration = Duration::from_secs(5);

/// Looks at every address that clients are told. Names are resolved beside the start, which does not wait for it.
pub fn check(listeners: &[ListenerInfo], in_container: bool) {
    let public: Vec<&ListenerInfo> = listeners.iter().filter(|listener| !listener.is_controller).collect();
    for listener in public.iter().filter(|listener| listener.follows_client) {
        let from_host = if in_container { "; from the host of this container that is localhost" } else { "" };
        info!(
            listener = &*listener.name,
            "advertised.listeners is not set: each client is told the address it came by{from_host}. Clients behind other \
             address translation need advertised.listeners"
        );
    }
    if in_container && !public.is_empty() && public.iter().all(|listener| is_loopback(&listener.advertised_host)) {
        let all: Vec<&str> = public.iter().map(|listener| &*listener.advertised_host).collect();
        warn!(
            advertised = all.join(", "),
            "every advertised address means the client's own machine: clients in other containers will not reach this broker"
        );
    }
    for listener in public {
        let (host, port) = (listener.advertised_host.clone(), listener.advertised_port);
        if listener.follows_client || host.parse::<IpAddr>().is_ok() {
            continue;
        }
        let name = listener.name.clone();
        tokio::spawn(async move {
            let lookup = tokio::time::timeout(RESOLVE_MAX, tokio::net::lookup_host((&*host, port))).await;
            let reason = match lookup {
                Ok(Ok(_)) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            warn!(
                listener = &*name,
                host = &*host,
                reason,
                "the advertised name does not resolve here: clients that cannot resolve it either connect once, are told this \
                 name, and then fail"
            );
        });
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_several_names() {
        assert!(is_loopback("localhost") && is_loopback("127.0.0.1") && is_loopback("::1"));
        assert!(!is_loopback("broker") && !is_loopback("192.0.2.1"));
    }
}
