//! Deliberately broken builds of this crate: each has to be caught by its tests.
//!
//! `cargo test -p ottla-storage --test mutations -- --ignored --nocapture` builds a copy of the sources under `target/mutations`
//! once: in there each function that a mutation changes is written twice, and an environment variable, read when it is called,
//! says which of the two runs. Then the test file that has to catch it is asked for each mutation
//! (`OTTLA_MUTATION='part of its name|of another'` picks some). What runs always is that every mutation still fits the sources
//! and lies in a function.
//!
//! When all were last tried, in one run with these switches, 50 of 50 were caught.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Mutation {
    /// What is broken.
    what: &'static str,
    /// The test file that catches it; `lib`: the crate's own tests.
    by: &'static str,
    file: &'static str,
    old: &'static str,
    new: &'static str,
}

const fn mutation(
    what: &'static str,
    by: &'static str,
    file: &'static str,
    old: &'static str,
    new: &'static str,
) -> Mutation {
    Mutation { what, by, file, old, new }
}

const MUTATIONS: &[Mutation] = &[
    mutation("acknowledged before the journal is synced", "strict", "journal/mod.rs", "active.sync_data()?;", ""),
    mutation(
        "records behind a gap are journaled as if there were none",
        "strict",
        "journal/mod.rs",
        "*before > group.end.max(log.end()) ||",
        "",
    ),
    mutation(
        "the journal's files are free before the logs are synced",
        "strict",
        "journal/trim.rs",
        "let done = self.health.check().and_then(|()| self.sync_to(ends));",
        "let done = self.health.check().map(|()| Vec::new());",
    ),
    mutation(
        "a journal frame is believed without its checksum",
        "strict",
        "journal/frame.rs",
        "(crc == checksum(&frame[8..])).then_some",
        "(crc == crc).then_some",
    ),
    mutation(
        "a cut is not journaled",
        "strict",
        "log/truncate.rs",
        "journal.cut(&self.durable, end)?;",
        "let _ = journal;",
    ),
    mutation(
        "a cut does not count when the journal is replayed",
        "strict",
        "journal/recover.rs",
        "append.limit = append.limit.min(offset);",
        "",
    ),
    mutation(
        "records behind a hole are appended",
        "strict",
        "journal/recover.rs",
        "if append.before > end {",
        "if append.before > end && end.0 < 0 {",
    ),
    mutation(
        "the journal is not replayed",
        "strict",
        "log_dirs/open.rs",
        "Some(tail) => journal.replay(&log, tail, now())?,",
        "Some(_) => Replayed::default(),",
    ),
    mutation(
        "frames that were trimmed count when the journal is read",
        "strict",
        "journal/reader.rs",
        "frames.retain(|frame| frame.header.number >= oldest);",
        "",
    ),
    mutation(
        "what an unfinished sync covers is taken for durable",
        "strict",
        "log/mod.rs",
        "self.durable.end().min(self.log_end())",
        "self.log_end()",
    ),
    mutation(
        "the directory is not synced with its files",
        "power_cut",
        "log/flush.rs",
        "let synced = home.disk.sync_dir(&dir);",
        "let synced = io::Result::Ok(());",
    ),
    mutation(
        "the log directory is not synced when a partition is new",
        "strict",
        "log/flush.rs",
        "|parent| home.disk.sync_dir(parent)",
        "|_| Ok(())",
    ),
    mutation(
        "the topic id is not synced with the records",
        "strict",
        "log/flush.rs",
        "if self.identity_changed.swap(false, Ordering::AcqRel) {",
        "if self.identity_changed.swap(false, Ordering::AcqRel) && false {",
    ),
    mutation(
        "a flush does not sync the records",
        "power_cut",
        "segment/mod.rs",
        "self.log_file().for_writing()?.sync_data()?;\n        self.offset_index().file()",
        "self.offset_index().file()",
    ),
    mutation(
        "a small file is replaced without being synced",
        "strict",
        "disk/mod.rs",
        "rewrite(disk, path, contents, |file| file.sync_data())?;",
        "rewrite(disk, path, contents, |_| Ok(()))?;",
    ),
    mutation(
        "an index entry is believed unchecked",
        "truncate_and_search",
        "segment/mod.rs",
        "Some(batch) if batch.header.last_offset() == expected => Ok(position),",
        "Some(_) => Ok(position),",
    ),
    mutation(
        "zeros are entries of the index of aborted transactions",
        "producer_window_survives_restart",
        "segment/txn_index.rs",
        "before.filter(|entry| entry.first_offset < entry.last_offset).collect()",
        "before.collect()",
    ),
    mutation(
        "recovery does not compute checksums",
        "recover_torn_batch",
        "log/recover.rs",
        "if !self.check {\n            return Ok(None);",
        "if !self.check || self.check {\n            return Ok(None);",
    ),
    mutation(
        "recovery does not cut the file",
        "recover_torn_batch",
        "log/recover.rs",
        "segment.truncate(log_end.max(segment.base), position)?;",
        "",
    ),
    mutation(
        "recovery does not tell what is lost",
        "recover_torn_batch",
        "log/recover.rs",
        "report.lost_below = Some(trusted_to);",
        "",
    ),
    mutation(
        "the clean-stop marker survives the start",
        "log_dirs_restart",
        "log_dirs/directory.rs",
        "disk.remove_file(&marker)?;",
        "",
    ),
    mutation(
        "a failed sync is tried again",
        "failing_disk",
        "log/flush.rs",
        "if !is_descriptor_shortage(error) {",
        "if false {",
    ),
    mutation(
        "a failed write is written over later",
        "failing_disk",
        "segment/mod.rs",
        "file.write_at(parts, size).map_err(|error| file.set_len(size).err().unwrap_or(error))",
        "file.write_at(parts, size)",
    ),
    mutation("zeros stay behind a closed segment", "zeros_behind", "log/append.rs", "self.cut_zeros(writer)?;", ""),
    mutation(
        "zeros stay behind a log at rest",
        "zeros_behind",
        "log/ahead.rs",
        "home.guard(|| self.cut_zeros(&mut writer)).inspect_err(|error| home.relieve(error))?;",
        "let _ = home;",
    ),
    mutation(
        "zeros that were cut off come back behind a flushed segment",
        "zeros_behind",
        "log/flush.rs",
        "if self.length_changed.swap(false, Ordering::AcqRel) {",
        "if self.length_changed.swap(false, Ordering::AcqRel) && false {",
    ),
    mutation(
        "zeros of a crash stay behind the records",
        "zeros_behind",
        "log/ahead.rs",
        "segment.end_at(end)",
        "Ok(())",
    ),
    mutation(
        "what a crash left is taken for zeros",
        "zeros_behind",
        "log/ahead.rs",
        ".iter().any(|byte| *byte != 0)",
        ".iter().any(|byte| u32::from(*byte) > 255)",
    ),
    mutation(
        "DeleteRecords is not on the disk when it is answered",
        "strict",
        "log/truncate.rs",
        "match self.checkpoint() {\n            Err(error) if is_shortage",
        "match io::Result::Ok(()) {\n            Err(error) if is_shortage",
    ),
    mutation(
        "a full disk takes the directory offline",
        "failing_disk",
        "errors.rs",
        "matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)",
        "false",
    ),
    mutation(
        "retention goes beyond the high watermark",
        "lib",
        "retention.rs",
        "if segment.end > high_watermark ||",
        "if ",
    ),
    mutation(
        "a tombstone goes at once",
        "lib",
        "cleaner/filter.rs",
        "is_latest && (value.is_some() || !is_past_horizon)",
        "is_latest && value.is_some()",
    ),
    mutation(
        "a marker goes with its records",
        "lib",
        "cleaner/filter.rs",
        "let drops_all = is_void && (!batch.is_control() || is_past_horizon);",
        "let drops_all = is_void;",
    ),
    mutation(
        "the last batch of a producer goes",
        "lib",
        "cleaner/filter.rs",
        "let keeps_header = self.is_last_of_producer(batch) ||",
        "let keeps_header = ",
    ),
    mutation(
        "what is not committed is compacted",
        "lib",
        "cleaner/choose.rs",
        "if next.base > stable {",
        "if next.base > offsets.log_end {",
    ),
    mutation(
        "a producer's retry is a new batch",
        "producer_window_survives_restart",
        "producer_state.rs",
        "if producer.batches.len() == WINDOW {",
        "if producer.batches.len() == 1 {",
    ),
    mutation(
        "what a killed process left in the journal is believed unsynced",
        "log_dir_moves",
        "journal/reader.rs",
        "file.sync_data()?;",
        "",
    ),
    mutation(
        "a cut that a killed process has not synced is built on",
        "strict",
        "log_dirs/open.rs",
        "if journal.cut.contains(id) {",
        "if false {",
    ),
    mutation(
        "a move is decided before the log is on the disk without its journal",
        "log_dir_moves",
        "log/relocate.rs",
        "self.home().guard(|| self.sync_data())?;",
        "",
    ),
    mutation(
        "a copy that has its name is the log though the old one is there",
        "log_dir_moves",
        "log_dirs/moves.rs",
        "if is_there {",
        "if false {",
    ),
    mutation(
        "a log is compacted while it is copied",
        "log_dir_moves",
        "log_dirs/cleaning.rs",
        "hosted.log.is_moving()",
        "false",
    ),
    mutation(
        "a cut for which the journal had no room is not noted",
        "journal_ends",
        "journal/mod.rs",
        "match self.forget(writer) {",
        "match io::Result::Ok(()) {",
    ),
    mutation(
        "a clean stop removes the journal's files in any order",
        "journal_ends",
        "journal/files.rs",
        "files.sort();",
        "files.reverse();",
    ),
    mutation(
        "records without a time are as old as their segment",
        "rolling",
        "segment/mod.rs",
        "self.written.store(now.0, Ordering::Relaxed);",
        "let _ = self.written.compare_exchange(i64::MIN, now.0, Ordering::Relaxed, Ordering::Relaxed);",
    ),
    mutation(
        "a log is created after the clean-shutdown marker",
        "log_dirs_restart",
        "log_dirs/mod.rs",
        "self.is_shut.store(true, Ordering::Relaxed);",
        "",
    ),
    mutation(
        "the journal's files are free before the segments have what was collected",
        "strict",
        "journal/trim.rs",
        "match self.behind.write_out() {\n            // As long",
        "match Ok(true) {\n            // As long",
    ),
    mutation(
        "a file that is opened lacks what was collected",
        "collected",
        "segment/files.rs",
        "self.complete()?;\n        self.open(OpenMode::ReadWrite)",
        "self.open(OpenMode::ReadWrite)",
    ),
    mutation(
        "a roll leaves behind what was collected",
        "collected",
        "log/append.rs",
        "active.write_collected()?;\n        self.cut_zeros(writer)?;",
        "self.cut_zeros(writer)?;",
    ),
    mutation(
        "records that nobody waits for are collected",
        "collected",
        "log/append.rs",
        "journal.filter(|_| is_awaited)",
        "journal.filter(|_| true)",
    ),
    mutation(
        "a flush syncs a file that lacks what was collected",
        "collected",
        "log/flush.rs",
        "segment.write_collected()?;\n            segment.write_indexes()?;\n        }\n        self.write_epochs()",
        "segment.write_indexes()?;\n        }\n        self.write_epochs()",
    ),
    mutation(
        "appends are collected for ever once there were many",
        "collected",
        "segment/behind.rs",
        "self.is_busy.store(was_busy || self.busy_from == 0, Ordering::Relaxed);",
        "",
    ),
    mutation(
        "what could not be written is not kept",
        "collected",
        "segment/behind.rs",
        "done.inspect_err(|error| home.report(error))?;\n        *collected = None;",
        "*collected = None;\n        done.inspect_err(|error| home.report(error))?;",
    ),
    mutation(
        "what was collected counts as replicated once the log is not strict any more",
        "collected",
        "log/mod.rs",
        "let _ = self.active().write_collected();",
        "",
    ),
    mutation(
        "a batch that is sent again without being awaited is not written",
        "collected",
        "log/append.rs",
        "if !cx.is_awaited {",
        "if false {",
    ),
    mutation(
        "retention renames under the lock of appends",
        "scale",
        "log/flush.rs",
        "drop(writer);\n        self.home().guard(|| {\n            self.rename_deleted",
        "self.home().guard(|| {\n            self.rename_deleted",
    ),
];

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn every_mutation_fits_the_sources() {
    for Mutation { what, file, old, new, .. } in MUTATIONS {
        let text = fs::read_to_string(sources().join(file)).unwrap();
        assert!(text.contains(old), "{what}: {file} has no {old:?}");
        assert_ne!(old, new, "{what}");
    }
    assert!(MUTATIONS.len() >= 20);
}

