//! The binary for 64-bit ARM, cross-compiled as the Dockerfile does it, under emulation.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ottla_compat_tests::process::{self, Daemon, Output};
use ottla_compat_tests::{broker, docker};

const EMULATOR: &str = "qemu-aarch64-static";
/// Emulated code is some ten times slower.
const LIMIT: Duration = Duration::from_secs(120);

fn emulated(binary: &Path, arguments: &[&str], input: &str) -> Output {
    process::run(Command::new(EMULATOR).arg(binary).args(arguments), input.as_bytes(), LIMIT)
}

#[test]
fn the_arm64_binary_serves_under_emulation() {
    if !std::env::var("OTTLA_DOCKER").is_ok_and(|value| value == "arm64") {
        println!("skipped: compiling for another architecture takes minutes (OTTLA_DOCKER=arm64)");
        return;
    }
    let binary = docker::dist_binary("arm64").unwrap();
    let version = emulated(&binary, &["--version"], "").ok();
    assert!(version.stdout.starts_with("ottla "), "{version}");
    let folder = tempfile::tempdir().unwrap();
    let bootstrap = format!("127.0.0.1:{}", broker::free_port());
    let log = folder.path().join("log");
    let listeners = format!("listeners=PLAINTEXT://{bootstrap}");
    let mut server = Command::new(EMULATOR);
    server.arg(&binary).args(["start", "--override", &listeners]).current_dir(folder.path());
    let mut server = Daemon::spawn(&mut server, &log).unwrap();
    let deadline = Instant::now() + LIMIT;
    while emulated(&binary, &["health", "--bootstrap-server", &bootstrap], "").code != 0 {
        assert!(Instant::now() < deadline && server.is_running(), "{}", std::fs::read_to_string(&log).unwrap());
    }
    let tool = |name: &str, words: &[&str], input: &str| {
        emulated(&binary, &[&[name, "--bootstrap-server", &bootstrap, "--topic", "t"], words].concat(), input).ok()
    };
    tool("kafka-topics", &["--create"], "");
    for codec in ["none", "zstd", "lz4", "gzip", "snappy"] {
        tool("kafka-console-producer", &["--compression-codec", codec], &format!("{codec}\n"));
    }
    let read = tool("kafka-console-consumer", &["--from-beginning", "--max-messages", "5", "--group", "g"], "");
    assert_eq!(read.stdout, "none\nzstd\nlz4\ngzip\nsnappy\n", "{read}");
    assert_eq!(server.terminate(LIMIT), Some(0), "{}", std::fs::read_to_string(&log).unwrap());
}
