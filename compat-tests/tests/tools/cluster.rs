//! What a broker says of itself: versions, features, quorum, cluster id, log directories, elections, reassignment.

use ottla_compat_tests::requests;

use super::{keyed_lines, tool_story};

#[test]
fn api_versions_and_features() {
    tool_story("kafka-broker-api-versions", "versions", |s| {
        let not_built: Vec<String> = requests::NOT_BUILT.iter().map(|key| format!("({key}): ")).collect();
        s.tool_lines("kafka-broker-api-versions --bootstrap-server @", |line| {
            !not_built.iter().any(|mark| line.contains(mark)) && !line.contains("null")
        });
    });
    tool_story("kafka-features", "describe, upgrade, downgrade", |s| {
        // Share and streams groups are not built yet, so their features are not listed; nor can a whole release be asked for.
        s.tool_lines("kafka-features --bootstrap-server @ describe", |line| {
            !line.contains("share.version") && !line.contains("streams.version")
        });
        s.tool("kafka-features --bootstrap-server @ upgrade --feature group.version=1");
        s.tool("kafka-features --bootstrap-server @ upgrade --feature no.such.version=1");
        s.tool("kafka-features --bootstrap-server @ upgrade --feature group.version=9 --dry-run");
        s.tool("kafka-features --bootstrap-server @ downgrade --feature transaction.version=1 --dry-run");
    });
}

#[test]
fn the_cluster_tells_its_id_endpoints_and_quorum() {
    tool_story("kafka-cluster", "cluster-id, list-endpoints", |s| {
        s.tool("kafka-cluster cluster-id --bootstrap-server @");
        s.tool("kafka-cluster list-endpoints --bootstrap-server @");
        s.tool("kafka-cluster list-endpoints --include-fenced-brokers --bootstrap-server @");
        s.tool("kafka-cluster unregister --bootstrap-server @ --id 99");
    });
    tool_story("kafka-metadata-quorum", "status, replication", |s| {
        // Offsets, epochs and ages differ from run to run: the names and the shape stay.
        let digits = |text: &str| -> String {
            let words =
                text.split_whitespace().map(|word| if word.trim_matches('"').len() == 22 { "<id>" } else { word });
            let text = words.collect::<Vec<_>>().join(" ");
            let text: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            let mut shape = text;
            while shape.contains("00") {
                shape = shape.replace("00", "0");
            }
            shape
                .split_whitespace()
                .map(|word| if word.len() == 22 { "<id>" } else { word })
                .collect::<Vec<_>>()
                .join(" ")
        };
        let status = s.quiet("kafka-metadata-quorum --bootstrap-server @ describe --status").ok();
        s.note("status", &status.stdout.lines().map(|line| digits(line) + "\n").collect::<String>());
        let replication = s.quiet("kafka-metadata-quorum --bootstrap-server @ describe --replication").ok();
        s.note("replication", &replication.stdout.lines().map(|line| digits(line) + "\n").collect::<String>());
    });
}

#[test]
fn log_dirs_tell_sizes_per_partition() {
    tool_story("kafka-log-dirs", "sizes per partition", |s| {
        s.quiet("kafka-topics --bootstrap-server @ --create --topic dirs-a --partitions 2").ok();
        s.tool_with_input(
            "kafka-console-producer --bootstrap-server @ --topic dirs-a --reader-property parse.key=true",
            &keyed_lines(1),
        );
        let free = regex_free_space;
        for command in ["--topic-list dirs-a", "--topic-list dirs-a --broker-list 1", "--topic-list dirs-absent"] {
            let output = s.quiet(&format!("kafka-log-dirs --bootstrap-server @ --describe {command}"));
            s.note(command, &format!("{} {}", output.code, free(&output.stdout)));
        }
        s.tool("kafka-log-dirs --bootstrap-server @ --describe --broker-list 1,2");
    });
}

/// Free space changes while the test runs.
fn regex_free_space(text: &str) -> String {
    text.split(',')
        .filter(|part| !part.contains("usableBytes") && !part.contains("totalBytes"))
        .collect::<Vec<_>>()
        .join(",")
}

#[test]
fn elections_and_reassignment() {
    tool_story("kafka-leader-election", "preferred, unclean", |s| {
        s.quiet("kafka-topics --bootstrap-server @ --create --topic elect-a --partitions 2").ok();
        s.tool("kafka-leader-election --bootstrap-server @ --election-type preferred --topic elect-a --partition 0");
        s.tool("kafka-leader-election --bootstrap-server @ --election-type unclean --topic elect-a --partition 1");
        s.tool("kafka-leader-election --bootstrap-server @ --election-type preferred --topic elect-a --partition 9");
        s.tool(
            "kafka-leader-election --bootstrap-server @ --election-type preferred --topic elect-absent --partition 0",
        );
        s.tool("kafka-leader-election --bootstrap-server @ --election-type preferred --all-topic-partitions");
    });
    tool_story("kafka-reassign-partitions", "generate, execute, verify, list, cancel", |s| {
        s.quiet("kafka-topics --bootstrap-server @ --create --topic move-a --partitions 2").ok();
        let base = s.broker.data_dir();
        let topics = base.with_file_name("move-topics.json");
        std::fs::write(&topics, r#"{"topics": [{"topic": "move-a"}], "version": 1}"#).unwrap();
        let plan = base.with_file_name("move-plan.json");
        let text = r#"{"version":1,"partitions":[{"topic":"move-a","partition":0,"replicas":[1]},{"topic":"move-a","partition":1,"replicas":[1]}]}"#;
        std::fs::write(&plan, text).unwrap();
        let wrong = base.with_file_name("move-wrong.json");
        std::fs::write(&wrong, text.replace("[1]", "[1,5]")).unwrap();
        let reassign = "kafka-reassign-partitions --bootstrap-server @";
        let mut ask = |title: &str, command: String| {
            let output = s.quiet(&command);
            s.note(title, &format!("{}\n{}", output.code, output.stdout));
        };
        ask(
            "generate",
            format!("{reassign} --generate --topics-to-move-json-file {} --broker-list 1", topics.display()),
        );
        ask("execute", format!("{reassign} --execute --reassignment-json-file {}", plan.display()));
        ask("verify", format!("{reassign} --verify --reassignment-json-file {}", plan.display()));
        ask("cancel", format!("{reassign} --cancel --reassignment-json-file {}", plan.display()));
        ask("list", format!("{reassign} --list"));
        ask("unknown broker", format!("{reassign} --execute --reassignment-json-file {}", wrong.display()));
    });
}
