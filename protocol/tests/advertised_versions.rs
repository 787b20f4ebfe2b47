//! The versions are those that Apache Kafka 4.3.1 lists in its ApiVersions answers.
#![allow(clippy::unwrap_used)]

use ottla_protocol::versions::{advertised, apis, supported};

const BROKER: &str = "0:0-13 1:4-18 2:1-11 3:0-13 8:2-10 9:1-10 10:0-6 11:0-9 12:0-4 13:0-5 14:0-5 15:0-6 16:0-5 \
    17:0-1 18:0-4 19:2-7 20:1-6 21:0-2 22:0-5 23:2-4 24:0-5 25:0-4 26:0-5 27:1-2 28:0-5 29:1-3 30:1-3 31:1-3 32:1-4 \
    33:0-2 34:1-2 35:1-5 36:0-2 37:0-3 38:1-3 39:1-2 40:1-2 41:1-3 42:0-2 43:0-2 44:0-1 45:0-1 46:0-0 47:0-0 48:0-1 \
    49:0-1 50:0-0 51:0-0 55:0-2 57:0-2 60:0-2 61:0-0 64:0-0 65:0-0 66:0-2 68:0-1 69:0-1 74:0-1 75:0-0 76:1-1 77:1-1 \
    78:1-2 79:1-2 80:0-1 81:0-0 83:0-0 84:0-0 85:0-1 86:0-0 87:0-1 88:0-0 89:0-0 90:0-1 91:0-0 92:0-0";
const CONTROLLER: &str = "1:4-18 17:0-1 18:0-4 19:2-7 20:1-6 29:1-3 30:1-3 31:1-3 32:1-4 33:0-2 36:0-2 37:0-3 \
    38:1-3 39:1-2 40:1-2 41:1-3 43:0-2 44:0-1 45:0-1 46:0-0 49:0-1 50:0-0 51:0-0 52:0-2 53:0-1 54:0-1 55:0-2 56:2-3 \
    57:0-2 58:0-0 59:0-1 60:0-2 62:0-4 63:0-2 64:0-0 67:0-0 70:0-0 73:0-0 80:0-1 81:0-0 82:0-0";

/// Telemetry is listed only where a metrics reporter asks for it.
const TELEMETRY: [i16; 2] = [71, 72];

fn listed(text: &str) -> Vec<(i16, i16, i16)> {
    let number = |text: &str| text.parse::<i16>().unwrap();
    text.split_whitespace()
        .map(|entry| {
            let (key, range) = entry.split_once(':').unwrap();
            let (min, max) = range.split_once('-').unwrap();
            (number(key), number(min), number(max))
        })
        .collect()
}

#[test]
fn broker_listener() {
    let ours: Vec<_> = apis()
        .iter()
        .filter(|api| !api.is_private())
        .filter(|api| api.listeners.broker && !TELEMETRY.contains(&api.key))
        .map(|api| (api.key, api.min, api.max))
        .collect();
    assert_eq!(ours, listed(BROKER));
}

#[test]
fn controller_listener() {
    let ours: Vec<_> = apis()
        .iter()
        .filter(|api| api.listeners.controller && !api.is_private())
        .map(|api| (api.key, api.min, api.max))
        .collect();
    assert_eq!(ours, listed(CONTROLLER));
}

#[test]
fn produce_is_listed_from_0_and_read_from_3() {
    assert_eq!(advertised(0), Some((0, 13)));
    assert_eq!(supported(0), Some((3, 13)));
    assert_eq!(advertised(4), None);
}
