//! How long partitions are without a leader when a broker is killed, and when one is frozen. Prints a histogram; asserts only
//! that leaders come. `OTTLA_FAILOVERS` sets the number of kills; `APACHE_FAILOVERS` has Apache Kafka killed, too, so often.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ottla_compat_tests::broker::Target;
use ottla_compat_tests::cluster::{Cluster, Roles};
use ottla_compat_tests::kafka;
use ottla_compat_tests::process::Daemon;
use ottla_protocol::messages::{MetadataRequest, MetadataResponse};
use ottla_protocol::{request, response};

const PATIENCE: Duration = Duration::from_secs(30);

fn metadata(socket: &mut TcpStream) -> std::io::Result<MetadataResponse> {
    let request = MetadataRequest::default().with_topics(None);
    socket.write_all(&request::encode(1, 12, None, &request).unwrap())?;
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    socket.read_exact(&mut frame)?;
    Ok(response::decode::<MetadataRequest>(12, frame.into()).unwrap().1)
}

/// Three nodes of either kind.
struct Nodes {
    cluster: Cluster,
    /// Apache Kafka's processes; Ottla's are the cluster's own.
    apache: Option<BTreeMap<i32, Daemon>>,
}

impl Nodes {
    fn start(target: Target) -> Self {
        let mut nodes = match target {
            Target::Ottla => Self { cluster: Cluster::combined(3, &[]).unwrap(), apache: None },
            Target::Apache => {
                let nodes: Vec<(i32, Roles)> = (1..=3).map(|id| (id, Roles::Both)).collect();
                let cluster = Cluster::prepare(&nodes, &[]).unwrap();
                let apache = Some(cluster.spawn_apache().unwrap());
                Self { cluster, apache }
            }
        };
        let arguments = ["--create", "--topic", "led", "--partitions", "12", "--replication-factor", "3"];
        nodes.cluster.tool("kafka-topics", &arguments).ok();
        nodes.wait_until_whole();
        nodes
    }

    fn kill(&mut self, id: i32) {
        match &mut self.apache {
            Some(daemons) => drop(daemons.remove(&id)),
            None => self.cluster.kill(id),
        }
    }

    fn restart(&mut self, id: i32) {
        match &mut self.apache {
            None => self.cluster.restart(id).unwrap(),
            Some(daemons) => {
                let properties = self.cluster.node(id).properties();
                let folder = properties.parent().unwrap();
                let mut command = kafka::server(&properties, folder).unwrap();
                daemons.insert(id, Daemon::spawn(&mut command, &folder.join("broker.log")).unwrap());
            }
        }
        self.wait_until_whole();
    }

    /// Until every partition has a leader that is not `gone`, as each of the others sees it.
    fn time_to_new_leaders(&self, gone: i32, began: Instant) -> Duration {
        for node in self.cluster.nodes().filter(|node| node.id != gone) {
            let mut socket = TcpStream::connect(("127.0.0.1", node.port)).unwrap();
            loop {
                let answer = metadata(&mut socket).unwrap();
                let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
                if partitions.all(|partition| partition.leader_id.0 >= 0 && partition.leader_id.0 != gone) {
                    break;
                }
                assert!(began.elapsed() < PATIENCE, "node {gone} still leads, says node {}", node.id);
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        began.elapsed()
    }

    /// Until every partition has all its replicas in sync and its preferred leader, as each of the nodes sees it.
    fn wait_until_whole(&mut self) {
        let began = Instant::now();
        let mut asked = Instant::now();
        let is_whole = |port: u16| {
            // A node that has just been started may not listen yet.
            let mut socket = TcpStream::connect(("127.0.0.1", port))?;
            let answer = metadata(&mut socket)?;
            let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions).peekable();
            Ok::<bool, std::io::Error>(
                partitions.peek().is_some()
                    && partitions.all(|p| p.isr_nodes.len() == 3 && p.leader_id == p.replica_nodes[0]),
            )
        };
        while !self.cluster.nodes().all(|node| is_whole(node.port).unwrap_or(false)) {
            assert!(began.elapsed() < Duration::from_secs(60), "replicas do not come back in sync");
            if asked.elapsed() > Duration::from_secs(1) {
                let arguments = ["--election-type", "preferred", "--all-topic-partitions"];
                self.cluster.tool("kafka-leader-election", &arguments);
                asked = Instant::now();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Upper ends of the rows of a histogram, in milliseconds.
const ROWS: [u128; 11] = [25, 50, 100, 150, 200, 300, 500, 1_000, 2_000, 5_000, 10_000];

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize].as_millis();
    let (count, max) = (times.len(), at(1.0));
    println!("{what}: {count} times, median {} ms, p90 {} ms, p99 {} ms, max {max} ms", at(0.5), at(0.9), at(0.99));
    let mut from = 0;
    for to in ROWS.into_iter().chain([u128::MAX]) {
        let count = times.iter().filter(|time| (from..to).contains(&time.as_millis())).count();
        if count > 0 {
            println!("  from {from:>5} ms: {count:>3} {}", "#".repeat(count));
        }
        from = to;
    }
}

/// Kills one node after the other, and prints how long the others took.
fn kill_in_turn(nodes: &mut Nodes, name: &str, kills: i32) {
    let (mut of_broker, mut of_controller) = (Vec::new(), Vec::new());
    for run in 0..kills {
        let id = run % 3 + 1;
        let is_controller = nodes.cluster.active_controller() == Some(id);
        let began = Instant::now();
        nodes.kill(id);
        let time = nodes.time_to_new_leaders(id, began);
        if is_controller {
            of_controller.push(time)
        } else {
            of_broker.push(time)
        }
        nodes.restart(id);
    }
    let all = of_broker.iter().chain(&of_controller).copied().collect();
    for (what, times) in [("broker killed", of_broker), ("active controller killed", of_controller), ("all kills", all)]
    {
        if !times.is_empty() {
            print(&format!("{name}, {what}"), times);
        }
    }
}

fn number(variable: &str) -> Option<i32> {
    std::env::var(variable).ok().and_then(|count| count.parse().ok())
}

#[test]
fn partitions_get_new_leaders() {
    let kills = number("OTTLA_FAILOVERS").unwrap_or(6);
    let mut nodes = Nodes::start(Target::Ottla);
    kill_in_turn(&mut nodes, "Ottla", kills);
    let mut frozen = Vec::new();
    for id in 1..=kills.min(3) {
        let began = Instant::now();
        nodes.cluster.freeze(id);
        frozen.push(nodes.time_to_new_leaders(id, began));
        nodes.cluster.thaw(id);
        nodes.wait_until_whole();
    }
    if !frozen.is_empty() {
        print("Ottla, frozen", frozen);
    }
    drop(nodes);
    if let Some(kills) = number("APACHE_FAILOVERS").filter(|kills| *kills > 0) {
        kill_in_turn(&mut Nodes::start(Target::Apache), "Apache Kafka", kills);
    }
}
