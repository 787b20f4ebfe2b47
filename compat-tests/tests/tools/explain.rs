//! `ottla explain`: Kafka has no such tool, so Ottla alone is asked.

use std::process::Command;
use std::time::Duration;

use ottla_compat_tests::broker::{Broker, Target, targets};
use ottla_compat_tests::results::{self, Outcome};
use ottla_compat_tests::toolchain::{self, Need};
use ottla_compat_tests::{ottla, process, tool};

const STORY: &str = "why a group rebalanced, and who it was";

#[test]
fn explain_tells_who_made_a_group_rebalance() {
    if toolchain::missing(&[Need::Maven, Need::Java]).is_some() || !targets().contains(&Target::Ottla) {
        assert!(!toolchain::is_ci(), "skipped under CI");
        return;
    }
    results::record("ottla explain", STORY, Target::Ottla, Outcome::Failed);
    let broker = Broker::start(Target::Ottla, &[]).unwrap();
    let at = broker.bootstrap();
    let words = |line: &str| line.replace('@', &at).split(' ').map(str::to_owned).collect::<Vec<_>>();
    let explain = |what: &str| {
        let mut command = Command::new(ottla::binary().unwrap());
        command.args(words(&format!("explain {what} --bootstrap-server @")));
        process::run(&mut command, b"", Duration::from_secs(30)).ok().stdout
    };
    tool::run("kafka-topics", &words("--bootstrap-server @ --create --topic t --partitions 2"), b"").ok();
    let consume = words("--bootstrap-server @ --topic t --group g --consumer-property client.id=teller");
    let consumer = tool::start("kafka-console-consumer", &consume, b"").unwrap();
    for _ in 0..120 {
        if explain("group g").contains("teller") {
            break;
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    consumer.wait(Duration::ZERO);
    let told = explain("group g");
    assert!(told.contains("rebalance after epoch 0: "), "{told}");
    assert!(told.contains("[client teller at /127.0.0.1, member teller-"), "{told}");
    // What became of the offsets is known even when the group is not there any more.
    tool::run("kafka-topics", &words("--bootstrap-server @ --delete --topic t"), b"").ok();
    for _ in 0..120 {
        if explain("group g").contains("their topic was deleted") {
            break;
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    assert!(explain("group g --json").contains("\"reason\":\"offsets of t-"), "{}", explain("group g"));
    assert!(explain("group nobody").contains("Nothing has happened to group nobody"));
    assert!(explain("transaction nothing").contains("Nothing has happened to transaction nothing"));
    results::record("ottla explain", STORY, Target::Ottla, Outcome::Passed);
}
