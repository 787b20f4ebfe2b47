//! Makes two brokers' outputs comparable: what must differ (ids, times, ports, paths) becomes a placeholder.

use std::sync::LazyLock;

use regex::Regex;

use crate::broker::Broker;

static RULES: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    let rule = |pattern: &str, with| (Regex::new(pattern).expect("a valid pattern"), with);
    vec![
        rule(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>"),
        rule(
            r"(TopicId: |[Tt]opic id |ClusterId: +|Cluster ID: |directoryId\W+|directory-id |DirectoryId: )[\w-]{22}\b",
            "$1<id>",
        ),
        rule(r#""id": ?"[\w-]{22}""#, "\"id\": <id>"),
        rule(r"console-consumer-\d+", "console-consumer-<n>"),
        rule(r"127\.0\.0\.1:\d+", "<host>"),
        rule(r"localhost:\d+", "<host>"),
        rule(r"\d{4}-\d\d-\d\d[T ,]+\d\d:\d\d:\d\d[.:,]\d+(Z|[+-]\d\d:?\d\d)?", "<time>"),
        rule(r"\b1[6-9]\d{11}\b", "<ms>"),
        // The offset of the metadata log.
        rule(r"(FinalizedVersionLevel: \S+\s+)Epoch: \d+", "${1}Epoch: <n>"),
        rule(r"[ \t]+", " "),
        rule(r"(?m) +$", ""),
    ]
});

/// The text with everything replaced that may differ between two brokers.
pub fn normalize(text: &str, broker: &Broker) -> String {
    let mut text = text.replace(&broker.data_dir().display().to_string(), "<data>");
    // Alone, as a column of its own: not inside a longer number.
    text = text
        .split(' ')
        .map(|word| if word == broker.port().to_string() { "<port>" } else { word })
        .collect::<Vec<_>>()
        .join(" ");
    for (pattern, with) in RULES.iter() {
        text = pattern.replace_all(&text, *with).into_owned();
    }
    text.replace("\r\n", "\n")
}

/// A client library's own log lines: what they say depends on timing, so only the tool's own words are compared.
pub fn without_log_lines(text: &str) -> String {
    static LOGGED: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r"^\[\d{4}-\d\d-\d\d |^(WARNING|WARN|SLF4J|Picked up)|^\t?(at |\.\.\. \d+ more|Caused by|Suppressed)",
        )
        .expect("a valid pattern")
    });
    let mut in_logged_trace = false;
    let mut kept = String::new();
    for line in text.lines() {
        let logged = LOGGED.is_match(line);
        // The exception's own line under a logged record has no mark; it stands between two marked lines.
        let exception = in_logged_trace && line.contains("Exception");
        if !logged && !exception {
            kept.push_str(line);
            kept.push('\n');
        }
        in_logged_trace = logged;
    }
    kept
}
