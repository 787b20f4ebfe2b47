//! Shows that the simulation and the tests bite: plants bugs, one at a time, and counts who notices.
//!
//! ```text
//!   cargo run -p ottla-simulation --example mutations            all of mutations/*.txt; writes mutations/RESULTS.md
//!   cargo run -p ottla-simulation --example mutations -- epoch   those with `epoch` (or another word) in the name; writes their rows
//! ```
//!
//! The bugs are textual patches (`- ` what is there, `+ ` what takes its place). All are applied to a copy of the tree in
//! `target/mutations`, each behind a switch that an environment variable turns on, so that one build serves for all and
//! the code that ships has neither switches nor bugs. First the simulation is asked, with the seeds that its own test runs
//! (`OTTLA_SEEDS` asks with others), then the tests of the crate that was patched.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

#[path = "../mutations/lists.rs"]
mod lists;

use lists::{Mutation, read_lists};

const CRATES: [&str; 6] =
    ["protocol", "storage", "controller/metadata", "controller/decisions", "broker/replication", "broker/simulation"];
const TIMEOUT: Duration = Duration::from_secs(900);

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let (patches, mutations) = read_lists(&root.join("broker/simulation/mutations"));
    let tree = root.join("target/mutations/tree");
    copy_tree(root, &tree);
    for patch in &patches {
        let path = tree.join(&patch.file);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, patch.apply(&text).unwrap()).unwrap();
    }
    let wanted: Vec<String> = env::args().skip(1).collect();
    let mut results: Vec<(&Mutation, Option<String>)> = Vec::new();
    let simulation = build(&tree, "broker/simulation", &["--test", "seeds"]);
    assert_eq!(who_notices(&tree, &simulation[0], ""), None, "without a mutation nothing fails");
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str()));
    for mutation in mutations.iter().filter(|one| is_wanted(&one.name)) {
        let begun = Instant::now();
        let caught = who_notices(&tree, &simulation[0], &mutation.name);
        let caught =
            caught.map(|what| format!("{SIMULATION}: {}", what.unwrap_or_else(|| "it does not end".to_owned())));
        told(mutation, caught.as_deref(), begun);
        results.push((mutation, caught));
    }
    // What the simulation did not see is shown to the tests of the crate.
    for package in &CRATES[1..] {
        let of_package = |mutation: &Mutation| mutation.file.starts_with(&format!("{package}/"));
        if !results.iter().any(|(mutation, by)| by.is_none() && of_package(mutation)) {
            continue;
        }
        let tests = build(&tree, package, &["--lib", "--tests"]);
        let tests: Vec<_> = tests.into_iter().filter(|(_, path)| !path.contains("/seeds-")).collect();
        let is_sound = |test: &(String, String)| who_notices(&tree, test, "").is_none();
        for (mutation, by) in results.iter_mut().filter(|(mutation, by)| by.is_none() && of_package(mutation)) {
            let begun = Instant::now();
            *by = tests.iter().find_map(|test| {
                // A test that fails without the mutation, too, says nothing: some do on a machine that is busy.
                let what = who_notices(&tree, test, &mutation.name).filter(|_| is_sound(test))?;
                let name = Path::new(&test.1).file_name().unwrap().to_string_lossy().into_owned();
                let name = name.rsplit_once('-').map_or(name.as_str(), |(name, _)| name);
                Some(format!("tests: `{name}`, {}", what.unwrap_or_else(|| "does not end".to_owned())))
            });
            told(mutation, by.as_deref(), begun);
        }
    }
    let path = root.join("broker/simulation/mutations/RESULTS.md");
    let before = fs::read_to_string(&path).unwrap_or_default();
    let report = report(&mutations, &results, &before);
    println!("{report}");
    fs::write(path, report).unwrap();
}

const SIMULATION: &str = "the simulation";
const NOBODY: &str = "**nobody**";

fn told(mutation: &Mutation, by: Option<&str>, begun: Instant) {
    eprintln!("{:>5.1} s  {}: {}", begun.elapsed().as_secs_f32(), mutation.name, by.unwrap_or("not seen"));
}

/// The table: what was found now, and for the others what the table said before.
fn report(mutations: &[Mutation], results: &[(&Mutation, Option<String>)], before: &str) -> String {
    let found = |mutation: &Mutation| -> Option<String> {
        if let Some((_, by)) = results.iter().find(|(one, _)| one.name == mutation.name) {
            return Some(by.clone().unwrap_or_else(|| NOBODY.to_owned()));
        }
        let row = before.lines().find_map(|row| row.strip_prefix(&format!("| {} | ", mutation.name)))?;
        row.split_once(" | ").map(|(_, by)| by.trim_end_matches(" |").to_owned())
    };
    let rows: Vec<(&Mutation, String)> =
        mutations.iter().filter_map(|mutation| Some((mutation, found(mutation)?))).collect();
    let caught = rows.iter().filter(|(_, by)| by != NOBODY).count();
    let simulation = rows.iter().filter(|(_, by)| by.starts_with(SIMULATION)).count();
    let mut text = format!(
        "# Mutations\n\nWritten by `cargo run -p ottla-simulation --example mutations`, which asks the simulation first, with \
         the seeds that its test runs,\nand the tests of the crate about what it did not see. A run of some renews the rows of \
         those.\n\nOf {} mutations {} were run and {caught} were caught, {simulation} of them by the simulation.\n\n| Mutation \
         | In | Caught by |\n|---|---|---|\n",
        mutations.len(),
        rows.len(),
    );
    for (mutation, by) in rows {
        writeln!(text, "| {} | {} (`{}`) | {by} |", mutation.name, mutation.list, mutation.file).unwrap();
    }
    // What somebody has written below the table stays.
    text.push_str(before.find("\n## ").map_or("", |at| &before[at..]));
    text
}

