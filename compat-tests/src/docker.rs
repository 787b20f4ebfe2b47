//! A Docker Engine on this machine, Ottla's images in it, and containers that end with the test.
//!
//! The images are `docker/Dockerfile` with a base made of Debian's packages and, around the scripts, the binary that cargo has
//! built for the tests: linked dynamically, so the libraries it needs are laid on top. `OTTLA_DOCKER=dist` compiles the binary
//! that users get instead, which takes minutes: what is said about sizes is said about that one.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::process::{self, Output};
use crate::{broker, cache, ottla, toolchain};

/// The name under which tests find the image. The tag is a release of Confluent's, as some modules decide by it.
pub const IMAGE: &str = "ottla-test:8.0.0";
/// The image that has nothing but the binary.
pub const SCRATCH: &str = "ottla-test:scratch";
/// Debian, made of its packages.
pub const BASE: &str = "ottla-base/debian";
const BUILD_LIMIT: Duration = Duration::from_secs(600);
const DIST_LIMIT: Duration = Duration::from_secs(3600);
const LIMIT: Duration = Duration::from_secs(60);

/// Whether the images have the binary that users get (`OTTLA_DOCKER=dist`).
pub fn is_dist() -> bool {
    std::env::var("OTTLA_DOCKER").is_ok_and(|value| value == "dist")
}

/// Why no container can be run here; `None` when one can.
fn missing() -> Option<String> {
    let answers = docker(&["version", "--format", "{{.Server.Version}}"]);
    if answers.code != 0 {
        return Some(format!("no Docker Engine answers: {}", answers.stderr.trim()));
    }
    for (program, argument) in [("docker-compose", "version"), ("debootstrap", "--version")] {
        if process::run(Command::new(program).arg(argument), b"", LIMIT).code != 0 {
            return Some(format!("{program} is not installed"));
        }
    }
    None
}

/// True where no container can be run, which is a failure under `CI=true`.
pub fn is_skipped() -> bool {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    let Some(reason) = MISSING.get_or_init(missing) else { return false };
    if toolchain::is_ci() {
        // `.ci/run` says where the engine that it started writes.
        let log = std::env::var("OTTLA_DOCKERD_LOG").map(|path| std::fs::read_to_string(path).unwrap_or_default());
        panic!("skipped under CI: {reason}\n{}", broker::tail(&log.unwrap_or_default(), 60));
    }
    println!("skipped: {reason}");
    true
}

/// Runs the client to its end.
pub fn docker(arguments: &[&str]) -> Output {
    process::run(client().args(arguments), b"", LIMIT)
}

/// Debian's client builds with BuildKit by itself; others need a plugin for that.
pub fn client() -> Command {
    let debians = Path::new("/usr/bin/docker");
    let mut command = if debians.exists() { Command::new(debians) } else { Command::new("docker") };
    command.env("DOCKER_BUILDKIT", "1");
    command
}

/// The default image, built once per test run.
pub fn image() -> &'static str {
    built();
    IMAGE
}

/// The image with the binary alone.
pub fn scratch_image() -> &'static str {
    built();
    SCRATCH
}

fn built() {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    if let Err(error) = BUILT.get_or_init(build) {
        panic!("the image: {error}");
    }
}

