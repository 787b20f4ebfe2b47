//! A story: the same steps against Apache Kafka and against Ottla, and a comparison of what both said.

use std::any::Any;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::broker::{self, Broker, Target};
use crate::jvm;
use crate::normalize::{normalize, without_log_lines};
use crate::process::Output;
use crate::results::{self, Outcome};
use crate::tool;
use crate::toolchain::{self, Need};

/// One run of a story against one broker: runs steps and writes down what they said.
pub struct Session<'a> {
    pub broker: &'a Broker,
    steps: Vec<Step>,
}

/// One step's title and its normalized outcome.
#[derive(PartialEq, Eq)]
struct Step {
    title: String,
    text: String,
}

/// Runs `steps` against the shared broker of every target and compares what was written down.
/// `subject` and `name` are the row and the column in `RESULTS.md`.
#[track_caller]
pub fn story(subject: &str, name: &str, needs: &[Need], steps: impl Fn(&mut Session)) {
    compare(subject, name, needs, broker::shared, &[], steps);
}

/// The same on a broker of the story's own, with these keys set.
#[track_caller]
pub fn story_with(subject: &str, name: &str, needs: &[Need], keys: &[&str], steps: impl Fn(&mut Session)) {
    compare(subject, name, needs, |target| Broker::start(target, keys), keys, steps);
}

#[track_caller]
fn compare<B: std::borrow::Borrow<Broker>>(
    subject: &str,
    name: &str,
    needs: &[Need],
    start: impl Fn(Target) -> Result<B, String>,
    keys: &[&str],
    steps: impl Fn(&mut Session),
) {
    if let Some(reason) = toolchain::missing(needs) {
        println!("skipped: {subject}, {name}: {reason}");
        broker::targets().iter().for_each(|target| results::record(subject, name, *target, Outcome::Skipped));
        assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
        return;
    }
    let mut failures = String::new();
    let mut reference: Option<Result<Vec<Step>, String>> = None;
    for target in broker::targets() {
        let found = start(target).and_then(|broker| run_once(broker.borrow(), &steps));
        let outcome = match (&reference, found) {
            (None, found) if target == Target::Apache => {
                reference = Some(found);
                continue;
            }
            (None, found) => found.map(|_| ()),
            (Some(reference), found) => found.and_then(|found| {
                let mut answer = against(reference, &found);
                for _ in 0..MORE_ANSWERS {
                    if answer.is_ok() {
                        break;
                    }
                    println!("{subject}, {name}: Apache Kafka is asked once more after\n{}", answer.unwrap_err());
                    let again = Broker::start(Target::Apache, keys).and_then(|broker| run_once(&broker, &steps));
                    answer = against(&again, &found);
                }
                answer
            }),
        };
        results::record(subject, name, target, if outcome.is_ok() { Outcome::Passed } else { Outcome::Failed });
        if let Err(failed) = outcome {
            writeln!(failures, "=== {} ===\n{failed}", target.name()).expect("a string takes everything");
        }
    }
    if let Some(reference) = reference {
        // A reference that could not play its part and that nobody else agreed with is a failure as well.
        let outcome = if reference.is_ok() { Outcome::Passed } else { Outcome::Failed };
        results::record(subject, name, Target::Apache, outcome);
        if let (Err(failed), [Target::Apache]) = (reference, broker::targets().as_slice()) {
            writeln!(failures, "=== apache ===\n{failed}").expect("a string takes everything");
        }
    }
    assert!(failures.is_empty(), "{subject}, {name}:\n{failures}");
}

/// How often Apache Kafka is asked again when the answers differ. It answers a few things either way (a topic that was created
/// may be listed a moment later); what Ottla said stands, and has to be what Kafka says in one of its runs.
const MORE_ANSWERS: usize = 2;

/// Whether what Ottla said is what the reference said.
fn against(reference: &Result<Vec<Step>, String>, found: &[Step]) -> Result<(), String> {
    let expected = reference.as_ref().map_err(|error| format!("Apache Kafka failed: {error}"))?;
    difference(expected, found).map_or(Ok(()), Err)
}

fn run_once(broker: &Broker, steps: impl Fn(&mut Session)) -> Result<Vec<Step>, String> {
    let mut session = Session { broker, steps: Vec::new() };
    let result = catch_unwind(AssertUnwindSafe(|| steps(&mut session)));
    if std::env::var("OTTLA_COMPAT_SHOW").is_ok() {
        session.steps.iter().for_each(|step| println!("[{}] $ {}\n{}", broker.target.name(), step.title, step.text));
    }
    result.map(|()| session.steps).map_err(|panic| panic_text(&*panic))
}

/// The text of a caught panic.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_else(|| "a panic".into())
}

