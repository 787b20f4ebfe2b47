//! Client programs in other languages: fetched and built below `target/compat`, run with the broker's address.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::jvm;
use crate::process::{self, Output};
use crate::toolchain::Need;
use crate::{cache, kafka};

/// A client library and the program that drives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    Java,
    ConfluentPython,
    KafkaPython,
    AioKafka,
    KafkaJs,
    FranzGo,
    Sarama,
    SegmentioGo,
    RustRdkafka,
}

/// Building a client's dependencies may compile C.
const BUILD_LIMIT: Duration = Duration::from_secs(1200);
/// A story of a client ends within seconds; this only ends hangs.
const RUN_LIMIT: Duration = Duration::from_secs(120);

impl Client {
    /// The name in `RESULTS.md`.
    pub fn name(self) -> &'static str {
        match self {
            Client::Java => "Java client 4.3",
            Client::ConfluentPython => "confluent-kafka (librdkafka)",
            Client::KafkaPython => "kafka-python",
            Client::AioKafka => "aiokafka",
            Client::KafkaJs => "KafkaJS",
            Client::FranzGo => "franz-go",
            Client::Sarama => "Sarama",
            Client::SegmentioGo => "segmentio/kafka-go",
            Client::RustRdkafka => "rdkafka (Rust)",
        }
    }

    /// What must be installed for it.
    pub fn needs(self) -> &'static [Need] {
        match self {
            Client::Java => &[Need::Maven, Need::Java],
            Client::ConfluentPython | Client::KafkaPython | Client::AioKafka => {
                &[Need::Maven, Need::Java, Need::Python]
            }
            Client::KafkaJs => &[Need::Maven, Need::Java, Need::Node],
            Client::FranzGo | Client::Sarama | Client::SegmentioGo => &[Need::Maven, Need::Java, Need::Go],
            // Cargo and a C compiler are there wherever these tests run.
            Client::RustRdkafka => &[Need::Maven, Need::Java],
        }
    }

    /// Runs one story: `program STORY BOOTSTRAP PREFIX`, where every topic and group begins with PREFIX.
    pub fn run(self, story: &str, bootstrap: &str, prefix: &str) -> Output {
        let arguments = [story.to_owned(), bootstrap.to_owned(), prefix.to_owned()];
        if self == Client::Java {
            return match jvm::start("ClientStories", &arguments, b"") {
                Ok(running) => running.wait(RUN_LIMIT),
                Err(error) => panic!("java: {error}"),
            };
        }
        let mut command = self.program().unwrap_or_else(|error| panic!("{}: {error}", self.name()));
        process::run(command.args(arguments), b"", RUN_LIMIT)
    }

    /// The client's program for the checker in [`crate::jepsen`]; there is one for Java, librdkafka and franz-go.
    pub fn jepsen(self) -> Result<Command, String> {
        Ok(match self {
            Client::Java => {
                let mut command = kafka::java("192m")?;
                command.arg("JepsenClient");
                command
            }
            Client::ConfluentPython => {
                let mut command = Command::new(python()?);
                command.arg(cache::package().join("clients/python/jepsen.py"));
                command
            }
            Client::FranzGo => Command::new(go()?.join("jepsen")),
            other => return Err(format!("{} has no such program", other.name())),
        })
    }

    fn program(self) -> Result<Command, String> {
        let script = |interpreter: PathBuf, path: &str| {
            let mut command = Command::new(interpreter);
            command.arg(cache::package().join("clients").join(path));
            command
        };
        Ok(match self {
            Client::Java => kafka::java("256m")?,
            Client::ConfluentPython => script(python()?, "python/confluent.py"),
            Client::KafkaPython => script(python()?, "python/kafka_python.py"),
            Client::AioKafka => script(python()?, "python/aio_kafka.py"),
            Client::KafkaJs => {
                let mut command = Command::new("node");
                command.arg(npm_packages("node")?.join("kafkajs_stories.js"));
                command
            }
            Client::FranzGo => Command::new(go()?.join("franz")),
            Client::Sarama => Command::new(go()?.join("sarama")),
            Client::SegmentioGo => Command::new(go()?.join("segmentio")),
            Client::RustRdkafka => Command::new(rust()?),
        })
    }
}

/// The Python of a virtual environment that holds the pinned clients.
pub fn python() -> Result<PathBuf, String> {
    let requirements = cache::package().join("clients/python/requirements.txt");
    let place = cache::once("python", &cache::stamp_of(std::slice::from_ref(&requirements)), |place| {
        must(Command::new("python3").args(["-m", "venv"]).arg(place))?;
        must(Command::new(place.join("bin/pip")).args(["install", "--quiet", "-r"]).arg(&requirements))
    })?;
    Ok(place.join("bin/python"))
}

