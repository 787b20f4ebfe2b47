//! A network of its own for every node: a network namespace each, joined by a bridge in one more, so that what passes between
//! any two can be cut in either direction.
//!
//! The tests themselves stay where they are, with an address in the same network: clients reach every node, unless they are
//! cut off as well.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::process;

const LIMIT: Duration = Duration::from_secs(30);
/// The host's place in the network.
pub const HOST: u8 = 254;

/// Namespaces and links; gone when dropped. Places are 1 to `count`, and `HOST`.
pub struct Network {
    /// Begins the names of everything.
    name: String,
    /// Of the addresses; RFC 2544 keeps 198.18.0.0/15 for tests of networks.
    subnet: String,
    count: u8,
}

impl Network {
    /// Why there is none here.
    pub fn missing() -> Option<String> {
        let probe = format!("ottprobe{}", std::process::id());
        let rule = ["iptables", "-w", "-A", "INPUT", "-s", "198.18.0.1", "-j", "DROP"];
        let made = run("ip", &["netns", "add", &probe])
            .and_then(|()| run("nsenter", &[&[&*in_namespace(&probe)], &rule[..]].concat()));
        run("ip", &["netns", "del", &probe]).ok();
        made.err()
    }

    /// # Errors
    /// What the system said when it could not be made.
    pub fn new(count: u8) -> Result<Self, String> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let (process, nth) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        // Interfaces have names of at most fifteen bytes.
        let name = format!("ott{}x{nth}", process % 1_000_000);
        let number = process.wrapping_add(nth.wrapping_mul(7919)) % 512;
        let network = Self { name, subnet: format!("198.{}.{}", 18 + number / 256, number % 256), count };
        network.make()?;
        Ok(network)
    }

    fn make(&self) -> Result<(), String> {
        let hub = self.namespace(0);
        run("ip", &["netns", "add", &hub])?;
        self.within(0, "ip", &["link", "add", "hub", "type", "bridge"])?;
        self.within(0, "ip", &["link", "set", "hub", "up"])?;
        for place in (1..=self.count).chain([HOST]) {
            let (port, mask) = (format!("p{place}"), format!("{}/24", self.address(place)));
            if place == HOST {
                run("ip", &["link", "add", &self.name, "type", "veth", "peer", "name", &port, "netns", &hub])?;
                run("ip", &["addr", "add", &mask, "dev", &self.name])?;
                run("ip", &["link", "set", &self.name, "up"])?;
            } else {
                let namespace = self.namespace(place);
                run("ip", &["netns", "add", &namespace])?;
                let link = ["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &namespace];
                self.within(0, "ip", &link)?;
                self.within(place, "ip", &["addr", "add", &mask, "dev", "eth0"])?;
                self.within(place, "ip", &["link", "set", "lo", "up"])?;
                self.within(place, "ip", &["link", "set", "eth0", "up"])?;
            }
            self.within(0, "ip", &["link", "set", &port, "master", "hub"])?;
            self.within(0, "ip", &["link", "set", &port, "up"])?;
        }
        Ok(())
    }

    pub fn address(&self, place: u8) -> String {
        format!("{}.{place}", self.subnet)
    }

    fn namespace(&self, place: u8) -> String {
        format!("{}n{place}", self.name)
    }

    /// The same command at a node's place.
    pub fn command_at(&self, place: u8, command: &Command) -> Command {
        let mut placed = Command::new("nsenter");
        placed.arg(in_namespace(&self.namespace(place))).arg(command.get_program()).args(command.get_args());
        placed.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(dir) = command.get_current_dir() {
            placed.current_dir(dir);
        }
        placed
    }

    fn within(&self, place: u8, program: &str, arguments: &[&str]) -> Result<(), String> {
        let namespace = in_namespace(&self.namespace(place));
        run("nsenter", &[&[&*namespace, program], arguments].concat())
    }

    /// From now on nothing that `from` sends arrives at the node `to`.
    pub fn cut(&self, from: u8, to: u8) {
        let rule = ["-w", "-A", "INPUT", "-s", &self.address(from), "-j", "DROP"];
        self.within(to, "iptables", &rule).expect("a rule can be added");
    }

    /// Everything arrives again.
    pub fn heal(&self) {
        for place in 1..=self.count {
            self.within(place, "iptables", &["-w", "-F", "INPUT"]).expect("rules can be removed");
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        run("ip", &["link", "del", &self.name]).ok();
        for place in 0..=self.count {
            run("ip", &["netns", "del", &self.namespace(place)]).ok();
        }
    }
}

/// Not `ip netns exec`: that gives a program mounts of its own as well, which keep disks that are unmounted elsewhere in use.
fn in_namespace(name: &str) -> String {
    format!("--net=/run/netns/{name}")
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = process::run(Command::new(program).args(arguments), b"", LIMIT);
    if output.code == 0 { Ok(()) } else { Err(format!("{program} {}: {output}", arguments.join(" "))) }
}
