//! Runs transactional clients of three libraries against any cluster while something strikes it, and gathers their history.
//!
//! The cluster is a bootstrap list, and what strikes it a closure: one node of this harness, or machines that a script
//! outside knows how to reach.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::cache;
use crate::clients::Client;
use crate::process::{self, Daemon};

use super::history::History;

/// Longer than the longest wait of a client.
const FINAL_LIMIT: Duration = Duration::from_secs(300);

/// How much is done, by whom.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Exists already; its partitions are the keys.
    pub topic: String,
    pub keys: u32,
    pub transactions: u64,
    /// Libraries, and processes of each; transactions are divided equally.
    pub clients: Vec<(Client, u32)>,
    pub seed: u64,
    /// Ends hangs: a run that takes longer fails.
    pub limit: Duration,
}

/// A client at work.
struct Process {
    client: Client,
    name: String,
    history: PathBuf,
    log: PathBuf,
    daemon: Daemon,
}

/// Runs the plan; `strike` is called again and again, with how often it was called before, until the clients are done, and has to leave a cluster
/// that works. Each client's history is kept in `dir`.
///
/// # Errors
/// When a client did not get to its end.
pub fn run(plan: &Plan, bootstrap: &str, dir: &Path, mut strike: impl FnMut(u32)) -> Result<History, String> {
    let each = plan.transactions / u64::from(plan.clients.iter().map(|(_, count)| count).sum::<u32>().max(1));
    let mut processes = Vec::new();
    for (client, count) in &plan.clients {
        for index in 0..*count {
            let name = format!("{client:?}-{index}").to_lowercase();
            let (history, log) = (dir.join(format!("{name}.jsonl")), dir.join(format!("{name}.log")));
            let mut command = client.jepsen()?;
            let seed = plan.seed.wrapping_add(processes.len() as u64) % u64::from(u32::MAX);
            arguments(&mut command, "work", plan, bootstrap, (&name, each, seed, &history));
            let daemon = Daemon::spawn(&mut command, &log).map_err(|error| error.to_string())?;
            processes.push(Process { client: *client, name, history, log, daemon });
        }
    }
    let deadline = Instant::now() + plan.limit;
    let mut strikes = 0;
    while processes.iter_mut().any(|process| process.daemon.is_running()) {
        if Instant::now() > deadline {
            return Err(processes.iter_mut().map(Process::tell).collect());
        }
        strike(strikes);
        strikes += 1;
    }
    let mut history = History::default();
    for (index, process) in processes.iter().enumerate() {
        // One reading that sees everything is enough: it takes as long as the others together.
        let kinds = if index == 0 { &["final", "raw"][..] } else { &["final"] };
        for kind in kinds {
            let mut command = process.client.jepsen()?;
            arguments(&mut command, kind, plan, bootstrap, (&process.name, 0, 0, &process.history));
            let output = process::run(&mut command, b"", FINAL_LIMIT);
            if output.code != 0 {
                return Err(format!("{}, {kind}: {output}", process.name));
            }
        }
        let text = std::fs::read_to_string(&process.history).map_err(|error| error.to_string())?;
        if (text.lines().filter(|line| line.contains("\"txn\"")).count() as u64) < each {
            return Err(format!("{} did not get to its end:\n{}", process.name, process.log()));
        }
        history.add(&text)?;
    }
    Ok(history)
}

impl Process {
    fn log(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    fn tell(&mut self) -> String {
        let running = self.daemon.is_running();
        let done = std::fs::read_to_string(&self.history).unwrap_or_default().lines().count();
        format!("{}: running {running}, {done} transactions\n{}\n", self.name, self.log())
    }
}

fn arguments(command: &mut Command, kind: &str, plan: &Plan, bootstrap: &str, of: (&str, u64, u64, &Path)) {
    let (name, transactions, seed, history) = of;
    command.args([kind, bootstrap, &plan.topic, &plan.keys.to_string(), name]);
    command.args([transactions.to_string(), seed.to_string()]).arg(history);
}

/// A folder below the target folder for histories; kept, so that an anomaly can be looked at.
pub fn history_dir(name: &str) -> PathBuf {
    let dir = cache::dir("jepsen").join(name);
    std::fs::remove_dir_all(&dir).ok();
    std::fs::create_dir_all(&dir).expect("create a folder for histories");
    dir
}

/// What can happen to a single node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// Nothing: what goes wrong without faults goes wrong, too.
    Calm,
    /// SIGKILL, down for this long, started again.
    Kill(Duration),
    /// SIGTERM, down for this long, started again.
    Restart(Duration),
    /// SIGSTOP for this long.
    Pause(Duration),
    /// The power of its disk is cut, down for this long, started again.
    PowerCut(Duration),
}

/// Carries out a blow on a node of this harness.
pub fn strike(broker: &mut Broker, blow: Blow) {
    let signal = |broker: &Broker, signal: &str| {
        Command::new("kill").args([signal, &broker.pid().to_string()]).status().ok();
    };
    match blow {
        Blow::Calm => {}
        Blow::Kill(down) => {
            broker.kill();
            std::thread::sleep(down);
            broker.restart().expect("the node starts again");
        }
        Blow::PowerCut(down) => {
            broker.cut_power().expect("the disk comes back");
            std::thread::sleep(down);
            broker.restart().expect("the node starts again");
        }
        Blow::Restart(down) => {
            broker.stop();
            std::thread::sleep(down);
            broker.restart().expect("the node starts again");
        }
        Blow::Pause(for_) => {
            signal(broker, "-STOP");
            std::thread::sleep(for_);
            signal(broker, "-CONT");
        }
    }
}
