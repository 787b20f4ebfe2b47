//! What an application does with the crate rdkafka. Usage: STORY BOOTSTRAP PREFIX.

use std::collections::BTreeSet;
use std::env;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, FutureProducer, FutureRecord, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

const START_MS: i64 = 1_700_000_000_000;
const WAIT: Duration = Duration::from_secs(30);

/// Partition, offset and value of each record.
type Values = Vec<(i32, i64, Vec<u8>)>;

struct Story {
    bootstrap: String,
    prefix: String,
    admin: AdminClient<DefaultClientContext>,
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let [_, name, bootstrap, prefix] = &arguments[..] else { panic!("STORY BOOTSTRAP PREFIX") };
    let admin = ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    let story = Story { bootstrap: bootstrap.clone(), prefix: prefix.clone(), admin };
    match name.as_str() {
        "codecs" => story.codecs(),
        "group" => story.group(&[("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "300")]),
        "positions" => story.positions(),
        "admin" => story.admin(),
        "transactions" => story.transactions(),
        other => panic!("no story {other}"),
    }
}

impl Story {
    fn config(&self, more: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        more.iter().for_each(|(key, value)| {
            config.set(*key, *value);
        });
        config
    }

    fn create(&self, name: &str, partitions: i32) -> String {
        let topic = format!("{}-{name}", self.prefix);
        let new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1));
        let results = block_on(self.admin.create_topics([&new], &AdminOptions::new())).unwrap();
        results.into_iter().for_each(|result| drop(result.unwrap()));
        topic
    }

    fn consumer(&self, group: &str, more: &[(&str, &str)]) -> BaseConsumer {
        let mut config = self.config(&[("auto.offset.reset", "earliest"), ("enable.auto.commit", "false")]);
        config.set("group.id", format!("{}-{group}", self.prefix));
        more.iter().for_each(|(key, value)| {
            config.set(*key, *value);
        });
        config.create().unwrap()
    }

    fn produce(&self, topic: &str, partitions: i32, count: i32) {
        let sender: ThreadedProducer<_> = self.config(&[]).create().unwrap();
        for i in 0..count {
            let (key, value) = (format!("k{i}"), format!("value {i}"));
            let at = START_MS + i64::from(i) * 1000;
            let record = BaseRecord::to(topic).key(&key).payload(&value).partition(i % partitions).timestamp(at);
            sender.send(record).map_err(|(error, _)| error).unwrap();
        }
        sender.flush(WAIT).unwrap();
    }

    /// A producer without acknowledgements is done when the broker has its records, not when it has sent them.
    fn settle(&self, topic: &str, end: i64) {
        let reader = self.consumer("settle", &[]);
        while reader.fetch_watermarks(topic, 0, WAIT).unwrap().1 != end {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn codecs(&self) {
        let topic = self.create("codecs", 1);
        let mut sent = 0;
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            for acks in ["0", "1", "all"] {
                let idempotent = if acks == "all" { "true" } else { "false" };
                let more = [
                    ("compression.type", codec),
                    ("acks", acks),
                    ("linger.ms", "20"),
                    ("enable.idempotence", idempotent),
                ];
                let sender: FutureProducer = self.config(&more).create().unwrap();
                let mut deliveries = Vec::new();
                for i in 0..20_usize {
                    let (key, value) = (format!("key-{i}"), format!("{codec}{}", " value ".repeat(i)));
                    let twice = format!("a{i}");
                    let headers = OwnedHeaders::new()
                        .insert(Header { key: "twice", value: Some(&twice) })
                        .insert(Header { key: "twice", value: Some("b") })
                        .insert(Header::<&str> { key: "none", value: None });
                    let mut record: FutureRecord<'_, String, String> =
                        FutureRecord::to(&topic).partition(0).timestamp(START_MS + sent).headers(headers);
                    if i % 5 != 3 {
                        record = record.key(&key);
                    }
                    if i % 7 != 0 {
                        record = record.payload(&value);
                    }
                    deliveries.push(sender.send_result(record).map_err(|(error, _)| error).unwrap());
                    sent += 1;
                }
                sender.flush(WAIT).unwrap();
                let count = deliveries.into_iter().map(|delivery| block_on(delivery).unwrap().unwrap()).count();
                println!("{codec} acks {acks} delivered {count}");
                self.settle(&topic, sent);
            }
        }
        let reader = self.consumer("codecs", &[]);
        reader.assign(&at(&topic, Offset::Beginning)).unwrap();
        let mut checksum = crc32fast::Hasher::new();
        for _ in 0..sent {
            let message = reader.poll(WAIT).expect("a record").unwrap();
            let headers: Vec<(String, Option<Vec<u8>>)> = (message.headers().into_iter())
                .flat_map(|headers| headers.iter())
                .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect();
            let line = (message.offset(), message.key(), message.payload(), message.timestamp().to_millis(), headers);
            checksum.update(format!("{line:?}").as_bytes());
        }
        println!("consumed {sent} checksum {:08x}", checksum.finalize());
    }

    fn group(&self, config: &[(&str, &str)]) {
        let topic = self.create("group", 4);
        let mut values = Values::new();
        let owned = |member: &BaseConsumer| member.assignment().unwrap().count();
        let first = self.consumer("group", config);
        first.subscribe(&[&topic]).unwrap();
        until(&[&first], &mut values, |_| owned(&first) == 4);
        println!("one member owns 4");
        let second = self.consumer("group", config);
        second.subscribe(&[&topic]).unwrap();
        until(&[&first, &second], &mut values, |_| owned(&first) == 2 && owned(&second) == 2);
        println!("two members own 2 and 2");
        self.produce(&topic, 4, 40);
        until(&[&first, &second], &mut values, |values| values.len() >= 40);
        let distinct: BTreeSet<_> = values.iter().collect();
        println!("consumed {} distinct {}", values.len(), distinct.len());
        first.commit_consumer_state(CommitMode::Sync).unwrap();
        second.commit_consumer_state(CommitMode::Sync).unwrap();
        drop(second);
        until(&[&first], &mut values, |_| owned(&first) == 4);
        println!("after the second left, the first owns 4");
        self.produce(&topic, 4, 8);
        until(&[&first], &mut values, |values| values.len() >= 48);
        first.commit_consumer_state(CommitMode::Sync).unwrap();
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_range(&topic, 0, 3);
        let committed = first.committed_offsets(partitions, WAIT).unwrap();
        let sum: i64 = committed.elements().iter().filter_map(|element| element.offset().to_raw()).sum();
        println!("consumed {} committed in all {sum}", values.len());
    }

    fn positions(&self) {
        let topic = self.create("positions", 1);
        self.produce(&topic, 1, 30);
        let reader = self.consumer("positions", &[]);
        let committed = || reader.committed_offsets(at(&topic, Offset::Invalid), WAIT).unwrap();
        println!("committed before {:?}", committed().elements()[0].offset());
        let value = || {
            let message = reader.poll(WAIT).expect("a record").unwrap();
            String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned()
        };
        reader.assign(&at(&topic, Offset::Offset(10))).unwrap();
        println!("at 10 {}", value());
        reader.seek(&topic, 0, Offset::Beginning, WAIT).unwrap();
        println!("at the beginning {}", value());
        println!("watermarks {:?}", reader.fetch_watermarks(&topic, 0, WAIT).unwrap());
        for time in [START_MS + 20_500, START_MS + 99_999_000] {
            let found = reader.offsets_for_times(at(&topic, Offset::Offset(time)), WAIT).unwrap();
            println!("for times {:?}", found.elements()[0].offset());
        }
        reader.commit(&at(&topic, Offset::Offset(15)), CommitMode::Sync).unwrap();
        let Offset::Offset(offset) = committed().elements()[0].offset() else { panic!("an offset") };
        println!("committed {offset} lag {}", 30 - offset);
        reader.seek(&topic, 0, Offset::Offset(1000), WAIT).unwrap();
        println!("out of range falls back to {}", value());
        reader.assign(&at(&topic, Offset::End)).unwrap();
        println!("nothing at the end {}", reader.poll(Duration::from_secs(1)).is_none());
    }

    fn admin(&self) {
        let topic = format!("{}-admin", self.prefix);
        let options = AdminOptions::new();
        let create = |title: &str, name: &str, partitions: i32, replication: i32, config: &[(&str, &str)]| {
            let mut new = NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
            for (key, value) in config {
                new = new.set(key, value);
            }
            tell(title, block_on(self.admin.create_topics([&new], &options)).unwrap());
        };
        create("create", &topic, 3, 1, &[("retention.ms", "60000")]);
        create("create again", &topic, 3, 1, &[]);
        create("bad replication", &format!("{topic}-r"), 1, 5, &[]);
        create("bad config", &format!("{topic}-c"), 1, 1, &[("no.such", "1")]);
        let reader = self.consumer("admin", &[]);
        let metadata = reader.fetch_metadata(Some(&topic), WAIT).unwrap();
        println!("partitions {}", metadata.topics()[0].partitions().len());
        let described = block_on(self.admin.describe_configs([&ResourceSpecifier::Topic(&topic)], &options)).unwrap();
        let retention = described[0].as_ref().unwrap().get("retention.ms").unwrap();
        println!("retention {:?} from {:?}", retention.value, retention.source);
        let grow = |title: &str, count: usize| {
            let new = NewPartitions::new(&topic, count);
            tell(title, block_on(self.admin.create_partitions([&new], &options)).unwrap());
        };
        grow("grow", 5);
        grow("shrink", 2);
        self.produce(&topic, 1, 10);
        let deleted = block_on(self.admin.delete_records(&at(&topic, Offset::Offset(5)), &options)).unwrap();
        println!("low watermark {:?}", deleted.elements()[0].offset());
        reader.commit(&at(&topic, Offset::Offset(7)), CommitMode::Sync).unwrap();
        let name = format!("{}-admin", self.prefix);
        let listed = reader.fetch_group_list(Some(&name), WAIT).unwrap();
        println!("group {} {}", listed.groups()[0].state(), listed.groups()[0].members().len());
        drop(reader);
        for title in ["delete the group", "delete the group again"] {
            tell(title, block_on(self.admin.delete_groups(&[&name], &options)).unwrap());
        }
        let absent = format!("{topic}-absent");
        tell("delete", block_on(self.admin.delete_topics(&[&topic], &options)).unwrap());
        tell("delete an absent topic", block_on(self.admin.delete_topics(&[&absent], &options)).unwrap());
    }

    fn transactions(&self) {
        let (topic, source) = (self.create("txn", 1), self.create("txn-source", 1));
        let reader = self.consumer("txn", &[]);
        reader.assign(&at(&source, Offset::Offset(0))).unwrap();
        let id = format!("{}-txn", self.prefix);
        let sender: ThreadedProducer<_> = self.config(&[("transactional.id", &id)]).create().unwrap();
        sender.init_transactions(WAIT).unwrap();
        for round in 0..4 {
            sender.begin_transaction().unwrap();
            for i in 0..3 {
                let value = format!("round {round} record {i}");
                let record = BaseRecord::<(), String>::to(&topic).payload(&value).partition(0);
                sender.send(record).map_err(|(error, _)| error).unwrap();
            }
            // What is still queued at an abort is dropped unsent.
            sender.flush(WAIT).unwrap();
            let group = reader.group_metadata().unwrap();
            sender.send_offsets_to_transaction(&at(&source, Offset::Offset(round + 1)), &group, WAIT).unwrap();
            if round % 2 == 0 {
                sender.commit_transaction(WAIT).unwrap();
            } else {
                sender.abort_transaction(WAIT).unwrap();
            }
        }
        let committed = reader.committed_offsets(at(&source, Offset::Invalid), WAIT).unwrap();
        println!("offset of the group {:?}", committed.elements()[0].offset());
        for isolation in ["read_committed", "read_uncommitted"] {
            let reader = self.consumer("txn-read", &[("isolation.level", isolation), ("enable.partition.eof", "true")]);
            reader.assign(&at(&topic, Offset::Beginning)).unwrap();
            while let Some(Ok(message)) = reader.poll(WAIT) {
                let value = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
                println!("{isolation} {} {value}", message.offset());
            }
        }
    }
}

/// Partition 0 of a topic at an offset.
fn at(topic: &str, offset: Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, offset).unwrap();
    list
}

fn tell(title: &str, results: Vec<Result<String, (String, RDKafkaErrorCode)>>) {
    for result in results {
        match result {
            Ok(_) => println!("{title} done"),
            Err((_, code)) => println!("{title} {code:?}"),
        }
    }
}

fn until(members: &[&BaseConsumer], values: &mut Values, condition: impl Fn(&Values) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition(values) {
        assert!(Instant::now() < deadline, "waited in vain");
        for member in members {
            match member.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    values.push((
                        message.partition(),
                        message.offset(),
                        message.payload().unwrap_or_default().to_vec(),
                    ));
                }
                Some(Err(KafkaError::MessageConsumption(error))) => eprintln!("{error}"),
                Some(Err(error)) => panic!("{error}"),
                None => {}
            }
        }
    }
}
