//! kafka-get-offsets and kafka-delete-records.

use super::{keyed_lines, tool_story};

#[test]
fn get_offsets() {
    tool_story("kafka-get-offsets", "every --time", |s| {
        s.quiet("kafka-topics --bootstrap-server @ --create --topic off-a --partitions 3").ok();
        s.quiet("kafka-topics --bootstrap-server @ --create --topic off-b --partitions 1").ok();
        s.tool_with_input(
            "kafka-console-producer --bootstrap-server @ --topic off-a --reader-property parse.key=true",
            &keyed_lines(30),
        );
        for time in [
            "-1",
            "-2",
            "latest",
            "earliest",
            "earliest-local",
            "latest-tiered",
            "-4",
            "-5",
            "0",
            "1000",
            "9999999999999",
        ] {
            s.tool(&format!("kafka-get-offsets --bootstrap-server @ --topic off-a --time {time}"));
        }
        s.tool("kafka-get-offsets --bootstrap-server @ --topic off-.*");
        s.tool("kafka-get-offsets --bootstrap-server @ --topic off-a --partitions 0,2");
        s.tool("kafka-get-offsets --bootstrap-server @ --topic-partitions off-a:1,off-b:0-3");
        s.tool("kafka-get-offsets --bootstrap-server @ --topic off-b --time -3");
        for line in ["one\n", "two\n", "three\n"] {
            // Each in a millisecond of its own.
            s.tool_with_input("kafka-console-producer --bootstrap-server @ --topic off-b", line);
        }
        s.tool("kafka-get-offsets --bootstrap-server @ --topic off-b --time -3");
        s.tool("kafka-get-offsets --bootstrap-server @ --topic off-b --time max-timestamp");
        s.tool("kafka-get-offsets --bootstrap-server @ --topic off-absent");
        s.tool("kafka-get-offsets --bootstrap-server @ --topic off-a --time noon");
    });
}

#[test]
fn delete_records() {
    tool_story("kafka-delete-records", "to an offset, to the end, refusals", |s| {
        s.quiet("kafka-topics --bootstrap-server @ --create --topic del-a --partitions 2").ok();
        s.tool_with_input(
            "kafka-console-producer --bootstrap-server @ --topic del-a --reader-property parse.key=true",
            &keyed_lines(40),
        );
        let plan = s.broker.data_dir().with_file_name("delete-records.json");
        let mut delete = |title: &str, partitions: &str| {
            std::fs::write(&plan, format!(r#"{{"partitions": [{partitions}], "version": 1}}"#)).unwrap();
            let output =
                s.quiet(&format!("kafka-delete-records --bootstrap-server @ --offset-json-file {}", plan.display()));
            let mut lines: Vec<&str> = output.stdout.lines().collect();
            lines.sort_unstable();
            s.note(title, &format!("{}\n{}", output.code, lines.join("\n")));
            s.tool("kafka-get-offsets --bootstrap-server @ --topic del-a --time earliest");
        };
        delete("to an offset", r#"{"topic": "del-a", "partition": 0, "offset": 3}"#);
        delete("to the end", r#"{"topic": "del-a", "partition": 1, "offset": -1}"#);
        delete("beyond the end", r#"{"topic": "del-a", "partition": 0, "offset": 9999}"#);
        delete("backwards", r#"{"topic": "del-a", "partition": 0, "offset": 1}"#);
        s.tool_sorted("kafka-console-consumer --bootstrap-server @ --topic del-a --from-beginning --timeout-ms 2000 --formatter-property print.offset=true");
    });
}