/// The functions that mutations change, by file and by the line they begin with: which mutations, in the order of the table.
type Changed = BTreeMap<(&'static str, usize), Vec<usize>>;

fn changed_functions(read: impl Fn(&str) -> String) -> Changed {
    let mut changed = Changed::new();
    for (number, Mutation { what, file, old, .. }) in MUTATIONS.iter().enumerate() {
        let text = read(file);
        let at = text[..text.find(old).unwrap()].lines().count().max(1) - 1;
        let lines: Vec<&str> = text.lines().collect();
        let at = if text[..text.find(old).unwrap()].ends_with('\n') { at + 1 } else { at };
        let depth = indentation(lines[at]);
        let begin = (0..=at).rev().find(|line| is_function(lines[*line]) && indentation(lines[*line]) < depth);
        changed.entry((file, begin.unwrap_or_else(|| panic!("{what}: in no function")))).or_default().push(number);
    }
    changed
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn is_function(line: &str) -> bool {
    let line = line.trim_start();
    let line = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) ")).unwrap_or(line);
    line.strip_prefix("pub(super) ").unwrap_or(line).starts_with("fn ")
}

/// A file's text in which every changed function has a switch.
fn switched(text: &str, file: &str, changed: &Changed) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // From the last on, so that the lines before keep their numbers.
    for ((_, begin), numbers) in changed.iter().rev().filter(|((of, _), _)| *of == file) {
        let margin = indentation(&lines[*begin]);
        let is_end = |line: &String| indentation(line) == margin && line.trim_start().starts_with('}');
        let open = *begin + lines[*begin..].iter().position(|line| line.ends_with('{')).unwrap();
        let end = open + lines[open..].iter().position(is_end).unwrap();
        let body = lines[open + 1..end].join("\n") + "\n";
        let mut switch = String::new();
        for number in numbers {
            let Mutation { what, old, new, .. } = MUTATIONS[*number];
            assert!(body.contains(old), "{what}: it is not all in one function");
            let broken = body.replacen(old, new, 1);
            switch.push_str(&format!("if crate::is_broken({number}) {{\n{broken}}} else "));
        }
        lines.splice(open + 1..end, [format!("{switch}{{\n{body}}}")]);
    }
    lines.join("\n") + "\n"
}

