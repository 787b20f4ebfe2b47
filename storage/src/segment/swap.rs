//! How cleaned segments take the place of the ones they were made from, whatever moment the power goes.
//!
//! ```text
//! 1. every file of the new segment is written as NAME.cleaned and synced
//! 2. NAME.cleaned -> NAME.swap, the .log last        (nothing was lost if it ends before: .cleaned files are dropped)
//! 3. the old segments' files are renamed to .deleted  (from here on a start finishes the work)
//! 4. NAME.swap -> NAME, the .log last
//! ```

use std::io;
use std::sync::Arc;

use ottla_protocol::Offset;

use super::{FileKind, Headers, Home};
use crate::disk::{DirEntry, remove_if_present};

/// Finishes what was interrupted behind step 2, and drops what was interrupted before. True if there was anything; `entries`
/// are those of the log's directory.
pub fn finish_interrupted(home: &Arc<Home>, entries: &[DirEntry]) -> io::Result<bool> {
    let swaps: Vec<(i64, FileKind, u64)> = entries
        .iter()
        .filter_map(|entry| {
            let (base, kind) = FileKind::parse(entry.name.strip_suffix(".swap")?)?;
            Some((base, kind, entry.len))
        })
        .collect();
    let logs: Vec<(i64, u64)> =
        swaps.iter().filter(|(_, kind, _)| *kind == FileKind::Log).map(|&(base, _, len)| (base, len)).collect();
    // While its .cleaned log is left, step 2 had not ended for a segment: the old segments are all there. That of another one
    // says nothing: a round that failed leaves it behind.
    let is_complete = |base: i64| {
        let cleaned = format!("{}.cleaned", FileKind::Log.name(base));
        !entries.iter().any(|entry| entry.name == cleaned)
    };
    for (base, kind, _) in &swaps {
        let complete = is_complete(*base);
        if !complete || !logs.iter().any(|(log, _)| log == base) {
            let has_log = entries.iter().any(|entry| entry.name == FileKind::Log.name(*base));
            let path = home.file(&format!("{}.swap", kind.name(*base)));
            if complete && has_log && !entries.iter().any(|entry| entry.name == kind.name(*base)) {
                // Step 4 got as far as the .log of this segment.
                home.disk.rename(&path, &home.file(&kind.name(*base)))?;
            } else {
                remove_if_present(&*home.disk, &path)?;
            }
        }
    }
    for (base, len) in logs.into_iter().filter(|(base, _)| is_complete(*base)) {
        let next = end_of(home, base, len)?;
        // Step 3 takes the .log of a segment last: without it what has the segment's name has come with step 4.
        let is_old = entries.iter().any(|entry| entry.name == FileKind::Log.name(base));
        for entry in entries {
            if let Some((old, kind)) = FileKind::parse(&entry.name)
                && kind != FileKind::Snapshot
                && old >= base
                && old < next.0
                && (old != base || is_old)
            {
                remove_if_present(&*home.disk, &home.file(&entry.name))?;
            }
        }
        for kind in [FileKind::TxnIndex, FileKind::TimeIndex, FileKind::Index, FileKind::Log] {
            let name = kind.name(base);
            match home.disk.rename(&home.file(&format!("{name}.swap")), &home.file(&name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done?,
            }
        }
    }
    Ok(!swaps.is_empty())
}

/// The offset behind the last batch of a swapped-in log.
fn end_of(home: &Home, base: i64, len: u64) -> io::Result<Offset> {
    let path = home.file(&format!("{}.swap", FileKind::Log.name(base)));
    let mut headers = Headers::new(home.disk.open(&path, crate::disk::OpenMode::Read)?, 0, len);
    let mut end = Offset(base + 1);
    while let Some(batch) = headers.next_batch()? {
        end = batch.header.next_offset();
    }
    Ok(end)
}
