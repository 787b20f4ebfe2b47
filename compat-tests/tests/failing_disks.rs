//! Disks that fail or fill up while a broker runs: others lead what was there, a broker that cannot go on ends, and what only
//! lacked space goes on by itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ottla_compat_tests::cluster::{Cluster, Roles};
use ottla_compat_tests::ottla;
use ottla_compat_tests::power_disk::PowerDisk;
use ottla_compat_tests::process::{self, Output};
use ottla_compat_tests::toolchain::{self, Need};

const PATIENCE: Duration = Duration::from_secs(60);

fn disk() -> Option<PowerDisk> {
    let missing = toolchain::missing(&[Need::Python]);
    if let Some(reason) = missing.or_else(|| PowerDisk::missing().map(str::to_owned)) {
        println!("skipped: failing disks: {reason}");
        assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
        return None;
    }
    Some(PowerDisk::new(256).unwrap())
}

fn eventually(cluster: &Cluster, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        let logs = cluster.nodes().map(|node| format!("--- node {}\n{}", node.id, cluster.log(node.id)));
        assert!(Instant::now() < deadline, "{what}\n{}", logs.collect::<String>());
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn produce(cluster: &Cluster, topic: &str, numbers: std::ops::Range<u32>) -> Output {
    let mut command = Command::new(ottla::binary().unwrap());
    command.args(["kafka-console-producer", "--bootstrap-server", &cluster.bootstrap(), "--topic", topic]);
    let lines: String = numbers.map(|number| format!("{number}\n")).collect();
    process::run(&mut command, lines.as_bytes(), PATIENCE)
}

fn read(cluster: &Cluster, topic: &str, count: u32) -> Vec<u32> {
    let count = count.to_string();
    let arguments = ["--topic", topic, "--from-beginning", "--timeout-ms", "20000", "--max-messages", &count];
    let output = cluster.tool("kafka-console-consumer", &arguments).stdout;
    let mut numbers: Vec<u32> = output.lines().filter_map(|line| line.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// Partition, leader and in-sync replicas, as `kafka-topics --describe` tells them.
fn partitions(cluster: &Cluster, topic: &str) -> Vec<(u32, String, BTreeSet<String>)> {
    let described = cluster.tool("kafka-topics", &["--describe", "--topic", topic]).stdout;
    let field = |line: &str, name: &str| {
        line.split('\t').find_map(|part| part.trim().strip_prefix(name).map(|value| value.trim().to_owned()))
    };
    let parse = |line: &str| {
        let isr = field(line, "Isr:")?.split(',').map(|id| id.trim().to_owned()).collect();
        Some((field(line, "Partition:")?.parse().ok()?, field(line, "Leader:")?, isr))
    };
    described.lines().filter_map(parse).collect()
}

fn logs_in(dir: &Path, topic: &str) -> BTreeSet<u32> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_prefix(topic)?.strip_prefix('-')?.parse().ok()).collect()
}

#[test]
fn others_lead_what_was_in_a_directory_that_has_failed() {
    let Some(disk) = disk() else { return };
    let nodes = [1, 2, 3].map(|id| (id, Roles::Both));
    let mut cluster = Cluster::prepare(&nodes, &["min.insync.replicas=2"]).unwrap();
    let data = cluster.node(3).data_dir();
    cluster.configure(3, &format!("log.dirs={},{}", data.display(), disk.data_dir().display())).unwrap();
    for (id, _) in nodes {
        cluster.spawn(id).unwrap();
    }
    cluster.wait_until_ready().unwrap();
    let create = ["--create", "--topic", "t", "--partitions", "12", "--replication-factor", "3"];
    cluster.tool("kafka-topics", &create).ok();
    produce(&cluster, "t", 0..300).ok();
    let lost = logs_in(&disk.data_dir(), "t");
    let led = |led_by: &str| partitions(&cluster, "t").into_iter().filter(|(_, leader, _)| leader == led_by).count();
    eventually(&cluster, "all replicas are in sync", || {
        partitions(&cluster, "t").iter().all(|(.., isr)| isr.len() == 3)
    });
    assert!(!lost.is_empty() && lost.len() < 12, "{lost:?}");
    assert!(partitions(&cluster, "t").iter().any(|(index, leader, _)| leader == "3" && lost.contains(index)));
    disk.fail().unwrap();
    produce(&cluster, "t", 300..900).ok();
    let nobody_counts_on_it = || {
        let of_lost = partitions(&cluster, "t").into_iter().filter(|(index, ..)| lost.contains(index));
        let mut of_lost = of_lost.peekable();
        of_lost.peek().is_some()
            && of_lost.all(|(_, leader, isr)| leader != "3" && leader != "none" && !isr.contains("3"))
    };
    eventually(&cluster, "nobody counts on the directory that has failed", nobody_counts_on_it);
    // Nor later, though its broker goes on to fetch what is in the other one.
    for _ in 0..30 {
        std::thread::sleep(Duration::from_millis(100));
        assert!(nobody_counts_on_it(), "{:?}", partitions(&cluster, "t"));
    }
    // What is in the other one goes on.
    assert!(led("3") > 0, "{:?}", partitions(&cluster, "t"));
    assert_eq!(read(&cluster, "t", 900), (0..900).collect::<Vec<_>>());
    assert!(cluster.ends(3, Duration::from_millis(1)).is_none(), "it is still there");
    assert_eq!(cluster.stop(3), Some(0));
    // A start without it changes nothing; with it all replicas are back.
    cluster.restart(3).unwrap();
    assert!(partitions(&cluster, "t").iter().all(|(index, _, isr)| !lost.contains(index) || !isr.contains("3")));
    assert_eq!(cluster.stop(3), Some(0));
    disk.mend().unwrap();
    cluster.restart(3).unwrap();
    eventually(&cluster, "all replicas are back", || partitions(&cluster, "t").iter().all(|(.., isr)| isr.len() == 3));
    assert_eq!(read(&cluster, "t", 900), (0..900).collect::<Vec<_>>());
}

#[test]
fn a_log_that_is_away_is_not_begun_anew() {
    let Some(disk) = disk() else { return };
    let mut cluster = Cluster::prepare(&[(1, Roles::Both)], &[]).unwrap();
    let data = cluster.node(1).data_dir();
    cluster.configure(1, &format!("log.dirs={},{}", data.display(), disk.data_dir().display())).unwrap();
    cluster.restart(1).unwrap();
    cluster.tool("kafka-topics", &["--create", "--topic", "t", "--partitions", "4"]).ok();
    produce(&cluster, "t", 0..200).ok();
    let away = logs_in(&disk.data_dir(), "t");
    assert!(!away.is_empty() && away.len() < 4);
    assert_eq!(cluster.stop(1), Some(0));
    disk.fail().unwrap();
    cluster.restart(1).unwrap();
    eventually(&cluster, "nobody leads what is away", || {
        let all = partitions(&cluster, "t");
        all.len() == 4 && all.iter().all(|(index, leader, _)| (leader == "1") != away.contains(index))
    });
    assert!(logs_in(&data, "t").is_disjoint(&away));
    // What is new goes where there is a disk.
    cluster.tool("kafka-topics", &["--create", "--topic", "new", "--partitions", "2"]).ok();
    produce(&cluster, "new", 0..10).ok();
    assert_eq!(cluster.stop(1), Some(0));
    disk.mend().unwrap();
    cluster.restart(1).unwrap();
    assert_eq!(read(&cluster, "t", 200), (0..200).collect::<Vec<_>>());
    assert_eq!(read(&cluster, "new", 10), (0..10).collect::<Vec<_>>());
}

/// A node of which only the log directory is on the disk, or only its metadata.
fn ends_with_its_disk(keys: impl Fn(&Path, &Path) -> Vec<String>, reason: &str) {
    let Some(disk) = disk() else { return };
    let mut cluster = Cluster::prepare(&[(1, Roles::Both)], &[]).unwrap();
    for line in keys(&disk.data_dir(), &cluster.node(1).data_dir()) {
        cluster.configure(1, &line).unwrap();
    }
    cluster.restart(1).unwrap();
    cluster.tool("kafka-topics", &["--create", "--topic", "t"]).ok();
    produce(&cluster, "t", 0..10).ok();
    disk.fail().unwrap();
    // Neither succeeds, and neither has to be waited for.
    let asks = ["kafka-topics --create --topic u", "kafka-console-producer --topic t"].map(|line| {
        let mut command = Command::new(ottla::binary().unwrap());
        command.args(line.split(' ')).args(["--bootstrap-server", &cluster.bootstrap()]);
        std::thread::spawn(move || process::run(&mut command, b"1\n", Duration::from_secs(10)))
    });
    assert_eq!(cluster.ends(1, PATIENCE), Some(1), "{}", cluster.log(1));
    assert!(cluster.log(1).contains(reason), "{}", cluster.log(1));
    for ask in asks {
        ask.join().unwrap();
    }
    disk.mend().unwrap();
    cluster.restart(1).unwrap();
    assert_eq!(read(&cluster, "t", 10), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_broker_without_a_log_directory_ends() {
    let keys = |disk: &Path, other: &Path| {
        vec![format!("log.dirs={}", disk.display()), format!("metadata.log.dir={}", other.join("metadata").display())]
    };
    ends_with_its_disk(keys, "all log directories have failed");
}

#[test]
fn a_node_that_cannot_keep_its_metadata_ends() {
    let keys = |disk: &Path, _: &Path| vec![format!("metadata.log.dir={}", disk.display())];
    ends_with_its_disk(keys, "the metadata log can no longer be kept");
}

/// A file system in memory, gone when this is dropped.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(dir.path());
        mount.output().ok()?.status.success().then_some(Self(dir))
    }

    fn ballast(&self) -> PathBuf {
        self.0.path().join("ballast")
    }

    fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::File::create(self.ballast()).unwrap();
        for size in [64 << 10, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.0.path()).status().ok();
    }
}

