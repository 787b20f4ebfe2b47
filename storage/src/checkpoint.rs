//! The small text files of a log directory that hold one offset per partition.
//!
//! ```text
//! 0
//! <count>
//! <topic> <partition> <offset>
//! ```

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_protocol::{Offset, TopicPartition};
use parking_lot::Mutex;

use crate::disk::{Disk, read_file, rewrite_atomic};

pub const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
pub const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
pub const LOG_STARTS: &str = "log-start-offset-checkpoint";
pub const CLEANER: &str = "cleaner-offset-checkpoint";

/// Offsets by partition.
pub type Offsets = HashMap<TopicPartition, Offset>;

/// One of the files. Writing what it holds already does nothing, so that an idle broker leaves the disk alone.
#[derive(Debug)]
pub struct CheckpointFile {
    path: PathBuf,
    /// Its text, by [`brief`]: with many partitions it is long.
    written: Mutex<Option<u64>>,
}

impl CheckpointFile {
    pub fn new(dir: &Path, name: &str) -> Self {
        Self { path: dir.join(name), written: Mutex::new(None) }
    }

    /// Empty if there is no file; a damaged file is as good as none, and is reported.
    pub fn read(&self, disk: &dyn Disk) -> io::Result<Offsets> {
        let Some(bytes) = read_file(disk, &self.path)? else { return Ok(Offsets::new()) };
        let text = String::from_utf8_lossy(&bytes);
        Ok(decode(&text).unwrap_or_else(|| {
            tracing::error!(file = %self.path.display(), "the checkpoint is damaged and is not used");
            Offsets::new()
        }))
    }

    /// Replaces the file at once and durably, or leaves it as it is: also where it says the same already.
    pub fn write(&self, disk: &dyn Disk, offsets: &Offsets) -> io::Result<()> {
        let text = encode(offsets);
        let told = brief(&text);
        let mut written = self.written.lock();
        if *written != Some(told) {
            rewrite_atomic(disk, &self.path, text.as_bytes())?;
            *written = Some(told);
        }
        Ok(())
    }
}

/// 64 bits to compare in place of what they are made of.
pub fn brief(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

fn encode(offsets: &Offsets) -> String {
    use std::fmt::Write;
    let mut text = format!("0\n{}\n", offsets.len());
    // In order, so that the same offsets are the same text.
    let mut sorted: Vec<_> = offsets.iter().collect();
    sorted.sort_unstable();
    for (id, offset) in sorted {
        let _ = writeln!(text, "{} {} {offset}", id.topic, id.partition);
    }
    text
}

fn decode(text: &str) -> Option<Offsets> {
    let mut lines = text.lines();
    if lines.next()? != "0" {
        return None;
    }
    let count: usize = lines.next()?.parse().ok()?;
    let mut offsets = Offsets::new();
    let mut topics: Vec<Arc<str>> = Vec::new();
    for line in lines {
        let mut fields = line.split_whitespace();
        let (topic, partition, offset) = (fields.next()?, fields.next()?, fields.next()?);
        // Partitions of a topic lie together: they share its name.
        let topic = match topics.last() {
            Some(last) if **last == *topic => Arc::clone(last),
            _ => {
                topics.push(Arc::from(topic));
                Arc::clone(topics.last()?)
            }
        };
        offsets.insert(TopicPartition::new(topic, partition.parse().ok()?), Offset(offset.parse().ok()?));
    }
    (offsets.len() == count).then_some(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_kafkas() {
        let offsets: Offsets =
            [(TopicPartition::new("b", 0), Offset(7)), (TopicPartition::new("a", 10), Offset(1 << 40))].into();
        assert_eq!(encode(&offsets), "0\n2\na 10 1099511627776\nb 0 7\n");
        assert_eq!(decode(&encode(&offsets)), Some(offsets));
        assert_eq!(decode("0\n2\na 0 1\n"), None);
        assert_eq!(decode("1\n0\n"), None);
    }
}