fn build() -> Result<(), String> {
    let _guard = cache::lock("docker-image");
    if docker(&["image", "inspect", BASE]).code != 0 {
        let mut command = Command::new(cache::workspace().join("docker/local-bases.sh"));
        must(command.arg(cache::dir("docker-base")).stdin(Stdio::null()))?;
    }
    let context = tempfile::tempdir().map_err(|e| e.to_string())?;
    let folder = context.path();
    must(Command::new("cp").arg("-a").arg(cache::workspace().join("docker")).arg(folder))?;
    std::fs::create_dir_all(folder.join("docker/bin")).map_err(|e| e.to_string())?;
    let binary = binary()?;
    let place = folder.join("docker/bin").join(format!("ottla-{}", architecture()));
    must(Command::new("strip").arg("-o").arg(&place).arg(&binary))?;
    let libraries = folder.join("libraries");
    std::fs::create_dir_all(&libraries).map_err(|e| e.to_string())?;
    for library in libraries_of(&binary)? {
        let to = libraries.join(library.strip_prefix("/").map_err(|e| e.to_string())?);
        std::fs::create_dir_all(to.parent().unwrap_or(&libraries)).map_err(|e| e.to_string())?;
        std::fs::copy(&library, &to).map_err(|e| format!("{}: {e}", library.display()))?;
    }
    for (target, tag) in [("default", IMAGE), ("scratch", SCRATCH)] {
        let plain = format!("ottla-test:plain-{target}");
        std::fs::remove_file(folder.join(".dockerignore")).ok();
        let mut command = client();
        command.args(["build", "--quiet", "--network", "host", "--file", "docker/Dockerfile", "--target", target]);
        command.args(["--tag", &plain, "--build-arg", &format!("DEBIAN_IMAGE={BASE}")]);
        must(command.args(["--build-arg", "BINARY=prebuilt", "."]).current_dir(folder))?;
        if is_dist() {
            must(client().args(["tag", &plain, tag]))?;
            continue;
        }
        std::fs::write(folder.join("Dockerfile"), format!("FROM {plain}\nCOPY libraries/ /\n"))
            .map_err(|e| e.to_string())?;
        std::fs::write(folder.join(".dockerignore"), "docker\n").map_err(|e| e.to_string())?;
        must(client().args(["build", "--quiet", "--tag", tag, "."]).current_dir(folder))?;
    }
    Ok(())
}

/// The binary that the images have.
fn binary() -> Result<PathBuf, String> {
    if !is_dist() {
        return ottla::binary();
    }
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BINARY.get_or_init(|| dist_binary(architecture())).clone()
}

