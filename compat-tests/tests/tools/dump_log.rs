//! kafka-dump-log reads the files of the log directory: batches, records, indexes, offsets of groups.

use std::path::PathBuf;

use ottla_compat_tests::broker::Broker;
use ottla_compat_tests::normalize::normalize;

use super::{keyed_lines, tool_story};

#[test]
fn segments_and_indexes() {
    tool_story("kafka-dump-log", "segments, indexes, offsets", |s| {
        s.quiet(
            "kafka-topics --bootstrap-server @ --create --topic dump-a --partitions 1 --config index.interval.bytes=1",
        )
        .ok();
        for codec in ["none", "gzip", "lz4"] {
            let produce = format!(
                "kafka-console-producer --bootstrap-server @ --topic dump-a --compression-codec {codec} \
                 --command-property enable.idempotence=false --batch-size 100000 --timeout 100 --reader-property parse.key=true"
            );
            s.tool_with_input(&produce, &keyed_lines(10));
        }
        let log = file(s.broker, "dump-a-0", "log");
        let dumped =
            s.quiet(&format!("kafka-dump-log --deep-iteration --print-data-log --files {}", log.display())).ok();
        s.note("--deep-iteration --print-data-log", &shape(&dumped.stdout, s.broker));

        // A segment that is no longer written to has its indexes on disk.
        s.quiet(
            "kafka-topics --bootstrap-server @ --create --topic dump-b --partitions 1 --config segment.bytes=1048576",
        )
        .ok();
        s.quiet("kafka-producer-perf-test --bootstrap-server @ --topic dump-b --num-records 4000 --record-size 1000 --throughput -1").ok();
        let index = file(s.broker, "dump-b-0", "index");
        let checked = s.quiet(&format!("kafka-dump-log --index-sanity-check --files {}", index.display())).ok();
        s.note(
            "--index-sanity-check",
            &checked.stdout.lines().last().unwrap_or_default().contains("passed").to_string(),
        );
        let verified = s.quiet(&format!("kafka-dump-log --verify-index-only --files {}", index.display())).ok();
        s.note("--verify-index-only", &verified.stderr);
        let entries = s.quiet(&format!("kafka-dump-log --files {}", index.display())).ok();
        s.note(
            "entries",
            &(entries.stdout.lines().filter(|line| line.starts_with("offset:")).count() > 10).to_string(),
        );
        let times = file(s.broker, "dump-b-0", "timeindex");
        let entries = s.quiet(&format!("kafka-dump-log --files {}", times.display())).ok();
        s.note("time index", &entries.stdout.contains("timestamp:").to_string());

        s.quiet("kafka-console-consumer --bootstrap-server @ --topic dump-a --group dump-g --from-beginning --max-messages 30 --timeout-ms 15000");
        let mut decoded = String::new();
        for partition in 0..4 {
            let folder = format!("__consumer_offsets-{partition}");
            let log = file(s.broker, &folder, "log");
            let output = s.quiet(&format!("kafka-dump-log --offsets-decoder --files {}", log.display())).ok();
            let ours = output
                .stdout
                .lines()
                .filter(|line| line.contains("dump-g") && line.contains("dump-a") && line.contains("\"offset\":30"));
            decoded.push_str(if ours.count() > 0 { "the offset is there\n" } else { "" });
        }
        s.note("--offsets-decoder", &decoded);
    });
}

fn file(broker: &Broker, folder: &str, extension: &str) -> PathBuf {
    broker.data_dir().join(folder).join(format!("{:020}.{extension}", 0))
}

/// Sizes, positions, checksums and times depend on how the client batched and when.
fn shape(text: &str, broker: &Broker) -> String {
    let mut kept = String::new();
    for line in normalize(text, broker).lines() {
        let mut words = line.split(' ').peekable();
        while let Some(word) = words.next() {
            kept.push_str(word);
            kept.push(' ');
            if ["CreateTime:", "crc:", "position:", "size:", "LogAppendTime:"].contains(&word) {
                words.next();
            }
        }
        kept.push('\n');
    }
    kept
}
