//! What a log directory remembers beside the logs, in one file that is replaced atomically.

use std::collections::BTreeMap;
use std::path::Path;

use ottla_storage::Log;
use ottla_storage::disk::{Disk, read_file, rewrite_atomic};
use std::sync::Arc;

use super::Process;

const FILE: &str = "/data/checkpoint";
const MARKER: &str = "/data/clean-shutdown";

/// What the process before left.
#[derive(Debug, Default, Clone)]
pub struct Left {
    /// Its broker epoch, if it stopped cleanly.
    pub clean_epoch: Option<i64>,
    pub logs: BTreeMap<i32, Positions>,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Positions {
    pub recovery_point: i64,
    pub high_watermark: i64,
    pub log_start: i64,
}

/// Reads what is there and takes the marker away before anything else changes.
pub fn take_over(disk: &dyn Disk) -> std::io::Result<Left> {
    let text = |path: &str| -> std::io::Result<Option<String>> {
        Ok(read_file(disk, Path::new(path))?.and_then(|bytes| String::from_utf8(bytes).ok()))
    };
    // A file that is replaced atomically is whole: whoever finds a torn one has lost what it vouched for.
    let torn = |path: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, format!("{path} is torn"));
    let mut left = Left::default();
    if let Some(text) = text(FILE)? {
        left.logs = positions(&text).ok_or_else(|| torn(FILE))?;
    }
    if let Some(text) = text(MARKER)? {
        left.clean_epoch = Some(text.parse().map_err(|_| torn(MARKER))?);
    }
    if left.clean_epoch.is_some() {
        disk.remove_file(Path::new(MARKER))?;
        disk.sync_dir(Path::new("/data"))?;
    }
    Ok(left)
}

/// The first line says how many others there are; `None` if it is not so.
fn positions(text: &str) -> Option<BTreeMap<i32, Positions>> {
    let mut lines = text.lines();
    let many: usize = lines.next()?.parse().ok()?;
    let mut logs = BTreeMap::new();
    for line in lines {
        let numbers: Vec<i64> = line.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
        let [partition, recovery_point, high_watermark, log_start] = numbers[..] else { return None };
        logs.insert(i32::try_from(partition).ok()?, Positions { recovery_point, high_watermark, log_start });
    }
    (logs.len() == many).then_some(logs)
}

/// Writes where the logs are. A failure shows in the next operation on the disk.
pub fn write<'a>(disk: &dyn Disk, logs: impl Iterator<Item = (i32, &'a Arc<Log>)>) -> std::io::Result<()> {
    let logs: Vec<_> = logs.collect();
    let mut text = format!("{}\n", logs.len());
    for (partition, log) in logs {
        let offsets = log.offsets();
        let (point, high, start) = (offsets.recovery_point.0, log.high_watermark().0, offsets.log_start.0);
        text.push_str(&format!("{partition} {point} {high} {start}\n"));
    }
    rewrite_atomic(disk, Path::new(FILE), text.as_bytes())
}

impl Process {
    pub(super) fn checkpoint(&mut self) {
        if !self.health.is_online() {
            return;
        }
        let logs = self.replicas.iter().map(|(partition, replica)| (*partition, &replica.log));
        // Lack of space passes; every other failure ends the process.
        if write(&self.disk, logs).is_err_and(|error| error.kind() != std::io::ErrorKind::StorageFull) {
            self.wish.get_or_insert(super::Wish::Halt);
        }
    }

    /// Closes all logs and vouches for them.
    pub(super) fn close(&mut self) {
        // A full disk is not shut down on: somebody makes room first.
        self.disk.set_capacity(u64::MAX);
        for replica in self.replicas.values() {
            if replica.log.close().is_err() {
                return;
            }
        }
        self.checkpoint();
        let epoch = self.epoch.unwrap_or(-1).to_string();
        if self.health.is_online() && self.wish != Some(super::Wish::Halt) {
            // Without the marker the next start checks everything: a failure loses nothing.
            let _ = rewrite_atomic(&self.disk, Path::new(MARKER), epoch.as_bytes());
        }
    }
}
