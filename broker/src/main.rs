//! The `ottla` binary: reads the configuration, starts the broker, ends it on SIGTERM or SIGINT.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use ottla::cli::{Cli, Start};
use ottla::config::{Settings, sources};
use ottla::server::Server;
use ottla::telemetry::{Loggers, start_logging};
use ottla_tools as tools;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Ending takes no longer than this, whatever hangs. Syncing a thousand logs to a busy disk takes many seconds, and what is
/// not synced has to be checked at the next start.
const SHUTDOWN_MAX: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    spare_memory();
    let mut arguments = std::env::args();
    let own_name = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    if let Some(code) = tools::run_if_named(&own_name, &rest) {
        return code;
    }
    // Errors of the message decoder capture a backtrace where backtraces are on, which makes a malformed request cost
    // thousands of times more than a good one.
    #[expect(unsafe_code, reason = "no other thread runs yet that could read the environment")]
    unsafe {
        std::env::set_var("RUST_LIB_BACKTRACE", "0");
    }
    let start = Cli::parse().into_start();
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

/// The allocator asks for huge pages; a broker that touches little of each would hold three times the memory it uses.
fn spare_memory() {
    // Where the kernel knows no huge pages there is nothing to spare.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

fn run(start: &Start, loggers: Loggers) -> Result<(), Box<dyn std::error::Error>> {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.to_string();
        error!(?text, "a part of the broker panicked");
    }));
    let folder = std::env::current_dir()?;
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let given = sources::gather(start.file.as_deref(), &folder, environment, &start.overrides)?;
    let settings = Arc::new(Settings::new(given)?);
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("ottla").build()?;
    let result = runtime.block_on(serve(settings, loggers));
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

async fn serve(settings: Arc<Settings>, loggers: Loggers) -> Result<(), Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    info!(version = env!("CARGO_PKG_VERSION"), configuration = settings.origin, "Ottla starts");
    if !settings.unknown.is_empty() {
        warn!(keys = settings.unknown.join(", "), "keys that mean nothing to this broker are ignored");
    }
    let server = tokio::select! {
        server = Server::start(settings, loggers) => server?,
        name = stopped(&mut terminate, &mut interrupt) => {
            info!(signal = name, "ended before the start was complete");
            return Ok(());
        }
    };
    let name = stopped(&mut terminate, &mut interrupt).await;
    info!(signal = name, "shutting down");
    tokio::select! {
        () = server.shutdown() => info!("shutdown is complete"),
        _ = stopped(&mut terminate, &mut interrupt) => warn!("ended at once by a second signal"),
        () = tokio::time::sleep(SHUTDOWN_MAX) => {
            return Err("shutdown took too long and was cut off: the next start checks the logs as after a crash".into());
        }
    }
    Ok(())
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
