//! What durability costs: Ottla on its disk and in its page cache, Apache Kafka with `flush.messages=1` and as it comes, all
//! under the same load in one interleaved run, beside the device's own flush.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ottla_compat_tests::broker::{Broker, Target};
use ottla_compat_tests::{cache, tool};

use crate::load::{Load, percentile};
use crate::measure::{self, Cpu, written_bytes};

/// Who promises what.
const CONTESTANTS: [(&str, Target, &str); 4] = [
    ("ottla strict", Target::Ottla, "log.durability=strict"),
    ("ottla replicated", Target::Ottla, "log.durability=replicated"),
    ("kafka flush.messages=1", Target::Apache, "log.flush.interval.messages=1"),
    ("kafka default", Target::Apache, "num.io.threads=8"),
];

/// One contestant in one round.
#[derive(Debug, Clone)]
struct Row {
    name: &'static str,
    mb_s: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_s_per_gb: f64,
    /// What the broker has had written for each byte that it acknowledged.
    written: f64,
    /// The device's own flush of 4 KiB beside the load.
    flush_p50_us: f64,
    flush_p99_us: f64,
}

/// Measures everybody `rounds` times and prints the medians.
pub fn run(rounds: usize, load: Load, targets: &[String]) -> Result<(), String> {
    let (mut rows, mut bandwidths) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        bandwidths.push(bandwidth(&cache::dir("run"))?);
        let mut order = CONTESTANTS.to_vec();
        if round % 2 == 1 {
            order.reverse();
        }
        for (name, target, setting) in order {
            if !targets.iter().any(|wanted| wanted == target.name()) {
                continue;
            }
            let row = measure(name, target, setting, load)?;
            eprintln!("round {} of {rounds}: {row:?}", round + 1);
            rows.push(row);
        }
    }
    println!(
        "{} producers, {} partitions, {} x {} bytes in a request, {} s, {rounds} rounds (medians)\n",
        load.producers, load.partitions, load.spread, load.batch_bytes, load.seconds
    );
    println!(
        "The device takes {:.0} MB/s (writes of 1 MiB past the page cache, four at a time, over what was written before; nobody else at work)\n",
        median(bandwidths)
    );
    println!(
        "| | MB/s | p50 ms | p99 ms | CPU s per GB | written per byte | flush of the device p50 / p99 ms |\n\
         |---|---|---|---|---|---|---|"
    );
    for (name, ..) in CONTESTANTS {
        let of = |figure: fn(&Row) -> f64| median(rows.iter().filter(|row| row.name == name).map(figure).collect());
        if rows.iter().any(|row| row.name == name) {
            println!(
                "| {name} | {:.1} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} / {:.2} |",
                of(|row| row.mb_s),
                of(|row| row.p50_us) / 1e3,
                of(|row| row.p99_us) / 1e3,
                of(|row| row.cpu_s_per_gb),
                of(|row| row.written),
                of(|row| row.flush_p50_us) / 1e3,
                of(|row| row.flush_p99_us) / 1e3
            );
        }
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    percentile(&values, 0.5)
}

fn measure(name: &'static str, target: Target, setting: &str, load: Load) -> Result<Row, String> {
    let mut broker = Broker::start(target, &[setting])?;
    let line = format!(
        "--bootstrap-server {} --create --topic load --partitions {} --replication-factor 1",
        broker.bootstrap(),
        load.partitions
    );
    let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    tool::start("kafka-topics", &arguments, b"")?.wait(Duration::from_secs(120)).ok();
    load.settle(broker.address(), "load")?;
    // Files are created and code is compiled before anything counts.
    Load { seconds: load.seconds / 2.0, ..load }.run(broker.address(), "load")?;
    // As before every other load: who first uses a page of a virtual machine pays for the host's work.
    measure::touch_memory();
    let stop = AtomicBool::new(false);
    let written = written_bytes(&broker);
    let cpu = Cpu::of(&broker);
    let (answered, mut flushes) = std::thread::scope(|scope| {
        let probe = scope.spawn(|| probe(&broker.data_dir(), &stop));
        let answered = load.run(broker.address(), "load");
        stop.store(true, Ordering::Relaxed);
        (answered, probe.join().unwrap_or_else(|_| Err("the probe panicked".into())))
    });
    let answered = answered?;
    let spent = cpu.since(&broker);
    let written = written_bytes(&broker) - written;
    broker.stop();
    let flushes = flushes.as_mut().map_err(|error| error.clone())?;
    flushes.sort_by(f64::total_cmp);
    Ok(Row {
        name,
        mb_s: answered.bytes as f64 / 1e6 / answered.seconds,
        p50_us: percentile(&answered.latencies, 0.5),
        p99_us: percentile(&answered.latencies, 0.99),
        cpu_s_per_gb: spent.seconds / (answered.bytes as f64 / 1e9),
        written: written / answered.bytes as f64,
        flush_p50_us: percentile(flushes, 0.5),
        flush_p99_us: percentile(flushes, 0.99),
    })
}

const BLOCK: usize = 4096;

fn open_direct(path: &Path) -> Result<File, String> {
    let direct = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    OpenOptions::new().write(true).custom_flags(direct).open(path).map_err(|error| error.to_string())
}

/// MB/s that the device takes where nothing has to be allocated: what all writing together cannot exceed for long.
fn bandwidth(dir: &Path) -> Result<f64, String> {
    const WRITERS: usize = 4;
    const WRITE: usize = 1 << 20;
    const WRITES: usize = 256;
    let path = dir.join("bandwidth");
    std::fs::write(&path, vec![1; WRITERS * WRITES * WRITE]).map_err(|error| error.to_string())?;
    File::open(&path).and_then(|file| file.sync_all()).map_err(|error| error.to_string())?;
    let file = open_direct(&path)?;
    let begun = Instant::now();
    let writer = |writer: usize| {
        let memory = vec![1; WRITE + BLOCK];
        let start = memory.as_ptr().align_offset(BLOCK);
        let place = |write: usize| ((writer * WRITES + write) * WRITE) as u64;
        (0..WRITES).try_for_each(|write| file.write_all_at(&memory[start..start + WRITE], place(write)))
    };
    let writer = &writer;
    let done = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|at| scope.spawn(move || writer(at))).collect();
        writers.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("panicked"))))
    });
    done.and_then(|()| file.sync_data()).map_err(|error| error.to_string())?;
    let seconds = begun.elapsed().as_secs_f64();
    std::fs::remove_file(&path).map_err(|error| error.to_string())?;
    Ok((WRITERS * WRITES * WRITE) as f64 / 1e6 / seconds)
}

/// Writes 4 KiB past the page cache and flushes the device, again and again, in microseconds each.
fn probe(dir: &Path, stop: &AtomicBool) -> Result<Vec<f64>, String> {
    let path = dir.with_file_name("probe");
    std::fs::write(&path, vec![0; BLOCK * 64]).map_err(|error| error.to_string())?;
    let file = open_direct(&path)?;
    file.sync_all().map_err(|error| error.to_string())?;
    let memory = vec![1; BLOCK * 2];
    let start = memory.as_ptr().align_offset(BLOCK);
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let at = (times.len() % 64 * BLOCK) as u64;
        file.write_all_at(&memory[start..start + BLOCK], at).map_err(|error| error.to_string())?;
        file.sync_data().map_err(|error| error.to_string())?;
        times.push(begun.elapsed().as_secs_f64() * 1e6);
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(times)
}
