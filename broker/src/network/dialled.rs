//! What clients are told of a listener for which nothing is advertised: the address by which they came.
//!
//! One broker in a container is reached as `localhost` from the host, where the port is published, and by its own address from
//! the network it is in; no single advertised name is right for both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::api::ListenerInfo;

/// What a client that came from `peer` to `local` is told of the listener. `gateways` are those of a container: connections
/// that the host makes to a published port come from them.
pub fn as_seen_by(listener: &ListenerInfo, local: SocketAddr, peer: SocketAddr, gateways: &[IpAddr]) -> ListenerInfo {
    let from_host = gateways.contains(&peer.ip().to_canonical());
    let host: Arc<str> = if from_host { "localhost".into() } else { local.ip().to_canonical().to_string().into() };
    ListenerInfo { advertised_host: host, advertised_port: local.port(), ..listener.clone() }
}

/// The default gateways of this network namespace; empty where the system does not tell.
pub fn gateways() -> Vec<IpAddr> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let mut all = gateways_v4(&read("/proc/net/route"));
    all.extend(gateways_v6(&read("/proc/net/ipv6_route")));
    all
}

fn gateways_v4(table: &str) -> Vec<IpAddr> {
    let fields = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields
        .filter(|fields| fields.get(1) == Some(&"00000000"))
        .filter_map(|fields| u32::from_str_radix(fields.get(2)?, 16).ok())
        // The kernel prints the address as it lies in memory.
        .map(|address| IpAddr::from(Ipv4Addr::from(address.to_ne_bytes())))
        .filter(|address| !address.is_unspecified())
        .collect()
}

fn gateways_v6(table: &str) -> Vec<IpAddr> {
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields
        .filter(|fields| fields.get(1) == Some(&"00") && fields.first().is_some_and(|to| to.bytes().all(|b| b == b'0')))
        .filter_map(|fields| u128::from_str_radix(fields.get(4)?, 16).ok())
        .map(|address| IpAddr::from(Ipv6Addr::from(address)))
        .filter(|address| !address.is_unspecified())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn seen(local: &str, peer: &str) -> (String, u16) {
        let listener = ListenerInfo {
            name: "PLAINTEXT".into(),
            advertised_host: "f3a1".into(),
            advertised_port: 9092,
            follows_client: true,
            is_controller: false,
        };
        let gateways = ["172.17.0.1".parse().unwrap()];
        let info = as_seen_by(&listener, local.parse().unwrap(), peer.parse().unwrap(), &gateways);
        (info.advertised_host.to_string(), info.advertised_port)
    }

    #[test]
    fn the_host_is_told_localhost_and_the_network_the_address_it_dialled() {
        assert_eq!(seen("172.17.0.2:9092", "172.17.0.1:40000"), ("localhost".to_owned(), 9092));
        assert_eq!(seen("[::ffff:172.17.0.2]:9092", "[::ffff:172.17.0.1]:40000"), ("localhost".to_owned(), 9092));
        assert_eq!(seen("172.17.0.2:9093", "172.17.0.5:40000"), ("172.17.0.2".to_owned(), 9093));
        assert_eq!(seen("[fd00::2]:9092", "[fd00::5]:40000"), ("fd00::2".to_owned(), 9092));
    }

    #[test]
    fn gateways_are_read_from_the_kernels_tables() {
        let table =
            "Iface\tDestination\tGateway \tFlags\neth0\t00000000\t010011AC\t0003\neth0\t000011AC\t00000000\t0001\n";
        if cfg!(target_endian = "little") {
            assert_eq!(gateways_v4(table), ["172.17.0.1".parse::<IpAddr>().unwrap()]);
        }
        let zeros = "0".repeat(32);
        let table = format!(
            "{zeros} 00 {zeros} 00 fd000000000000000000000000000001 00000400\n{zeros} 00 {zeros} 00 {zeros} x\n"
        );
        assert_eq!(gateways_v6(&table), ["fd00::1".parse::<IpAddr>().unwrap()]);
    }
}
