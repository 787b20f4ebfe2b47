//! Fetches the suites as their registries have them, and builds what has to be built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ottla_compat_tests::{cache, process};

const BUILD_LIMIT: Duration = Duration::from_secs(1800);
const KAFKA_PYTHON: &str = "kafka-python==3.0.12";
/// What its tests are run with.
const PYTEST: &[&str] = &[
    "pytest==8.4.2",
    "pytest-timeout==2.4.0",
    "python-snappy==0.7.3",
    "lz4==4.4.5",
    "zstandard==0.25.0",
    "crc32c==2.8",
];

/// A part of the test helpers that the sdist leaves out: all that an external broker needs of it.
const SERVICE: &str = "class ExternalService:\n    def __init__(self, host, port):\n        self.host, self.port = host, port\n\n    \
                       def open(self):\n        pass\n\n    def close(self):\n        pass\n\n\nclass SpawnedService:\n    pass\n";

/// `venv/` and `source/` of kafka-python's sdist.
pub fn kafka_python() -> Result<PathBuf, String> {
    let stamp = format!("{KAFKA_PYTHON} {PYTEST:?} {SERVICE}");
    cache::once("suite-kafka-python", &stamp, |place| {
        must(Command::new("python3").args(["-m", "venv"]).arg(place.join("venv")))?;
        let pip = || Command::new(place.join("venv/bin/pip"));
        must(pip().args(["install", "--quiet", KAFKA_PYTHON]).args(PYTEST))?;
        must(pip().args(["download", "--quiet", "--no-deps", "--no-binary", ":all:", KAFKA_PYTHON, "-d"]).arg(place))?;
        let archives = fs::read_dir(place).map_err(|e| e.to_string())?;
        let archive =
            archives.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "gz"));
        let source = place.join("source");
        fs::create_dir(&source).map_err(|e| e.to_string())?;
        let archive = archive.ok_or("pip left no archive")?;
        must(Command::new("tar").arg("xzf").arg(archive).arg("--strip-components=1").arg("-C").arg(&source))?;
        // Python has a package `test` of its own, which would win against a folder without this file.
        fs::write(source.join("test/__init__.py"), "").map_err(|e| e.to_string())?;
        fs::write(source.join("test/service.py"), SERVICE).map_err(|e| e.to_string())
    })
}

/// A Go module with tests.
pub struct GoModule {
    path: &'static str,
    version: &'static str,
    package: &'static str,
    tags: &'static str,
}

pub const FRANZ: GoModule =
    GoModule { path: "github.com/twmb/franz-go", version: "v1.22.2", package: "pkg/kgo", tags: "" };
pub const SEGMENTIO: GoModule =
    GoModule { path: "github.com/segmentio/kafka-go", version: "v0.4.51", package: ".", tags: "" };
pub const SARAMA: GoModule =
    GoModule { path: "github.com/IBM/sarama", version: "v1.61.1", package: ".", tags: "functional" };

/// `suite.test` and `source/` of a Go module. `changes` are made in its sources: most look for a broker at a
/// fixed port.
pub fn go_suite(module: &GoModule, changes: &[(&str, String)]) -> Result<PathBuf, String> {
    let name = format!("suite-{}", module.path.rsplit('/').next().unwrap_or(module.path));
    let wanted = format!("{}@{}", module.path, module.version);
    let sources = cache::once(&name, &wanted, |place| {
        fs::write(place.join("go.mod"), "module suites\n").map_err(|e| e.to_string())?;
        let mut download = Command::new("go");
        download.args(["mod", "download", "-json", &wanted]).current_dir(place);
        let output = process::run(&mut download, b"", BUILD_LIMIT);
        let found: serde_json::Value = serde_json::from_str(&output.stdout).map_err(|e| format!("{e}: {output}"))?;
        let folder = found["Dir"].as_str().ok_or_else(|| format!("no folder: {output}"))?;
        must(Command::new("cp").args(["-r", folder]).arg(place.join("original")))?;
        must(Command::new("chmod").args(["-R", "u+w"]).arg(place.join("original")))
    })?;
    // The changes differ from run to run, so the copy that has them is made anew.
    let place = fresh(&name)?;
    must(Command::new("cp").arg("-r").arg(sources.join("original")).arg(place.join("source")))?;
    let package = place.join("source").join(module.package);
    change(&package, ".go", changes)?;
    let output = place.join("suite.test");
    let mut build = Command::new("go");
    build.args(["test", "-mod=mod", "-tags", module.tags, "-c", "-o"]).arg(output).arg(".").current_dir(package);
    must(&mut build)?;
    Ok(place)
}

/// A folder of this run alone.
fn fresh(name: &str) -> Result<PathBuf, String> {
    let place = cache::dir(&format!("run/{name}-{}", std::process::id()));
    fs::remove_dir_all(&place).ok();
    fs::create_dir_all(&place).map_err(|e| e.to_string())?;
    Ok(place)
}