fn copy_tree(root: &Path, tree: &Path) {
    let _ = fs::remove_dir_all(tree);
    let all = CRATES.iter().copied().chain(["storage/state-machine"]);
    for part in all {
        copy_dir(&root.join(part), &tree.join(part));
    }
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let members: Vec<String> =
        CRATES.iter().chain(&["storage/state-machine"]).map(|part| format!("{part:?}")).collect();
    let mut rest = manifest[manifest.find("[workspace.package]").unwrap()..].to_owned();
    // What stands in for a crate that is not built here.
    if let Some(at) = rest.find("[patch.") {
        let len = rest[at + 1..].find("\n[").map_or(rest.len() - at, |len| len + 1);
        rest.replace_range(at..at + len, "");
    }
    let workspace = format!("[workspace]\nresolver = \"3\"\nmembers = [{}]\n\n{rest}", members.join(", "));
    fs::write(tree.join("Cargo.toml"), workspace).unwrap();
    fs::copy(root.join("Cargo.lock"), tree.join("Cargo.lock")).unwrap();
    let lib = tree.join("protocol/src/lib.rs");
    let mut text = fs::read_to_string(&lib).unwrap();
    text.push_str(
        "\n/// Whether a mutation is turned on.\npub fn mutant(name: &str) -> bool {\n    static ON: \
         std::sync::OnceLock<String> = std::sync::OnceLock::new();\n    ON.get_or_init(|| \
         std::env::var(\"OTTLA_MUTANT\").unwrap_or_default()) == name\n}\n",
    );
    fs::write(lib, text).unwrap();
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        let skipped = ["target", "codegen", "state-machine", "mutations"];
        // These want the sources as they are.
        let of_sources = ["tests/mutations.rs", "examples/mutations.rs"];
        if skipped.iter().any(|skipped| name == *skipped) || of_sources.iter().any(|file| path.ends_with(file)) {
            continue;
        }
        if path.is_dir() {
            copy_dir(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// Builds tests of a package; package and path of each.
fn build(tree: &Path, package: &str, which: &[&str]) -> Vec<(String, String)> {
    let output = Command::new(env!("CARGO"))
        .args(["test", "--no-run", "--manifest-path"])
        .arg(tree.join(package).join("Cargo.toml"))
        .args(which)
        .env("CARGO_TARGET_DIR", tree.with_file_name("target"))
        // The build is paid once, the runs a hundred times.
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
        .stdout(Stdio::inherit())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let executables = told.lines().filter(|line| line.trim_start().starts_with("Executable"));
    // Cargo tells them from where it runs, and they run elsewhere.
    let path = |line: &str| {
        let told = line.rsplit_once('(').unwrap().1.trim_end_matches(')');
        std::path::absolute(told).unwrap().to_string_lossy().into_owned()
    };
    executables.map(|line| (package.to_owned(), path(line))).collect()
}

/// `None` if a test passes in spite of a mutation; else what it says, if it ends at all.
fn who_notices(tree: &Path, (package, test): &(String, String), mutant: &str) -> Option<Option<String>> {
    let told = tree.with_file_name("told");
    let into = |name: &str| fs::File::create(told.with_extension(name)).unwrap();
    let mut child = Command::new(test)
        .current_dir(tree.join(package))
        .env("OTTLA_MUTANT", mutant)
        .env("OTTLA_FAILURES", "1")
        .stdout(into("out"))
        .stderr(into("err"))
        .spawn()
        .unwrap();
    let status = wait(&mut child);
    if status.is_some_and(|status| status.success()) {
        return None;
    }
    let read = |name: &str| String::from_utf8_lossy(&fs::read(told.with_extension(name)).unwrap()).into_owned();
    Some(status.map(|_| what_failed(&read("out"), &read("err"))))
}

/// Of the simulation the first seed that fails and the invariant, of other tests the first that fails.
fn what_failed(out: &str, err: &str) -> String {
    let of_seed = err.lines().chain(out.lines()).find(|line| line.starts_with("seed "));
    if let Some((seed, what)) = of_seed.and_then(|line| line.split_once(": ")) {
        let what = what.split_once(": ").map_or(what, |(invariant, _)| invariant);
        return format!("{what} ({seed})");
    }
    let test = out.lines().find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    test.map_or_else(|| "it ends early".to_owned(), |test| format!("`{test}`"))
}

/// What does not end is caught as well.
fn wait(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
