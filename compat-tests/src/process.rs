//! Child processes that cannot outlive the test, and runs of a command with a time limit.

use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What a command left behind.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// Exit code; -1 when a signal ended it, -2 when the time limit did.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The same output, or a panic that shows it: for steps that must succeed.
    #[track_caller]
    pub fn ok(self) -> Output {
        assert!(self.code == 0, "exit code {}\n{self}", self.code);
        self
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code: {}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

/// Runs a command to its end, or kills it after `limit`.
pub fn run(command: &mut Command, stdin: &[u8], limit: Duration) -> Output {
    let program = format!("{:?}", command.get_program());
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return Output { code: 127, stdout: String::new(), stderr: format!("{program}: {error}") },
    };
    let mut input = child.stdin.take().expect("stdin is piped");
    let stdin = stdin.to_vec();
    let writer = thread::spawn(move || input.write_all(&stdin).ok());
    let stdout = drain(child.stdout.take().expect("stdout is piped"));
    let stderr = drain(child.stderr.take().expect("stderr is piped"));
    let code = wait(&mut child, limit).map_or(-2, |status| status.code().unwrap_or(-1));
    writer.join().ok();
    let text =
        |bytes: thread::JoinHandle<Vec<u8>>| String::from_utf8_lossy(&bytes.join().unwrap_or_default()).into_owned();
    Output { code, stdout: text(stdout), stderr: text(stderr) }
}

fn drain(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).ok();
        bytes
    })
}

/// Waits at most `limit`, then kills; `None` says that the limit passed.
fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() >= deadline {
            child.kill().ok();
            child.wait().ok();
            return None;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// A background process, killed when dropped and when the test process ends in any way.
pub struct Daemon {
    child: Child,
    /// Reads a pipe that only this process holds; at its end it kills the child.
    watchdog: Option<Child>,
}

impl Daemon {
    /// Starts `command` with stdout and stderr appended to `log`.
    pub fn spawn(command: &mut Command, log: &Path) -> std::io::Result<Daemon> {
        let log = File::options().create(true).append(true).open(log)?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let watchdog = Command::new("sh")
            .args(["-c", "read -r line; [ \"$line\" = gone ] || kill -9 \"$0\" 2>/dev/null", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Daemon { child, watchdog: Some(watchdog) })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGKILL, and wait for the end.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        self.dismiss_watchdog();
    }

    /// SIGTERM; the exit code, or `None` when it had to be killed after `limit`.
    pub fn terminate(&mut self, limit: Duration) -> Option<i32> {
        Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().ok();
        let status = wait(&mut self.child, limit);
        self.dismiss_watchdog();
        status.map(|status| status.code().unwrap_or(-1))
    }

    /// The exit code of a process that ends by itself within `limit`.
    pub fn ends(&mut self, limit: Duration) -> Option<i32> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status.code().unwrap_or(-1));
            }
            thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// Resident memory in bytes, from `/proc`.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    fn dismiss_watchdog(&mut self) {
        if let Some(mut watchdog) = self.watchdog.take() {
            if let Some(mut stdin) = watchdog.stdin.take() {
                stdin.write_all(b"gone\n").ok();
            }
            watchdog.wait().ok();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
