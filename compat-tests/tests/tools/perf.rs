//! The measuring and verifying tools: figures differ, exit codes and counts do not.

use std::time::Duration;

use super::tool_story;

#[test]
fn perf_tests() {
    tool_story("kafka-producer-perf-test", "100,000 records", |s| {
        s.quiet("kafka-topics --bootstrap-server @ --create --topic perf-a --partitions 2").ok();
        let output = s.tool_code("kafka-producer-perf-test --topic perf-a --num-records 100000 --record-size 100 --throughput -1 --bootstrap-server @");
        s.note("sent", &output.stdout.contains("100000 records sent").to_string());
        s.tool_code("kafka-producer-perf-test --topic perf-a --num-records 2000 --record-size 1024 --throughput 20000 --bootstrap-server @ --command-property acks=1 compression.type=zstd");
        let output = s.tool_code(
            "kafka-consumer-perf-test --bootstrap-server @ --topic perf-a --num-records 102000 --timeout 20000",
        );
        let row = output.stdout.lines().last().unwrap_or_default().to_owned();
        s.note("consumed", row.split(',').nth(4).unwrap_or_default().trim());
    });
}

#[test]
fn end_to_end_latency() {
    tool_story("kafka-e2e-latency", "200 round trips", |s| {
        let output = s.tool_code("kafka-e2e-latency --bootstrap-server @ --topic perf-e2e --num-records 200 --producer-acks all --record-size 100");
        s.note("percentiles", &output.stdout.contains("Percentiles").to_string());
    });
}

#[test]
fn verifiable_clients() {
    tool_story("kafka-verifiable-producer", "1,000 records", |s| {
        s.quiet("kafka-topics --bootstrap-server @ --create --topic perf-ver --partitions 1").ok();
        let output = s.tool_code("kafka-verifiable-producer --bootstrap-server @ --topic perf-ver --max-messages 1000 --acks -1 --value-prefix 7");
        let acked = output.stdout.lines().filter(|line| line.contains("producer_send_success")).count();
        s.note("acknowledged", &acked.to_string());
    });
    tool_story("kafka-verifiable-consumer", "1,000 records", |s| {
        let consumer = s.start("kafka-verifiable-consumer --bootstrap-server @ --topic perf-ver --group-id perf-ver-g --max-messages 1000 --reset-policy earliest");
        let done = consumer.wait_until(Duration::from_secs(30), |text| {
            text.contains("offsets_committed") && text.contains("\"maxOffset\":999")
        });
        consumer.stop();
        consumer.wait(Duration::from_secs(20));
        s.note("consumed and committed", &done.to_string());
        s.tool("kafka-consumer-groups --bootstrap-server @ --describe --group perf-ver-g --offsets");
    });
}
