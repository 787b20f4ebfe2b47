//! How far the moves are: one line that is rewritten on a terminal, a line every few seconds elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::Failure;

/// Between two lines where nobody rewrites them.
const INTERVAL: Duration = Duration::from_secs(5);
/// Between two looks at what has been copied, on a terminal.
const GLANCE: Duration = Duration::from_secs(1);
/// Nothing was copied for so long: worth a word.
const STALLED: Duration = Duration::from_secs(60);

/// What has been done of a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    pub bytes: u64,
    pub bytes_total: u64,
    pub partitions: usize,
    pub partitions_total: usize,
    pub under_way: usize,
}

/// Tells it.
pub struct Progress<'o> {
    out: &'o mut dyn Write,
    is_terminal: bool,
    began: Instant,
    told: Option<Instant>,
    first_bytes: Option<u64>,
    /// When `last` was reached, and whether it was said that nothing moves since.
    last: (Done, Instant, bool),
}

impl<'o> Progress<'o> {
    pub fn new(out: &'o mut dyn Write) -> Self {
        let now = Instant::now();
        let last = (Done::default(), now, false);
        let is_terminal = std::io::stdout().is_terminal();
        Self { out, is_terminal, began: now, told: None, first_bytes: None, last }
    }

    /// Whether it is time to look and tell.
    pub fn is_due(&self) -> bool {
        let pause = if self.is_terminal { GLANCE } else { INTERVAL };
        self.told.is_none_or(|told| told.elapsed() >= pause)
    }

    pub fn tell(&mut self, done: &Done, is_end: bool) -> Result<(), Failure> {
        self.told = Some(Instant::now());
        // What an earlier run has copied is none of this one's speed.
        let first = *self.first_bytes.get_or_insert(done.bytes);
        let line = line(done, done.bytes.saturating_sub(first), self.began.elapsed());
        match (self.is_terminal, is_end) {
            (true, false) => write!(self.out, "\r{line}\x1b[K")?,
            (true, true) => writeln!(self.out, "\r{line}\x1b[K")?,
            (false, _) => writeln!(self.out, "{line}")?,
        }
        if *done != self.last.0 {
            self.last = (*done, Instant::now(), false);
        }
        self.out.flush()?;
        Ok(())
    }

    /// Whether nothing has moved for a while and nobody has said so yet.
    pub fn is_stalled(&mut self) -> bool {
        let (_, since, is_told) = &mut self.last;
        !std::mem::replace(is_told, *is_told || since.elapsed() >= STALLED) && since.elapsed() >= STALLED
    }

    /// A line of its own.
    pub fn say(&mut self, text: &str) -> Result<(), Failure> {
        if self.is_terminal {
            write!(self.out, "\r\x1b[K")?;
        }
        writeln!(self.out, "{text}")?;
        self.out.flush()?;
        Ok(())
    }
}

fn line(done: &Done, copied: u64, time: Duration) -> String {
    let Done { bytes, bytes_total, partitions, partitions_total, under_way } = done;
    let speed = match time.as_millis() {
        millis if millis >= 1000 && copied > 0 => {
            let each_second = u128::from(copied) * 1000 / millis;
            format!(", {}/s", human(u64::try_from(each_second).unwrap_or(u64::MAX)))
        }
        _ => String::new(),
    };
    format!(
        "Moved {} of {}, {partitions} of {partitions_total} partitions, {under_way} under way{speed}",
        human(*bytes),
        human(*bytes_total)
    )
}

/// Bytes for people.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1023.95 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_for_people() {
        let told = [0, 1023, 1024, 1_048_575, 1 << 20, 5 << 30].map(human);
        assert_eq!(told, ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "1.0 MiB", "5.0 GiB"]);
    }

    #[test]
    fn the_line_tells_bytes_partitions_and_speed() {
        let done = Done { bytes: 1 << 20, bytes_total: 4 << 20, partitions: 2, partitions_total: 9, under_way: 5 };
        assert_eq!(
            line(&done, 1 << 20, Duration::from_secs(2)),
            "Moved 1.0 MiB of 4.0 MiB, 2 of 9 partitions, 5 under way, 512.0 KiB/s"
        );
        assert!(line(&done, 0, Duration::from_secs(2)).ends_with("5 under way"));
    }
}