fn change(folder: &Path, ending: &str, changes: &[(&str, String)]) -> Result<(), String> {
    for entry in fs::read_dir(folder).map_err(|e| e.to_string())?.flatten() {
        if !entry.file_name().to_string_lossy().ends_with(ending) {
            continue;
        }
        let text = fs::read_to_string(entry.path()).map_err(|e| e.to_string())?;
        let changed = changes.iter().fold(text.clone(), |text, (from, to)| text.replace(from, to));
        if changed != text {
            fs::write(entry.path(), changed).map_err(|e| e.to_string())?;
        }
    }
    Ok(())
}

/// The proxy through which Sarama's tests reach their brokers.
pub fn toxiproxy() -> Result<PathBuf, String> {
    const WANTED: &str = "github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0";
    let place = cache::once("toxiproxy", WANTED, |place| {
        must(Command::new("go").args(["install", WANTED]).env("GOBIN", place).env("GOFLAGS", "-mod=mod"))
    })?;
    Ok(place.join("server"))
}

/// librdkafka's tree as the npm package has it, built with its test runner.
pub fn librdkafka() -> Result<PathBuf, String> {
    const WANTED: &str = "@confluentinc/kafka-javascript@1.10.1";
    cache::once("suite-librdkafka", WANTED, |place| {
        must(Command::new("npm").args(["pack", "--silent", WANTED]).current_dir(place))?;
        must(Command::new("sh").args(["-c", "tar xzf confluentinc-kafka-javascript-*.tgz"]).current_dir(place))?;
        let tree = place.join("package/deps/librdkafka");
        must(Command::new("./configure").current_dir(&tree))?;
        must(Command::new("make").args(["-j2", "libs"]).current_dir(&tree))?;
        must(Command::new("make").args(["-j2", "test-runner"]).current_dir(tree.join("tests")))
    })
}

/// `source/` of the crate rdkafka, whose tests look for a broker at this port.
pub fn rdkafka(port: u16) -> Result<PathBuf, String> {
    const WANTED: &str = "=0.39.0";
    let place = cache::once("suite-rdkafka", WANTED, |place| {
        fs::create_dir_all(place.join("src")).map_err(|e| e.to_string())?;
        fs::write(place.join("src/lib.rs"), "").map_err(|e| e.to_string())?;
        let manifest = format!(
            "[package]\nname = \"suite\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[dependencies]\nrdkafka = \"{WANTED}\"\n[workspace]\n"
        );
        fs::write(place.join("Cargo.toml"), manifest).map_err(|e| e.to_string())?;
        let metadata =
            process::run(cargo().args(["metadata", "--format-version=1"]).current_dir(place), b"", BUILD_LIMIT);
        let found: serde_json::Value =
            serde_json::from_str(&metadata.stdout).map_err(|e| format!("{e}: {metadata}"))?;
        let packages = found["packages"].as_array().ok_or("no packages")?;
        let package = packages.iter().find(|package| package["name"] == "rdkafka").ok_or("no rdkafka")?;
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default()).to_owned();
        let folder = manifest.parent().ok_or("no folder")?;
        must(Command::new("cp").arg("-r").arg(folder).arg(place.join("original")))?;
        // It lies below this workspace and is none of it.
        let manifest = place.join("original/Cargo.toml");
        let text = fs::read_to_string(&manifest).map_err(|e| e.to_string())?;
        fs::write(&manifest, text + "\n[workspace]\n").map_err(|e| e.to_string())
    })?;
    let source = place.join("source");
    fs::remove_dir_all(&source).ok();
    must(Command::new("cp").arg("-r").arg(place.join("original")).arg(&source))?;
    // Some name no port, which is the usual one.
    let unnamed = "\"bootstrap.servers\", \"localhost\"";
    let named = unnamed.replace("localhost", &format!("localhost:{port}"));
    change(&source.join("tests"), ".rs", &[("9092", port.to_string()), (unnamed, named)])?;
    Ok(place)
}

/// Its test binaries: compiled once, and again as far as the port is in them.
pub fn rdkafka_tests(place: &Path) -> Result<Vec<PathBuf>, String> {
    let mut build = cargo();
    build.args(["test", "--no-run", "--quiet", "--test", "*", "--message-format=json"]);
    build.arg("--target-dir").arg(place.join("target")).current_dir(place.join("source"));
    let output = process::run(&mut build, b"", BUILD_LIMIT);
    let messages = output.stdout.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let binaries: Vec<PathBuf> = messages.filter_map(|message| Some(message["executable"].as_str()?.into())).collect();
    if binaries.is_empty() { Err(format!("no tests were built: {output}")) } else { Ok(binaries) }
}

fn cargo() -> Command {
    Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
}

fn must(command: &mut Command) -> Result<(), String> {
    let output = process::run(command, b"", BUILD_LIMIT);
    if output.code == 0 { Ok(()) } else { Err(format!("{command:?}: {output}")) }
}
