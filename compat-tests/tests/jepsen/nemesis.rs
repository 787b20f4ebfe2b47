//! What happens to a cluster while transactions run on it, and its end: afterwards every node is there and reaches the others.

use std::time::Duration;

use ottla_compat_tests::cluster::{Cluster, Roles};
use ottla_compat_tests::network::HOST;
use ottla_compat_tests::power_disk::PowerDisk;
use rand::Rng;
use rand::rngs::StdRng;

use super::{KEYS, TOPIC};

/// Brokers and controllers; a guest comes on top.
const NODES: u8 = 3;
const GUEST: i32 = NODES as i32 + 1;
const DISK_MB: u64 = 2048;
/// Left of a disk that is filled: what the nodes write next takes it.
const SPACE_LEFT: u64 = 256 * 1024;
/// A move of replicas waits for those that were in a blow before.
const MOVE_MAX: Duration = Duration::from_secs(180);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Blow {
    Calm,
    Kill,
    /// SIGTERM, and started again.
    Restart,
    /// Each node in turn, as for a new release.
    RollingRestart,
    Freeze,
    /// One node and the others do not hear from each other; clients reach all.
    CutOff,
    /// The others do not hear it; it hears them.
    Mute,
    /// It does not hear the others; they hear it.
    Deaf,
    /// Nobody reaches it, and it reaches nobody.
    Gone,
    /// Two of them do not hear from each other; the third hears both.
    Split,
    /// The disk of a node is full for a while.
    FullDisk,
    /// A node loses its power, and what it had not synced with it.
    PowerCut,
    /// All of them at once.
    Blackout,
    /// A fourth broker comes and takes its share; the next time it is emptied, and leaves.
    Guest,
}

pub(crate) const BLOWS_BY_WEIGHT: [Blow; 18] = [
    Blow::Calm,
    Blow::Kill,
    Blow::Kill,
    Blow::Kill,
    Blow::Restart,
    Blow::RollingRestart,
    Blow::Freeze,
    Blow::Freeze,
    Blow::CutOff,
    Blow::Mute,
    Blow::Deaf,
    Blow::Gone,
    Blow::Split,
    Blow::FullDisk,
    Blow::FullDisk,
    Blow::PowerCut,
    Blow::Blackout,
    Blow::Guest,
];

/// A cluster in a network of its own, each node on a disk of its own.
pub(crate) struct Struck {
    // Before its disks: they cannot go while it uses them.
    cluster: Cluster,
    disks: Vec<PowerDisk>,
    guest_is_here: bool,
}

impl Struck {
    pub(crate) fn start() -> Self {
        let voters = (1..=i32::from(NODES)).map(|id| (id, Roles::Both));
        let nodes: Vec<(i32, Roles)> = voters.chain([(GUEST, Roles::Broker)]).collect();
        let settings = [
            "default.replication.factor=3",
            "min.insync.replicas=2",
            "offsets.topic.replication.factor=3",
            "transaction.state.log.replication.factor=3",
            "transaction.state.log.min.isr=2",
            // Transactions of the dead end soon enough to be seen.
            "transaction.abort.timed.out.transaction.cleanup.interval.ms=1000",
        ];
        let mut cluster = Cluster::prepare_networked(&nodes, &settings).expect("a network of their own");
        let disks = nodes.iter().map(|(id, _)| {
            let disk = PowerDisk::new(DISK_MB).expect("a disk");
            let directory = format!("log.dirs={}", disk.data_dir().display());
            cluster.configure(*id, &directory).expect("a node's configuration");
            disk
        });
        let disks = disks.collect();
        (1..=i32::from(NODES)).for_each(|id| cluster.spawn(id).expect("a node starts"));
        cluster.wait_until_ready().expect("three nodes form a cluster");
        let keys = KEYS.to_string();
        let create = ["--create", "--topic", TOPIC, "--partitions", &keys, "--replication-factor", "3"];
        cluster.tool("kafka-topics", &create).ok();
        Self { cluster, disks, guest_is_here: false }
    }

    /// Of those that are always there.
    pub(crate) fn bootstrap(&self) -> String {
        let nodes = self.cluster.nodes().filter(|node| node.id != GUEST);
        nodes.map(|node| format!("{}:{}", node.host, node.port)).collect::<Vec<_>>().join(",")
    }