#[test]
fn a_metadata_log_without_space_goes_on_when_there_is_some() {
    let Some(disk) = Tmpfs::mount() else {
        println!("skipped: a tmpfs cannot be mounted without root");
        return;
    };
    let mut cluster = Cluster::prepare(&[(1, Roles::Both)], &[]).unwrap();
    cluster.configure(1, &format!("metadata.log.dir={}", disk.0.path().display())).unwrap();
    cluster.restart(1).unwrap();
    let pid = cluster.node(1).pid();
    cluster.tool("kafka-topics", &["--create", "--topic", "t"]).ok();
    // Ids of producers are given out in blocks, of which the metadata takes note: here is the first.
    produce(&cluster, "t", 0..10).ok();
    for round in 1..3 {
        disk.fill();
        let create = |number: usize| {
            let mut command = Command::new(ottla::binary().unwrap());
            command.args(["kafka-topics", "--bootstrap-server", &cluster.bootstrap(), "--create"]);
            command.args(["--topic", &format!("u-{round}-{number}"), "--partitions", "50"]);
            process::run(&mut command, b"", Duration::from_secs(3))
        };
        // What is left of a page may hold one more.
        let refused = (0..20).find(|&number| create(number).code != 0);
        let refused = refused.expect("a topic that cannot be noted");
        assert!(
            cluster.log(1).contains("no change of the cluster's metadata until there is space"),
            "{}",
            cluster.log(1)
        );
        // Data goes on meanwhile.
        produce(&cluster, "t", round * 10..round * 10 + 10).ok();
        std::fs::remove_file(disk.ballast()).unwrap();
        eventually(&cluster, "topics are created again", || create(refused + 100).code == 0);
    }
    assert_eq!(cluster.node(1).pid(), pid);
    assert_eq!(read(&cluster, "t", 30), (0..30).collect::<Vec<_>>());
    assert_eq!(cluster.stop(1), Some(0), "{}", cluster.log(1));
    cluster.restart(1).unwrap();
    assert_eq!(read(&cluster, "t", 30), (0..30).collect::<Vec<_>>());
}

