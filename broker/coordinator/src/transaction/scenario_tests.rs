//! Scenarios in `testdata/`: a command, `----`, and what it led to. `OTTLA_REWRITE=1` writes what happens now.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use ottla_protocol::{ErrorCode, ProducerEpoch, ProducerId, Timestamp, TopicPartition};

use super::test_world::{Answer, Step, World};
use super::{
    Transaction, TransactionAction, TransactionFilter, TransactionRequest, TransactionResponse, TransactionState,
};
use crate::shard::{Producer, Shard};

struct Command<'a> {
    verb: &'a str,
    words: Vec<&'a str>,
    values: BTreeMap<&'a str, &'a str>,
}

impl<'a> Command<'a> {
    fn parse(line: &'a str) -> Self {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap();
        let (mut plain, mut values) = (Vec::new(), BTreeMap::new());
        for word in words {
            match word.split_once('=') {
                Some((key, value)) => drop(values.insert(key, value)),
                None => plain.push(word),
            }
        }
        Self { verb, words: plain, values }
    }

    fn id(&self) -> std::sync::Arc<str> {
        self.values["id"].into()
    }

    fn producer(&self) -> Producer {
        parse_producer(self.values["producer"])
    }

    fn partitions(&self) -> Vec<TopicPartition> {
        let parse = |text: &str| {
            let (topic, partition) = text.rsplit_once('-').unwrap();
            TopicPartition::new(topic, partition.parse().unwrap())
        };
        self.values["partitions"].split(',').map(parse).collect()
    }

    fn number(&self, key: &str, default: i64) -> i64 {
        self.values.get(key).map_or(default, |text| text.parse().unwrap())
    }

    fn client_version(&self) -> i16 {
        i16::from(self.words.contains(&"v2")) * 2
    }
}

fn parse_producer(text: &str) -> Producer {
    let (id, epoch) = text.split_once('/').unwrap();
    Producer { id: ProducerId(id.parse().unwrap()), epoch: ProducerEpoch(epoch.parse().unwrap()) }
}

fn show_producer(producer: Producer) -> String {
    format!("{}/{}", producer.id, producer.epoch)
}

