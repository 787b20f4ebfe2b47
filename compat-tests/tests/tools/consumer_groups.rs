//! kafka-consumer-groups and kafka-groups: list, describe, members, state, every reset mode, deletion.

use std::time::Duration;

use regex::Regex;

use super::{keyed_lines, tool_story};

const GROUPS: &str = "kafka-consumer-groups --bootstrap-server @";

#[test]
fn an_empty_group() {
    tool_story("kafka-consumer-groups", "describe, list, delete", |s| {
        s.quiet("kafka-topics --bootstrap-server @ --create --topic cg-a --partitions 2").ok();
        s.tool_with_input(
            "kafka-console-producer --bootstrap-server @ --topic cg-a --reader-property parse.key=true",
            &keyed_lines(30),
        );
        s.tool_code("kafka-console-consumer --bootstrap-server @ --topic cg-a --group cg-empty --from-beginning --max-messages 30 --timeout-ms 15000");
        s.tool_with_input(
            "kafka-console-producer --bootstrap-server @ --topic cg-a --reader-property parse.key=true",
            &keyed_lines(5),
        );
        s.tool_lines(&format!("{GROUPS} --list"), |line| line.starts_with("cg-empty"));
        s.tool_lines(&format!("{GROUPS} --list --state"), |line| line.starts_with("cg-empty"));
        s.tool_lines(&format!("{GROUPS} --list --type"), |line| line.starts_with("cg-empty"));
        s.tool_lines(&format!("{GROUPS} --list --state Empty"), |line| line.starts_with("cg-empty"));
        s.tool_lines(&format!("{GROUPS} --list --state Stable"), |line| line.starts_with("cg-empty"));
        s.tool_lines(&format!("{GROUPS} --list --type consumer"), |line| line.starts_with("cg-empty"));
        s.tool(&format!("{GROUPS} --list --state Nonsense"));
        s.tool_sorted(&format!("{GROUPS} --describe --group cg-empty"));
        s.tool(&format!("{GROUPS} --describe --group cg-empty --members"));
        s.tool(&format!("{GROUPS} --describe --group cg-empty --members --verbose"));
        s.tool(&format!("{GROUPS} --describe --group cg-empty --state"));
        s.tool(&format!("{GROUPS} --describe --group cg-absent"));
        s.tool(&format!("{GROUPS} --describe --group cg-absent --members"));
        s.tool(&format!("{GROUPS} --describe --group cg-absent --state"));
        s.tool(&format!("{GROUPS} --delete-offsets --group cg-empty --topic cg-a:0"));
        s.tool_sorted(&format!("{GROUPS} --describe --group cg-empty"));
        s.tool(&format!("{GROUPS} --delete-offsets --group cg-empty --topic cg-a"));
        s.tool(&format!("{GROUPS} --delete-offsets --group cg-empty --topic cg-absent"));
        s.tool(&format!("{GROUPS} --delete-offsets --group cg-absent --topic cg-a"));
        s.tool(&format!("{GROUPS} --delete --group cg-empty"));
        s.tool(&format!("{GROUPS} --delete --group cg-absent"));
        s.tool_lines(&format!("{GROUPS} --list"), |line| line.starts_with("cg-empty"));
    });
}

#[test]
fn a_live_group() {
    tool_story("kafka-consumer-groups", "members, refusals while active", |s| {
        s.quiet("kafka-topics --bootstrap-server @ --create --topic cg-live --partitions 3").ok();
        let consumer = s.start("kafka-console-consumer --bootstrap-server @ --topic cg-live --group cg-live-g --command-property client.id=live");
        s.until(&format!("{GROUPS} --describe --group cg-live-g --state"), |text| text.contains("Stable"));
        s.tool_sorted(&format!("{GROUPS} --describe --group cg-live-g"));
        s.tool(&format!("{GROUPS} --describe --group cg-live-g --members"));
        s.tool(&format!("{GROUPS} --describe --group cg-live-g --members --verbose"));
        s.tool(&format!("{GROUPS} --describe --group cg-live-g --state"));
        s.tool(&format!("{GROUPS} --describe --group cg-live-g --state --verbose"));
        s.tool_lines("kafka-groups --bootstrap-server @ --list", |line| line.starts_with("cg-live"));
        s.tool_lines("kafka-groups --bootstrap-server @ --list --consumer", |line| line.starts_with("cg-live"));
        s.tool_lines("kafka-groups --bootstrap-server @ --list --group-type classic", |line| {
            line.starts_with("cg-live")
        });
        s.tool(&format!("{GROUPS} --reset-offsets --group cg-live-g --topic cg-live --to-earliest --execute"));
        s.tool(&format!("{GROUPS} --delete --group cg-live-g"));
        s.tool(&format!("{GROUPS} --delete-offsets --group cg-live-g --topic cg-live"));
        consumer.stop();
        let ended = consumer.wait(Duration::from_secs(20));
        s.note("the consumer ends", &ended.code.to_string());
        s.until(&format!("{GROUPS} --describe --group cg-live-g --state"), |text| text.contains("Empty"));
        s.tool(&format!("{GROUPS} --delete --group cg-live-g"));
    });
}

