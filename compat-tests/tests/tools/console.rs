//! kafka-console-producer and kafka-console-consumer: keys, headers, null markers, partitions, offsets, groups.

use super::{keyed_lines, tool_story};

const PRODUCE: &str = "kafka-console-producer --bootstrap-server @ --topic";
const CONSUME: &str = "kafka-console-consumer --bootstrap-server @ --topic";

#[test]
fn keys_headers_timestamps() {
    tool_story("kafka-console-producer", "keys, headers, null values", |s| {
        s.quiet("kafka-topics --bootstrap-server @ --create --topic con-keys --partitions 1").ok();
        s.tool_with_input(&format!("{PRODUCE} con-keys"), "plain one\nplain two\n\nafter an empty line\n");
        s.tool_with_input(
            &format!("{PRODUCE} con-keys --reader-property parse.key=true --reader-property key.separator=:"),
            "a:1\nb:2\na:3\nc:with:colons\n",
        );
        s.tool_with_input(
            &format!(
                "{PRODUCE} con-keys --reader-property parse.key=true --reader-property parse.headers=true \
                 --reader-property null.marker=NULL"
            ),
            "h1:v1,h2:v2\tkey\tvalue\nh:x,h:y\tduplicate\theaders\nNULL\tkey only\tNULL\nn:NULL\tNULL\tno key\n",
        );
        s.tool_with_input(&format!("{PRODUCE} con-keys --reader-property parse.key=true"), "no separator here\n");
        let all = "--from-beginning --timeout-ms 4000 --max-messages 12";
        s.tool(&format!("{CONSUME} con-keys {all}"));
        s.tool(&format!(
            "{CONSUME} con-keys {all} --formatter-property print.key=true --formatter-property print.headers=true \
             --formatter-property print.offset=true --formatter-property print.partition=true \
             --formatter-property print.epoch=true --formatter-property null.literal=NULL \
             --formatter-property print.delivery=true"
        ));
        s.tool(&format!("{CONSUME} con-keys {all} --formatter-property print.timestamp=true"));
        s.tool(&format!(
            "{CONSUME} con-keys {all} --formatter-property print.key=true --formatter-property key.separator=| \
             --formatter-property line.separator=;"
        ));
    });
}

#[test]
fn partitions_and_offsets() {
    tool_story("kafka-console-consumer", "--partition, --offset, --from-beginning", |s| {
        s.quiet("kafka-topics --bootstrap-server @ --create --topic con-part --partitions 3").ok();
        s.tool_with_input(&format!("{PRODUCE} con-part --reader-property parse.key=true"), &keyed_lines(40));
        for partition in 0..3 {
            let shown = "--formatter-property print.key=true --formatter-property print.offset=true --timeout-ms 2000";
            s.tool(&format!("{CONSUME} con-part --partition {partition} --offset earliest {shown}"));
        }
        s.tool(&format!("{CONSUME} con-part --partition 0 --offset 2 --max-messages 2"));
        s.tool(&format!("{CONSUME} con-part --partition 0 --offset latest --timeout-ms 1000"));
        s.tool(&format!("{CONSUME} con-part --partition 9 --offset 0 --timeout-ms 1000"));
        s.tool_sorted(&format!("{CONSUME} con-part --from-beginning --max-messages 40 --timeout-ms 10000"));
        s.tool(&format!("{CONSUME} con-part --partition 0 --offset 999999 --timeout-ms 1000"));
        s.tool(&format!("{CONSUME} con-part --offset 5"));
        s.tool(&format!("{CONSUME} con-part --partition 0 --offset never"));
    });
}

#[test]
fn groups_and_codecs() {
    tool_story("kafka-console-consumer", "group, codecs, transactions isolation", |s| {
        s.quiet("kafka-topics --bootstrap-server @ --create --topic con-group --partitions 1").ok();
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let line = format!("through {codec} {}\n", "squeeze me ".repeat(20)).repeat(5);
            s.tool_with_input(&format!("{PRODUCE} con-group --compression-codec {codec}"), &line);
        }
        for acks in ["0", "1", "-1", "all"] {
            let line = format!("acks {acks}\n");
            s.tool_with_input(
                &format!(
                    "{PRODUCE} con-group --command-property enable.idempotence=false --command-property acks={acks}"
                ),
                &line,
            );
        }
        let consume = format!("{CONSUME} con-group --group con-g --from-beginning");
        s.tool_sorted(&format!("{consume} --max-messages 29 --timeout-ms 15000"));
        s.tool(&format!("{consume} --timeout-ms 1500"));
        s.tool_with_input(&format!("{PRODUCE} con-group"), "one more\n");
        s.tool(&format!("{consume} --max-messages 1 --timeout-ms 15000 --isolation-level read_committed"));
        s.tool("kafka-consumer-groups --bootstrap-server @ --describe --group con-g --offsets");
        s.tool_sorted(&format!("{CONSUME} con-group --group con-g2 --consumer-property group.protocol=classic --from-beginning --max-messages 30 --timeout-ms 15000"));
        s.tool_sorted(
            "kafka-console-consumer --bootstrap-server @ --include con-gro.* --group con-g3 --from-beginning --max-messages 30 --timeout-ms 15000",
        );
    });
}

#[test]
fn the_next_generation_protocol() {
    tool_story("kafka-console-consumer", "group.protocol=consumer", |s| {
        s.quiet("kafka-topics --bootstrap-server @ --create --topic con-848 --partitions 2").ok();
        s.tool_with_input(&format!("{PRODUCE} con-848 --reader-property parse.key=true"), &keyed_lines(20));
        let consume = format!("{CONSUME} con-848 --group con-848-g --command-property group.protocol=consumer");
        s.tool_sorted(&format!("{consume} --from-beginning --max-messages 20 --timeout-ms 15000"));
        s.tool("kafka-consumer-groups --bootstrap-server @ --describe --group con-848-g --offsets");
        s.tool_lines("kafka-groups --bootstrap-server @ --list", |line| line.starts_with("con-848"));
    });
}