    pub(crate) fn logs(&self) -> String {
        self.cluster.nodes().map(|node| format!("node {}:\n{}", node.id, self.cluster.log(node.id))).collect()
    }

    /// Carries out a blow, and its end.
    pub(crate) fn strike(&mut self, blow: Blow, random: &mut StdRng) {
        let node = random.random_range(1..=NODES);
        let id = i32::from(node);
        let time = Duration::from_millis(random.random_range(300..6000));
        match blow {
            Blow::Calm => {}
            Blow::Kill => {
                self.cluster.kill(id);
                std::thread::sleep(time / 3);
                self.restart(id);
            }
            Blow::Restart => self.stop_and_start(id),
            Blow::RollingRestart => (1..=i32::from(NODES)).for_each(|id| self.stop_and_start(id)),
            Blow::Freeze => {
                self.cluster.freeze(id);
                std::thread::sleep(time);
                self.cluster.thaw(id);
            }
            Blow::CutOff | Blow::Mute | Blow::Deaf | Blow::Gone | Blow::Split => self.divide(blow, node, time),
            Blow::FullDisk => {
                let disk = self.disk(id);
                disk.fill(SPACE_LEFT).expect("a disk can be filled");
                std::thread::sleep(time);
                disk.empty().expect("a disk can be emptied");
            }
            Blow::PowerCut => self.cut_power(&[id], time / 3),
            Blow::Blackout => self.cut_power(&[1, 2, 3], time / 3),
            Blow::Guest if self.guest_is_here => self.see_guest_off(),
            Blow::Guest => self.take_guest_in(),
        }
    }

    fn disk(&self, id: i32) -> &PowerDisk {
        &self.disks[id as usize - 1]
    }

    fn restart(&mut self, id: i32) {
        self.cluster.restart(id).unwrap_or_else(|error| panic!("node {id} does not start again: {error}"));
    }

    fn stop_and_start(&mut self, id: i32) {
        assert_eq!(self.cluster.stop(id), Some(0), "node {id} stops by itself\n{}", self.cluster.log(id));
        self.restart(id);
    }

    fn divide(&self, blow: Blow, node: u8, time: Duration) {
        let network = self.cluster.network();
        let others: Vec<u8> = (1..=NODES).filter(|other| *other != node).collect();
        for other in if blow == Blow::Split { &others[..1] } else { &others[..] } {
            if blow != Blow::Deaf {
                network.cut(node, *other);
            }
            if blow != Blow::Mute {
                network.cut(*other, node);
            }
        }
        if blow == Blow::Gone {
            network.cut(HOST, node);
        }
        std::thread::sleep(time);
        network.heal();
    }

    fn cut_power(&mut self, ids: &[i32], down: Duration) {
        ids.iter().for_each(|&id| self.cluster.kill(id));
        ids.iter().for_each(|&id| self.disk(id).cut().expect("the disk comes back"));
        std::thread::sleep(down);
        // Together: one of three alone has no quorum.
        ids.iter().for_each(|&id| self.cluster.spawn(id).expect("a node starts"));
        self.cluster.wait_until_ready().expect("the nodes start again");
    }

    /// An empty broker, which partitions are moved to.
    fn take_guest_in(&mut self) {
        std::fs::remove_dir_all(self.disk(GUEST).data_dir()).ok();
        self.restart(GUEST);
        self.guest_is_here = true;
        self.rebalance(&[]);
    }

    fn see_guest_off(&mut self) {
        let guest = GUEST.to_string();
        self.rebalance(&["--drain", &guest]);
        assert_eq!(self.cluster.stop(GUEST), Some(0), "the guest stops by itself\n{}", self.cluster.log(GUEST));
        self.guest_is_here = false;
        self.cluster.tool("kafka-cluster", &["unregister", "--id", &guest]).ok();
    }

    fn rebalance(&self, arguments: &[&str]) {
        let output = self.cluster.tool_within(MOVE_MAX, "rebalance", arguments);
        assert_eq!(output.code, 0, "{output}\n{}", self.logs());
    }
}
