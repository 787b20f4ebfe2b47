//! The topics that Kafka Streams makes for itself, what it makes of them while it runs, and the application reset.

use ottla_compat_tests::story::story;
use ottla_compat_tests::toolchain::Need;

use crate::application::{Application, EXACTLY_ONCE};

const LINES: u64 = 120;
const OFFSETS: &str = "kafka-consumer-groups --bootstrap-server @ --describe --group app --offsets";
const RESET: &str = "kafka-streams-application-reset --bootstrap-server @ --application-id app --input-topics app-lines,app-left,app-right";

#[test]
fn internal_topics_and_application_reset() {
    story("Kafka Streams", "internal topics, application reset", &[Need::Maven, Need::Java], |s| {
        let bootstrap = s.broker.bootstrap();
        let mut application = Application::new("app", EXACTLY_ONCE, &bootstrap);
        application.model_run("create", LINES, 0, 1).ok();
        application.start();
        application.model_run("feed", LINES, 500, 1).ok();
        let verified = application.model_run("verify", LINES, 0, 1);
        assert!(verified.code == 0, "{verified}\n--- application\n{}", application.log());
        s.note("verified", &verified.stdout);
        let topics = s.until("kafka-topics --bootstrap-server @ --list", |list| list.contains("app-"));
        let internal: Vec<&str> = topics
            .stdout
            .lines()
            .filter(|name| name.ends_with("-changelog") || name.ends_with("-repartition"))
            .collect();
        assert_eq!(internal.len(), 6, "{internal:?}");
        for topic in &internal {
            let described = s.quiet(&format!("kafka-topics --bootstrap-server @ --describe --topic {topic}"));
            s.note(&format!("describe {topic}"), &sorted(&described.stdout));
            s.tool_sorted(&format!(
                "kafka-configs --bootstrap-server @ --describe --entity-type topics --entity-name {topic}"
            ));
        }
        // What has been read of a repartition topic is deleted.
        let earliest = "kafka-get-offsets --bootstrap-server @ --time earliest --topic app-words-repartition";
        s.until(earliest, |text| text.lines().any(|line| !line.ends_with(":0")));
        application.stop();
        s.until("kafka-consumer-groups --bootstrap-server @ --describe --state --group app", |text| {
            text.contains("Empty")
        });
        s.note("offsets of the group", &lags(&s.quiet(OFFSETS).stdout));
        let reset = s.quiet(&format!("{RESET} --dry-run")).ok();
        s.note("reset, dry run", &sorted(&reset.stdout));
        let reset = s.quiet(RESET).ok();
        s.note("reset", &sorted(&reset.stdout));
        s.until("kafka-topics --bootstrap-server @ --list", |list| !list.contains("-changelog"));
        s.tool_lines("kafka-topics --bootstrap-server @ --list", |line| line.starts_with("app"));
        s.note("offsets of the group", &lags(&s.quiet(OFFSETS).stdout));
        application.lose_state();
        application.start();
        let verified = application.model_run("verify", LINES, 0, 2);
        assert!(verified.code == 0, "{verified}\n--- application\n{}", application.log());
        s.note("verified twice", &verified.stdout);
        application.stop();
    });
}

/// Lines, and what commas divide within them, in one order: both come from hash tables.
fn sorted(text: &str) -> String {
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| {
            let mut parts: Vec<&str> = line.split([',', '\t', '[', ']']).map(str::trim).collect();
            parts.sort_unstable();
            parts.join(", ")
        })
        .collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// Topic, partition and lag of each row: offsets depend on how many transactions there were.
fn lags(text: &str) -> String {
    let columns = |line: &str| {
        let row: Vec<&str> = line.split_whitespace().collect();
        [1, 2, 5].map(|column| row.get(column).copied().unwrap_or_default()).join(" ")
    };
    let mut rows: Vec<String> = text.lines().map(columns).collect();
    rows.sort_unstable();
    rows.join("\n")
}
