//! One run of `KillLoad.java`: a load that outlives the node's death and then checks what it was promised.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use crate::broker::Broker;
use crate::jvm;
use crate::process::Output;

/// How long a run produces.
const LOAD_MS: u64 = 1200;

/// Strikes the broker in the middle of a load and starts it again; what the load found afterwards, exit code 0 when every
/// promise was kept.
pub fn struck(
    broker: &mut Broker,
    topic: &str,
    random: &mut StdRng,
    strike: impl FnOnce(&mut Broker),
) -> Result<Output, String> {
    let arguments = [broker.bootstrap(), topic.to_owned(), LOAD_MS.to_string()];
    let load = jvm::start("KillLoad", &arguments, b"")?;
    if !load.wait_until(Duration::from_secs(30), |text| text.contains("loading")) {
        return Err(format!("{}\n{}", load.output(), broker.log()));
    }
    std::thread::sleep(Duration::from_millis(random.random_range(0..LOAD_MS / 2)));
    strike(broker);
    // Sometimes clients find the port closed for a while.
    std::thread::sleep(Duration::from_millis(random.random_range(0..200)));
    broker.restart()?;
    Ok(load.wait(Duration::from_secs(90)))
}
