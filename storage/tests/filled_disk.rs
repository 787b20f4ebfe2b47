//! A disk that somebody else fills and empties again, and kill -9 in between: producers are refused and go on by themselves
//! once there is space, coordinators go on from the reserve, and what was called durable is there, once.
//!
//! Needs root (a tmpfs is mounted). `OTTLA_FULL_DISKS` sets how often; the child is this very test binary.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{contents, context};
use ottla_protocol::record_batch::BatchBuilder;
use ottla_protocol::{BrokerId, Offset, ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition};
use ottla_storage::{AppendContext, AppendError, AppendOrigin, Log, LogConfig, LogDirs, LogDirsOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const PRODUCED: i32 = 0;
const COORDINATED: i32 = 1;
const LOGS: [i32; 2] = [PRODUCED, COORDINATED];
const CHILD: &str = "OTTLA_FULL_CHILD";
/// What a coordinator must still be able to append on a full disk.
const FROM_RESERVE: u32 = 50;

fn open(dir: &Path) -> Arc<LogDirs> {
    let options = LogDirsOptions { cleaner_threads: 0, ..LogDirsOptions::new(BrokerId(1), "5L6g3nShT-eMCtK--X86sw") };
    let dirs = LogDirs::open(&[dir.join("a")], options).unwrap();
    let config = LogConfig {
        segment_bytes: 500_000,
        segment_index_bytes: 100_000,
        file_delete_delay_ms: 0,
        retention_ms: -1,
        ..LogConfig::default()
    };
    for partition in LOGS {
        let topic = TopicId(uuid::Uuid::from_u128(1 + u128::from(partition.unsigned_abs())));
        dirs.create_log(&id(partition), topic, Arc::new(config.clone())).unwrap();
    }
    dirs
}

fn id(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

/// A batch whose records say their offsets, and are large enough to fill a disk soon.
fn records(offset: i64, count: i64, sequence: Option<i32>, size: usize) -> bytes::Bytes {
    let mut builder = BatchBuilder::new();
    if let Some(sequence) = sequence {
        builder = builder.producer(ProducerId(5), ProducerEpoch(0), sequence);
    }
    for number in offset..offset + count {
        let value = format!("value {number}");
        builder.push(Timestamp(9_000), Some(&vec![7; size]), Some(value.as_bytes()), &[]);
    }
    builder.build()
}

fn verify(dirs: &LogDirs, durable: &BTreeMap<i32, i64>) {
    assert!(dirs.dirs()[0].online);
    for partition in LOGS {
        let log = dirs.get(&id(partition)).unwrap();
        let (start, end) = (log.offsets().log_start, log.offsets().log_end);
        let promised = durable.get(&partition).copied().unwrap_or(0);
        assert!(end.0 >= promised, "log {partition} ends at {end}, {promised} promised");
        let found: Vec<_> = contents(&log, start).into_iter().filter(|record| record.0 >= start.0).collect();
        let expected: Vec<_> = (start.0..end.0).map(|offset| (offset, format!("value {offset}"))).collect();
        assert!(found == expected, "log {partition}: nothing is missing, nothing is twice");
    }
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").unwrap();
    out.flush().unwrap();
}

/// Writes until it is killed; says what is durable, when the disk is full and when it is not any more.
fn load(dirs: &LogDirs, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let log = |partition| dirs.get(&id(partition)).unwrap();
    let (produced, coordinated): (Arc<Log>, Arc<Log>) = (log(PRODUCED), log(COORDINATED));
    for log in [&produced, &coordinated] {
        log.set_high_watermark(log.durable_end());
        let keep = Offset((log.high_watermark().0 - 500).max(log.offsets().log_start.0));
        log.increment_log_start_offset(keep).unwrap();
    }
    dirs.maintenance(Timestamp(10_000));
    say("ready");
    // Nothing is written while the disk is filled: what the reserve gave free meanwhile would be taken for space.
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let known = produced.producers().into_iter().next();
    let mut sequence = known.map_or(0, |known| known.last_sequence + 1);
    let coordinator = AppendContext { origin: AppendOrigin::Coordinator, ..context() };
    let mut refused: Option<u32> = None;
    loop {
        let end = produced.offsets().log_end.0;
        let count = rng.random_range(1..20);
        match produced.append_as_leader(records(end, count, Some(sequence), 1_000), &context()) {
            Ok(info) => {
                assert_eq!(info.first_offset.0, end);
                sequence += i32::try_from(count).unwrap();
                if refused.take().is_some() {
                    say("resumed");
                }
            }
            Err(AppendError::DiskFull) => {
                if refused.is_none() {
                    say("full");
                }
                let times = refused.get_or_insert(0);
                *times += 1;
                let end = coordinated.offsets().log_end.0;
                let appended = coordinated.append_as_leader(records(end, 1, None, 10), &coordinator);
                assert!(appended.is_ok() || *times > FROM_RESERVE, "{times} appends from the reserve: {appended:?}");
                // What upkeep does.
                dirs.flush_due(Timestamp(10_000));
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => panic!("{error}"),
        }
        for partition in LOGS {
            say(&format!("durable {partition} {}", log(partition).durable_end()));
        }
    }
}

#[test]
fn full_child() {
    let Ok(text) = std::env::var(CHILD) else { return };
    let mut words = text.split(' ');
    let dir = PathBuf::from(words.next().unwrap());
    let seed = words.next().unwrap().parse().unwrap();
    let durable = words.map(|word| word.split_once('=').unwrap());
    let durable = durable.map(|(at, end)| (at.parse().unwrap(), end.parse().unwrap())).collect();
    let begun = Instant::now();
    let dirs = open(&dir);
    say(&format!("opened {}", begun.elapsed().as_millis()));
    verify(&dirs, &durable);
    load(&dirs, seed);
}

/// A small file system in memory, gone when this is dropped.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=32m", "tmpfs"]).arg(dir.path()).output().ok()?;
        mounted.status.success().then_some(Self(dir))
    }

    fn ballast(&self) -> PathBuf {
        self.0.path().join("ballast")
    }

    /// Somebody else takes all the space that is there, but a little.
    fn fill(&self) {
        let left = rustix::fs::statvfs(self.0.path()).unwrap();
        let bytes = (left.f_bavail * left.f_frsize).saturating_sub(1 << 20);
        let mut file = File::create(self.ballast()).unwrap();
        let block = vec![1; 64 << 10];
        for _ in 0..bytes / (64 << 10) {
            if file.write_all(&block).is_err() {
                break;
            }
        }
    }

    fn empty(&self) {
        let _ = std::fs::remove_file(self.ballast());
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn nothing_durable_is_lost_on_a_full_disk() {
    let times: u64 = std::env::var("OTTLA_FULL_DISKS").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let Some(disk) = Tmpfs::mount() else {
        println!("skipped: a tmpfs cannot be mounted without root");
        return;
    };
    let mut rng = StdRng::seed_from_u64(3);
    let mut durable: BTreeMap<i32, i64> = BTreeMap::new();
    let (mut slowest, mut resumptions, mut full) = (0, 0, 0);
    for time in 0..times {
        let mut text = format!("{} {time}", disk.0.path().display());
        for (at, end) in &durable {
            text.push_str(&format!(" {at}={end}"));
        }
        let mut child: Child = Command::new(std::env::current_exe().unwrap())
            .args(["full_child", "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, text)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Every third one dies while the disk is full.
        let dies_full = time % 3 == 2;
        let mut end = None;
        let mut killed = false;
        let mut told = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.map_while(Result::ok) {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                [.., "opened", ms] => slowest = slowest.max(ms.parse().unwrap()),
                [.., "ready"] => {
                    disk.fill();
                    writeln!(told, "filled").unwrap();
                }
                [.., "full"] => {
                    full += 1;
                    if dies_full {
                        end = Some(Instant::now() + Duration::from_millis(rng.random_range(0..60)));
                    } else {
                        std::thread::sleep(Duration::from_millis(30));
                        disk.empty();
                    }
                }
                [.., "resumed"] => {
                    resumptions += 1;
                    end = end.or(Some(Instant::now() + Duration::from_millis(rng.random_range(0..60))));
                }
                [.., "durable", at, offset] => {
                    if let (Ok(at), Ok(offset)) = (at.parse(), offset.parse::<i64>()) {
                        let known = durable.entry(at).or_insert(0);
                        *known = (*known).max(offset);
                    }
                }
                _ => {}
            }
            if !killed && end.is_some_and(|end| Instant::now() >= end) {
                child.kill().unwrap();
                killed = true;
            }
        }
        let status = child.wait().unwrap();
        assert!(killed && status.code().is_none(), "time {time}: the child ended by itself, see its output above");
        disk.empty();
    }
    println!(
        "{times} full disks, {full} times full, {resumptions} resumptions, slowest start {slowest} ms, {durable:?}"
    );
    assert!(full >= times && resumptions > 0 && durable.values().all(|end| *end > 10));
}
