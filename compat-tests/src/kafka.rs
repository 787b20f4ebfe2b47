//! Apache Kafka: fetched by Maven once, formatted, started.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::{cache, process};

static AS_SHIPPED: AtomicBool = AtomicBool::new(false);

/// From now on brokers run as Kafka's `kafka-server-start.sh` runs them, and tools with the JVM's own choices: what is
/// measured is measured with the compiler and the collector that users have. What started before stays as it is.
pub fn run_as_shipped() {
    AS_SHIPPED.store(true, Ordering::Relaxed);
}

/// The class path of Kafka's jars and of our own small Java programs.
pub fn class_path() -> Result<String, String> {
    static PATH: OnceLock<Result<String, String>> = OnceLock::new();
    PATH.get_or_init(|| {
        let libs = libs()?;
        let classes = classes(&libs)?;
        Ok(format!("{}:{}/*", classes.display(), libs.display()))
    })
    .clone()
}

/// Formats the log directories that `properties` names.
pub fn format(properties: &Path) -> Result<(), String> {
    format_as(properties, None)
}

/// As `format`, with the features of an older release.
pub fn format_as(properties: &Path, release: Option<&str>) -> Result<(), String> {
    let mut command = java("64m")?;
    command.args(["kafka.tools.StorageTool", "format", "-t", "b3R0bGEtY29tcGF0LXRlcw", "-c"]).arg(properties);
    if let Some(release) = release {
        command.args(["--release-version", release]);
    }
    let output = process::run(&mut command, b"", Duration::from_secs(60));
    if output.code == 0 { Ok(()) } else { Err(format!("kafka-storage format: {output}")) }
}

/// The command that runs the broker and controller.
pub fn server(properties: &Path, dir: &Path) -> Result<Command, String> {
    let mut command = if AS_SHIPPED.load(Ordering::Relaxed) { java("1g")? } else { java("640m")? };
    if AS_SHIPPED.load(Ordering::Relaxed) {
        command.args(SHIPPED_SERVER);
    }
    command.arg("kafka.Kafka").arg(properties).current_dir(dir);
    Ok(command)
}

/// What `kafka-run-class.sh` adds, besides the heap.
const SHIPPED_SERVER: [&str; 8] = [
    "-Xms1g",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:MaxInlineLevel=15",
    "-Djava.awt.headless=true",
];

/// A JVM that starts quickly and leaves the cores to the tests: short-lived, small heap, first-tier compiler only (unless
/// `run_as_shipped`).
pub fn java(heap: &str) -> Result<Command, String> {
    let mut command = Command::new("java");
    command.args([&format!("-Xmx{heap}"), "-Xshare:auto"]);
    if !AS_SHIPPED.load(Ordering::Relaxed) {
        command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    }
    command.arg(format!("-Dlog4j2.configurationFile={}", cache::package().join("clients/java/log4j2.xml").display()));
    command.args(["-cp", &class_path()?]);
    Ok(command)
}

/// The jars of the release.
pub fn libs() -> Result<PathBuf, String> {
    fetched("kafka-libs", "pom.xml")
}

/// The jars of its tests, and what these need.
pub fn test_libs() -> Result<PathBuf, String> {
    fetched("kafka-test-libs", "clients/compaction/pom.xml")
}

fn fetched(name: &str, pom: &str) -> Result<PathBuf, String> {
    let pom = cache::package().join(pom);
    cache::once(name, &cache::stamp_of(std::slice::from_ref(&pom)), |place| {
        let mut command = Command::new("mvn");
        command.args(["-q", "-B", "-f"]).arg(&pom).arg(format!("-Dlibs={}", place.display())).arg("package");
        let output = process::run(&mut command, b"", Duration::from_secs(900));
        if output.code == 0 { Ok(()) } else { Err(format!("maven could not fetch Apache Kafka: {output}")) }
    })
}

fn classes(libs: &Path) -> Result<PathBuf, String> {
    let sources = sources();
    cache::once("java-classes", &cache::stamp_of(&sources), |place| {
        let mut command = Command::new("javac");
        command.args(["-nowarn", "-d"]).arg(place).args(["-cp", &format!("{}/*", libs.display())]).args(&sources);
        let output = process::run(&mut command, b"", Duration::from_secs(120));
        if output.code == 0 { Ok(()) } else { Err(format!("javac: {output}")) }
    })
}

fn sources() -> Vec<PathBuf> {
    let folder = cache::package().join("clients/java/src");
    let entries = std::fs::read_dir(folder).expect("the Java programs lie in clients/java/src");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    paths
}
