//! kafka-transactions on transactions that are open: list, describe, describe-producers, find-hanging, abort, forceTerminateTransaction.

use std::time::Duration;

use ottla_compat_tests::jvm;
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
