//! Shows that the simulation and the tests bite: plants bugs, one at a time, and counts who notices.
//!
//! ```text
//!   cargo run -p ottla-simulation --example mutations            all of mutations/*.txt; writes mutations/RESULTS.md
//!   cargo run -p ottla-simulation --example mutations -- epoch   those with `epoch` in their name; writes nothing
//! ```
//!
//! The bugs are textual patches (`- ` what is there, `+ ` what takes its place). All are applied to a copy of the tree in
//! `target/mutations`, each behind a switch that an environment variable turns on, so that one build serves for all and
//! the code that ships has neither switches nor bugs. First the simulation is asked (`OTTLA_SEEDS`, 0..200), then the
//! tests of the crate that was patched.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

const CRATES: [&str; 6] =
    ["protocol", "storage", "controller/metadata", "controller/decisions", "broker/replication", "broker/simulation"];
const TIMEOUT: Duration = Duration::from_secs(240);

struct Patch {
    file: String,
    old: String,
    new: String,
}

struct Mutation {
    name: String,
    list: String,
    file: String,
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let (patches, mutations) = read_lists(&root.join("broker/simulation/mutations"));
    let tree = root.join("target/mutations/tree");
    copy_tree(root, &tree);
    for patch in &patches {
        let path = tree.join(&patch.file);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches(&patch.old).count(), 1, "{} has this not once:\n{}", patch.file, patch.old);
        fs::write(&path, text.replacen(&patch.old, &patch.new, 1)).unwrap();
    }
    let wanted = env::args().nth(1);
    let mut results: Vec<(&Mutation, Option<String>)> = Vec::new();
    let simulation = build(&tree, "broker/simulation", &["--test", "seeds"]);
    assert!(passes(&tree, &simulation[0], ""), "without a mutation nothing fails");
    for mutation in
        mutations.iter().filter(|one| wanted.as_ref().is_none_or(|wanted| one.name.contains(wanted.as_str())))
    {
        let begun = Instant::now();
        let caught = (!passes(&tree, &simulation[0], &mutation.name)).then(|| SIMULATION.to_owned());
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
        assert!(tests.iter().all(|test| passes(&tree, test, "")), "without a mutation nothing fails");
        for (mutation, by) in results.iter_mut().filter(|(mutation, by)| by.is_none() && of_package(mutation)) {
            let begun = Instant::now();
            *by = tests.iter().find(|test| !passes(&tree, test, &mutation.name)).map(|(_, path)| {
                let name = Path::new(path).file_name().unwrap().to_string_lossy().into_owned();
                format!("tests: {}", name.rsplit_once('-').map_or(name.as_str(), |(name, _)| name))
            });
            told(mutation, by.as_deref(), begun);
        }
    }
    let report = report(&results);
    println!("{report}");
    if wanted.is_none() {
        fs::write(root.join("broker/simulation/mutations/RESULTS.md"), report).unwrap();
    }
}

const SIMULATION: &str = "the simulation";

fn told(mutation: &Mutation, by: Option<&str>, begun: Instant) {
    eprintln!("{:>5.1} s  {}: {}", begun.elapsed().as_secs_f32(), mutation.name, by.unwrap_or("not seen"));
}

fn report(results: &[(&Mutation, Option<String>)]) -> String {
    let caught = results.iter().filter(|(_, by)| by.is_some()).count();
    let simulation = results.iter().filter(|(_, by)| by.as_deref() == Some(SIMULATION)).count();
    let mut text = format!(
        "# Mutations\n\nWritten by `cargo run -p ottla-simulation --example mutations`.\n\n{caught} of {} caught, {simulation} \
         of them by the simulation (asked first), the others by the tests of their crate.\n\n| Mutation | In | Caught by \
         |\n|---|---|---|\n",
        results.len()
    );
    for (mutation, by) in results {
        let by = by.as_deref().unwrap_or("**nobody**");
        writeln!(text, "| {} | {} (`{}`) | {by} |", mutation.name, mutation.list, mutation.file).unwrap();
    }
    text
}

fn read_lists(dir: &Path) -> (Vec<Patch>, Vec<Mutation>) {
    let mut patches = Vec::new();
    let mut mutations = Vec::new();
    let mut lists: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    lists.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    lists.sort();
    for path in lists {
        let list = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let (mut file, mut old, mut new) = (String::new(), Vec::new(), Vec::new());
        for line in text.lines().chain(["mutation "]) {
            if let Some(line) = line.strip_prefix("- ") {
                old.push(line);
            } else if let Some(line) = line.strip_prefix("+ ") {
                new.push(switched(line));
            } else if line.starts_with("mutation ") || line.starts_with("file ") {
                if !old.is_empty() {
                    patches.push(Patch { file: file.clone(), old: old.join("\n"), new: new.join("\n") });
                    (old, new) = (Vec::new(), Vec::new());
                }
                match line.split_once(' ') {
                    Some(("file", path)) => file = path.to_owned(),
                    Some((_, name)) if !name.is_empty() => {
                        mutations.push(Mutation { name: name.to_owned(), list: list.clone(), file: file.clone() });
                    }
                    _ => {}
                }
            }
        }
    }
    for mutation in &mutations {
        let switch = format!("mutant(\"{}\")", mutation.name);
        assert!(patches.iter().any(|patch| patch.new.contains(&switch)), "{} is nowhere", mutation.name);
    }
    (patches, mutations)
}

/// `MUTANT(name)` asks whether that mutation is turned on.
fn switched(line: &str) -> String {
    let mut text = line.to_owned();
    while let Some(at) = text.find("MUTANT(") {
        let end = at + text[at..].find(')').expect("a closing bracket");
        let name = text[at + 7..end].to_owned();
        text.replace_range(at..=end, &format!("ottla_protocol::mutant(\"{name}\")"));
    }
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
        let skipped = ["target", "fuzz", "codegen", "state-machine", "mutations"];
        if skipped.iter().any(|skipped| name == *skipped) {
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
    let path = |line: &str| line.rsplit_once('(').unwrap().1.trim_end_matches(')').to_owned();
    executables.map(|line| (package.to_owned(), path(line))).collect()
}

fn passes(tree: &Path, (package, test): &(String, String), mutant: &str) -> bool {
    let mut child = Command::new(test)
        .current_dir(tree.join(package))
        .env("OTTLA_MUTANT", mutant)
        .env("OTTLA_SEEDS", env::var("OTTLA_SEEDS").unwrap_or_else(|_| "0..200".to_owned()))
        .env("OTTLA_FAILURES", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait(&mut child)
}

/// What does not end is caught as well.
fn wait(child: &mut Child) -> bool {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.success();
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