/// The Python of a virtual environment of its own.
pub fn python_with(name: &str, requirements: &Path) -> Result<PathBuf, String> {
    let place = cache::once(name, &cache::stamp_of(&[requirements.to_owned()]), |place| {
        must(Command::new("python3").args(["-m", "venv"]).arg(place))?;
        must(Command::new(place.join("bin/pip")).args(["install", "--quiet", "-r"]).arg(requirements))
    })?;
    Ok(place.join("bin/python"))
}

/// A folder with a script and the packages beside it.
pub fn npm_story(name: &str, source: &Path, script: &str) -> Result<PathBuf, String> {
    copied(name, source, &["package.json", "package-lock.json", script], |place| {
        must(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(place))
    })
}

/// A Go program of one file.
pub fn go_program(name: &str, source: &Path) -> Result<PathBuf, String> {
    let build = |place: &Path| must(Command::new("go").args(["build", "-o", "program", "."]).current_dir(place));
    copied(name, source, &["go.mod", "go.sum", "main.go"], build).map(|place| place.join("program"))
}

/// The class path of a Java program of one file and of what its `pom.xml` asks for.
pub fn maven_program(name: &str, source: &Path, file: &str) -> Result<String, String> {
    let place = copied(name, source, &["pom.xml", file], |place| {
        let libs = place.join("libs");
        let mut fetch = Command::new("mvn");
        must(
            fetch
                .args(["-q", "-B", "-f", "pom.xml", &format!("-Dlibs={}", libs.display()), "package"])
                .current_dir(place),
        )?;
        must(Command::new("javac").args(["-d", "classes", "-cp", "libs/*", file]).current_dir(place))
    })?;
    Ok(format!("{}:{}/*", place.join("classes").display(), place.join("libs").display()))
}

/// The binary of a crate outside the workspace.
pub fn cargo_program(name: &str, source: &Path, binary: &str) -> Result<PathBuf, String> {
    let files = ["Cargo.toml", "Cargo.lock", "src/main.rs"];
    let build = |place: &Path| {
        let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
        must(command.args(["build", "--quiet", "--locked", "--target-dir", "target"]).current_dir(place))
    };
    copied(name, source, &files, build).map(|place| place.join("target/debug").join(binary))
}

/// A folder with the pinned npm packages that `clients/NAME/package.json` asks for.
pub fn npm_packages(name: &str) -> Result<PathBuf, String> {
    let mut files = vec!["package.json", "package-lock.json"];
    if name == "node" {
        files.push("kafkajs_stories.js");
    }
    built_copy(name, &files, |place| {
        must(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(place))
    })
}

/// A folder with one binary per Go client.
fn go() -> Result<PathBuf, String> {
    let files = ["go.mod", "go.sum", "franz/main.go", "jepsen/main.go", "sarama/main.go", "segmentio/main.go"];
    built_copy("go", &files, |place| {
        for program in ["franz", "jepsen", "sarama", "segmentio"] {
            let output = place.join("bin").join(program);
            must(Command::new("go").args(["build", "-o"]).arg(&output).arg(format!("./{program}")).current_dir(place))?;
        }
        Ok(())
    })
    .map(|place| place.join("bin"))
}

/// The program that uses the crate rdkafka; a workspace of its own, so that only these stories build librdkafka.
fn rust() -> Result<PathBuf, String> {
    built_copy("rust", &["Cargo.toml", "Cargo.lock", "src/main.rs"], |place| {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        must(Command::new(cargo).args(["build", "--quiet", "--locked", "--target-dir", "target"]).current_dir(place))
    })
    .map(|place| place.join("target/debug/rdkafka-stories"))
}

/// Copies `files` from `clients/NAME` and builds there, so that nothing is written into the source tree.
fn built_copy(name: &str, files: &[&str], build: impl FnOnce(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    copied(name, &cache::package().join("clients").join(name), files, build)
}

fn copied(
    name: &str,
    source: &Path,
    files: &[&str],
    build: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let paths: Vec<PathBuf> = files.iter().map(|file| source.join(file)).collect();
    cache::once(name, &cache::stamp_of(&paths), |place| {
        for file in files {
            let to = place.join(file);
            std::fs::create_dir_all(to.parent().expect("a file lies in a folder")).map_err(|e| e.to_string())?;
            std::fs::copy(source.join(file), to).map_err(|e| e.to_string())?;
        }
        build(place)
    })
}

fn must(command: &mut Command) -> Result<(), String> {
    let output = process::run(command, b"", BUILD_LIMIT);
    if output.code == 0 { Ok(()) } else { Err(format!("{command:?}: {output}")) }
}
