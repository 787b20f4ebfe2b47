//! The `ottla` binary: reads the configuration, starts the broker, ends it on SIGTERM or SIGINT.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use ottla::cli::{Action, COMMANDS, Cli, HealthArgs, Start};
use ottla::config::{ConfigError, Settings};
use ottla::fatal::Fatal;
use ottla::join;
use ottla::resident;
use ottla::server::Server;
use ottla::startup;
use ottla::telemetry::{Loggers, start_logging};
use ottla_tools as tools;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Ending takes no longer than this, whatever hangs. Syncing a thousand logs to a busy disk takes many seconds, and what is
/// not synced has to be checked at the next start.
const SHUTDOWN_MAX: Duration = Duration::from_secs(30);

/// A terminal, a supervisor and `timeout` may each send the same one.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// By then what runs but once has run.
const START_MAX: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    resident::without_huge_pages();
    let mut arguments = std::env::args();
    let own_name = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    if let Some(text) = startup::of_zookeeper(&own_name) {
        eprintln!("{text}");
        return ExitCode::SUCCESS;
    }
    match startup::in_background(&own_name, &rest) {
        Some(Ok(())) => return ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("ottla: the broker could not be started in the background: {error}");
            return ExitCode::FAILURE;
        }
        None => {}
    }
    let rest = if startup::is_in_image() { without_removed_options(&own_name, rest) } else { rest };
    if let Some(code) = tools::run_if_named(&own_name, &rest) {
        return code;
    }
    let words = startup::command_of_name(&own_name, &rest).unwrap_or(rest);
    if let Some(word) = words.first().filter(|word| is_no_word_of_ours(word)) {
        return refuse(word);
    }
    // Errors of the message decoder capture a backtrace where backtraces are on, which makes a malformed request cost
    // thousands of times more than a good one.
    #[expect(unsafe_code, reason = "no other thread runs yet that could read the environment")]
    unsafe {
        std::env::set_var("RUST_LIB_BACKTRACE", "0");
    }
    let start = match Cli::parse_from(std::iter::once("ottla".to_owned()).chain(words)).into_action() {
        Action::Start(start) => start,
        Action::Health(health) => return probe(&health),
        Action::Properties(start) => return print_properties(&start),
    };
    let loggers = start_logging(start.log_format, std::env::var("RUST_LOG").ok().as_deref());
    match run(&start, loggers) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Said once, where the logs are: whoever reads stdout and stderr together wants no second copy.
            error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Neither a command nor an option nor a file: most likely a command with a letter wrong.
fn is_no_word_of_ours(word: &str) -> bool {
    !word.starts_with('-') && !COMMANDS.contains(&word) && !std::path::Path::new(word).exists()
}

fn refuse(word: &str) -> ExitCode {
    let known: Vec<&'static str> = COMMANDS.iter().copied().chain(tools::names().map(|(name, _)| name)).collect();
    let plain = word.strip_prefix("kafka-").unwrap_or(word);
    let hint = startup::meant(plain, &known).map(|name| format!(" Did you mean 'ottla {name}'?")).unwrap_or_default();
    eprintln!(
        "ottla: '{word}' is neither a command nor a configuration file that exists.{hint} 'ottla --help' lists all commands."
    );
    ExitCode::from(2)
}

/// The configuration of the container that this runs in.
fn of_container() -> Result<Settings, ConfigError> {
    startup::configuration(&Start { in_container: true, ..Start::default() }).and_then(Settings::new)
}

/// Inside an image a line with `--zookeeper`, which no tool has any longer, is meant for the broker of the same container.
fn without_removed_options(own_name: &str, arguments: Vec<String>) -> Vec<String> {
    if let Some(rewritten) = startup::without_broker_list(own_name, &arguments) {
        eprintln!("--broker-list was removed from Kafka's tools: it is taken for --bootstrap-server");
        return rewritten;
    }
    let local = || {
        let listener = of_container().ok()?.listeners.into_iter().find(|listener| listener.is_advertised)?;
        Some(listener.local_address())
    };
    match startup::without_zookeeper(&arguments, || local().unwrap_or_else(|| "localhost:9092".to_owned())) {
        Some(rewritten) => {
            eprintln!("--zookeeper was removed from Kafka's tools: the broker of this container is asked instead");
            rewritten
        }
        None => arguments,
    }
}

