//! Logs: to stdout, one line per fact, human or JSON; levels can be changed while the broker runs.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Human,
    Json,
}

/// The levels as the admin API names them, the most silent first.
pub const LEVELS: &[&str] = &["FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"];

/// The logger that stands for all others.
const ROOT: &str = "root";

/// Loggers that can be set apart: the parts of the house.
const KNOWN: &[&str] = &[
    "ottla",
    "ottla::api",
    "ottla::config",
    "ottla::coordinators",
    "ottla::network",
    "ottla::publisher",
    "ottla::registration",
    "ottla::replica",
    "ottla::server",
    "ottla_controller",
    "ottla_storage",
    "openraft",
];

/// openraft tells more than an operator wants to know.
const QUIET: &[(&str, LevelFilter)] = &[("openraft", LevelFilter::ERROR)];

type ReloadHandle = Handle<Targets, Registry>;

/// The loggers and their levels. Cheap to clone.
#[derive(Clone, Default)]
pub struct Loggers {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    levels: Mutex<Levels>,
    /// `None` when something else does the logging (in tests).
    handle: Option<ReloadHandle>,
}

struct Levels {
    root: LevelFilter,
    set: BTreeMap<String, LevelFilter>,
}

impl Default for Levels {
    fn default() -> Self {
        let set = QUIET.iter().map(|(name, level)| ((*name).to_owned(), *level)).collect();
        Self { root: LevelFilter::INFO, set }
    }
}

/// Starts logging for this process. `directives` are those of `RUST_LOG`: `info,ottla::network=debug`.
pub fn start_logging(format: LogFormat, directives: Option<&str>) -> Loggers {
    let mut levels = Levels::default();
    for directive in directives.unwrap_or_default().split(',').map(str::trim).filter(|text| !text.is_empty()) {
        match directive.split_once('=') {
            Some((name, level)) => {
                if let Ok(level) = level.parse() {
                    levels.set.insert(name.to_owned(), level);
                }
            }
            None => {
                if let Ok(level) = directive.parse() {
                    levels.root = level;
                }
            }
        }
    }
    let (filter, handle) = reload::Layer::new(levels.targets());
    let human = (format == LogFormat::Human)
        .then(|| fmt::layer().with_ansi(std::io::stdout().is_terminal()).with_writer(std::io::stdout));
    let json =
        (format == LogFormat::Json).then(|| fmt::layer().json().flatten_event(true).with_writer(std::io::stdout));
    let layers = human.map(Layer::boxed).or_else(|| json.map(Layer::boxed));
    // A second call (in tests) keeps the first subscriber.
    let _ = tracing_subscriber::registry().with(layers.with_filter(filter)).try_init();
    Loggers { shared: Arc::new(Shared { levels: Mutex::new(levels), handle: Some(handle) }) }
}

impl Levels {
    fn targets(&self) -> Targets {
        Targets::new().with_default(self.root).with_targets(self.set.iter().map(|(name, level)| (name.clone(), *level)))
    }

    fn of(&self, name: &str) -> LevelFilter {
        let mut best = (0, self.root);
        for (target, level) in &self.set {
            if name.starts_with(target.as_str()) && target.len() > best.0 {
                best = (target.len(), *level);
            }
        }
        best.1
    }
}

impl Loggers {
    /// Every logger with the level that holds for it.
    pub fn list(&self) -> Vec<(String, &'static str)> {
        let levels = self.shared.levels.lock();
        let mut names: Vec<String> = KNOWN.iter().map(|name| (*name).to_owned()).collect();
        names.extend(levels.set.keys().cloned());
        names.sort();
        names.dedup();
        let mut list: Vec<(String, &'static str)> =
            names.into_iter().map(|name| (name.clone(), level_name(levels.of(&name)))).collect();
        list.push((ROOT.to_owned(), level_name(levels.root)));
        list
    }

    /// Whether there is such a logger.
    pub fn exists(&self, name: &str) -> bool {
        name == ROOT || KNOWN.contains(&name) || self.shared.levels.lock().set.contains_key(name)
    }

    /// Whether this is the one that stands for all.
    pub fn is_root(name: &str) -> bool {
        name == ROOT
    }

    /// The broker ends: that its parts find each other gone is no error any more, and openraft would call it one.
    pub fn hush_quorum(&self) {
        let mut levels = self.shared.levels.lock();
        // Whoever asked for more than errors wants to see the end, too.
        if levels.of("openraft") == LevelFilter::ERROR {
            levels.set.insert("openraft".to_owned(), LevelFilter::OFF);
        }
        if let Some(handle) = &self.shared.handle {
            let _ = handle.reload(levels.targets());
        }
    }

    /// Sets a logger's level (one of `LEVELS`); `None`: back to what holds for all.
    pub fn set(&self, name: &str, level: Option<&str>) {
        let level = level.map(|level| match level {
            "FATAL" | "ERROR" => LevelFilter::ERROR,
            "WARN" => LevelFilter::WARN,
            "DEBUG" => LevelFilter::DEBUG,
            "TRACE" => LevelFilter::TRACE,
            _ => LevelFilter::INFO,
        });
        let mut levels = self.shared.levels.lock();
        match (name, level) {
            (ROOT, Some(level)) => levels.root = level,
            (ROOT, None) => levels.root = LevelFilter::INFO,
            (name, Some(level)) => drop(levels.set.insert(name.to_owned(), level)),
            (name, None) => drop(levels.set.remove(name)),
        }
        if let Some(handle) = &self.shared.handle {
            // Fails only when the subscriber is gone, and with it every reader of the logs.
            let _ = handle.reload(levels.targets());
        }
    }
}

fn level_name(level: LevelFilter) -> &'static str {
    match level {
        LevelFilter::OFF => "FATAL",
        LevelFilter::ERROR => "ERROR",
        LevelFilter::WARN => "WARN",
        LevelFilter::DEBUG => "DEBUG",
        LevelFilter::TRACE => "TRACE",
        _ => "INFO",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_inherited_and_set() {
        let loggers = Loggers::default();
        let level = |name: &str| loggers.list().into_iter().find(|(other, _)| other == name).map(|(_, level)| level);
        assert_eq!(level("root"), Some("INFO"));
        assert_eq!(level("openraft"), Some("ERROR"));
        loggers.set("ottla", Some("DEBUG"));
        assert_eq!(level("ottla::network"), Some("DEBUG"));
        loggers.set("ottla", None);
        assert_eq!(level("ottla::network"), Some("INFO"));
        loggers.hush_quorum();
        assert_eq!((level("openraft"), level("root")), (Some("FATAL"), Some("INFO")));
        assert!(loggers.exists("ottla::api") && !loggers.exists("kafka.server"));
    }
}
