//! File source and file sink on two workers: the source exactly once, the sink without a gap.

use std::fs::{self, File};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ottla_compat_tests::broker::{Broker, targets};
use ottla_compat_tests::connect::ConnectCluster;
use ottla_compat_tests::results::{self, Outcome};
use ottla_compat_tests::tool;
use ottla_compat_tests::toolchain::{self, Need};
use serde_json::json;

use crate::nemesis::{BUSY, Nemesis};

const STORY: &str = "file source (exactly once) and sink, workers and broker killed";

#[test]
fn from_file_to_file_whoever_dies() {
    if let Some(reason) = toolchain::missing(&[Need::Maven, Need::Java]) {
        println!("skipped: Connect: {reason}");
        assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
        return;
    }
    let _turn = crate::take_turns();
    let target = *targets().last().expect("a target");
    results::record("Kafka Connect", STORY, target, Outcome::Failed);
    let mut nemesis = Nemesis::new();
    let mut broker = Broker::start(target, &BUSY).unwrap();
    let mut connect = ConnectCluster::start("files", &broker.bootstrap(), 2, &[]);
    let (input, output) = (connect.dir().join("in.txt"), connect.dir().join("out.txt"));
    let mut lines = File::create(&input).unwrap();
    let source = json!({
        "connector.class": "FileStreamSource", "tasks.max": "1", "file": input, "topic": "file-lines",
        "exactly.once.support": "required", "transaction.boundary": "poll",
        "topic.creation.default.replication.factor": "1", "topic.creation.default.partitions": "1",
    });
    let sink = json!({
        "connector.class": "FileStreamSink", "tasks.max": "1", "file": output, "topics": "file-lines",
        "consumer.override.isolation.level": "read_committed",
    });
    // The sink's consumer would have the broker create it, with several partitions: one shows the order, too.
    let create = format!("--bootstrap-server {} --create --topic file-lines --partitions 1", broker.bootstrap());
    tool::run("kafka-topics", &create.split(' ').map(str::to_owned).collect::<Vec<_>>(), b"").ok();
    connect.configure("source", &source);
    connect.configure("sink", &sink);
    connect.wait_running("source", 1);
    connect.wait_running("sink", 1);
    let stop = Arc::new(AtomicBool::new(false));
    let writer = thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                lines.write_all(format!("line {count}\n").as_bytes()).unwrap();
                count += 1;
                thread::sleep(Duration::from_millis(5));
            }
            count
        }
    });
    nemesis.strike(&mut broker, &mut connect, "source");
    stop.store(true, Ordering::Relaxed);
    let count: usize = writer.join().unwrap();
    let expected: Vec<String> = (0..count).map(|n| format!("line {n}")).collect();
    let last = expected.last().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    let sunk = loop {
        let text = fs::read_to_string(&output).unwrap_or_default();
        if text.lines().any(|line| line == last) {
            break text;
        }
        let at = text.lines().last();
        assert!(
            Instant::now() < deadline,
            "the sink is at {at:?} of {count}\n{}\n--- broker\n{}",
            connect.log(),
            broker.log()
        );
        thread::sleep(Duration::from_millis(300));
    };
    let arguments = format!(
        "--bootstrap-server {} --topic file-lines --from-beginning --isolation-level read_committed --timeout-ms 5000",
        broker.bootstrap()
    );
    let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
    let read = tool::run("kafka-console-consumer", &arguments, b"");
    let found: Vec<&str> = read.stdout.lines().collect();
    let first = found.iter().zip(&expected).position(|(found, expected)| found != expected);
    assert!(
        found.len() == count && first.is_none(),
        "{} lines in the topic, {count} in the file; first difference at {first:?}: {:?}\n{}",
        found.len(),
        first.map(|at| found[at]),
        connect.log()
    );
    let missing: Vec<&String> = {
        let sunk: std::collections::HashSet<&str> = sunk.lines().collect();
        expected.iter().filter(|line| !sunk.contains(line.as_str())).collect()
    };
    assert!(missing.is_empty(), "not in the sink: {missing:?}");
    println!("{count} lines once in the topic, {} in the sink", sunk.lines().count());
    connect.workers.iter_mut().for_each(|worker| worker.stop());
    results::record("Kafka Connect", STORY, target, Outcome::Passed);
}
