//! Partition directories change hands: what Apache Kafka wrote is served by Ottla, and the other way round, also after a
//! kill -9. The topic is created first; its directory is replaced but for `partition.metadata`, which names the topic.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ottla_compat_tests::broker::{Broker, Target, targets};
use ottla_compat_tests::jvm;
use ottla_compat_tests::process::Output;
use ottla_compat_tests::results::{self, Outcome};
use ottla_compat_tests::tool;
use ottla_compat_tests::toolchain::{self, Need};

const PLACES: [&str; 4] = ["swap-plain-0", "swap-plain-1", "swap-compacted-0", "swap-transactions-0"];
const LIMIT: Duration = Duration::from_secs(90);

/// Two hours ago, in milliseconds: producers whose records are older than a day are forgotten.
fn epoch() -> u128 {
    static EPOCH: OnceLock<u128> = OnceLock::new();
    *EPOCH.get_or_init(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        now - 7_200_000
    })
}

fn data(action: &str, broker: &Broker) -> Output {
    jvm::start("SwapData", &[action.to_owned(), broker.bootstrap(), epoch().to_string()], b"").unwrap().wait(LIMIT).ok()
}

/// Waits until there is nothing left to be compacted.
fn wait_for_compaction(broker: &Broker) {
    const REST: Duration = Duration::from_millis(2_000);
    let file = broker.data_dir().join("cleaner-offset-checkpoint");
    let look = || {
        let text = fs::read_to_string(&file).unwrap_or_default();
        text.lines().find(|line| line.starts_with("swap-compacted 0 ")).map(str::to_owned)
    };
    let deadline = Instant::now() + LIMIT;
    let mut known = (look(), Instant::now());
    while known.0.is_none() || known.1.elapsed() < REST {
        assert!(Instant::now() < deadline, "nothing was compacted\n{}", broker.log());
        std::thread::sleep(Duration::from_millis(50));
        let now = look();
        if now != known.0 {
            known = (now, Instant::now());
        }
    }
}

/// Puts the directory of a partition in the place of another; the receiver's own topic id stays.
fn put(from: &Path, to: &Path) {
    let identity = fs::read(to.join("partition.metadata")).unwrap();
    fs::remove_dir_all(to).unwrap();
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    fs::write(to.join("partition.metadata"), identity).unwrap();
}

fn swap(from: Target, to: Target, kill: bool) {
    let mut giver = Broker::start(from, &["log.cleaner.backoff.ms=100"]).unwrap();
    data("create", &giver);
    data("fill", &giver);
    wait_for_compaction(&giver);
    if kill {
        giver.kill();
    } else {
        giver.stop();
    }
    // What it serves itself after that is what the other has to serve: it is asked once more, on a copy.
    let copies = tempfile::tempdir().unwrap();
    for place in PLACES {
        let copy = copies.path().join(place);
        fs::create_dir(&copy).unwrap();
        fs::write(
            copy.join("partition.metadata"),
            fs::read(giver.data_dir().join(place).join("partition.metadata")).unwrap(),
        )
        .unwrap();
        put(&giver.data_dir().join(place), &copy);
    }
    giver.restart().unwrap();
    let expected = data("show", &giver).stdout;
    giver.stop();

    // Nothing is compacted before it was looked at.
    let mut taker = Broker::start(to, &["log.cleaner.enable=false"]).unwrap();
    data("create", &taker);
    taker.stop();
    for place in PLACES {
        put(&copies.path().join(place), &taker.data_dir().join(place));
    }
    // It vouches for what was there before.
    fs::remove_file(taker.data_dir().join(".kafka_cleanshutdown")).unwrap();
    taker.restart().unwrap();
    let found = data("show", &taker).stdout;
    let differing: Vec<(&str, &str)> = expected.lines().zip(found.lines()).filter(|(a, b)| a != b).take(10).collect();
    assert!(
        expected == found,
        "{} lines and {} lines, differing: {differing:#?}\n{}",
        expected.lines().count(),
        found.lines().count(),
        taker.log()
    );
    assert!(expected.lines().count() > 400, "{expected}");
    let aborted = |text: &str, isolation: &str| {
        text.lines().filter(|line| line.starts_with(isolation) && line.contains("round 1")).count()
    };
    assert_eq!((aborted(&found, "read_uncommitted"), aborted(&found, "read_committed")), (5, 0));

    // It goes on from there.
    data("more", &taker);
    let more = data("show", &taker).stdout;
    let of = |text: &str, isolation: &str, what: &str| {
        text.lines().filter(|line| line.starts_with(isolation) && line.contains(what)).count()
    };
    assert_eq!(of(&more, "read_committed", " more "), 4);
    assert_eq!((of(&more, "read_committed", "aborted later"), of(&more, "read_committed", "committed later")), (0, 1));
    // Also after a kill.
    taker.kill();
    taker.restart().unwrap();
    assert_eq!(data("show", &taker).stdout, more);
    taker.stop();
    // And Kafka's own tool finds no fault in the files.
    for place in PLACES {
        let dir = taker.data_dir().join(place);
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.ends_with(".log") || name.ends_with(".snapshot") || name.ends_with(".txnindex") {
                dump(&["--deep-iteration"], &path);
            } else if name.ends_with(".index") {
                dump(&["--index-sanity-check"], &path);
            }
        }
    }
}

fn dump(options: &[&str], path: &Path) {
    let mut arguments: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    arguments.extend(["--files".to_owned(), path.display().to_string()]);
    let output = tool::run("kafka-dump-log", &arguments, b"").ok();
    let text = format!("{}{}", output.stdout, output.stderr);
    let fault = ["isvalid: false", "Mismatches", "Found invalid", "Exception", "corrupt"];
    assert!(!fault.iter().any(|word| text.contains(word)), "{}: {text}", path.display());
}

fn story(name: &str, from: Target, to: Target, kill: bool) {
    if let Some(reason) = toolchain::missing(&[Need::Maven, Need::Java]) {
        println!("skipped: directories: {reason}");
        assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
        return;
    }
    if targets().len() < 2 {
        println!("skipped: directories: both brokers are needed");
        return;
    }
    results::record("Directories", name, Target::Ottla, Outcome::Failed);
    swap(from, to, kill);
    results::record("Directories", name, Target::Ottla, Outcome::Passed);
}

#[test]
fn ottla_serves_what_kafka_wrote() {
    story("of Apache Kafka in Ottla", Target::Apache, Target::Ottla, false);
}

#[test]
fn ottla_serves_what_a_killed_kafka_wrote() {
    story("of a killed Apache Kafka in Ottla", Target::Apache, Target::Ottla, true);
}

#[test]
fn kafka_serves_what_ottla_wrote() {
    story("of Ottla in Apache Kafka", Target::Ottla, Target::Apache, false);
}

#[test]
fn kafka_serves_what_a_killed_ottla_wrote() {
    story("of a killed Ottla in Apache Kafka", Target::Ottla, Target::Apache, true);
}
