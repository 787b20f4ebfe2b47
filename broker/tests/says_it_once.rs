//! What the program says when it cannot do what it was asked: what was meant, and everything once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> (Output, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ottla"));
    let output = command.args(arguments).current_dir(folder.path()).env_remove("RUST_LOG").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output, stdout, stderr)
}

#[test]
fn a_mistyped_command_is_not_taken_for_a_file() {
    for (typed, meant) in [
        ("tpoics", "ottla topics"),
        ("kafka-topcis", "ottla topics"),
        ("consumer-grups", "ottla consumer-groups"),
        ("strat", "ottla start"),
    ] {
        let (output, stdout, stderr) = run(&[typed, "--list"]);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert_eq!(stdout, "");
        assert!(stderr.contains(&format!("'{typed}' is neither")), "{stderr}");
        assert!(stderr.contains(&format!("Did you mean '{meant}'?")), "{stderr}");
    }
    // A word like none of ours gets no guess.
    let (output, _, stderr) = run(&["server.properties"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("neither") && !stderr.contains("Did you mean"), "{stderr}");
}

#[test]
fn why_it_does_not_start_is_said_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listeners = format!("listeners=PLAINTEXT://{}", taken.local_addr().unwrap());
    for (arguments, said) in [
        (vec!["start", "--override", &listeners], "cannot be bound"),
        (vec!["start", "--override", "num.partitions=many"], "num.partitions"),
        (vec!["start", "--override", "ssl.keystroe.location=/x"], "ssl.keystroe.location"),
        (vec!["start", "missing.properties"], "missing.properties"),
    ] {
        let (output, stdout, stderr) = run(&arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stdout}{stderr}");
        let all = format!("{stdout}{stderr}");
        let lines = all.lines().filter(|line| line.contains("ERROR")).count();
        assert_eq!(lines, 1, "{arguments:?}: {all}");
        let line = all.lines().find(|line| line.contains("ERROR")).unwrap();
        assert!(line.contains(said), "{arguments:?}: {all}");
        assert_eq!(stderr, "", "{arguments:?}: the logs are on stdout");
    }
}

#[test]
fn two_brokers_do_not_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let held = std::fs::File::create(folder.path().join(".lock")).unwrap();
    held.lock().unwrap();
    let log_dirs = format!("log.dirs={}", folder.path().display());
    let listeners = "listeners=PLAINTEXT://127.0.0.1:0";
    let (output, stdout, _) = run(&["start", "--override", &log_dirs, "--override", listeners]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout.contains("in use by another broker"), "{stdout}");
}
