//! How long partitions are without a leader when a broker is killed, and when one is frozen. Prints a histogram; asserts only
//! that leaders come. `OTTLA_FAILOVERS` sets the number of kills.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ottla_compat_tests::cluster::Cluster;
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

/// Until every partition has a leader that is not `gone`, as each of the others sees it.
fn time_to_new_leaders(cluster: &Cluster, gone: i32, began: Instant) -> Duration {
    for node in cluster.nodes().filter(|node| node.id != gone) {
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

/// Until every partition has all its replicas in sync and its preferred leader.
fn wait_until_whole(cluster: &Cluster) {
    let began = Instant::now();
    let mut asked = Instant::now();
    loop {
        let node = cluster.nodes().next().unwrap();
        let mut socket = TcpStream::connect(("127.0.0.1", node.port)).unwrap();
        let answer = metadata(&mut socket).unwrap();
        let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        if partitions.all(|p| p.isr_nodes.len() == 3 && p.leader_id == p.replica_nodes[0]) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "replicas do not come back in sync");
        if asked.elapsed() > Duration::from_secs(1) {
            cluster.tool("kafka-leader-election", &["--election-type", "preferred", "--all-topic-partitions"]);
            asked = Instant::now();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize].as_millis();
    println!("{what}: {} times, median {} ms, p90 {} ms, max {} ms", times.len(), at(0.5), at(0.9), at(1.0));
}

#[test]
fn partitions_get_new_leaders() {
    let kills = std::env::var("OTTLA_FAILOVERS").ok().and_then(|count| count.parse().ok()).unwrap_or(6);
    let mut cluster = Cluster::combined(3, &[]).unwrap();
    let arguments = ["--create", "--topic", "led", "--partitions", "12", "--replication-factor", "3"];
    cluster.tool("kafka-topics", &arguments).ok();
    wait_until_whole(&cluster);
    let (mut of_broker, mut of_controller, mut frozen) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..kills {
        let id = run % 3 + 1;
        let is_controller = cluster.active_controller() == Some(id);
        let began = Instant::now();
        cluster.kill(id);
        let time = time_to_new_leaders(&cluster, id, began);
        if is_controller {
            of_controller.push(time)
        } else {
            of_broker.push(time)
        }
        cluster.restart(id).unwrap();
        wait_until_whole(&cluster);
    }
    for id in 1..=kills.min(3) {
        let began = Instant::now();
        cluster.freeze(id);
        frozen.push(time_to_new_leaders(&cluster, id, began));
        println!("{id} frozen: {} ms", began.elapsed().as_millis());
        cluster.thaw(id);
        wait_until_whole(&cluster);
    }
    for (what, times) in [("broker killed", of_broker), ("active controller killed", of_controller), ("frozen", frozen)]
    {
        if !times.is_empty() {
            print(what, times);
        }
    }
}
