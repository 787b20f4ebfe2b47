//! A Kafka Connect cluster: distributed workers in processes of their own, and as much of their REST API as stories need.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::broker::free_port;
use crate::process::Daemon;
use crate::{cache, kafka, process};

/// Workers start slowly where cores are few.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Workers that share a group and its three topics.
pub struct ConnectCluster {
    pub workers: Vec<Worker>,
    dir: TempDir,
}

/// One worker.
pub struct Worker {
    port: u16,
    properties: PathBuf,
    log: PathBuf,
    process: Option<Daemon>,
}

impl ConnectCluster {
    /// Starts `count` workers of the group `name`; `more` (`key=value`) comes last in their configuration.
    pub fn start(name: &str, bootstrap: &str, count: usize, more: &[&str]) -> ConnectCluster {
        let dir = tempfile::Builder::new().prefix("connect").tempdir_in(cache::dir("run")).expect("a temporary folder");
        let mut workers = Vec::new();
        for index in 0..count {
            let port = free_port();
            let mut text = format!(
                "bootstrap.servers={bootstrap}\n\
                 group.id={name}\n\
                 listeners=http://127.0.0.1:{port}\n\
                 rest.advertised.host.name=127.0.0.1\n\
                 config.storage.topic={name}-configs\n\
                 offset.storage.topic={name}-offsets\n\
                 status.storage.topic={name}-status\n\
                 config.storage.replication.factor=1\n\
                 offset.storage.replication.factor=1\n\
                 status.storage.replication.factor=1\n\
                 offset.storage.partitions=3\n\
                 status.storage.partitions=2\n\
                 plugin.discovery=service_load\n\
                 key.converter=org.apache.kafka.connect.storage.StringConverter\n\
                 value.converter=org.apache.kafka.connect.storage.StringConverter\n\
                 exactly.once.source.support=enabled\n\
                 offset.flush.interval.ms=500\n\
                 session.timeout.ms=4000\n\
                 heartbeat.interval.ms=500\n\
                 rebalance.timeout.ms=8000\n\
                 scheduled.rebalance.max.delay.ms=2000\n"
            );
            more.iter().for_each(|line| text.push_str(&format!("{line}\n")));
            let properties = dir.path().join(format!("worker-{index}.properties"));
            std::fs::write(&properties, text).expect("write the worker's configuration");
            let log = dir.path().join(format!("worker-{index}.log"));
            workers.push(Worker { port, properties, log, process: None });
        }
        let mut cluster = ConnectCluster { workers, dir };
        cluster.workers.iter_mut().for_each(Worker::start);
        cluster
    }

    /// The folder of this cluster, for files of its connectors.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Creates a connector or changes its configuration, through whichever worker answers.
    pub fn configure(&self, connector: &str, config: &Value) {
        let path = format!("/connectors/{connector}/config");
        self.until(&format!("configure {connector}"), |worker| {
            let (status, _) = worker.ask("PUT", &path, Some(config))?;
            (200..300).contains(&status).then_some(())
        });
    }

    /// Waits until the connector and `tasks` tasks of it run.
    pub fn wait_running(&self, connector: &str, tasks: usize) {
        let path = format!("/connectors/{connector}/status");
        self.until(&format!("{connector} running"), |worker| {
            let (_, status) = worker.ask("GET", &path, None)?;
            let running = |value: &Value| value["state"] == "RUNNING";
            let all = status["tasks"].as_array()?;
            let failed = all.iter().find(|task| task["state"] == "FAILED");
            assert!(failed.is_none(), "a task failed: {status}\n{}", self.log());
            (running(&status["connector"]) && all.len() == tasks && all.iter().all(running)).then_some(())
        });
    }

    /// Restarts a connector and its tasks.
    pub fn restart_connector(&self, connector: &str) {
        let path = format!("/connectors/{connector}/restart?includeTasks=true");
        self.until(&format!("restart {connector}"), |worker| {
            let (status, _) = worker.ask("POST", &path, Some(&json!({})))?;
            (200..300).contains(&status).then_some(())
        });
    }

    /// Removes a connector.
    pub fn delete(&self, connector: &str) {
        self.until(&format!("delete {connector}"), |worker| {
            let (status, _) = worker.ask("DELETE", &format!("/connectors/{connector}"), None)?;
            (status == 204 || status == 404).then_some(())
        });
    }

    /// Asks one worker after the other until one gives an answer.
    pub fn until<T>(&self, what: &str, ask: impl Fn(&Worker) -> Option<T>) -> T {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(found) = self.workers.iter().filter(|worker| worker.process.is_some()).find_map(&ask) {
                return found;
            }
            assert!(Instant::now() < deadline, "waited in vain: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// What all workers have logged.
    pub fn log(&self) -> String {
        let read = |worker: &Worker| std::fs::read_to_string(&worker.log).unwrap_or_default();
        self.workers.iter().map(|worker| format!("--- worker {}\n{}", worker.port, read(worker))).collect()
    }
}

impl Worker {
    pub fn start(&mut self) {
        let mut command = kafka::java("384m").expect("Kafka's jars");
        let logging = cache::package().join("clients/java/log4j2-connect.xml");
        command.arg(format!("-Dlog4j2.configurationFile={}", logging.display()));
        command.arg("org.apache.kafka.connect.cli.ConnectDistributed").arg(&self.properties);
        self.process = Some(Daemon::spawn(&mut command, &self.log).expect("start a worker"));
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGTERM: it leaves the group.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.terminate(Duration::from_secs(40));
        }
    }

    /// A request to this worker; `None` when it does not answer.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        let body = body.map(Value::to_string).unwrap_or_default();
        // HTTP/1.0: the answer comes in one piece and ends with the connection.
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
    }
}

/// A folder for `plugin.path` with Debezium's PostgreSQL connector.
pub fn debezium() -> Result<PathBuf, String> {
    let pom = cache::package().join("clients/debezium/pom.xml");
    cache::once("debezium", &cache::stamp_of(std::slice::from_ref(&pom)), |place| {
        let mut command = Command::new("mvn");
        let libs = place.join("postgres");
        command.args(["-q", "-B", "-f"]).arg(&pom).arg(format!("-Dlibs={}", libs.display())).arg("package");
        let output = process::run(&mut command, b"", Duration::from_secs(900));
        if output.code == 0 { Ok(()) } else { Err(format!("maven could not fetch Debezium: {output}")) }
    })
}