/// The binary that users get, for one of docker's architectures.
pub fn dist_binary(architecture: &str) -> Result<PathBuf, String> {
    let place = cache::dir("dist").join(format!("ottla-{architecture}"));
    let mut command = Command::new(cache::workspace().join("docker/build-binary.sh"));
    command.arg(architecture).arg(&place).env("CARGO_TARGET_DIR", cache::target());
    let output = process::run(command.current_dir(cache::workspace()), b"", DIST_LIMIT);
    if output.code == 0 { Ok(place) } else { Err(format!("docker/build-binary.sh: {output}")) }
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// The files that the loader would open; none for a static binary.
fn libraries_of(binary: &Path) -> Result<Vec<PathBuf>, String> {
    let listed = process::run(Command::new("ldd").arg(binary), b"", LIMIT);
    let words = listed.stdout.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(words.map(PathBuf::from).collect())
}

fn must(command: &mut Command) -> Result<(), String> {
    let output = process::run(command, b"", BUILD_LIMIT);
    if output.code == 0 { Ok(()) } else { Err(format!("{command:?}: {output}")) }
}

/// A name that no other test uses.
pub fn fresh_name(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("ottla-{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A container, removed with its volumes when dropped.
pub struct Container {
    pub name: String,
}

impl Container {
    /// `docker run --detach OPTIONS IMAGE COMMAND`.
    pub fn run(options: &[&str], command: &[&str]) -> Container {
        Self::run_image(image(), options, command)
    }

    pub fn run_image(image: &str, options: &[&str], command: &[&str]) -> Container {
        let container = Container { name: fresh_name("container") };
        let mut arguments = vec!["run", "--detach", "--name", &container.name];
        arguments.extend_from_slice(options);
        arguments.push(image);
        arguments.extend_from_slice(command);
        let output = docker(&arguments);
        assert_eq!(output.code, 0, "{output}");
        container
    }

    /// Both streams of what it wrote.
    pub fn logs(&self) -> String {
        let output = docker(&["logs", &self.name]);
        output.stdout + &output.stderr
    }

    /// Waits until the log has a line with `text`.
    pub fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + LIMIT;
        while !self.logs().contains(text) {
            assert!(Instant::now() < deadline && self.is_running(), "no {text:?} in:\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until Docker's health check says so.
    pub fn wait_healthy(&self) {
        let deadline = Instant::now() + LIMIT;
        while self.state("{{.State.Health.Status}}") != "healthy" {
            assert!(Instant::now() < deadline, "not healthy:\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn is_running(&self) -> bool {
        self.state("{{.State.Running}}") == "true"
    }

    /// Waits for the end; the exit code.
    pub fn wait_exit(&self) -> i32 {
        let deadline = Instant::now() + LIMIT;
        while self.is_running() {
            assert!(Instant::now() < deadline, "still running:\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
        self.state("{{.State.ExitCode}}").parse().expect("a number")
    }

    pub fn state(&self, format: &str) -> String {
        docker(&["inspect", "--format", format, &self.name]).stdout.trim().to_owned()
    }

    /// Where a published port is reached from this machine.
    pub fn address(&self, port: u16) -> String {
        let output = docker(&["port", &self.name, &port.to_string()]);
        let line = output.stdout.lines().next().unwrap_or_else(|| panic!("no port {port}: {output}\n{}", self.logs()));
        format!("localhost:{}", line.rsplit(':').next().expect("a port"))
    }

    pub fn exec(&self, command: &[&str]) -> Output {
        let mut arguments = vec!["exec", &self.name];
        arguments.extend_from_slice(command);
        docker(&arguments)
    }

    /// Puts a file into it, as Testcontainers does.
    pub fn put(&self, path: &str, content: &str) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("file");
        std::fs::write(&file, content).expect("write a file");
        assert_eq!(process::run(Command::new("chmod").arg("777").arg(&file), b"", LIMIT).code, 0);
        let output = docker(&["cp", &file.display().to_string(), &format!("{}:{path}", self.name)]);
        assert_eq!(output.code, 0, "{output}");
    }

    /// SIGTERM; the exit code.
    pub fn stop(&self) -> i32 {
        docker(&["stop", "--time", "30", &self.name]);
        self.wait_exit()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        docker(&["rm", "--force", "--volumes", &self.name]);
    }
}

/// A network, removed when dropped.
pub struct Network {
    pub name: String,
}

impl Network {
    pub fn create() -> Network {
        let network = Network { name: fresh_name("network") };
        let output = docker(&["network", "create", &network.name]);
        assert_eq!(output.code, 0, "{output}");
        network
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        docker(&["network", "rm", &self.name]);
    }
}

/// A program that says where its broker is and keeps it until its input ends.
pub struct Holder {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Holder {
    pub fn start(command: &mut Command) -> Holder {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Holder { child, lines }
    }

    /// The rest of the line that begins with `word`.
    pub fn wait_for(&mut self, word: &str) -> String {
        let mut seen = String::new();
        loop {
            let begin = seen.len();
            let read = self.lines.read_line(&mut seen).expect("read a line");
            assert!(read > 0, "no {word} in:\n{seen}");
            if let Some(rest) = seen[begin..].strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Ends its input and waits for it to say that it is done.
    pub fn finish(mut self) {
        if let Some(mut input) = self.child.stdin.take() {
            input.flush().ok();
        }
        self.wait_for("STOPPED");
        assert!(self.child.wait().expect("wait for the program").success());
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Sends a record and reads it back by way of what the broker advertises, with the tools of this binary.
pub fn round_trip(bootstrap: &str) {
    let tool = |arguments: &[&str], input: &str| {
        let mut command = Command::new(binary().expect("the binary"));
        let output = process::run(command.args(arguments), input.as_bytes(), LIMIT);
        assert_eq!(output.code, 0, "{arguments:?}\n{output}");
        output.stdout
    };
    let topic = fresh_name("topic");
    tool(&["topics", "--bootstrap-server", bootstrap, "--create", "--topic", &topic, "--partitions", "2"], "");
    tool(&["console-producer", "--bootstrap-server", bootstrap, "--topic", &topic], "a record\n");
    let read = ["console-consumer", "--bootstrap-server", bootstrap, "--topic", &topic, "--from-beginning"];
    let read = tool(&[&read[..], &["--max-messages", "1", "--group", &topic]].concat(), "");
    assert_eq!(read, "a record\n");
}
