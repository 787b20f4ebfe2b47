//! Writes the generated parts of `ottla-protocol` from the tables in `schemas/`.
//!
//! `cargo run -p ottla-protocol-codegen --example generate` rewrites them; a test checks that what is committed is current.

mod messages;
mod schema;
mod skeleton;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use schema::{Kind, Message};

/// APIs whose messages kafka-protocol 0.18 lacks, or knows only in older versions.
const OWN_APIS: &[i16] = &[2, 8, 9, 27, 35, 63, 78, 79, 80, 85, 87, 88, 89, 90, 20000];

/// Every generated file: its path within the protocol crate, and what belongs in it.
pub fn generate() -> Vec<(PathBuf, String)> {
    let mut wire = schema::parse(include_str!("../schemas/requests.txt"));
    wire.extend(schema::parse(include_str!("../schemas/responses.txt")));
    let records = [
        ("group", schema::parse(include_str!("../schemas/group.txt"))),
        ("transaction", schema::parse(include_str!("../schemas/transaction.txt"))),
        ("share", schema::parse(include_str!("../schemas/share.txt"))),
    ];
    let mut files = vec![(PathBuf::from("src/skeleton/tables.rs"), skeleton::tables(&wire, &records))];
    for message in wire.iter().filter(|message| OWN_APIS.contains(&message.key)) {
        let path = format!("src/messages/{}.rs", snake_case(&message.name));
        files.push((path.into(), rustfmt(&messages::file(&[message]))));
    }
    for (topic, all) in &records {
        for key in all.iter().filter(|message| message.kind == Kind::Key) {
            let both: Vec<&Message> = all.iter().filter(|message| message.key == key.key).collect();
            let path = format!("src/records/{topic}/{}.rs", snake_case(key.name.trim_end_matches("Key")));
            files.push((path.into(), rustfmt(&messages::file(&both))));
        }
    }
    files
}

/// The protocol crate's folder.
pub fn protocol_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[expect(clippy::expect_used, reason = "a developer's tool: it stops where rustfmt is missing")]
fn rustfmt(code: &str) -> String {
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--config", "max_width=120,use_small_heuristics=Max"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("rustfmt starts");
    child.stdin.take().expect("stdin is piped").write_all(code.as_bytes()).expect("rustfmt reads");
    let output = child.wait_with_output().expect("rustfmt ends");
    assert!(output.status.success(), "rustfmt refused:\n{code}");
    String::from_utf8(output.stdout).expect("rustfmt writes UTF-8")
}
