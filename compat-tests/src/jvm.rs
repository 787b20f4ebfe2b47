//! The one JVM of a test binary in which Kafka's tools and our Java programs run (see `clients/java/src/ToolHost.java`).

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::kafka;
use crate::process::Output;

/// A tool that was started and may still run.
pub struct Running {
    id: i32,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    output: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    code: Option<i32>,
}

struct Host {
    requests: Mutex<ChildStdin>,
    calls: Mutex<HashMap<i32, Arc<State>>>,
    next_id: AtomicI32,
    /// Held so that the process is not left unowned; it ends with its stdin.
    _process: Mutex<Child>,
}

/// Starts `mains` (class names, tried in order, split by `|`) with `arguments` and `stdin`.
pub fn start(mains: &str, arguments: &[String], stdin: &[u8]) -> Result<Running, String> {
    let host = host()?;
    let id = host.next_id.fetch_add(1, Ordering::Relaxed);
    let state = Arc::new(State::default());
    host.calls.lock().expect("no holder panics").insert(id, Arc::clone(&state));
    let mut request = Vec::new();
    request.extend_from_slice(&id.to_be_bytes());
    request.push(0);
    push_text(&mut request, mains);
    request.extend_from_slice(&(arguments.len() as u32).to_be_bytes());
    for argument in arguments {
        push_text(&mut request, argument);
    }
    request.extend_from_slice(&(stdin.len() as u32).to_be_bytes());
    request.extend_from_slice(stdin);
    host.send(&request)?;
    Ok(Running { id, state })
}

impl Running {
    /// Waits for the end. After `limit` the tool is asked to stop and the output has the code -2.
    pub fn wait(self, limit: Duration) -> Output {
        if let Some(output) = self.wait_for(limit, |progress| progress.code.is_some()) {
            return output;
        }
        self.stop();
        let mut output = self.wait_for(Duration::from_secs(10), |p| p.code.is_some()).unwrap_or_else(|| self.output());
        output.code = -2;
        output
    }

    /// Waits until the text printed to stdout so far satisfies `is_enough`; false after `limit` or when the tool ended.
    pub fn wait_until(&self, limit: Duration, is_enough: impl Fn(&str) -> bool) -> bool {
        let enough = |progress: &Progress| is_enough(&String::from_utf8_lossy(&progress.stdout));
        let output = self.wait_for(limit, |progress| progress.code.is_some() || enough(progress));
        output.is_some_and(|output| is_enough(&output.stdout))
    }

    /// What SIGTERM would do: the tool's shutdown hooks run.
    pub fn stop(&self) {
        if let Ok(host) = host() {
            let mut request = self.id.to_be_bytes().to_vec();
            request.push(1);
            host.send(&request).ok();
        }
    }

    /// What it has printed so far.
    pub fn output(&self) -> Output {
        snapshot(&self.state.output.lock().expect("no holder panics"))
    }

    fn wait_for(&self, limit: Duration, is_enough: impl Fn(&Progress) -> bool) -> Option<Output> {
        let deadline = Instant::now() + limit;
        let mut progress = self.state.output.lock().expect("no holder panics");
        while !is_enough(&progress) {
            let left = deadline.checked_duration_since(Instant::now())?;
            progress = self.state.changed.wait_timeout(progress, left).expect("no holder panics").0;
        }
        Some(snapshot(&progress))
    }
}

fn snapshot(progress: &Progress) -> Output {
    Output {
        code: progress.code.unwrap_or(-2),
        stdout: String::from_utf8_lossy(&progress.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&progress.stderr).into_owned(),
    }
}

fn push_text(request: &mut Vec<u8>, text: &str) {
    // Java's modified UTF-8 differs only for NUL and for what lies beyond the basic plane; tools get neither as arguments.
    request.extend_from_slice(&(text.len() as u16).to_be_bytes());
    request.extend_from_slice(text.as_bytes());
}

impl Host {
    fn send(&self, request: &[u8]) -> Result<(), String> {
        let mut requests = self.requests.lock().expect("no holder panics");
        requests.write_all(request).and_then(|()| requests.flush()).map_err(|e| format!("the tools' JVM is gone: {e}"))
    }

    fn read_answers(&self, mut answers: impl Read) -> io::Result<()> {
        loop {
            let id = read_i32(&mut answers)?;
            let mut kind = [0];
            answers.read_exact(&mut kind)?;
            let number = read_i32(&mut answers)?;
            let mut bytes = Vec::new();
            if kind[0] != 3 {
                bytes.resize(number as usize, 0);
                answers.read_exact(&mut bytes)?;
            }
            let Some(state) = self.calls.lock().expect("no holder panics").get(&id).cloned() else { continue };
            let mut progress = state.output.lock().expect("no holder panics");
            match kind[0] {
                1 => progress.stdout.extend_from_slice(&bytes),
                2 => progress.stderr.extend_from_slice(&bytes),
                _ => {
                    progress.code = Some(number);
                    self.calls.lock().expect("no holder panics").remove(&id);
                }
            }
            drop(progress);
            state.changed.notify_all();
        }
    }

    /// The JVM died: nobody shall wait for it.
    fn end_all(&self) {
        for (_, state) in self.calls.lock().expect("no holder panics").drain() {
            state.output.lock().expect("no holder panics").code.get_or_insert(-3);
            state.changed.notify_all();
        }
    }
}

fn host() -> Result<&'static Host, String> {
    static HOST: OnceLock<Result<Host, String>> = OnceLock::new();
    static READER: OnceLock<()> = OnceLock::new();
    let mut stdout = None;
    let host = HOST.get_or_init(|| {
        let mut command = kafka::java("768m")?;
        command
            .args(["--add-opens", "java.base/java.lang=ALL-UNNAMED", "ToolHost"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut process = command.spawn().map_err(|e| format!("java: {e}"))?;
        stdout = process.stdout.take();
        let requests = process.stdin.take().expect("stdin is piped");
        Ok(Host {
            requests: Mutex::new(requests),
            calls: Mutex::default(),
            next_id: AtomicI32::new(1),
            _process: Mutex::new(process),
        })
    });
    let host = host.as_ref().map_err(Clone::clone)?;
    if let Some(stdout) = stdout {
        READER.get_or_init(|| {
            thread::spawn(move || {
                host.read_answers(BufReader::new(stdout)).ok();
                host.end_all();
            });
        });
    }
    Ok(host)
}

fn read_i32(from: &mut impl Read) -> io::Result<i32> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes)?;
    Ok(i32::from_be_bytes(bytes))
}
