//! Every key of a broker is either named by the code (tests apart) or listed as without effect: nothing is accepted in silence.
//! That a key which is named has the effect that it should is for the tests of whoever names it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;

use ottla_metadata::config_def::{self, Table};

/// Everything in backquotes, `family.*` included.
fn listed(ledger: &str) -> Vec<&str> {
    let quoted = ledger.split('`').skip(1).step_by(2);
    quoted.filter(|text| text.contains('.') && !text.contains([' ', '<', '/', '='])).collect()
}

/// What is not built without tests: files of their own, and modules at the end of others.
const TESTS: &str = "\n#[cfg(test)]\nmod ";

fn sources(dir: &Path, into: &mut String) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if !name.ends_with("tests.rs") && !name.starts_with("test_") {
                let code = fs::read_to_string(path).unwrap();
                // A line more for the first of a file.
                let code = format!("\n{code}");
                into.push_str(
                    code.rsplit_once(TESTS).filter(|(_, tests)| tests.contains('{')).map_or(&*code, |(code, _)| code),
                );
            }
        }
    }
}

#[test]
fn every_broker_key_is_named_by_the_code_or_listed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let ledger = fs::read_to_string(root.join("compat-tests/UNSUPPORTED.md")).unwrap();
    let listed = listed(&ledger);
    let mut code = String::new();
    for dir in ["broker/src", "controller/src", "controller/decisions/src", "controller/metadata/src"] {
        sources(&root.join(dir), &mut code);
    }
    let is_listed = |key: &str| {
        listed
            .iter()
            .any(|entry| *entry == key || entry.strip_suffix('*').is_some_and(|family| key.starts_with(family)))
    };
    let silent: Vec<&str> = (Table::broker().iter().map(|definition| definition.name))
        .filter(|key| !is_listed(key) && !code.contains(&format!("\"{key}\"")))
        .collect();
    assert!(silent.is_empty(), "neither named nor in UNSUPPORTED.md: {silent:?}");

    let section = ledger.split("## Broker keys").nth(1).unwrap().split("\n## ").next().unwrap();
    let unknown: Vec<&str> = (self::listed(section).into_iter())
        .filter(|entry| !entry.ends_with('*'))
        .filter(|key| config_def::broker(key).is_none() && config_def::topic(key).is_none())
        .collect();
    assert!(unknown.is_empty(), "UNSUPPORTED.md lists what is no key: {unknown:?}");
}