/// Asks the broker that this configuration would start.
fn probe(health: &HealthArgs) -> ExitCode {
    let settings = of_container();
    let probe = match (settings, &health.bootstrap_server) {
        (Ok(settings), bootstrap) => {
            let listener = settings.listeners.iter().find(|listener| listener.is_advertised);
            let Some(listener) = listener.or(settings.listeners.first()) else {
                eprintln!("no listener to ask");
                return ExitCode::FAILURE;
            };
            tools::health::Probe {
                bootstrap: bootstrap.clone().unwrap_or_else(|| listener.local_address()),
                is_controller: listener.is_controller,
                node_id: bootstrap.is_none().then_some(settings.node_id.0),
                topics: settings.declared_topics.iter().map(|topic| topic.name.clone()).collect(),
                timeout: Duration::from_millis(health.timeout_ms),
            }
        }
        (Err(_), Some(bootstrap)) => tools::health::Probe {
            bootstrap: bootstrap.clone(),
            timeout: Duration::from_millis(health.timeout_ms),
            ..tools::health::Probe::default()
        },
        (Err(error), None) => {
            eprintln!("ottla: {error}");
            return ExitCode::FAILURE;
        }
    };
    match tools::health::check(&probe) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn print_properties(start: &Start) -> ExitCode {
    match startup::configuration(&Start { in_container: true, ..start.clone() }) {
        Ok(given) => {
            print!("{}", startup::as_properties(&given));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("ottla: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The first process of a container inherits what others leave behind, and nobody else can bury it.
fn bury_orphans() {
    if std::process::id() != 1 {
        return;
    }
    tokio::spawn(async {
        let Ok(mut died) = signal(SignalKind::child()) else { return };
        while died.recv().await.is_some() {
            while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {}
        }
    });
}

fn run(start: &Start, loggers: Loggers) -> Result<(), Box<dyn std::error::Error>> {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.to_string();
        error!(?text, "a part of the broker panicked");
    }));
    let given = startup::configuration(start)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("ottla").build()?;
    let given = runtime.block_on(join::complete(given, start.join.as_deref()))?;
    let settings = Arc::new(Settings::new(given)?);
    if start.in_container {
        startup::run_init_scripts()?;
    }
    raise_descriptor_limit();
    let result = runtime.block_on(serve(Arc::clone(&settings), loggers));
    runtime.shutdown_timeout(Duration::from_millis(100));
    result.map_err(|error| match startup::explain_denied(&error.to_string(), &settings.log_dirs) {
        Some(explained) => explained.into(),
        None => error,
    })
}

async fn serve(settings: Arc<Settings>, loggers: Loggers) -> Result<(), Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    info!(version = env!("CARGO_PKG_VERSION"), configuration = settings.origin, "Ottla starts");
    bury_orphans();
    for text in &settings.warnings {
        warn!("{text}");
    }
    if settings.text("log.durability") == Some("ephemeral") {
        warn!("log.durability=ephemeral: nothing is ever synced, a power cut may take anything");
    }
    if !settings.unknown.is_empty() {
        warn!(keys = settings.unknown.join(", "), "keys that mean nothing to this broker are ignored");
    }
    let fatal = Fatal::default();
    let server = tokio::select! {
        server = Server::start_with(settings, loggers.clone(), fatal.clone()) => server?,
        reason = fatal.told() => return Err(reason.into()),
        name = async {
            let name = stopped(&mut terminate, &mut interrupt).await;
            loggers.hush_quorum();
            name
        } => {
            info!(signal = name, "ended before the start was complete");
            return Ok(());
        }
    };
    let started = async {
        tokio::time::sleep(START_MAX).await;
        resident::give_back_code();
        std::future::pending().await
    };
    let ending: Result<&str, String> = tokio::select! {
        name = stopped(&mut terminate, &mut interrupt) => Ok(name),
        reason = fatal.told() => Err(reason),
        never = started => never,
    };
    match &ending {
        Ok(signal) => info!(signal, "shutting down"),
        Err(reason) => error!("{reason}: the broker ends"),
    }
    loggers.hush_quorum();
    let shutdown = async {
        match &ending {
            Ok(_) => server.shutdown().await,
            Err(_) => server.end().await,
        }
    };
    let begun = Instant::now();
    let insisted = async {
        loop {
            stopped(&mut terminate, &mut interrupt).await;
            if begun.elapsed() > SAME_SIGNAL {
                return;
            }
        }
    };
    tokio::select! {
        () = shutdown => info!("shutdown is complete"),
        () = insisted => warn!("ended at once by a second signal"),
        () = tokio::time::sleep(SHUTDOWN_MAX) => {
            return Err("shutdown took too long and was cut off: the next start checks the logs as after a crash".into());
        }
    }
    ending.map(drop).map_err(|_| "the broker has ended after an error that it could not go on after".into())
}

async fn stopped(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// Every connection and every open segment takes a descriptor; the usual soft limit of 1024 is for small programs.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            warn!(%error, "the limit of file descriptors could not be raised");
        }
    }
}