fn show_partitions(partitions: &[TopicPartition]) -> String {
    partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn show_transaction(transaction: &Transaction) -> String {
    let mut text = format!("{} producer={}", transaction.state.name(), show_producer(transaction.producer));
    if transaction.next_producer_id != ProducerId::NONE {
        write!(text, " next={}", transaction.next_producer_id).unwrap();
    }
    if !transaction.partitions.is_empty() {
        write!(text, " partitions={}", show_partitions(&transaction.partitions)).unwrap();
    }
    text
}

fn show_answer(answer: &Answer) -> String {
    match answer {
        Err(error) => format!("{error:?}"),
        Ok(TransactionResponse::Producer(producer)) => format!("producer {}", show_producer(*producer)),
        Ok(TransactionResponse::Done) => "done".into(),
        Ok(TransactionResponse::Verified(partitions)) => {
            partitions
                .iter()
                .map(|(partition, error)| {
                    if *error == ErrorCode::None { format!("{partition} in") } else { format!("{partition} {error:?}") }
                })
                .collect::<Vec<_>>()
                .join(", ")
        }
        Ok(TransactionResponse::Described(transaction)) => show_transaction(transaction),
        Ok(TransactionResponse::Explained(fences)) => {
            let show = |fence: &super::Fence| format!("{} {}", show_producer(fence.producer), fence.reason);
            format!("explained\n  {}", fences.iter().map(show).collect::<Vec<_>>().join("\n  "))
        }
        Ok(TransactionResponse::Listed(listed)) => {
            let show = |l: &super::Listing| format!("{} {} {}", l.transactional_id, l.producer_id, l.state.name());
            let listed: Vec<String> = listed.iter().map(show).collect();
            if listed.is_empty() { "nothing".into() } else { listed.join(", ") }
        }
    }
}

fn show(step: &Step) -> String {
    let mut text = String::new();
    for record in &step.records {
        let what = record.transaction.as_deref().map_or("tombstone".into(), show_transaction);
        writeln!(text, "record: {} {what}", record.transactional_id).unwrap();
    }
    for answer in &step.answers {
        writeln!(text, "answer: {}", show_answer(answer)).unwrap();
    }
    for action in &step.actions {
        match action {
            TransactionAction::SendMarkers(markers) => writeln!(
                text,
                "markers: {} {} producer={} partitions={}",
                markers.transactional_id,
                if markers.commit { "commit" } else { "abort" },
                show_producer(markers.producer),
                show_partitions(&markers.partitions)
            ),
            TransactionAction::Fenced { transactional_id, producer, reason, .. } => {
                writeln!(text, "fenced: {transactional_id} producer={}: {reason}", show_producer(*producer))
            }
        }
        .unwrap();
    }
    if text.is_empty() { "nothing\n".into() } else { text }
}

fn run(world: &mut World, line: &str) -> String {
    let command = Command::parse(line);
    let step = match command.verb {
        "init" => world.ask(TransactionRequest::InitProducerId {
            transactional_id: command.id(),
            timeout_ms: i32::try_from(command.number("timeout", 60_000)).unwrap(),
            expected: command.values.get("producer").map(|text| parse_producer(text)),
        }),
        "add" => world.ask(TransactionRequest::AddPartitions {
            transactional_id: command.id(),
            producer: command.producer(),
            partitions: command.partitions(),
            client_version: command.client_version(),
        }),
        "verify" => world.ask(TransactionRequest::VerifyPartitions {
            transactional_id: command.id(),
            producer: command.producer(),
            partitions: command.partitions(),
        }),
        "commit" | "abort" => world.ask(TransactionRequest::EndTxn {
            transactional_id: command.id(),
            producer: command.producer(),
            commit: command.verb == "commit",
            client_version: command.client_version(),
        }),
        "written" => world
            .ask(TransactionRequest::MarkersWritten { transactional_id: command.id(), producer: command.producer() }),
        "describe" => world.ask(TransactionRequest::Describe { transactional_id: command.id() }),
        "explain" => world.ask(TransactionRequest::Explain { transactional_id: command.id() }),
        "list" => world.ask(TransactionRequest::List(TransactionFilter {
            by_state: command.values.contains_key("state"),
            states: command
                .values
                .get("state")
                .and_then(|name| TransactionState::from_name(name))
                .into_iter()
                .collect(),
            duration_ms: command.values.get("longer").map(|text| text.parse().unwrap()),
            ..TransactionFilter::default()
        })),
        "time" => world.advance(Timestamp(command.number("ms", 0))),
        "reload" => world.reload(),
        "worn" => {
            world.use_up_epochs(&command.id());
            return "ok\n".into();
        }
        "log" => {
            world.log_is_down = command.words.contains(&"down");
            return "ok\n".into();
        }
        "ids" => {
            world.ids.out_of_ids = command.words.contains(&"out");
            return "ok\n".into();
        }
        other => panic!("no command {other}"),
    };
    show(&step)
}

fn run_file(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let version = if text.contains("# transaction.version=2") { 2 } else { 1 };
    let mut world = World::new(version);
    let mut written = String::new();
    for block in text.trim().split("\n\n") {
        let (head, _) = block.split_once("\n----").unwrap_or((block, ""));
        let commands: Vec<&str> = head.lines().filter(|line| !line.starts_with('#')).collect();
        writeln!(written, "{head}").unwrap();
        if !commands.is_empty() {
            written.push_str("----\n");
            for command in commands {
                written.push_str(&run(&mut world, command));
            }
        }
        written.push('\n');
    }
    let written = format!("{}\n", written.trim_end());
    if std::env::var_os("OTTLA_REWRITE").is_some() {
        std::fs::write(path, written).unwrap();
    } else {
        assert_eq!(written, text, "{}", path.display());
    }
}

#[test]
fn scenarios_lead_to_what_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/transaction/testdata");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        run_file(&file);
    }
}

#[test]
fn a_log_that_takes_nothing_is_not_asked_all_the_time() {
    let mut world = World::new(2);
    run(&mut world, "init id=t timeout=1000");
    run(&mut world, "add id=t producer=1000/0 partitions=a-0 v2");
    world.log_is_down = true;
    assert!(world.advance(Timestamp(1_001)).failed);
    assert_eq!(world.soft.next_deadline(&world.hard), Some(Timestamp(2_001)));
    world.log_is_down = false;
    assert_eq!(world.advance(Timestamp(2_001)).actions.len(), 2);
}
