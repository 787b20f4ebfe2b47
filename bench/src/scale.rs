//! What many partitions cost a cluster of three: to create them, to lose a controller, to have a broker back, to hear of a change.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ottla_compat_tests::broker::Target;
use ottla_compat_tests::cluster::{Cluster, Roles};
use ottla_compat_tests::kafka;
use ottla_compat_tests::process::Daemon;
use ottla_compat_tests::wire::Wire;
use ottla_protocol::messages::metadata_request::MetadataRequestTopic;
use ottla_protocol::messages::{MetadataRequest, MetadataResponse};
use ottla_protocol::{StrBytes, request, response};

use crate::measure::{Cpu, Sample};
use crate::report;

const NODES: [(i32, Roles); 3] = [(1, Roles::Both), (2, Roles::Both), (3, Roles::Both)];
const REPLICAS: usize = 3;
/// Kafka refuses more than 10,000 in one request.
const PARTITIONS_OF_A_TOPIC: usize = 1000;
/// Of Metadata: topic ids, and errors of topics beside each other.
const VERSION: i16 = 12;
/// Small topics that are created to see how long it takes until every broker knows them.
const CHANGES: usize = 20;
/// A step that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(1800);
/// What follows a creation (checkpoints, the JVM's compiler) is over after so long, and then so long nothing happens.
const SETTLES: Duration = Duration::from_secs(15);
const RESTS: Duration = Duration::from_secs(20);
/// Between two looks at everything: an answer has megabytes.
const LOOK: Duration = Duration::from_millis(50);

/// Measures everybody `rounds` times and prints the medians.
pub fn run(rounds: usize, partitions: usize, targets: &[String]) -> Result<(), String> {
    let mut samples = Vec::new();
    for round in 0..rounds {
        let mut order = [Target::Apache, Target::Ottla];
        if round % 2 == 1 {
            order.reverse();
        }
        for target in order.into_iter().filter(|target| targets.iter().any(|name| name == target.name())) {
            eprintln!("round {} of {rounds}: {}, {partitions} partitions", round + 1, target.name());
            let sample = measure(target, partitions)?;
            eprintln!("{sample}");
            samples.push(sample);
        }
    }
    println!("{partitions} partitions of {REPLICAS} replicas on three nodes, {rounds} round(s) (medians)\n");
    println!("{}", report::markdown(&samples));
    report::write_json(&samples)
}

