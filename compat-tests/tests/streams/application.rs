//! One instance of the Streams application (`StreamsApp.java`) in a process of its own, and calls of its model.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ottla_compat_tests::process::{Daemon, Output};
use ottla_compat_tests::{cache, jvm, kafka};
use tempfile::TempDir;

pub const AT_LEAST_ONCE: &str = "at_least_once";
pub const EXACTLY_ONCE: &str = "exactly_once_v2";

/// An application with its state directory. Its process can be killed and started again.
pub struct Application {
    pub id: String,
    guarantee: String,
    bootstrap: String,
    /// Event time begins here.
    start_ms: u128,
    dir: TempDir,
    process: Option<Daemon>,
}

impl Application {
    pub fn new(id: &str, guarantee: &str, bootstrap: &str) -> Application {
        let dir = tempfile::Builder::new().prefix("streams").tempdir_in(cache::dir("run")).unwrap();
        let start_ms = (SystemTime::now() - Duration::from_secs(3600)).duration_since(UNIX_EPOCH).unwrap().as_millis();
        Application {
            start_ms,
            id: id.into(),
            guarantee: guarantee.into(),
            bootstrap: bootstrap.into(),
            dir,
            process: None,
        }
    }

    pub fn start(&mut self) {
        let mut command = kafka::java("256m").unwrap();
        command.args(["StreamsApp", &self.bootstrap, &self.id]).arg(self.state()).arg(&self.guarantee);
        self.process = Some(Daemon::spawn(&mut command, &self.log_path()).unwrap());
    }

    pub fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    /// SIGTERM: the application closes its clients.
    pub fn stop(&mut self) {
        let code = self.process.take().unwrap().terminate(Duration::from_secs(30));
        assert!(code.is_some(), "the application did not end\n{}", self.log());
    }

    /// The state of the tables is gone: it is restored from the changelogs.
    pub fn lose_state(&self) {
        std::fs::remove_dir_all(self.state()).ok();
    }

    pub fn assert_running(&mut self) {
        let running = self.process.as_mut().is_some_and(Daemon::is_running);
        assert!(running, "the application gave up\n{}", self.log());
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn log_path(&self) -> PathBuf {
        Path::new(self.dir.path()).join("application.log")
    }

    /// Starts a verb of the model: `create`, `feed` or `verify`.
    pub fn model(&self, verb: &str, lines: u64, ms: u64, runs: u32) -> jvm::Running {
        let words = [
            verb,
            &self.bootstrap,
            &self.id,
            &self.guarantee,
            &lines.to_string(),
            &ms.to_string(),
            &runs.to_string(),
            &self.start_ms.to_string(),
        ];
        jvm::start("StreamsModel", &words.map(str::to_owned), b"").unwrap()
    }

    /// Runs a verb of the model to its end.
    pub fn model_run(&self, verb: &str, lines: u64, ms: u64, runs: u32) -> Output {
        self.model(verb, lines, ms, runs).wait(Duration::from_secs(300))
    }
}
