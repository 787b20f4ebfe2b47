//! Ottla: built once per run in the profile of the tests, started from a `server.properties`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::{cache, process};

/// The command that runs the broker.
pub fn server(properties: &Path) -> Result<Command, String> {
    let mut command = Command::new(binary()?);
    command.arg("start").arg(properties).current_dir(properties.parent().expect("a file lies in a folder"));
    // A panic's message alone would not show which task it ended.
    command.env("RUST_BACKTRACE", "1");
    Ok(command)
}

/// The `ottla` binary of this profile. Cargo does not build another package's binary for a test, so it is asked to.
pub fn binary() -> Result<PathBuf, String> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BINARY.get_or_init(build).clone()
}

fn build() -> Result<PathBuf, String> {
    // A build from elsewhere, for instance one that was broken on purpose.
    if let Some(binary) = std::env::var_os("OTTLA_BINARY") {
        return Ok(binary.into());
    }
    let profile = cache::profile_dir();
    let binary = profile.join("ottla");
    let _guard = cache::lock("build-ottla");
    let name = profile.file_name().and_then(|name| name.to_str()).unwrap_or("debug").to_owned();
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    command.args(["build", "--quiet", "-p", "ottla", "--bin", "ottla", "--target-dir"]).arg(cache::target());
    command.args(["--profile", if name == "debug" { "dev" } else { &name }]).current_dir(cache::workspace());
    let output = process::run(&mut command, b"", Duration::from_secs(1800));
    if output.code == 0 { Ok(binary) } else { Err(format!("cargo build -p ottla: {output}")) }
}
