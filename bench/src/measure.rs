//! What is read off a broker's process and out of the tools' reports.

use std::collections::BTreeMap;
use std::fmt;

use ottla_compat_tests::broker::{Broker, Target};
use ottla_compat_tests::process::Output;

/// The figures of one broker in one round, by name; the unit ends the name.
#[derive(Debug, Clone)]
pub struct Sample {
    pub target: Target,
    pub figures: BTreeMap<String, f64>,
}

impl Sample {
    pub fn new(target: Target) -> Self {
        Self { target, figures: BTreeMap::new() }
    }

    pub fn set(&mut self, name: &str, value: f64) {
        self.figures.insert(name.to_owned(), value);
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.figures {
            writeln!(f, "  {name} {value:.3}")?;
        }
        Ok(())
    }
}

/// Writes to the memory that is free, but for a gigabyte. A virtual machine's memory comes from its host at the first touch,
/// which the kernel counts as time of whoever touches it: up to ten times what the same write costs the next time.
pub fn touch_memory() {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free = info.lines().find_map(|line| line.strip_prefix("MemFree:"));
    let kibibytes = free.and_then(|text| text.trim().trim_end_matches(" kB").parse::<usize>().ok()).unwrap_or(0);
    touch(kibibytes.saturating_sub(1 << 20) * 1024);
}

/// Writes to as much memory as a load is going to fill. What is free goes back to some hosts within seconds, so this comes right
/// before each load.
pub fn touch_for_load(megabytes: u64) {
    touch(usize::try_from(megabytes).unwrap_or(0).saturating_mul(1_800_000));
}

fn touch(bytes: usize) {
    // In parts: one that cannot be had ends it, and is no reason not to measure.
    let mut touched: Vec<Vec<u8>> = Vec::new();
    while touched.len() * TOUCHED_AT_ONCE < bytes {
        let mut part = Vec::new();
        if part.try_reserve_exact(TOUCHED_AT_ONCE).is_err() {
            return;
        }
        part.resize(TOUCHED_AT_ONCE, 1);
        touched.push(part);
    }
    std::hint::black_box(&touched);
}

const TOUCHED_AT_ONCE: usize = 64 << 20;

/// Bytes that a process has had written to the disk so far, through the page cache or past it.
pub fn written_bytes(broker: &Broker) -> f64 {
    let io = std::fs::read_to_string(format!("/proc/{}/io", broker.pid())).unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes:"));
    line.and_then(|text| text.trim().parse().ok()).unwrap_or(0.0)
}

/// CPU time of a process so far.
#[derive(Debug, Clone, Copy)]
pub struct Cpu {
    pub user_seconds: f64,
    /// User and system.
    pub seconds: f64,
}

/// Linux reports CPU times in hundredths of a second whatever the kernel's own clock is.
const TICKS_PER_SECOND: f64 = 100.0;

impl Cpu {
    pub fn of(broker: &Broker) -> Self {
        Self::of_process(broker.pid())
    }

    pub fn of_process(pid: u32) -> Self {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name of the program may hold spaces; the fields are counted behind its closing bracket.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        let (user, system) = (ticks(11), ticks(12));
        Self { user_seconds: user / TICKS_PER_SECOND, seconds: (user + system) / TICKS_PER_SECOND }
    }

    /// What was spent since `self` was read.
    pub fn since(&self, broker: &Broker) -> Self {
        let now = Self::of(broker);
        Self { user_seconds: now.user_seconds - self.user_seconds, seconds: now.seconds - self.seconds }
    }
}

/// The last line of kafka-producer-perf-test.
#[derive(Debug, PartialEq)]
pub struct ProducerFigures {
    pub megabytes_per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// `N records sent, R records/sec (M MB/sec), A ms avg latency, X ms max latency, P ms 50th, ... ms 95th, ... ms 99th, ...`
pub fn producer_figures(output: &Output) -> Option<ProducerFigures> {
    let line = output.stdout.lines().rev().find(|line| line.contains("99th"))?;
    let before = |mark: &str| -> Option<f64> { line[..line.find(mark)?].split([' ', '(']).next_back()?.parse().ok() };
    // The tool's MB are 2^20 bytes.
    Some(ProducerFigures {
        megabytes_per_second: before(" MB/sec")? * 1.048_576,
        p50_ms: before(" ms 50th")?,
        p99_ms: before(" ms 99th")?,
    })
}

/// MB/s from kafka-consumer-perf-test without its header: start, end, MB, MB/s, records, records/s, rebalance ms, fetch ms,
/// fetch MB/s, fetch records/s. The fetch figure leaves the joining of the group out.
pub fn consumer_rate(output: &Output) -> Option<f64> {
    let line = output.stdout.lines().rev().find(|line| line.split(',').count() >= 10)?;
    Some(line.split(',').nth(8)?.trim().parse::<f64>().ok()? * 1.048_576)
}

/// p50 and p99 in milliseconds from kafka-e2e-latency.
pub fn end_to_end(output: &Output) -> Option<(f64, f64)> {
    let line = output.stdout.lines().find(|line| line.contains("50th"))?;
    let after = |mark: &str| -> Option<f64> {
        let rest = &line[line.find(mark)? + mark.len()..];
        rest.trim_start_matches([' ', '=']).split([',', ' ']).next()?.parse().ok()
    };
    Some((after("50th")?, after("99th")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(stdout: &str) -> Output {
        Output { code: 0, stdout: stdout.to_owned(), stderr: String::new() }
    }

    #[test]
    fn the_tools_reports_are_understood() {
        let produced = printed(
            "500000 records sent, 98619.3 records/sec (96.31 MB/sec), 180.52 ms avg latency, 396.00 ms max latency, \
             170 ms 50th, 360 ms 95th, 380 ms 99th, 390 ms 99.9th.\n",
        );
        let figures = producer_figures(&produced);
        assert!(figures.is_some_and(|figures| figures.p99_ms == 380.0 && figures.megabytes_per_second > 96.31));
        let consumed = printed(
            "2026-01-01 00:00:00:000, 2026-01-01 00:00:01:000, 488.2, 300.0, 500000, 1.0, 300, 900, 542.4, 555555.5\n",
        );
        assert!(consumer_rate(&consumed).is_some_and(|rate| rate > 542.4));
        let latency = printed("Avg latency: 0.7400 ms\nPercentiles: 50th = 1, 99th = 4, 99.9th = 9\n");
        assert_eq!(end_to_end(&latency), Some((1.0, 4.0)));
    }
}
