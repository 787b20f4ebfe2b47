//! kafka-topics: create, list, describe, alter, delete, and what it says when that fails.

use super::tool_story;

#[test]
fn life_of_a_topic() {
    tool_story("kafka-topics", "create, list, describe, alter, delete", |s| {
        s.tool("kafka-topics --bootstrap-server @ --create --topic life-a --partitions 3 --replication-factor 1");
        s.tool("kafka-topics --bootstrap-server @ --create --topic life-b --config retention.ms=60000 --config cleanup.policy=compact");
        s.tool("kafka-topics --bootstrap-server @ --create --topic life-c --replica-assignment 1,1,1,1");
        s.tool("kafka-topics --bootstrap-server @ --create --topic life_dotted.name");
        s.tool_lines("kafka-topics --bootstrap-server @ --list", |line| line.starts_with("life"));
        s.tool_lines("kafka-topics --bootstrap-server @ --list --exclude-internal", |line| line.starts_with("life"));
        s.tool("kafka-topics --bootstrap-server @ --describe --topic life-a");
        s.tool("kafka-topics --bootstrap-server @ --describe --topic life-b");
        s.tool("kafka-topics --bootstrap-server @ --describe --topic life-[abc]");
        s.tool("kafka-topics --bootstrap-server @ --describe --topic life-[abc] --topics-with-overrides");
        s.tool("kafka-topics --bootstrap-server @ --describe --topic life-[abc] --under-replicated-partitions");
        s.tool("kafka-topics --bootstrap-server @ --describe --topic life-[abc] --unavailable-partitions");
        s.tool("kafka-topics --bootstrap-server @ --describe --topic life-[abc] --at-min-isr-partitions");
        s.tool("kafka-topics --bootstrap-server @ --alter --topic life-a --partitions 5");
        s.tool("kafka-topics --bootstrap-server @ --describe --topic life-a --partition-size-limit-per-response 2");
        s.tool("kafka-topics --bootstrap-server @ --create --if-not-exists --topic life-a");
        s.tool("kafka-topics --bootstrap-server @ --delete --topic life-a");
        s.until("kafka-topics --bootstrap-server @ --list", |list| !list.lines().any(|line| line == "life-a"));
        s.tool("kafka-topics --bootstrap-server @ --delete --topic life.*");
        s.until("kafka-topics --bootstrap-server @ --list", |list| !list.lines().any(|line| line.starts_with("life")));
        s.tool_lines("kafka-topics --bootstrap-server @ --list", |line| line.starts_with("life"));
    });
}

#[test]
fn refusals() {
    tool_story("kafka-topics", "error cases", |s| {
        s.tool("kafka-topics --bootstrap-server @ --create --topic refused --partitions 3");
        s.tool("kafka-topics --bootstrap-server @ --create --topic refused");
        s.tool("kafka-topics --bootstrap-server @ --create --topic refused-rf --replication-factor 3");
        s.tool("kafka-topics --bootstrap-server @ --create --topic refused-rf --replication-factor 0");
        s.tool("kafka-topics --bootstrap-server @ --create --topic refused-p --partitions 0");
        s.tool("kafka-topics --bootstrap-server @ --create --topic refused-c --config no.such.key=1");
        s.tool("kafka-topics --bootstrap-server @ --create --topic refused-c --config retention.ms=soon");
        s.tool("kafka-topics --bootstrap-server @ --create --topic refused-c --config cleanup.policy=burn");
        s.tool("kafka-topics --bootstrap-server @ --create --topic refused-c --config min.insync.replicas=0");
        s.tool("kafka-topics --bootstrap-server @ --create --topic refused-c --config compression.type=rar");
        s.tool("kafka-topics --bootstrap-server @ --create --topic refused-c --config segment.bytes=1");
        s.tool("kafka-topics --bootstrap-server @ --create --topic 'bad name'");
        s.tool("kafka-topics --bootstrap-server @ --create --topic ..");
        let long = "x".repeat(250);
        s.tool(&format!("kafka-topics --bootstrap-server @ --create --topic {long}"));
        s.tool("kafka-topics --bootstrap-server @ --create --topic refused.dot");
        s.tool("kafka-topics --bootstrap-server @ --create --topic refused_dot");
        s.tool("kafka-topics --bootstrap-server @ --create --topic refused-r --replica-assignment 7,8");
        s.tool("kafka-topics --bootstrap-server @ --create --topic refused-r --replica-assignment 1:1");
        s.tool("kafka-topics --bootstrap-server @ --alter --topic refused --partitions 2");
        s.tool("kafka-topics --bootstrap-server @ --alter --topic refused --partitions 3");
        s.tool("kafka-topics --bootstrap-server @ --alter --topic refused-absent --partitions 2");
        s.tool("kafka-topics --bootstrap-server @ --alter --if-exists --topic refused-absent --partitions 2");
        s.tool("kafka-topics --bootstrap-server @ --describe --topic refused-absent");
        s.tool("kafka-topics --bootstrap-server @ --describe --if-exists --topic refused-absent");
        s.tool("kafka-topics --bootstrap-server @ --describe --topic-id AAAAAAAAAAAAAAAAAAAACg");
        s.tool("kafka-topics --bootstrap-server @ --delete --topic refused-absent");
        s.tool("kafka-topics --bootstrap-server @ --delete --if-exists --topic refused-absent");
        s.tool("kafka-topics --bootstrap-server @ --delete --topic __consumer_offsets_absent");
        s.tool("kafka-topics --list");
    });
}
