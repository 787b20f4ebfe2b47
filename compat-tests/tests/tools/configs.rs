//! kafka-configs: topics, brokers, groups, client metrics; describe, alter, delete, refusals.

use super::tool_story;

#[test]
fn topic_configs_are_set_shown_and_refused() {
    tool_story("kafka-configs", "topics", |s| {
        s.quiet("kafka-topics --bootstrap-server @ --create --topic cfg-a").ok();
        let alter = "kafka-configs --bootstrap-server @ --entity-type topics --entity-name cfg-a --alter";
        let describe = "kafka-configs --bootstrap-server @ --entity-type topics --entity-name cfg-a --describe";
        s.tool(describe);
        s.tool(&format!("{alter} --add-config retention.ms=3600000,max.message.bytes=200000"));
        s.tool(&format!("{alter} --add-config cleanup.policy=[compact,delete]"));
        s.tool(describe);
        s.tool_sorted(&format!("{describe} --all"));
        s.tool(&format!("{alter} --delete-config retention.ms"));
        s.tool(&format!("{alter} --delete-config retention.ms"));
        s.tool(describe);
        s.tool(&format!("{alter} --add-config no.such.key=1"));
        s.tool(&format!("{alter} --add-config retention.ms=soon"));
        s.tool(&format!("{alter} --add-config min.insync.replicas=-3"));
        s.tool(&format!("{alter} --add-config segment.bytes=10,retention.ms=5"));
        s.tool(&format!("{alter} --delete-config no.such.key"));
        s.tool(describe);
        s.tool("kafka-configs --bootstrap-server @ --entity-type topics --entity-name cfg-absent --describe");
        s.tool("kafka-configs --bootstrap-server @ --entity-type topics --entity-name cfg-absent --alter --add-config retention.ms=1");
        s.tool("kafka-configs --bootstrap-server @ --topic cfg-a --describe");
    });
}

#[test]
fn broker_configs_are_set_for_one_and_for_all() {
    tool_story("kafka-configs", "brokers", |s| {
        let one = "kafka-configs --bootstrap-server @ --entity-type brokers --entity-name 1";
        let default = "kafka-configs --bootstrap-server @ --entity-type brokers --entity-default";
        s.tool(&format!("{one} --describe"));
        s.tool(&format!("{default} --describe"));
        s.tool_lines(&format!("{one} --describe --all"), |line| {
            // What the two servers run on differs, as do their addresses.
            let differs = ["log.dir", "log.durability", "listeners", "quorum", "java", "ssl.", "sasl."];
            // Keys that Kafka has not.
            let own =
                [".disconnect.grace.ms", "cluster.broker.", "internal.topics.grow.", "controller.leader.silence."];
            !differs.iter().chain(&own).any(|part| line.contains(part))
        });
        s.tool(&format!("{default} --alter --add-config log.cleaner.threads=2"));
        s.tool(&format!("{one} --alter --add-config log.cleaner.threads=3"));
        s.until(&format!("{one} --describe"), |text| text.contains("log.cleaner.threads=3"));
        s.tool(&format!("{one} --describe"));
        s.tool(&format!("{default} --describe"));
        s.tool(&format!("{one} --alter --delete-config log.cleaner.threads"));
        s.tool(&format!("{default} --alter --delete-config log.cleaner.threads"));
        s.tool(&format!("{one} --alter --add-config node.id=7"));
        s.tool(&format!("{one} --alter --add-config log.cleaner.threads=none"));
        s.tool(&format!("{default} --alter --add-config advertised.listeners=PLAINTEXT://127.0.0.1:1"));
        s.tool("kafka-configs --bootstrap-server @ --entity-type brokers --entity-name 77 --describe");
        s.tool("kafka-configs --bootstrap-server @ --entity-type brokers --entity-name one --describe");
        s.tool("kafka-configs --bootstrap-server @ --entity-type planets --describe");
    });
}

#[test]
fn groups_and_client_metrics() {
    tool_story("kafka-configs", "groups, client metrics", |s| {
        let group = "kafka-configs --bootstrap-server @ --entity-type groups --entity-name cfg-group";
        s.tool(&format!("{group} --alter --add-config consumer.session.timeout.ms=50000"));
        s.tool(&format!("{group} --describe"));
        s.tool(&format!("{group} --alter --add-config consumer.session.timeout.ms=1"));
        s.tool(&format!("{group} --alter --add-config no.such.key=1"));
        s.tool(&format!("{group} --alter --delete-config consumer.session.timeout.ms"));
        let metrics = "kafka-client-metrics --bootstrap-server @";
        s.tool(&format!("{metrics} --alter --name cfg-metrics --metrics org.apache.kafka.producer. --interval 30000"));
        s.tool(&format!("{metrics} --describe --name cfg-metrics"));
        s.tool(&format!("{metrics} --list"));
        s.tool(&format!("{metrics} --delete --name cfg-metrics"));
        s.tool(&format!("{metrics} --list"));
    });
}

#[test]
fn quotas_and_users() {
    tool_story("kafka-configs", "quotas, SCRAM users", |s| {
        let client = "kafka-configs --bootstrap-server @ --entity-type clients --entity-name cfg-client";
        s.tool(&format!("{client} --alter --add-config producer_byte_rate=1048576,consumer_byte_rate=2097152"));
        s.tool(&format!("{client} --describe"));
        s.tool(&format!("{client} --alter --add-config no_such_rate=1"));
        s.tool(&format!("{client} --alter --delete-config producer_byte_rate,consumer_byte_rate"));
        s.tool(&format!("{client} --describe"));
        let address = "kafka-configs --bootstrap-server @ --entity-type ips --entity-name 192.0.2.7";
        s.tool(&format!("{address} --alter --add-config connection_creation_rate=5"));
        s.tool(&format!("{address} --describe"));
        s.tool(&format!("{address} --alter --add-config connection_creation_rate=-1"));
        s.tool(&format!("{address} --alter --add-config producer_byte_rate=5"));
        let default = "kafka-configs --bootstrap-server @ --entity-type ips --entity-default";
        s.tool(&format!("{default} --alter --add-config connection_creation_rate=100000"));
        s.tool(&format!("{default} --describe"));
        s.tool_sorted("kafka-configs --bootstrap-server @ --entity-type ips --describe");
        s.tool("kafka-configs --bootstrap-server @ --entity-type ips --entity-name no.such.host.invalid --alter --add-config connection_creation_rate=5");
        s.tool(&format!("{address} --alter --delete-config connection_creation_rate"));
        s.tool(&format!("{default} --alter --delete-config connection_creation_rate"));
        s.tool(&format!("{default} --describe"));
        let user = "kafka-configs --bootstrap-server @ --entity-type users --entity-name cfg-user";
        s.tool(&format!("{user} --alter --add-config 'SCRAM-SHA-256=[iterations=4096,password=secret]'"));
        s.tool(&format!("{user} --describe"));
        s.tool(&format!("{user} --alter --delete-config SCRAM-SHA-256"));
        s.tool(&format!("{user} --describe"));
    });
}
