//! The numbers that the performance tools print.

use std::io::{self, Write};
use std::time::Instant;

const SAMPLES_MAX: u64 = 500_000;
const MEGABYTE: f64 = 1024.0 * 1024.0;

/// Latencies and throughput of sent records, over the whole run and over the window since the last report.
#[derive(Debug)]
pub struct Stats {
    started: Instant,
    latencies_ms: Vec<u32>,
    sampling: u64,
    is_steady_state: bool,
    pub is_silent: bool,
    report_every_ms: u128,
    total: Sum,
    window: Sum,
    window_started: Instant,
}

#[derive(Debug, Default)]
struct Sum {
    count: u64,
    bytes: u64,
    latency_ms: u64,
    latency_ms_max: u32,
}

impl Sum {
    fn add(&mut self, latency_ms: u32, bytes: usize) {
        self.count += 1;
        self.bytes += bytes as u64;
        self.latency_ms += u64::from(latency_ms);
        self.latency_ms_max = self.latency_ms_max.max(latency_ms);
    }

    fn rates(&self, since: Instant) -> (f64, f64) {
        let seconds = since.elapsed().as_secs_f64().max(1e-9);
        (self.count as f64 / seconds, self.bytes as f64 / seconds / MEGABYTE)
    }

    fn latency_ms_mean(&self) -> f64 {
        self.latency_ms as f64 / self.count as f64
    }
}

impl Stats {
    /// For so many records; of many only some latencies are kept.
    pub fn new(records: u64, report_every_ms: u64, is_steady_state: bool) -> Self {
        let sampling = (records / records.clamp(1, SAMPLES_MAX)).max(1);
        Self {
            started: Instant::now(),
            latencies_ms: Vec::new(),
            sampling,
            is_steady_state,
            is_silent: false,
            report_every_ms: u128::from(report_every_ms),
            total: Sum::default(),
            window: Sum::default(),
            window_started: Instant::now(),
        }
    }

    /// One record was acknowledged; now and then that is the moment to report.
    pub fn record(&mut self, latency_ms: u32, bytes: usize, out: &mut dyn Write) -> io::Result<()> {
        if self.total.count.is_multiple_of(self.sampling) {
            self.latencies_ms.push(latency_ms);
        }
        self.total.add(latency_ms, bytes);
        self.window.add(latency_ms, bytes);
        if self.window_started.elapsed().as_millis() >= self.report_every_ms {
            if self.is_steady_state && self.total.count == self.window.count {
                writeln!(out, "In steady state.")?;
            }
            if !self.is_silent {
                self.print_window(out)?;
            }
            self.window = Sum::default();
            self.window_started = Instant::now();
        }
        Ok(())
    }

    fn print_window(&self, out: &mut dyn Write) -> io::Result<()> {
        let (records, megabytes) = self.window.rates(self.window_started);
        writeln!(
            out,
            "{} records sent, {records:.1} records/sec ({megabytes:.2} MB/sec), {:.1} ms avg latency, {:.1} ms max latency.",
            self.window.count,
            self.window.latency_ms_mean(),
            f64::from(self.window.latency_ms_max)
        )?;
        out.flush()
    }

    /// The line at the end.
    pub fn print_total(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let (records, megabytes) = self.total.rates(self.started);
        self.latencies_ms.sort_unstable();
        let at = |part: f64| {
            let index = (part * self.latencies_ms.len() as f64) as usize;
            self.latencies_ms.get(index).copied().unwrap_or(0)
        };
        writeln!(
            out,
            "{}{} records sent, {records:.6} records/sec ({megabytes:.2} MB/sec), {:.2} ms avg latency, {:.2} ms max \
             latency, {} ms 50th, {} ms 95th, {} ms 99th, {} ms 99.9th.",
            self.total.count,
            if self.is_steady_state { " steady state" } else { "" },
            self.total.latency_ms_mean(),
            f64::from(self.total.latency_ms_max),
            at(0.5),
            at(0.95),
            at(0.99),
            at(0.999)
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_last_line_reads_like_kafkas() {
        let mut stats = Stats::new(4, 5000, false);
        let mut out = Vec::new();
        for latency in [1, 2, 3, 10] {
            stats.record(latency, 100, &mut out).unwrap();
        }
        stats.print_total(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("4 records sent, "), "{text}");
        assert!(
            text.ends_with(
                "4.00 ms avg latency, 10.00 ms max latency, 3 ms 50th, 10 ms 95th, 10 ms 99th, 10 ms 99.9th.\n"
            ),
            "{text}"
        );
    }
}
