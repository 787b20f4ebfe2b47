//! Keeping new replicas off brokers that are drained (KIP-1066, Kafka 4.3): all directories of the broker are cordoned.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::cluster::{is_cordoned, is_passing, knows_cordons};
use crate::Failure;
use crate::client::Client;
use crate::configs::{Changes, alter};

pub const KEY: &str = "cordoned.log.dirs";
const EVERY_DIRECTORY: &str = "*";
/// The broker tells the controller with its next heartbeat.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(200);

/// Cordons a broker; false where the cluster knows no such thing, which then may place new replicas there.
pub fn cordon(client: &mut Client, broker: i32) -> Result<bool, Failure> {
    if is_cordoned(client, broker) {
        return Ok(true);
    }
    if !knows_cordons(client, broker) {
        return Ok(false);
    }
    let set = BTreeMap::from([(KEY.to_owned(), EVERY_DIRECTORY.to_owned())]);
    match alter(client, "brokers", &broker.to_string(), &Changes { set, ..Changes::default() }) {
        Ok(()) => {}
        Err(failure) if is_passing(&failure) => return Err(failure),
        // An older metadata.version refuses it.
        Err(_) => return Ok(false),
    }
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        if is_cordoned(client, broker) {
            return Ok(true);
        }
        std::thread::sleep(PAUSE);
    }
    // Taken, and without effect: nothing is to be left behind.
    let delete = vec![KEY.to_owned()];
    alter(client, "brokers", &broker.to_string(), &Changes { delete, ..Changes::default() })?;
    Ok(false)
}
