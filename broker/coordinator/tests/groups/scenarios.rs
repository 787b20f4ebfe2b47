//! Group stories as text: `testdata/group/*.txt`. Commands, `----`, and what the coordinator does.
//!
//! `REWRITE=1 cargo test -p ottla-coordinator --test groups` writes the second halves anew.
use std::fmt::Write as _;

use crate::world::World;

#[test]
fn stories_end_as_written() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/group");
    let mut failures = String::new();
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut world = World::new();
        let mut told = String::new();
        for block in text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
            let commands = block.split("\n----").next().unwrap();
            let mut outcome = String::new();
            for line in commands.lines().filter(|line| !line.starts_with('#')) {
                outcome.push_str(&world.run(line));
            }
            if outcome.is_empty() {
                write!(told, "{commands}\n\n").unwrap();
            } else {
                write!(told, "{commands}\n----\n{outcome}\n").unwrap();
            }
        }
        let told = format!("{}\n", told.trim_end());
        if std::env::var_os("REWRITE").is_some() {
            std::fs::write(&path, told).unwrap();
        } else if told != text {
            write!(failures, "{} now ends:\n{told}\n", path.display()).unwrap();
        }
    }
    assert!(failures.is_empty(), "{failures}");
}
