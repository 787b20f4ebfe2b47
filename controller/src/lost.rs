//! A node whose last connection has closed: is it gone? A process that ends closes its connections and its listeners, so
//! the evidence is looked at, not waited for: its address is probed, and only who does not listen any more is taken for
//! dead. One that listens keeps its session and its lease.

use std::time::Duration;

use ottla_metadata::Endpoint;
use ottla_protocol::BrokerId;
use tokio::time::Instant;

use crate::raft::network::{Probe, Transport};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(15);
/// An ending process may close its listener after its connections: a look that finds it open is repeated this often.
const LOOKS: u32 = 4;

/// Whether the node at `address` is gone. `grace` is how long a machine that does not answer at all may take to come back.
pub(crate) async fn is_gone(
    transport: &dyn Transport,
    address: Endpoint,
    grace: Duration,
    is_back: &(dyn Fn() -> bool + Sync),
) -> bool {
    let began = Instant::now();
    let (mut refused, mut listens) = (0, 0);
    loop {
        match transport.probe(address.clone()).await {
            Probe::Refused => refused += 1,
            Probe::Listens => listens += 1,
            Probe::Unknown if began.elapsed() >= grace => return !is_back(),
            Probe::Unknown => {}
        }
        if is_back() || listens >= LOOKS {
            return false;
        }
        // Twice: a process that was just restarted is not fenced for its predecessor.
        if refused >= 2 {
            tracing::debug!(host = &*address.host, port = address.port, "nobody listens any more");
            return true;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Who lost a leader asks for votes in turn, lowest id first.
pub(crate) fn turn(voters: &[u64], leader: u64, own: u64) -> u32 {
    let before = voters.iter().filter(|id| **id != leader && **id < own).count();
    u32::try_from(before).unwrap_or(u32::MAX)
}

/// The address at which brokers are looked for: any of those they tell of.
pub(crate) fn address_of(image: &ottla_metadata::MetadataImage, broker: BrokerId) -> Option<(i64, Endpoint)> {
    let registration = image.brokers.get(&broker).filter(|broker| !broker.fenced && !broker.in_controlled_shutdown)?;
    Some((registration.epoch, registration.listeners.first()?.clone()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::raft::network::{Carried, Destination, Lane, NoTransport, Probing};

    /// Every look shows the same.
    struct Shows(Probe);

    impl Transport for Shows {
        fn call(&self, to: Destination, lane: Lane, message: Bytes) -> Carried {
            NoTransport.call(to, lane, message)
        }

        fn probe(&self, _: Endpoint) -> Probing {
            let shown = self.0;
            Box::pin(async move { shown })
        }
    }

    async fn gone(shown: Probe, is_back: bool) -> bool {
        let address = Endpoint { name: "X".into(), host: "x".into(), port: 1, security_protocol: 0 };
        is_gone(&Shows(shown), address, Duration::from_millis(250), &|| is_back).await
    }

    #[tokio::test(start_paused = true)]
    async fn only_who_listens_no_more_is_dead() {
        assert!(gone(Probe::Refused, false).await);
        assert!(!gone(Probe::Listens, false).await, "a frozen process has its session");
        assert!(gone(Probe::Unknown, false).await, "the machine is gone with it");
    }

    #[tokio::test(start_paused = true)]
    async fn who_connects_again_lives() {
        for shown in [Probe::Refused, Probe::Listens, Probe::Unknown] {
            assert!(!gone(shown, true).await);
        }
    }

    #[test]
    fn voters_stand_in_turn() {
        assert_eq!([2, 3].map(|own| turn(&[1, 2, 3], 1, own)), [0, 1]);
        assert_eq!([1, 3, 4].map(|own| turn(&[1, 2, 3, 4], 2, own)), [0, 1, 2]);
    }
}
