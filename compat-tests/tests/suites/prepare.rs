//! Fetches the suites as their registries have them, and builds what has to be built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ottla_compat_tests::{cache, process};

const BUILD_LIMIT: Duration = Duration::from_secs(900);
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

/// `suite.test` and `source/` of a Go module, whose tests look for a broker at `localhost:9092`: the port is put in.
pub fn go_suite(module: &str, version: &str, package: &str, port: u16) -> Result<PathBuf, String> {
    let name = format!("suite-{}", module.rsplit('/').next().unwrap_or(module));
    let sources = cache::once(&name, &format!("{module}@{version}"), |place| {
        fs::write(place.join("go.mod"), "module suites\n").map_err(|e| e.to_string())?;
        let wanted = format!("{module}@{version}");
        let output = process::run(
            Command::new("go").args(["mod", "download", "-json", &wanted]).current_dir(place),
            b"",
            BUILD_LIMIT,
        );
        let found: serde_json::Value = serde_json::from_str(&output.stdout).map_err(|e| format!("{e}: {output}"))?;
        let folder = found["Dir"].as_str().ok_or_else(|| format!("no folder: {output}"))?;
        must(Command::new("cp").args(["-r", folder]).arg(place.join("original")))?;
        must(Command::new("chmod").args(["-R", "u+w"]).arg(place.join("original")))
    })?;
    // The port differs from run to run, so the copy that knows it is made anew.
    let place = cache::dir(&format!("run/{name}-{port}"));
    must(Command::new("cp").arg("-r").arg(sources.join("original")).arg(place.join("source")))?;
    let package = place.join("source").join(package);
    for entry in fs::read_dir(&package).map_err(|e| e.to_string())?.flatten() {
        if entry.file_name().to_string_lossy().ends_with("_test.go") {
            put_port(&entry.path(), port)?;
        }
    }
    let output = place.join("suite.test");
    must(Command::new("go").args(["test", "-mod=mod", "-c", "-o"]).arg(output).arg(".").current_dir(package))?;
    Ok(place)
}

fn put_port(path: &Path, port: u16) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
    if text.contains("9092") {
        fs::write(path, text.replace("9092", &port.to_string())).map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn must(command: &mut Command) -> Result<(), String> {
    let output = process::run(command, b"", BUILD_LIMIT);
    if output.code == 0 { Ok(()) } else { Err(format!("{command:?}: {output}")) }
}
