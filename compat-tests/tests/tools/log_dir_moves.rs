//! Two log directories on one broker: where partitions are put, and moves between the directories while they are used.

use std::path::{Path, PathBuf};

use ottla_compat_tests::story::{Session, story_with};
use ottla_compat_tests::toolchain::Need;
use serde_json::Value;

use super::keyed_lines;

const KEYS: &[&str] = &["log.dirs={dir}/data-a,{dir}/data-b"];

/// Where `kafka-log-dirs` finds the replicas of a topic: partition, directory, whether it is on its way there, size.
fn places(s: &Session, topic: &str) -> Vec<(String, PathBuf, bool, u64)> {
    let output = s.quiet(&format!("kafka-log-dirs --bootstrap-server @ --describe --topic-list {topic}")).ok();
    let json = output.stdout.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{output}"));
    let json: Value = serde_json::from_str(json).unwrap();
    let mut places = Vec::new();
    for dir in json["brokers"][0]["logDirs"].as_array().unwrap() {
        for partition in dir["partitions"].as_array().unwrap() {
            places.push((
                partition["partition"].as_str().unwrap().to_owned(),
                PathBuf::from(dir["logDir"].as_str().unwrap()),
                partition["isFuture"].as_bool().unwrap(),
                partition["size"].as_u64().unwrap(),
            ));
        }
    }
    places.sort();
    places
}

fn place(s: &Session, partition: &str) -> PathBuf {
    let (topic, _) = partition.rsplit_once('-').unwrap();
    places(s, topic).into_iter().find(|place| place.0 == partition && !place.2).unwrap().1
}

fn other(dir: &Path) -> PathBuf {
    dir.with_file_name(if dir.ends_with("data-a") { "data-b" } else { "data-a" })
}