/// The active controller waits for space: another one takes over, and the first follows it once there is some.
#[test]
fn a_controller_without_space_is_replaced() {
    let Some(disk) = Tmpfs::mount() else { return };
    let nodes = [1, 2, 3].map(|id| (id, Roles::Controller));
    let nodes: Vec<(i32, Roles)> = nodes.into_iter().chain([(101, Roles::Broker), (102, Roles::Broker)]).collect();
    let mut cluster = Cluster::prepare(&nodes, &[]).unwrap();
    for (id, _) in &nodes {
        if *id == 1 {
            cluster.configure(1, &format!("metadata.log.dir={}", disk.0.path().display())).unwrap();
        }
        cluster.spawn(*id).unwrap();
    }
    cluster.wait_until_ready().unwrap();
    // Until the one that will be without space leads.
    eventually(&cluster, "node 1 leads", || {
        let leader = cluster.active_controller();
        if let Some(other) = leader.filter(|leader| *leader != 1) {
            cluster.freeze(other);
            std::thread::sleep(Duration::from_secs(2));
            cluster.thaw(other);
        }
        leader == Some(1)
    });
    let create = |topic: &str| cluster.tool("kafka-topics", &["--create", "--topic", topic, "--partitions", "50"]);
    disk.fill();
    let waits = "no change of the cluster's metadata until there is space";
    let mut number = 0;
    eventually(&cluster, "topics are created without it", || {
        number += 1;
        create(&format!("u-{number}")).code == 0 && cluster.log(1).contains(waits)
    });
    assert_ne!(cluster.active_controller(), Some(1));
    std::fs::remove_file(disk.ballast()).unwrap();
    let lag = |cluster: &Cluster| {
        let described = cluster.tool("kafka-metadata-quorum", &["describe", "--replication"]).stdout;
        let line = described.lines().find(|line| line.split_whitespace().next() == Some("1"))?;
        line.split_whitespace().nth(3)?.parse::<u64>().ok()
    };
    eventually(&cluster, "it has caught up", || lag(&cluster) == Some(0));
    create("after").ok();
}

/// Whatever is asked of a node without space for its metadata, it can be stopped.
#[test]
fn a_node_that_waits_for_space_can_be_stopped() {
    let Some(disk) = Tmpfs::mount() else { return };
    let mut cluster = Cluster::prepare(&[(1, Roles::Both)], &[]).unwrap();
    cluster.configure(1, &format!("metadata.log.dir={}", disk.0.path().display())).unwrap();
    cluster.restart(1).unwrap();
    disk.fill();
    let waits = "no change of the cluster's metadata until there is space";
    for number in 0..20 {
        let mut command = Command::new(ottla::binary().unwrap());
        command.args(["kafka-topics", "--bootstrap-server", &cluster.bootstrap(), "--create", "--partitions", "50"]);
        process::run(command.args(["--topic", &format!("u-{number}")]), b"", Duration::from_secs(3));
        if cluster.log(1).contains(waits) {
            break;
        }
    }
    assert!(cluster.log(1).contains(waits));
    assert_eq!(cluster.stop(1), Some(0), "{}", cluster.log(1));
}
