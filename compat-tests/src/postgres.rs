//! A PostgreSQL server with logical replication, from the packages of the distribution.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::broker::free_port;
use crate::process::{self, Daemon, Output};

/// PostgreSQL does not run as root: then it runs as the user that Debian's package made.
const USER: &str = "postgres";

/// A server with a data folder of its own, ended when dropped.
pub struct Postgres {
    dir: TempDir,
    port: u16,
    _process: Daemon,
}

impl Postgres {
    pub fn start() -> Result<Postgres, String> {
        let bin = bin().ok_or("PostgreSQL is not installed")?;
        // Not below the target folder: the server's user may not be able to get there.
        let dir = tempfile::Builder::new().prefix("ottla-postgres").tempdir().map_err(|e| e.to_string())?;
        if is_root() {
            let output = process::run(Command::new("chown").arg(USER).arg(dir.path()), b"", Duration::from_secs(10));
            if output.code != 0 {
                return Err(output.to_string());
            }
        }
        let data = dir.path().join("data");
        let mut init = as_user(&bin.join("initdb"));
        init.args(["--auth=trust", "--username=ottla", "--no-sync", "--encoding=UTF8", "-D"]).arg(&data);
        let output = process::run(init.current_dir(dir.path()), b"", Duration::from_secs(120));
        if output.code != 0 {
            return Err(format!("initdb: {output}"));
        }
        let port = free_port();
        let mut server = as_user(&bin.join("postgres"));
        server.arg("-D").arg(&data).args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", ""]);
        server.args(["-c", "wal_level=logical", "-c", "fsync=off", "-c", "max_wal_senders=8"]).current_dir(dir.path());
        let log = std::env::temp_dir().join(format!("ottla-postgres-{port}.log"));
        let process = Daemon::spawn(&mut server, &log).map_err(|e| e.to_string())?;
        std::fs::remove_file(log).ok();
        let postgres = Postgres { dir, port, _process: process };
        let deadline = Instant::now() + Duration::from_secs(60);
        while postgres.sql("select 1").code != 0 {
            if Instant::now() > deadline {
                return Err(format!("PostgreSQL does not answer in {}", postgres.dir.path().display()));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(postgres)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs statements, each in a transaction of its own unless they say otherwise.
    pub fn sql(&self, statements: &str) -> Output {
        let mut psql = Command::new("psql");
        psql.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "ottla", "-d", "postgres"]);
        psql.args(["-v", "ON_ERROR_STOP=1", "-q", "-A", "-t", "-f", "-"]);
        process::run(&mut psql, statements.as_bytes(), Duration::from_secs(60))
    }
}

/// Where the server's programs are: Debian keeps them out of the path.
pub fn bin() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut places: Vec<PathBuf> = versions.map(|entry| entry.path().join("bin")).collect();
    places.sort();
    places.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    places.into_iter().find(|place| place.join("initdb").exists() && place.join("postgres").exists())
}

fn as_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"]).arg(program);
    command
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}