/// A file for kafka-reassign-partitions that has partition 0 of a topic go to a directory.
fn plan(s: &Session, topic: &str, to: &Path) -> PathBuf {
    let file = s.broker.data_dir().with_file_name(format!("{topic}.json"));
    let text = format!(
        r#"{{"version":1,"partitions":[{{"topic":"{topic}","partition":0,"replicas":[1],"log_dirs":["{}"]}}]}}"#,
        to.display()
    );
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn partitions_move_between_directories() {
    story_with(
        "kafka-reassign-partitions",
        "log_dirs: moves between directories",
        &[Need::Maven, Need::Java],
        KEYS,
        |s| {
            s.quiet("kafka-topics --bootstrap-server @ --create --topic dirs --partitions 4").ok();
            // Told before all of them are there.
            for _ in 0..200 {
                if places(s, "dirs").len() == 4 {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            let mut counts: Vec<usize> = ["data-a", "data-b"]
                .iter()
                .map(|dir| places(s, "dirs").iter().filter(|p| p.1.ends_with(dir)).count())
                .collect();
            counts.sort_unstable();
            s.note("partitions by directory", &format!("{counts:?}"));
            let produce = "kafka-console-producer --bootstrap-server @ --topic dirs --reader-property parse.key=true";
            s.tool_with_input(produce, &keyed_lines(100));

            // Where a partition is may differ: what is said of it must not.
            let reassign = "kafka-reassign-partitions --bootstrap-server @";
            let from = place(s, "dirs-0");
            let to = other(&from);
            let said = |text: &str| {
                text.replace(&from.display().to_string(), "<from>").replace(&to.display().to_string(), "<to>")
            };
            let file = plan(s, "dirs", &to);
            let started = s.quiet(&format!("{reassign} --execute --reassignment-json-file {}", file.display()));
            s.note("execute", &format!("{}\n{}", started.code, said(&started.stdout)));
            let verify = format!("{reassign} --verify --reassignment-json-file {}", file.display());
            let verified = s.until(&verify, |text| text.contains("-0-1 completed"));
            s.note("verify", &format!("{}\n{}", verified.code, said(&verified.stdout)));
            let of_zero: Vec<String> = places(s, "dirs")
                .into_iter()
                .filter(|place| place.0 == "dirs-0")
                .map(|(_, dir, future, size)| {
                    format!("{} future {future} size>0 {}", said(&dir.display().to_string()), size > 0)
                })
                .collect();
            s.note("where it is", &of_zero.join("\n"));
            let deleted = std::fs::read_dir(&from).unwrap().filter(|entry| {
                let name = entry.as_ref().unwrap().file_name().into_string().unwrap();
                name.starts_with("dirs-0.") && name.ends_with("-delete")
            });
            s.note("what is left", &deleted.count().to_string());
            s.note("files", &to.join("dirs-0/partition.metadata").is_file().to_string());
            s.tool_with_input(produce, &keyed_lines(100));
            s.tool_sorted("kafka-console-consumer --bootstrap-server @ --topic dirs --from-beginning --max-messages 200 --timeout-ms 15000");

            // Moving to where it is, to nowhere, and a broker that does not exist.
            let again = s.quiet(&format!("{reassign} --execute --reassignment-json-file {}", file.display()));
            s.note("where it is already", &format!("{}\n{}", again.code, said(&again.stdout)));
            let nowhere = plan(s, "dirs", Path::new("/nowhere"));
            let refused =
                s.quiet(&format!("{reassign} --execute --timeout 500 --reassignment-json-file {}", nowhere.display()));
            let last = refused.stdout.lines().filter(|line| line.contains("rror")).collect::<Vec<_>>().join("\n");
            s.note("to nowhere", &format!("{}\n{}", refused.code, said(&last)));

            // Nor into a directory that is being emptied.
            let cordon = "kafka-configs --bootstrap-server @ --entity-type brokers --entity-name 1 --alter";
            s.quiet(&format!("{cordon} --add-config cordoned.log.dirs={}", from.display())).ok();
            s.until("kafka-configs --bootstrap-server @ --entity-type brokers --entity-name 1 --describe", |text| {
                text.contains("cordoned.log.dirs=")
            });
            // Of Apache Kafka the metadata cache, which tells it, knows it before the directories do.
            std::thread::sleep(std::time::Duration::from_millis(500));
            let back = plan(s, "dirs", &from);
            let refused =
                s.quiet(&format!("{reassign} --execute --timeout 500 --reassignment-json-file {}", back.display()));
            let last = refused.stdout.lines().filter(|line| line.contains("rror")).collect::<Vec<_>>().join("\n");
            s.note("to a cordoned one", &format!("{}\n{}", refused.code, said(&last)));
            s.note("where it still is", &said(&place(s, "dirs-0").display().to_string()));
        },
    );
}

#[test]
fn a_slow_move_is_seen_and_changed() {
    let needs = &[Need::Maven, Need::Java];
    story_with("kafka-log-dirs", "replicas on their way, throttled", needs, KEYS, |s| {
        s.quiet("kafka-topics --bootstrap-server @ --create --topic slow --partitions 1").ok();
        s.quiet("kafka-producer-perf-test --bootstrap-server @ --topic slow --num-records 6000 --record-size 1000 --throughput -1").ok();
        let from = place(s, "slow-0");
        let to = other(&from);
        let said =
            |text: &str| text.replace(&from.display().to_string(), "<from>").replace(&to.display().to_string(), "<to>");
        let reassign = "kafka-reassign-partitions --bootstrap-server @";
        let file = plan(s, "slow", &to);
        let started = s.quiet(&format!(
            "{reassign} --execute --replica-alter-log-dirs-throttle 1000 --reassignment-json-file {}",
            file.display()
        ));
        s.note("execute", &format!("{}\n{}", started.code, said(&started.stdout)));
        let shown: Vec<String> = places(s, "slow")
            .iter()
            .map(|place| format!("{} future {}", said(&place.1.display().to_string()), place.2))
            .collect();
        s.note("on its way", &shown.join("\n"));
        let futures = std::fs::read_dir(&to).unwrap().filter(|entry| {
            let name = entry.as_ref().unwrap().file_name().into_string().unwrap();
            name.starts_with("slow-0.") && name.ends_with("-future")
        });
        s.note("its directory", &futures.count().to_string());
        let verify = format!("{reassign} --verify --preserve-throttles --reassignment-json-file {}", file.display());
        let verified = s.quiet(&verify);
        s.note("verify", &format!("{}\n{}", verified.code, said(&verified.stdout)));
        // Back to where it still is: the move is given up.
        let back = plan(s, "slow", &from);
        s.quiet(&format!("{reassign} --execute --additional --reassignment-json-file {}", back.display())).ok();
        s.note("given up", &format!("{:?}", places(s, "slow").iter().map(|place| place.2).collect::<Vec<_>>()));
        // Once more, and faster.
        let file = plan(s, "slow", &to);
        s.quiet(&format!(
            "{reassign} --execute --additional --replica-alter-log-dirs-throttle 100000000 --reassignment-json-file {}",
            file.display()
        ))
        .ok();
        let verify = format!("{reassign} --verify --reassignment-json-file {}", file.display());
        let verified = s.until(&verify, |text| text.contains("-0-1 completed"));
        s.note("verify at last", &format!("{}\n{}", verified.code, said(&verified.stdout)));
        let size: u64 = places(s, "slow").iter().map(|place| place.3).sum();
        s.note("all of it", &format!("{} {}", places(s, "slow").len(), size > 6_000_000));
        s.tool("kafka-get-offsets --bootstrap-server @ --topic slow");
    });
}
