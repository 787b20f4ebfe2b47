//! The Testcontainers modules themselves, from their registries, with our image in the place of Kafka's.
//!
//! Each program starts the container as a test of a user would, says where the broker is, and keeps it until its input ends.
//! Ryuk, which removes what is left over, is an image that cannot be pulled here; the modules stop what they started.

use std::path::PathBuf;
use std::process::Command;

use ottla_compat_tests::docker::{self, Holder, round_trip};
use ottla_compat_tests::toolchain::{self, Need};
use ottla_compat_tests::{cache, clients};

fn start(mut command: Command, mode: &str) {
    command.args([mode, docker::image()]);
    command.env("TESTCONTAINERS_RYUK_DISABLED", "true");
    // Else some modules ask where they are with a container of yet another image.
    command.env("TESTCONTAINERS_HOST_OVERRIDE", "localhost");
    let mut holder = Holder::start(&mut command);
    let address = holder.wait_for("BOOTSTRAP ");
    round_trip(&address);
    holder.finish();
}

fn is_skipped(needs: &[Need]) -> bool {
    if docker::is_skipped() {
        return true;
    }
    let Some(reason) = toolchain::missing(needs) else { return false };
    assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
    println!("skipped: {reason}");
    true
}

fn sources(language: &str) -> PathBuf {
    cache::package().join("clients/testcontainers").join(language)
}

#[test]
fn python() {
    if is_skipped(&[Need::Python]) {
        return;
    }
    let requirements = sources("python").join("requirements.txt");
    let interpreter = clients::python_with("testcontainers-python", &requirements).unwrap();
    for mode in ["kraft", "zookeeper"] {
        let mut command = Command::new(&interpreter);
        command.arg(sources("python").join("story.py"));
        start(command, mode);
    }
}

#[test]
fn node() {
    if is_skipped(&[Need::Node]) {
        return;
    }
    let place = clients::npm_story("testcontainers-node", &sources("node"), "story.js").unwrap();
    for mode in ["kraft", "zookeeper"] {
        let mut command = Command::new("node");
        command.arg(place.join("story.js"));
        start(command, mode);
    }
}

#[test]
fn go() {
    if is_skipped(&[Need::Go]) {
        return;
    }
    let binary = clients::go_program("testcontainers-go", &sources("go")).unwrap();
    start(Command::new(binary), "kraft");
}

#[test]
fn java() {
    if is_skipped(&[Need::Maven, Need::Java]) {
        return;
    }
    let class_path =
        clients::maven_program("testcontainers-java", &sources("java"), "TestcontainersStory.java").unwrap();
    for mode in ["apache", "confluent"] {
        let mut command = Command::new("java");
        command.args([
            "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dapi.version=1.41",
        ]);
        command.args(["-cp", &class_path, "TestcontainersStory"]);
        start(command, mode);
    }
}

/// A crate of its own, outside the workspace: its two hundred dependencies are compiled the first time.
#[test]
fn rust() {
    if is_skipped(&[]) {
        return;
    }
    let binary = clients::cargo_program("testcontainers-rust", &sources("rust"), "testcontainers-story").unwrap();
    start(Command::new(binary), "apache");
}
