//! One run of `KillLoad.java`: a load that outlives the death of nodes and then checks what it was promised.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use crate::jvm;
use crate::process::Output;

/// How long a run produces.
const LOAD_MS: u64 = 1200;

/// Where a load goes.
#[derive(Debug, Clone)]
pub struct Load<'a> {
    pub bootstrap: &'a str,
    /// Created by the load.
    pub topic: &'a str,
    pub replication: u32,
}

impl Load<'_> {
    /// Calls `strike` in the middle of the load: it has to leave nodes that serve. What the load found afterwards, with exit
    /// code 0 when every promise was kept.
    ///
    /// # Errors
    /// When the load did not begin, or `strike` failed.
    pub fn struck(
        &self,
        random: &mut StdRng,
        strike: impl FnOnce(&mut StdRng) -> Result<(), String>,
    ) -> Result<Output, String> {
        let replication = self.replication.to_string();
        let arguments = [self.bootstrap, self.topic, &LOAD_MS.to_string(), &replication].map(str::to_owned);
        let load = jvm::start("KillLoad", &arguments, b"")?;
        if !load.wait_until(Duration::from_secs(30), |text| text.contains("loading")) {
            return Err(load.output().to_string());
        }
        std::thread::sleep(Duration::from_millis(random.random_range(0..LOAD_MS / 2)));
        strike(random)?;
        Ok(load.wait(Duration::from_secs(120)))
    }
}

/// Sometimes clients find the port closed for a while.
pub fn pause(random: &mut StdRng) {
    std::thread::sleep(Duration::from_millis(random.random_range(0..200)));
}
