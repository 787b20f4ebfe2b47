//! Brokers that are broken on purpose: the checker has to find each of them out.
//!
//! `cargo test -p ottla-compat-tests --test jepsen -- broken --ignored --nocapture` builds them in a copy of the sources under
//! `target/broken` (minutes each; `OTTLA_BROKEN=part of its name` picks one) and runs the story against each until its clients
//! are done. What runs always is that what is broken still fits the sources.
//!
//! In the last run the first showed as aborted and precommitted reads, the second as duplicates, the third as lost writes and offsets
//! that held two values.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ottla_compat_tests::jepsen::Kind;

struct Broken {
    what: &'static str,
    /// File, what it says, what it says instead.
    changes: &'static [(&'static str, &'static str, &'static str)],
    /// At least one of these has to be found.
    shows_as: &'static [Kind],
}

const BROKEN: &[Broken] = &[
    Broken {
        what: "the last stable offset is one too far",
        changes: &[(
            "storage/src/log/mod.rs",
            "|first| first.min(high_watermark)",
            "|first| first.plus(1).min(high_watermark)",
        )],
        shows_as: &[Kind::AbortedRead, Kind::PrecommittedRead],
    },
    Broken {
        what: "batches that come again are appended again",
        changes: &[
            (
                "storage/src/producer_state.rs",
                "if origin == AppendOrigin::Client\n                && let Some(duplicate)",
                "if origin != AppendOrigin::Client\n                && let Some(duplicate)",
            ),
            (
                "storage/src/producer_state.rs",
                "check_sequence(producer, header)?;",
                "let _ = check_sequence(producer, header);",
            ),
        ],
        shows_as: &[Kind::Duplicate],
    },
    Broken {
        what: "acknowledged before it is on the disk",
        changes: &[
            // Written past the page cache, frames survive the cuts of these tests without a sync.
            (
                "storage/src/journal/mod.rs",
                "file.write_at(&[buffer.finish(&header)], position)?;\n        buffer.clear();",
                "let _ = (buffer.finish(&header), file, position);\n        buffer.clear();",
            ),
            (
                "storage/src/journal/mod.rs",
                "let direct: Vec<&Group> = groups.iter().filter(|group| group.direct).collect();",
                "let direct: Vec<&Group> = Vec::new();",
            ),
        ],
        shows_as: &[
            Kind::LostWrite,
            Kind::Unseen,
            Kind::TornTransaction,
            Kind::InconsistentOffset,
            Kind::WrongGroupOffset,
        ],
    },
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a package in a workspace").to_path_buf()
}

#[test]
fn what_is_broken_on_purpose_fits_the_sources() {
    for Broken { what, changes, .. } in BROKEN {
        for (file, old, new) in *changes {
            let text = fs::read_to_string(workspace().join(file)).unwrap();
            assert!(text.contains(old), "{what}: {file} has no {old:?}");
            assert_ne!(old, new, "{what}");
        }
    }
}

#[test]
#[ignore = "builds the broker once for each; see the module's head"]
fn every_broken_broker_is_found_out() {
    let workspace = workspace();
    let (copy, target) = (workspace.join("target/broken/copy"), workspace.join("target/broken/build"));
    let _ = fs::remove_dir_all(&copy);
    let files = Command::new("git").args(["ls-files", "-z"]).current_dir(&workspace).output().unwrap().stdout;
    for name in String::from_utf8(files).unwrap().split('\0').filter(|name| !name.is_empty()) {
        let to = copy.join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(workspace.join(name), to).unwrap();
    }
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let wanted = std::env::var("OTTLA_BROKEN").unwrap_or_default();
    let mut unseen = Vec::new();
    for Broken { what, changes, shows_as } in BROKEN.iter().filter(|broken| broken.what.contains(&wanted)) {
        let mut whole = Vec::new();
        for (file, old, new) in *changes {
            let path = copy.join(file);
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replacen(old, new, 1)).unwrap();
            whole.push((path, text));
        }
        let built = Command::new(&cargo)
            .args(["build", "-q", "-p", "ottla", "--bin", "ottla"])
            .env("CARGO_TARGET_DIR", &target)
            .current_dir(&copy)
            .output()
            .unwrap();
        // Backwards: a file that was changed twice gets its first text back.
        for (path, text) in whole.into_iter().rev() {
            fs::write(path, text).unwrap();
        }
        assert!(built.status.success(), "{what}: {}", String::from_utf8_lossy(&built.stderr));
        let run = Command::new(std::env::current_exe().unwrap())
            .args(["no_anomaly_whatever_happens_to_the_node", "--exact", "--nocapture"])
            .env("OTTLA_BINARY", target.join("debug/ottla"))
            .env("OTTLA_JEPSEN_EXPECT", "anomalies")
            .env("OTTLA_JEPSEN_BLOWS", "60")
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
        let found: Vec<&Kind> = shows_as.iter().filter(|kind| printed.contains(&format!("{kind:?}: "))).collect();
        println!("| {what} | {} |", if found.is_empty() { "NOT FOUND".to_owned() } else { format!("{found:?}") });
        if found.is_empty() || !run.status.success() {
            println!("{printed}");
            unseen.push(what);
        }
    }
    assert!(unseen.is_empty(), "not found out: {unseen:#?}");
}
