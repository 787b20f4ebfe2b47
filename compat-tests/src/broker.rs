//! A running broker of either kind, and the one that the stories of a test binary share.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::power_disk::PowerDisk;
use crate::process::Daemon;
use crate::{cache, kafka, ottla};

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    Apache,
    Ottla,
}

impl Target {
    pub fn name(self) -> &'static str {
        match self {
            Target::Apache => "apache",
            Target::Ottla => "ottla",
        }
    }
}

/// The targets of this run: Apache Kafka first, as it is the reference.
pub fn targets() -> Vec<Target> {
    let wanted = std::env::var("OTTLA_COMPAT_TARGETS").unwrap_or_else(|_| "apache,ottla".into());
    [Target::Apache, Target::Ottla]
        .into_iter()
        .filter(|target| wanted.split(',').any(|name| name == target.name()))
        .collect()
}

/// One broker with its own data, configuration and log, ended when dropped.
pub struct Broker {
    pub target: Target,
    /// Folder of this instance: `data/` (unless it lies on a disk of its own), `server.properties`, `broker.log`.
    dir: TempDir,
    disk: Option<PowerDisk>,
    port: u16,
    daemon: Option<Daemon>,
}

impl Broker {
    /// Starts a broker with the configuration both targets share plus `overrides` (`key=value`; `{dir}` in a value is the
    /// instance's folder, `{port}` its port, `{controller}` that of its controller).
    pub fn start(target: Target, overrides: &[&str]) -> Result<Broker, String> {
        Broker::start_on(None, target, overrides)
    }

    /// The same with its data on a disk whose power can be cut.
    pub fn start_on(disk: Option<PowerDisk>, target: Target, overrides: &[&str]) -> Result<Broker, String> {
        let dir =
            tempfile::Builder::new().prefix(target.name()).tempdir_in(cache::dir("run")).map_err(|e| e.to_string())?;
        let mut broker = Broker { target, dir, disk, port: free_port(), daemon: None };
        let properties = configuration(broker.port, free_port(), &broker.data_dir(), overrides);
        fs::write(broker.properties(), properties).map_err(|e| e.to_string())?;
        if target == Target::Apache {
            kafka::format(&broker.properties())?;
        }
        broker.restart()?;
        Ok(broker)
    }

    /// Starts the broker again on the same data and port, after [`Broker::kill`] or [`Broker::stop`].
    pub fn restart(&mut self) -> Result<(), String> {
        let mut command = match self.target {
            Target::Apache => kafka::server(&self.properties(), self.dir.path())?,
            Target::Ottla => ottla::server(&self.properties())?,
        };
        let mut daemon = Daemon::spawn(&mut command, &self.log_path()).map_err(|e| e.to_string())?;
        let deadline = Instant::now() + Duration::from_secs(60);
        while !answers(self.address()) {
            if !daemon.is_running() || Instant::now() > deadline {
                return Err(format!("{} did not start:\n{}", self.target.name(), tail(&self.log(), 40)));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.daemon = Some(daemon);
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill();
        }
    }

    /// Cuts the power of its disk: what was not flushed is gone, and so is the process.
    pub fn cut_power(&mut self) -> Result<(), String> {
        let disk = self.disk.as_ref().ok_or("this broker has no disk of its own")?;
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill();
        }
        disk.cut()
    }

    /// SIGTERM; the exit code, `None` when it did not end by itself within 30 s.
    pub fn stop(&mut self) -> Option<i32> {
        self.daemon.take().and_then(|mut daemon| daemon.terminate(Duration::from_secs(30)))
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(Daemon::is_running)
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.daemon.as_ref().map_or(0, Daemon::resident_bytes)
    }

    /// Process id; 0 while it does not run.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().map_or(0, Daemon::pid)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// `host:port` for a client's `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.address().to_string()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.disk.as_ref().map_or_else(|| self.dir.path().join("data"), PowerDisk::data_dir)
    }

    fn properties(&self) -> PathBuf {
        self.dir.path().join("server.properties")
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("broker.log")
    }

    /// Everything the broker has printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}

/// The broker of this kind that the stories of this test binary share, started on first use.
pub fn shared(target: Target) -> Result<&'static Broker, String> {
    static SHARED: [OnceLock<Result<Broker, String>>; 2] = [OnceLock::new(), OnceLock::new()];
    SHARED[target as usize].get_or_init(|| Broker::start(target, &[])).as_ref().map_err(Clone::clone)
}

/// One node in both roles; what a single node needs, and short delays so that group stories do not wait.
/// Records with chosen timestamps are old: nothing is deleted by age.
fn configuration(port: u16, controller_port: u16, data: &Path, overrides: &[&str]) -> String {
    let mut text = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
         log.dirs={}\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=4\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         share.coordinator.state.topic.num.partitions=4\n\
         group.initial.rebalance.delay.ms=0\n\
         group.min.session.timeout.ms=1000\n\
         num.partitions=2\n\
         log.retention.ms=-1\n",
        data.display()
    );
    let dir = data.parent().unwrap_or(data).display().to_string();
    for line in overrides {
        let ports = [("{port}", port), ("{controller}", controller_port)];
        let line =
            ports.iter().fold(line.replace("{dir}", &dir), |line, (name, port)| line.replace(name, &port.to_string()));
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// A port nobody listens on right now. Handed out once per process, so that two brokers started together differ.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    let mut given = GIVEN.lock().expect("no holder panics");
    loop {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        if !given.contains(&port) {
            given.push(port);
            return port;
        }
    }
}

/// Whether the broker answers a request that needs its metadata: an ApiVersions v0 and then an all-topics Metadata v1.
pub fn answers(address: SocketAddr) -> bool {
    let ask = || -> io::Result<bool> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_millis(200))?;
        let mut wire = crate::wire::Wire::over(stream, Duration::from_secs(2))?;
        wire.send_raw(&[0, 3, 0, 1, 0, 0, 0, 7, 0, 1, b'h', 0xff, 0xff, 0xff, 0xff])?;
        let answer = wire.receive()?;
        // The broker list holds at least this broker.
        Ok(answer.len() > 8 && answer[..4] == [0, 0, 0, 7] && answer[4..8] != [0, 0, 0, 0])
    };
    ask().unwrap_or(false)
}

pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
