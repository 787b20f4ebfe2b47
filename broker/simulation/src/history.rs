//! What happened, for the reader of a failure and for the proof that a seed has one history.

use std::fmt;

/// The history of a run: always a hash, and lines when somebody will read them.
#[derive(Debug)]
pub struct History {
    hash: u64,
    tells: bool,
    lines: Vec<String>,
}

impl History {
    pub const fn new(tells: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, tells, lines: Vec::new() }
    }

    /// Numbers that must be the same whenever the seed is run again.
    pub fn mix(&mut self, numbers: &[i64]) {
        for number in numbers {
            self.hash = (self.hash ^ number.cast_unsigned()).wrapping_mul(0x0100_0000_01b3).rotate_left(5);
        }
    }

    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// A line, made only if it will be shown.
    pub fn tell(&mut self, now: i64, line: impl FnOnce() -> String) {
        if self.tells {
            self.lines.push(format!("{now:>6} {}", line()));
        }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}