#[test]
fn a_live_group_of_the_next_protocol() {
    tool_story("kafka-consumer-groups", "members, refusals while active, group.protocol=consumer", |s| {
        s.quiet("kafka-topics --bootstrap-server @ --create --topic cg-next --partitions 3").ok();
        let consumer = s.start("kafka-console-consumer --bootstrap-server @ --topic cg-next --group cg-next-g --command-property client.id=next --command-property group.protocol=consumer");
        s.until(&format!("{GROUPS} --describe --group cg-next-g --state"), |text| text.contains("Stable"));
        for what in ["", "--verbose", "--members", "--members --verbose", "--state", "--state --verbose"] {
            let described = s.quiet(&format!("{GROUPS} --describe --group cg-next-g {what}")).ok();
            s.note(what, &without_ids(&described.stdout));
        }
        s.tool_lines("kafka-groups --bootstrap-server @ --list", |line| line.starts_with("cg-next"));
        s.tool_lines("kafka-groups --bootstrap-server @ --list --group-type consumer", |line| {
            line.starts_with("cg-next")
        });
        s.tool_lines(&format!("{GROUPS} --list --type consumer"), |line| line.starts_with("cg-next"));
        s.tool(&format!("{GROUPS} --reset-offsets --group cg-next-g --topic cg-next --to-earliest --execute"));
        s.tool(&format!("{GROUPS} --delete --group cg-next-g"));
        s.tool(&format!("{GROUPS} --delete-offsets --group cg-next-g --topic cg-next"));
        consumer.stop();
        consumer.wait(Duration::from_secs(20));
        s.until(&format!("{GROUPS} --describe --group cg-next-g --state"), |text| text.contains("Empty"));
        s.tool(&format!("{GROUPS} --reset-offsets --group cg-next-g --topic cg-next:0 --to-earliest --execute"));
        s.tool(&format!("{GROUPS} --delete --group cg-next-g"));
    });
}

/// Members choose their ids.
fn without_ids(text: &str) -> String {
    let id = Regex::new(r"^[\w-]{22}$").unwrap();
    let masked = |column: &str| if id.is_match(column) { "<id>".to_owned() } else { column.to_owned() };
    let line = |line: &str| line.split_whitespace().map(masked).collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = text.lines().map(line).collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[test]
fn reset_offsets() {
    tool_story("kafka-consumer-groups", "--reset-offsets in all modes", |s| {
        s.quiet("kafka-topics --bootstrap-server @ --create --topic cg-reset --partitions 2").ok();
        s.quiet("kafka-topics --bootstrap-server @ --create --topic cg-reset2 --partitions 1").ok();
        let produce = "kafka-console-producer --bootstrap-server @ --topic cg-reset --reader-property parse.key=true";
        s.tool_with_input(produce, &keyed_lines(50));
        let reset = format!("{GROUPS} --reset-offsets --group cg-reset-g --topic cg-reset");
        s.tool_sorted(&format!("{reset} --to-earliest --dry-run"));
        s.tool_sorted(&format!("{reset} --to-latest --execute"));
        s.tool_sorted(&format!("{GROUPS} --describe --group cg-reset-g"));
        s.tool_sorted(&format!("{reset} --to-earliest --execute"));
        s.tool_sorted(&format!("{reset} --to-offset 7 --execute"));
        s.tool_sorted(&format!("{reset} --to-offset 700000 --execute"));
        s.tool_sorted(&format!("{reset} --shift-by -3 --execute"));
        s.tool_sorted(&format!("{reset} --shift-by 1000 --execute"));
        s.tool_sorted(&format!("{reset} --to-current --execute"));
        s.tool_sorted(&format!("{reset} --to-datetime 2000-01-01T00:00:00.000 --execute"));
        s.tool_sorted(&format!("{reset} --to-datetime 2200-01-01T00:00:00.000 --execute"));
        s.tool_sorted(&format!("{reset} --by-duration PT1H --execute"));
        s.tool_sorted(&format!(
            "{GROUPS} --reset-offsets --group cg-reset-g --topic cg-reset:1 --to-offset 1 --execute"
        ));
        s.tool_sorted(&format!("{GROUPS} --reset-offsets --group cg-reset-g --all-topics --to-latest --execute"));
        s.tool_sorted(&format!(
            "{GROUPS} --reset-offsets --group cg-reset-g --topic cg-reset --to-earliest --export --dry-run"
        ));
        let plan = s.broker.data_dir().with_file_name("plan.csv");
        std::fs::write(&plan, "\"cg-reset\",0,4\n\"cg-reset\",1,5\n").unwrap();
        let from_file = format!("{GROUPS} --reset-offsets --group cg-reset-g --from-file {} --execute", plan.display());
        let moved = s.quiet(&from_file);
        s.note("--from-file", &format!("{} {}", moved.code, moved.stdout));
        s.tool_sorted(&format!("{GROUPS} --describe --group cg-reset-g"));
        s.tool_sorted(&format!(
            "{GROUPS} --reset-offsets --group cg-reset-g --topic cg-absent --to-earliest --execute"
        ));
        s.tool(&format!("{reset} --to-earliest"));
        s.tool(&format!("{reset} --to-datetime yesterday --execute"));
        s.tool(&format!("{GROUPS} --delete --group cg-reset-g"));
    });
}