const IS_BROKEN: &str = "
pub(crate) fn is_broken(number: usize) -> bool {
    static BROKEN: std::sync::LazyLock<Option<usize>> =
        std::sync::LazyLock::new(|| std::env::var(\"OTTLA_BROKEN\").ok()?.parse().ok());
    *BROKEN == Some(number)
}
";

fn source(file: &str) -> String {
    fs::read_to_string(sources().join(file)).unwrap()
}

#[test]
fn every_mutation_lies_in_a_function_that_can_be_switched() {
    let changed = changed_functions(source);
    let files: BTreeSet<&str> = changed.keys().map(|(file, _)| *file).collect();
    let texts: String = files.into_iter().map(|file| switched(&source(file), file, &changed)).collect();
    for (number, Mutation { what, .. }) in MUTATIONS.iter().enumerate() {
        assert_eq!(texts.matches(&format!("crate::is_broken({number})")).count(), 1, "{what}");
    }
}

#[test]
#[ignore = "asks a test file for each mutation; see the module's head"]
fn every_mutation_is_caught() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf();
    let copy = workspace.join("target/mutations/copy");
    let _ = fs::remove_dir_all(&copy);
    fs::create_dir_all(&copy).unwrap();
    let files = Command::new("git").args(["ls-files", "-z"]).current_dir(&workspace).output().unwrap().stdout;
    for name in String::from_utf8(files).unwrap().split('\0').filter(|name| !name.is_empty()) {
        let to = copy.join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(workspace.join(name), to).unwrap();
    }
    let changed = changed_functions(source);
    for file in changed.keys().map(|(file, _)| *file).collect::<BTreeSet<_>>() {
        fs::write(copy.join("storage/src").join(file), switched(&source(file), file, &changed)).unwrap();
    }
    fs::write(copy.join("storage/src/lib.rs"), source("lib.rs") + IS_BROKEN).unwrap();
    // Cargo names its builds by the path of the copy: the target directory is kept from run to run.
    let target = workspace.join("target/mutations/build");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let test = |by: &str, broken: Option<usize>| {
        let target_of = if by == "lib" { vec!["--lib"] } else { vec!["--test", by] };
        Command::new(&cargo)
            .args(["test", "-q", "-p", "ottla-storage"])
            .args(target_of)
            .env("CARGO_TARGET_DIR", &target)
            .env("OTTLA_CRASH_STATES", "20000")
            .env("OTTLA_MOVE_STATES", "4000")
            .env("OTTLA_KILLS", "3")
            .env("OTTLA_BROKEN", broken.map_or_else(String::new, |number| number.to_string()))
            .current_dir(&copy)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .unwrap()
    };
    let wanted = std::env::var("OTTLA_MUTATION").unwrap_or_default();
    let is_wanted = |mutation: &Mutation| wanted.split('|').any(|part| mutation.what.contains(part));
    let asked: Vec<(usize, &Mutation)> =
        MUTATIONS.iter().enumerate().filter(|(_, mutation)| is_wanted(mutation)).collect();
    for by in asked.iter().map(|(_, mutation)| mutation.by).collect::<BTreeSet<_>>() {
        let unbroken = test(by, None);
        let printed = String::from_utf8_lossy(&unbroken.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&unbroken.stderr);
        assert!(unbroken.status.success(), "{by} fails by itself:\n{printed}\n{stderr}");
    }
    let mut survivors = Vec::new();
    for (number, Mutation { what, by, .. }) in asked {
        let output = test(by, Some(number));
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let failed: Vec<&str> =
            printed.lines().filter_map(|line| line.strip_prefix("---- ")?.strip_suffix(" stdout ----")).collect();
        println!(
            "| {what} | {by} | {} |",
            if output.status.success() { "SURVIVED".to_owned() } else { failed.join(", ") }
        );
        if output.status.success() {
            survivors.push(what);
        }
    }
    assert!(survivors.is_empty(), "not caught: {survivors:#?}");
}
