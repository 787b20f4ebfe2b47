//! Every node of a cluster stops and starts again in turn, twice, while an exactly-once application runs on it: the output is
//! the model's, record by record, and the application never gives up.

use std::time::{Duration, Instant};

use ottla_compat_tests::broker::Target;
use ottla_compat_tests::cluster::Cluster;
use ottla_compat_tests::results::{self, Outcome};
use ottla_compat_tests::toolchain::{self, Need};

use crate::application::{Application, EXACTLY_ONCE};
use crate::deaths::{BUSY, LINES_PER_DEATH};

const STORY: &str = "exactly_once_v2, rolling restarts of three nodes";
const NODES: i32 = 3;
const ROUNDS: u64 = 2;
/// Of work, before each stop.
const BETWEEN: Duration = Duration::from_millis(2500);
const LINES: u64 = LINES_PER_DEATH * ROUNDS * NODES as u64;
/// Stops and starts take their time as well.
const FEED_MS: u64 = ROUNDS * NODES as u64 * 3500;

#[test]
fn exactly_once_is_exact_over_rolling_restarts() {
    if let Some(reason) = toolchain::missing(&[Need::Maven, Need::Java]) {
        println!("skipped: Kafka Streams: {reason}");
        assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
        return;
    }
    results::record("Kafka Streams", STORY, Target::Ottla, Outcome::Failed);
    let replicated = [
        "default.replication.factor=3",
        "min.insync.replicas=2",
        "offsets.topic.replication.factor=3",
        "transaction.state.log.replication.factor=3",
        "transaction.state.log.min.isr=2",
    ];
    let mut cluster = Cluster::combined(NODES, &[&BUSY[..], &replicated].concat()).unwrap();
    let mut application = Application::new("rolled", EXACTLY_ONCE, &cluster.bootstrap());
    application.model_run("create", LINES, 0, 1).ok();
    application.start();
    let feed = application.model("feed", LINES, FEED_MS, 1);
    assert!(feed.wait_until(Duration::from_secs(60), |text| text.contains("loading")), "{}", feed.output());
    for node in (0..ROUNDS).flat_map(|_| 1..=NODES) {
        std::thread::sleep(BETWEEN);
        application.assert_running();
        wait_until_whole(&cluster);
        assert_eq!(cluster.stop(node), Some(0), "{}", cluster.log(node));
        cluster.restart(node).unwrap();
    }
    let fed = feed.wait(Duration::from_secs(120));
    assert!(fed.code == 0, "feeding\n{fed}");
    let verified = application.model_run("verify", LINES, 0, 1);
    let logs = || (1..=NODES).map(|id| format!("--- node {id}\n{}", cluster.log(id))).collect::<String>();
    assert!(verified.code == 0, "{verified}\n--- application\n{}\n{}", application.log(), logs());
    println!("{}", verified.stdout);
    application.assert_running();
    application.stop();
    results::record("Kafka Streams", STORY, Target::Ottla, Outcome::Passed);
}

/// Whoever rolls a cluster stops a node only when the others have everything.
fn wait_until_whole(cluster: &Cluster) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let behind = || cluster.tool("kafka-topics", &["--describe", "--under-replicated-partitions"]).ok().stdout;
    while !behind().trim().is_empty() {
        assert!(Instant::now() < deadline, "not in sync again:\n{}", behind());
        std::thread::sleep(Duration::from_millis(100));
    }
}