/// Every step that differs, so that one run shows all there is to mend.
fn difference(expected: &[Step], found: &[Step]) -> Option<String> {
    let mut text = String::new();
    for (expected, found) in expected.iter().zip(found) {
        if expected != found {
            let lines = |step: &Step| step.text.lines().map(str::to_owned).collect::<Vec<_>>();
            let (left, right) = (lines(expected), lines(found));
            writeln!(text, "$ {}", found.title).expect("a string takes everything");
            left.iter()
                .filter(|line| !right.contains(line))
                .for_each(|line| text.push_str(&format!("  apache| {line}\n")));
            right
                .iter()
                .filter(|line| !left.contains(line))
                .for_each(|line| text.push_str(&format!("   ottla| {line}\n")));
            if left.iter().all(|line| right.contains(line)) && right.iter().all(|line| left.contains(line)) {
                writeln!(text, "  (same lines, other order or count)\n{}\n---\n{}", expected.text, found.text)
                    .expect("a string takes everything");
            }
        }
    }
    if expected.len() != found.len() {
        writeln!(text, "{} steps, not {}", found.len(), expected.len()).expect("a string takes everything");
    }
    (!text.is_empty()).then_some(text)
}

impl Session<'_> {
    /// Runs a tool against the broker and writes down exit code, stdout and stderr.
    pub fn tool(&mut self, command: &str) -> Output {
        self.step(command, b"", str::to_owned)
    }

    /// The same with lines on stdin.
    pub fn tool_with_input(&mut self, command: &str, stdin: &str) -> Output {
        self.step(command, stdin.as_bytes(), str::to_owned)
    }

    /// The same where the order of lines does not matter.
    pub fn tool_sorted(&mut self, command: &str) -> Output {
        self.step(command, b"", |text| {
            let mut lines: Vec<&str> = text.lines().collect();
            lines.sort_unstable();
            lines.join("\n")
        })
    }

    /// The same where only some lines count, because other stories share the broker.
    pub fn tool_lines(&mut self, command: &str, keep: impl Fn(&str) -> bool) -> Output {
        self.step(command, b"", |text| {
            let mut lines: Vec<&str> = text.lines().filter(|line| keep(line)).collect();
            lines.sort_unstable();
            lines.join("\n")
        })
    }

    /// Runs a tool whose output is a measurement: only the exit code is written down.
    pub fn tool_code(&mut self, command: &str) -> Output {
        self.step(command, b"", |_| String::new())
    }

    /// Runs a tool without writing anything down: preparation.
    pub fn quiet(&self, command: &str) -> Output {
        self.run(command, b"").1
    }

    /// Starts a tool that goes on until stopped.
    pub fn start(&self, command: &str) -> jvm::Running {
        let (name, arguments) = self.command(command);
        tool::start(&name, &arguments, b"").unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Writes down a fact of the story's own.
    pub fn note(&mut self, title: &str, text: &str) {
        let text = normalize(text, self.broker);
        self.steps.push(Step { title: title.to_owned(), text });
    }

    /// Waits, up to 30 s, until the tool's output satisfies `is_enough`: for what a broker does in the background.
    pub fn until(&self, command: &str, is_enough: impl Fn(&str) -> bool) -> Output {
        let mut output = Output::default();
        for _ in 0..120 {
            output = self.quiet(command);
            if is_enough(&output.stdout) {
                return output;
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        panic!("waited in vain for {command}\n{output}");
    }

    fn step(&mut self, command: &str, stdin: &[u8], shape: impl Fn(&str) -> String) -> Output {
        let (title, output) = self.run(command, stdin);
        let shaped = |text: &str| shape(&normalize(&without_log_lines(text), self.broker));
        let text = format!("exit code {}\n{}\n{}", output.code, shaped(&output.stdout), shaped(&output.stderr));
        self.steps.push(Step { title, text });
        output
    }

    fn run(&self, command: &str, stdin: &[u8]) -> (String, Output) {
        let (name, arguments) = self.command(command);
        (command.to_owned(), tool::run(&name, &arguments, stdin))
    }

    /// Splits a command line at blanks ('...' keeps them) and fills in `@` for the broker's address.
    fn command(&self, command: &str) -> (String, Vec<String>) {
        let mut words: Vec<String> = Vec::new();
        for (index, part) in command.split('\'').enumerate() {
            if index % 2 == 1 {
                words.push(part.to_owned());
            } else {
                words.extend(part.split_whitespace().map(str::to_owned));
            }
        }
        let fill = |word: String| if word == "@" { self.broker.bootstrap() } else { word };
        let mut words = words.into_iter().map(fill);
        let name = words.next().expect("a command has a name");
        (name, words.collect())
    }
}
