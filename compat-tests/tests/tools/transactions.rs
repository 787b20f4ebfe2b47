//! kafka-transactions on transactions that are open: list, describe, describe-producers, find-hanging, abort, forceTerminateTransaction.

use std::time::Duration;

use ottla_compat_tests::broker::{self, Broker, Target};
use ottla_compat_tests::results::{self, Outcome};
use ottla_compat_tests::{jvm, tool, toolchain};
use regex::Regex;

use super::tool_story;

const TOOL: &str = "kafka-transactions --bootstrap-server @";

/// Numbers that count what the broker has done before, and times: only their places are compared.
fn shape(text: &str) -> String {
    let rule =
        |pattern: &str, text: &str, with: &str| Regex::new(pattern).unwrap().replace_all(text, with).into_owned();
    // A time or a duration, a producer id, an epoch of a coordinator: numbers as columns of their own.
    let text = rule(r"\b\d{2,}\b", text, "<n>");
    rule(r"[ \t]+", &text, " ")
}

#[test]
fn open_transactions() {
    tool_story("kafka-transactions", "list, describe, find-hanging, abort, forceTerminateTransaction", |s| {
        s.quiet("kafka-topics --bootstrap-server @ --create --topic txn-tool --partitions 1").ok();
        let go_on = s.broker.data_dir().with_file_name("go-on");
        std::fs::remove_file(&go_on).ok();
        let open = |id: &str| {
            let arguments = [s.broker.bootstrap(), id.to_owned(), "txn-tool".into(), go_on.display().to_string()];
            let producer = jvm::start("OpenTransaction", &arguments, b"").unwrap();
            assert!(
                producer.wait_until(Duration::from_secs(30), |text| text.contains("open")),
                "{}",
                producer.output()
            );
            producer
        };
        let first = open("txn-tool-1");
        let mut steps = Vec::new();
        let mut look = |title: &str, keep: &str| {
            let output = s.quiet(&format!("{TOOL} {title}"));
            let lines: Vec<&str> = output.stdout.lines().filter(|line| line.contains(keep)).collect();
            steps.push((title.to_owned(), shape(&format!("{}\n{}", output.code, lines.join("\n")))));
        };
        look("list", "txn-tool");
        look("list --duration-filter 600000", "txn-tool");
        look("list --transactional-id-pattern txn-tool.*", "txn-tool");
        look("list --transactional-id-pattern other.*", "txn-tool");
        look("list --transactional-id-pattern 'other)|(?:txn-tool.*'", "txn-tool");
        look("describe --transactional-id txn-tool-1", "");
        look("describe-producers --topic txn-tool --partition 0", "");
        // It is open, and its coordinator knows: it does not hang, however old it may be.
        look("find-hanging --topic txn-tool --max-transaction-timeout 0", "");
        look("abort --topic txn-tool --partition 0 --start-offset 0", "");
        look("describe-producers --topic txn-tool --partition 0", "");
        look("abort --topic txn-tool --partition 0 --start-offset 0", "");
        let second = open("txn-tool-2");
        look("forceTerminateTransaction --transactionalId txn-tool-2", "");
        look("forceTerminateTransaction --transactionalId txn-tool-absent", "");
        for _ in 0..120 {
            if s.quiet(&format!("{TOOL} describe --transactional-id txn-tool-2")).stdout.contains("CompleteAbort") {
                break;
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        let described = s.quiet(&format!("{TOOL} describe --transactional-id txn-tool-2"));
        steps.push(("after it was terminated".into(), shape(&described.stdout)));
        std::fs::write(&go_on, "").unwrap();
        for (name, producer) in [("first", first), ("second", second)] {
            steps.push((format!("the {name} producer's commit"), producer.wait(Duration::from_secs(60)).stdout));
        }
        for (title, text) in steps {
            s.note(&title, &text);
        }
        s.tool(
            "kafka-console-consumer --bootstrap-server @ --topic txn-tool --from-beginning --isolation-level read_committed --timeout-ms 4000",
        );
    });
}

/// Empties every partition of an internal topic, as a disk does that was replaced: names stay, records are gone.
fn lose_records(broker: &Broker, topic: &str) {
    let mut lost = 0;
    for partition in std::fs::read_dir(broker.data_dir()).unwrap().map(Result::unwrap) {
        if !partition.file_name().to_string_lossy().starts_with(topic) {
            continue;
        }
        for file in std::fs::read_dir(partition.path()).unwrap().map(Result::unwrap) {
            if file.file_name() != "partition.metadata" {
                std::fs::remove_file(file.path()).unwrap();
                lost += 1;
            }
        }
    }
    assert!(lost > 0, "no records of {topic}");
}

/// A transaction whose coordinator has forgotten it: nobody will ever end it, and readers of committed records stand still.
fn hanging(target: Target) -> Vec<(String, String)> {
    let mut broker = Broker::start(target, &[]).unwrap();
    let run = |broker: &Broker, line: &str| {
        let mut words = line.split_whitespace().map(|word| match word {
            "@" => broker.bootstrap(),
            word => word.to_owned(),
        });
        let name = words.next().unwrap();
        tool::run(&name, &words.collect::<Vec<_>>(), b"")
    };
    run(&broker, "kafka-topics --bootstrap-server @ --create --topic hang --partitions 1").ok();
    let go_on = broker.data_dir().with_file_name("go-on");
    let arguments = [broker.bootstrap(), "hang".to_owned(), "hang".to_owned(), go_on.display().to_string()];
    let producer = jvm::start("OpenTransaction", &arguments, b"").unwrap();
    assert!(producer.wait_until(Duration::from_secs(30), |text| text.contains("open")), "{}", producer.output());
    broker.stop();
    lose_records(&broker, "__transaction_state-");
    broker.restart().unwrap();
    let committed = "kafka-console-consumer --bootstrap-server @ --topic hang --from-beginning --isolation-level read_committed \
                     --timeout-ms 3000";
    let mut steps = Vec::new();
    let mut look = |line: &str| {
        let output = run(&broker, line);
        steps.push((line.to_owned(), shape(&format!("{}\n{}", output.code, output.stdout))));
    };
    let write =
        "kafka-producer-perf-test --bootstrap-server @ --topic hang --num-records 3 --record-size 1 --throughput -1";
    assert_eq!(run(&broker, write).code, 0);
    look(&format!("{TOOL} find-hanging --topic hang --max-transaction-timeout 0"));
    look(&format!("{TOOL} find-hanging --broker-id 1 --max-transaction-timeout 0"));
    // An hour has not passed: it may still be one that a producer is about to end.
    look(&format!("{TOOL} find-hanging --broker-id 1 --max-transaction-timeout 60"));
    look(committed);
    look(&format!("{TOOL} abort --topic hang --partition 0 --start-offset 0"));
    look(&format!("{TOOL} find-hanging --topic hang --max-transaction-timeout 0"));
    look(&format!("{TOOL} describe-producers --topic hang --partition 0"));
    let seen = run(&broker, committed);
    steps.push(("records that were committed".into(), seen.stdout.lines().count().to_string()));
    std::fs::write(&go_on, "").unwrap();
    producer.wait(Duration::from_secs(60));
    steps
}

#[test]
fn a_hanging_transaction_is_found_and_ended() {
    let name = "find-hanging and abort of a transaction whose coordinator forgot it";
    if let Some(reason) = toolchain::missing(&[toolchain::Need::Java]) {
        println!("skipped: {name}: {reason}");
        broker::targets()
            .iter()
            .for_each(|target| results::record("kafka-transactions", name, *target, Outcome::Skipped));
        assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
        return;
    }
    let found: Vec<_> = broker::targets().into_iter().map(|target| (target, hanging(target))).collect();
    for (target, steps) in &found {
        let text: String = steps.iter().map(|(title, text)| format!("$ {title}\n{text}\n")).collect();
        assert!(steps[0].1.contains("hang"), "found\n{text}");
        assert!(!steps[5].1.contains("hang"), "not found once it was aborted\n{text}");
        assert_eq!(steps.last().unwrap().1, "3", "what was written behind it is read\n{text}");
        assert_eq!(*steps, found[0].1, "{} and {}", target.name(), found[0].0.name());
        results::record("kafka-transactions", name, *target, Outcome::Passed);
    }
}