fn measure(target: Target, partitions: usize) -> Result<Sample, String> {
    let mut sample = Sample::new(target);
    let mut nodes = Nodes::start(target)?;

    let began = Instant::now();
    for (number, from) in (0..partitions).step_by(PARTITIONS_OF_A_TOPIC).enumerate() {
        let count = PARTITIONS_OF_A_TOPIC.min(partitions - from);
        nodes.create(&format!("many-{number}"), count, REPLICAS)?;
    }
    sample.set("create_answered_s", began.elapsed().as_secs_f64());
    nodes.until(&[1, 2, 3], |found| found.is_whole(partitions))?;
    sample.set("create_in_sync_s", began.elapsed().as_secs_f64());
    sample.set("resident_after_creation_mib", nodes.resident_mib());
    std::thread::sleep(SETTLES);
    sample.set("idle_cpu_percent_of_a_node", nodes.cpu_percent_in(RESTS));

    let mut times = Vec::new();
    for number in 0..CHANGES {
        let name = format!("change-{number}");
        let began = Instant::now();
        nodes.create(&name, 1, REPLICAS)?;
        let answered = began.elapsed();
        nodes.until_known(&name)?;
        times.push((answered.as_secs_f64() * 1e3, began.elapsed().as_secs_f64() * 1e3));
    }
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    sample.set("one_topic_created_ms", times[times.len() / 2].0);
    times.sort_by(|a, b| a.1.total_cmp(&b.1));
    sample.set("one_topic_known_everywhere_ms", times[times.len() / 2].1);
    let total = partitions + CHANGES;

    let active = nodes.cluster.active_controller().ok_or("nobody leads the quorum")?;
    let others: Vec<i32> = NODES.iter().map(|(id, _)| *id).filter(|id| *id != active).collect();
    nodes.kill(active);
    let began = Instant::now();
    let (led, created) = std::thread::scope(|scope| {
        let creating = scope.spawn(|| nodes.create_at_last("after-the-controller").map(|()| began.elapsed()));
        let led = nodes.until(&others, |found| found.is_led_without(active, total)).map(|()| began.elapsed());
        (led, creating.join().unwrap_or_else(|_| Err("the creator panicked".into())))
    });
    sample.set("controller_killed_new_leaders_ms", led?.as_secs_f64() * 1e3);
    sample.set("controller_killed_topic_created_ms", created?.as_secs_f64() * 1e3);
    let total = total + 1;

    let began = Instant::now();
    nodes.spawn(active)?;
    nodes.until(&[active], |found| found.count >= total)?;
    sample.set("killed_broker_answers_again_s", began.elapsed().as_secs_f64());
    nodes.until(&[1, 2, 3], |found| found.is_whole(total))?;
    sample.set("killed_broker_in_sync_again_s", began.elapsed().as_secs_f64());

    let began = Instant::now();
    nodes.stop(others[0])?;
    sample.set("broker_stopped_s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    nodes.spawn(others[0])?;
    nodes.until(&[1, 2, 3], |found| found.is_whole(total))?;
    sample.set("stopped_broker_in_sync_again_s", began.elapsed().as_secs_f64());
    sample.set("resident_in_the_end_mib", nodes.resident_mib());
    // The one that leads most of those that do not lead the quorum.
    let active = nodes.cluster.active_controller().ok_or("nobody leads the quorum")?;
    let leaders = nodes.found(active)?.leaders;
    let led_by = |id: &i32| leaders.get(id).copied().unwrap_or(0);
    let ids = NODES.iter().map(|(id, _)| *id).filter(|id| *id != active);
    let victim = ids.max_by_key(led_by).ok_or("nobody else is there")?;
    nodes.kill(victim);
    let began = Instant::now();
    let others: Vec<i32> = NODES.iter().map(|(id, _)| *id).filter(|id| *id != victim).collect();
    nodes.until(&others, |found| found.is_led_without(victim, total))?;
    sample.set("broker_killed_new_leaders_ms", began.elapsed().as_secs_f64() * 1e3);
    sample.set("broker_killed_partitions_it_led", led_by(&victim) as f64);
    Ok(sample)
}

/// What a broker's metadata says of all partitions together.
struct Found {
    count: usize,
    in_sync: usize,
    leaders: BTreeMap<i32, usize>,
}

impl Found {
    fn is_whole(&self, partitions: usize) -> bool {
        self.count >= partitions && self.in_sync == self.count && !self.leaders.contains_key(&-1)
    }

    fn is_led_without(&self, gone: i32, partitions: usize) -> bool {
        self.count >= partitions && !self.leaders.contains_key(&gone) && !self.leaders.contains_key(&-1)
    }
}

struct Nodes {
    cluster: Cluster,
    /// Apache Kafka's processes; Ottla's are the cluster's own.
    apache: Option<BTreeMap<i32, Daemon>>,
}

impl Nodes {
    fn start(target: Target) -> Result<Self, String> {
        let keys = ["auto.leader.rebalance.enable=false", "log.durability=replicated"];
        match target {
            Target::Ottla => Ok(Self { cluster: Cluster::start(&NODES, &keys)?, apache: None }),
            Target::Apache => {
                let cluster = Cluster::prepare(&NODES, &keys)?;
                let apache = Some(cluster.spawn_apache()?);
                Ok(Self { cluster, apache })
            }
        }
    }

    fn create(&self, topic: &str, partitions: usize, replicas: usize) -> Result<(), String> {
        let (partitions, replicas) = (partitions.to_string(), replicas.to_string());
        let arguments = ["--create", "--topic", topic, "--partitions", &partitions, "--replication-factor", &replicas];
        let output = self.cluster.tool_within(PATIENCE, "kafka-topics", &arguments);
        if output.code == 0 || output.stdout.contains("already exists") { Ok(()) } else { Err(output.to_string()) }
    }

    /// On two of three nodes, until somebody does it.
    fn create_at_last(&self, topic: &str) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.create(topic, 1, REPLICAS - 1) {
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
                Ok(()) => return Ok(()),
            }
        }
    }

    fn kill(&mut self, id: i32) {
        match &mut self.apache {
            Some(daemons) => drop(daemons.remove(&id)),
            None => self.cluster.kill(id),
        }
    }

    fn stop(&mut self, id: i32) -> Result<(), String> {
        let code = match &mut self.apache {
            Some(daemons) => daemons.remove(&id).and_then(|mut daemon| daemon.terminate(PATIENCE)),
            None => self.cluster.stop(id),
        };
        code.map(|_| ()).ok_or_else(|| format!("node {id} did not stop by itself"))
    }

    fn spawn(&mut self, id: i32) -> Result<(), String> {
        let Some(daemons) = &mut self.apache else { return self.cluster.spawn(id) };
        let properties = self.cluster.node(id).properties();
        let folder = properties.parent().ok_or("a file lies in a folder")?;
        let mut command = kafka::server(&properties, folder)?;
        let daemon = Daemon::spawn(&mut command, &folder.join("broker.log")).map_err(|error| error.to_string())?;
        daemons.insert(id, daemon);
        Ok(())
    }

    fn pids(&self) -> Vec<u32> {
        match &self.apache {
            Some(daemons) => daemons.values().map(Daemon::pid).collect(),
            None => self.cluster.nodes().map(|node| node.pid()).collect(),
        }
    }

    /// Of one core, the mean of the nodes.
    fn cpu_percent_in(&self, time: Duration) -> f64 {
        let pids = self.pids();
        let spent = || pids.iter().map(|pid| Cpu::of_process(*pid).seconds).sum::<f64>();
        let (before, began) = (spent(), Instant::now());
        std::thread::sleep(time);
        (spent() - before) / began.elapsed().as_secs_f64() / pids.len() as f64 * 100.0
    }

    /// Of the node that has the most.
    fn resident_mib(&self) -> f64 {
        let bytes = match &self.apache {
            Some(daemons) => daemons.values().map(Daemon::resident_bytes).max(),
            None => self.cluster.nodes().map(|node| node.resident_bytes()).max(),
        };
        bytes.unwrap_or(0) as f64 / f64::from(1 << 20)
    }

    fn metadata(&self, id: i32, topic: Option<&str>) -> Result<MetadataResponse, String> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.cluster.node(id).port));
        let named = |name: &str| {
            let name = StrBytes::from_string(name.to_owned());
            vec![MetadataRequestTopic::default().with_name(Some(name.into()))]
        };
        let body = MetadataRequest::default().with_topics(topic.map(named)).with_allow_auto_topic_creation(false);
        let frame = request::encode(1, VERSION, None, &body).map_err(|error| error.to_string())?;
        let answer = || {
            let mut wire = Wire::connect(address, Duration::from_secs(60))?;
            // With its length in front.
            wire.send_bytes(&frame)?;
            wire.receive()
        };
        let answer = answer().map_err(|error: std::io::Error| error.to_string())?;
        let (_, body) =
            response::decode::<MetadataRequest>(VERSION, answer.into()).map_err(|error| error.to_string())?;
        Ok(body)
    }

    /// What broker `id` says of everything.
    fn found(&self, id: i32) -> Result<Found, String> {
        let body = self.metadata(id, None)?;
        let mut found = Found { count: 0, in_sync: 0, leaders: BTreeMap::new() };
        for partition in body.topics.iter().flat_map(|topic| &topic.partitions) {
            found.count += 1;
            found.in_sync += usize::from(partition.isr_nodes.len() == partition.replica_nodes.len());
            *found.leaders.entry(partition.leader_id.0).or_default() += 1;
        }
        Ok(found)
    }

    /// Until each of these brokers says so of everything. One that does not answer yet is asked again.
    fn until(&self, ids: &[i32], is_right: impl Fn(&Found) -> bool) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        for id in ids {
            loop {
                match self.found(*id) {
                    Ok(found) if is_right(&found) => break,
                    Ok(found) if Instant::now() > deadline => {
                        return Err(format!(
                            "node {id} knows {} partitions, {} in sync, leaders {:?}",
                            found.count, found.in_sync, found.leaders
                        ));
                    }
                    Err(error) if Instant::now() > deadline => return Err(error),
                    _ => std::thread::sleep(LOOK),
                }
            }
        }
        Ok(())
    }

    /// Until every broker has a leader for it.
    fn until_known(&self, topic: &str) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        for (id, _) in NODES {
            let is_known = || {
                let body = self.metadata(id, Some(topic))?;
                let mut partitions = body.topics.iter().flat_map(|topic| &topic.partitions).peekable();
                Ok::<bool, String>(
                    partitions.peek().is_some() && partitions.all(|partition| partition.leader_id.0 >= 0),
                )
            };
            while !is_known()? {
                if Instant::now() > deadline {
                    return Err(format!("node {id} does not hear of {topic}"));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }
}
