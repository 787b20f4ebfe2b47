//! SIGTERM to the program itself, at any moment of its start and under load: a clean end, and no word of errors.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ottla_protocol::messages::create_topics_request::CreatableTopic;
use ottla_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use ottla_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use ottla_protocol::messages::{CreateTopicsRequest, FetchRequest, ProduceRequest, TopicName};
use ottla_protocol::record_batch::BatchBuilder;
use ottla_protocol::{StrBytes, Timestamp, request};

/// Only against a test that hangs.
const GUARD: Duration = Duration::from_secs(120);

/// The program, killed when the test ends in any other way.
struct Ottla(Child);

impl Drop for Ottla {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Ottla {
    fn start(data: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ottla"));
        command.args(["start", "--override", "listeners=PLAINTEXT://127.0.0.1:0", "--override"]);
        command.arg(format!("log.dirs={}", data.display())).current_dir(data.parent().unwrap()).env_remove("RUST_LOG");
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn terminate(&self) {
        let status = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end; what was printed besides `already`.
    fn end(mut self, already: Option<BufReader<ChildStdout>>) -> (ExitStatus, String) {
        let mut stdout: Box<dyn Read + Send> = match already {
            Some(reader) => Box::new(reader),
            None => Box::new(self.0.stdout.take().unwrap()),
        };
        let mut stderr = self.0.stderr.take().unwrap();
        let read = thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        let deadline = Instant::now() + GUARD;
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(2));
        };
        (status, read.join().unwrap())
    }
}

fn assert_silent(text: &str) {
    let loud: Vec<&str> = text.lines().filter(|line| line.contains("ERROR") || line.contains("panicked")).collect();
    assert!(loud.is_empty(), "{loud:#?}\n{text}");
}

#[test]
fn at_any_moment_of_the_start() {
    let dir = tempfile::tempdir().unwrap();
    // A folder that an interrupted start has left is good for the next one.
    let data = dir.path().join("data");
    let mut started = 0;
    for round in 0..40_u64 {
        let ottla = Ottla::start(&data);
        thread::sleep(Duration::from_millis(round * round / 4));
        ottla.terminate();
        let (status, text) = ottla.end(None);
        assert_silent(&text);
        // Before the program has got as far as to listen to signals, the signal is the end.
        let is_early = status.signal() == Some(15) && text.is_empty();
        assert!(status.success() || is_early, "{status}: {text}");
        started += u32::from(text.contains("shutdown is complete"));
    }
    println!("{started} of 40 had started");
}

fn send(socket: &mut TcpStream, frame: &[u8]) -> std::io::Result<()> {
    socket.write_all(frame)
}

fn receive(socket: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    socket.read_exact(&mut frame)?;
    Ok(frame)
}

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str("t"))
}

fn create() -> Vec<u8> {
    let new = CreatableTopic::default().with_name(topic()).with_num_partitions(4).with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![new]).with_timeout_ms(5000);
    request::encode(1, 7, None, &request).unwrap().to_vec()
}

fn produce(partition: i32) -> Vec<u8> {
    let mut batch = BatchBuilder::new();
    for _ in 0..50 {
        batch.push(Timestamp(1_700_000_000_000), None, Some(&[b'x'; 1000]), &[]);
    }
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch.build()));
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![TopicProduceData::default().with_name(topic()).with_partition_data(vec![data])]);
    request::encode(1, 12, None, &request).unwrap().to_vec()
}

/// Waits for more than there will ever be.
fn fetch() -> Vec<u8> {
    let partition = FetchPartition::default()
        .with_current_leader_epoch(-1)
        .with_last_fetched_epoch(-1)
        .with_partition_max_bytes(1 << 20);
    let request = FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(600_000)
        .with_min_bytes(i32::MAX)
        .with_max_bytes(i32::MAX)
        .with_session_epoch(-1)
        .with_topics(vec![FetchTopic::default().with_topic(topic()).with_partitions(vec![partition])]);
    request::encode(1, 12, None, &request).unwrap().to_vec()
}

#[test]
fn under_load() {
    let dir = tempfile::tempdir().unwrap();
    let mut ottla = Ottla::start(&dir.path().join("data"));
    let mut stdout = BufReader::new(ottla.0.stdout.take().unwrap());
    let mut said = String::new();
    let address = loop {
        let mut line = String::new();
        assert!(stdout.read_line(&mut line).unwrap() > 0, "{said}");
        said.push_str(&line);
        if let Some((_, rest)) = line.split_once("bootstrap.servers=") {
            break rest.split(',').next().unwrap().to_owned();
        }
    };
    let mut admin = TcpStream::connect(&address).unwrap();
    send(&mut admin, &create()).unwrap();
    receive(&mut admin).unwrap();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut clients = Vec::new();
    for partition in 0..4 {
        let acknowledged = Arc::clone(&acknowledged);
        let mut socket = TcpStream::connect(&address).unwrap();
        clients.push(thread::spawn(move || {
            let frame = produce(partition);
            while send(&mut socket, &frame).is_ok() && receive(&mut socket).is_ok() {
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
        }));
        let mut socket = TcpStream::connect(&address).unwrap();
        send(&mut socket, &fetch()).unwrap();
        clients.push(thread::spawn(move || drop(receive(&mut socket))));
    }
    while acknowledged.load(Ordering::Relaxed) < 200 {
        thread::sleep(Duration::from_millis(2));
    }
    ottla.terminate();
    let (status, text) = ottla.end(Some(stdout));
    said.push_str(&text);
    assert_silent(&said);
    assert!(status.success() && said.contains("shutdown is complete"), "{status}: {said}");
    for client in clients {
        client.join().unwrap();
    }
    assert!(dir.path().join("data/.kafka_cleanshutdown").exists());
}
