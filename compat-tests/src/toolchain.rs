//! What this machine has: a story names what it needs, and is skipped (failed under `CI=true`) where that is missing.

use std::process::{Command, Stdio};

/// A program from outside that some story needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Maven,
    Java,
    Python,
    Node,
    Go,
    Kcat,
    Postgres,
    Faketime,
}

impl Need {
    fn command(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Need::Maven => ("mvn", &["--version"]),
            Need::Java => ("javac", &["-version"]),
            Need::Python => ("python3", &["-c", "import venv, ensurepip"]),
            Need::Node => ("npm", &["--version"]),
            Need::Go => ("go", &["version"]),
            Need::Kcat => ("kcat", &["-V"]),
            Need::Postgres => ("psql", &["--version"]),
            Need::Faketime => ("faketime", &["--version"]),
        }
    }

    /// Whether the program is there and answers.
    pub fn is_met(self) -> bool {
        if self == Need::Postgres && crate::postgres::bin().is_none() {
            return false;
        }
        let (program, arguments) = self.command();
        let silent = || Stdio::null();
        let status = Command::new(program).args(arguments).stdin(silent()).stdout(silent()).stderr(silent()).status();
        status.is_ok_and(|status| status.success())
    }
}

/// Under `CI=true` nothing may be skipped.
pub fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// The first need that is not met, as text.
pub fn missing(needs: &[Need]) -> Option<String> {
    let need = needs.iter().find(|need| !need.is_met())?;
    Some(format!("{} is not installed", need.command().0))
}
