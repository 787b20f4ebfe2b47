//! How a process begins: which of its names it was called by, what the environment adds, what comes before the broker.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cli::Start;
use crate::config::sources::{self, Given, Place};
use crate::config::{ConfigError, container};

/// What `/etc/confluent/docker/configure` writes and `launch` reads.
const CONFIGURED_FILE: &str = "/etc/kafka/kafka.properties";

/// Scripts that are run before the broker, as Bitnami's image does.
const INIT_FOLDER: &str = "/docker-entrypoint-initdb.d";

/// The start scripts of other images, as names of this program, and what each means as a command line.
pub fn command_of_name(own_name: &str, arguments: &[String]) -> Option<Vec<String>> {
    let name = own_name.rsplit('/').next().unwrap_or(own_name);
    let with = |words: &[&str]| {
        let words = words.iter().map(|word| (*word).to_owned());
        Some(words.chain(arguments.iter().cloned()).collect())
    };
    match name.strip_suffix(".sh").unwrap_or(name) {
        "run" | "start-kafka" => with(&["container"]),
        "launch" if Path::new(CONFIGURED_FILE).is_file() => with(&["container", "--file", CONFIGURED_FILE]),
        "launch" => with(&["container"]),
        "kafka-server-start" => {
            let arguments = arguments.iter().filter(|argument| *argument != "-daemon").cloned();
            Some(std::iter::once("start".to_owned()).chain(arguments).collect())
        }
        _ => None,
    }
}

/// `kafka-server-start.sh -daemon FILE`: starts the broker as a process of its own that writes to `kafkaServer.out` in
/// `$LOG_DIR`, else `$KAFKA_HOME/logs`, as Kafka's script does. `None` when that was not asked for.
pub fn in_background(own_name: &str, arguments: &[String]) -> Option<io::Result<()>> {
    let name = own_name.rsplit('/').next().unwrap_or(own_name);
    let is_asked = matches!(name, "kafka-server-start" | "kafka-server-start.sh")
        && arguments.first().is_some_and(|first| first == "-daemon");
    is_asked.then(|| {
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let logs = variable("LOG_DIR").or_else(|| Some(variable("KAFKA_HOME")?.join("logs")));
        let logs = logs.unwrap_or_else(|| PathBuf::from("logs"));
        std::fs::create_dir_all(&logs)?;
        let output = File::create(logs.join("kafkaServer.out"))?;
        Command::new(std::env::current_exe()?)
            .arg("start")
            .args(&arguments[1..])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .map(drop)
    })
}

/// Whether this runs inside an image that says so.
pub fn is_in_image() -> bool {
    std::env::var_os("OTTLA_IMAGE").is_some()
}

/// What to say to somebody who starts one of ZooKeeper's programs; scripts for older images do, and go on.
pub fn of_zookeeper(own_name: &str) -> Option<&'static str> {
    let name = own_name.rsplit('/').next().unwrap_or(own_name);
    name.starts_with("zookeeper-").then_some("there is no ZooKeeper any more, and nothing needs it: nothing was done")
}

/// The line with `--bootstrap-server` in the place of `--zookeeper`; `None` when it names no ZooKeeper.
pub fn without_zookeeper(arguments: &[String], local: impl FnOnce() -> String) -> Option<Vec<String>> {
    let at = arguments.iter().position(|word| word == "--zookeeper" || word.starts_with("--zookeeper="))?;
    let end = if arguments[at].contains('=') { at + 1 } else { (at + 2).min(arguments.len()) };
    let mut rewritten = arguments[..at].to_vec();
    let names_broker = |word: &String| word.starts_with("--bootstrap-server") || word.starts_with("--broker-list");
    if !arguments.iter().any(names_broker) {
        rewritten.extend(["--bootstrap-server".to_owned(), local()]);
    }
    rewritten.extend_from_slice(&arguments[end..]);
    Some(rewritten)
}

/// The console producer's line with `--bootstrap-server` in the place of `--broker-list`, which Kafka 4 removed; `None` when
/// that is not what this is.
pub fn without_broker_list(own_name: &str, arguments: &[String]) -> Option<Vec<String>> {
    let is_producer = |name: &str| name.contains("console-producer");
    if !is_producer(own_name) && !arguments.first().is_some_and(|name| is_producer(name)) {
        return None;
    }
    let at = arguments.iter().position(|word| word == "--broker-list" || word.starts_with("--broker-list="))?;
    let mut rewritten = arguments.to_vec();
    rewritten[at] = arguments[at].replacen("--broker-list", "--bootstrap-server", 1);
    Some(rewritten)
}

/// Reads the configuration for a start.
///
/// # Errors
/// When a file cannot be read or something cannot be started with.
pub fn configuration(start: &Start) -> Result<Given, ConfigError> {
    let mut environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    if !start.in_container {
        let folder = std::env::current_dir().map_err(|error| ConfigError(format!("the current folder: {error}")))?;
        return sources::gather(start.file.as_deref(), Place::Machine(&folder), environment, &start.overrides);
    }
    for variable in &start.variables {
        let Some((name, value)) = variable.split_once('=') else {
            return Err(ConfigError(format!("{variable}: NAME=value is expected")));
        };
        environment.retain(|(other, _)| other != name);
        environment.push((name.to_owned(), value.to_owned()));
    }
    let data = container::data_folder(&container::mounts());
    sources::gather(start.file.as_deref(), Place::Container(&data), environment, &start.overrides)
}

/// Runs the scripts that were put beside the image, in the order of their names.
///
/// # Errors
/// When one fails: a broker that was not prepared as asked is not started.
pub fn run_init_scripts() -> Result<(), String> {
    let Ok(entries) = std::fs::read_dir(INIT_FOLDER) else { return Ok(()) };
    let mut scripts: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    scripts.retain(|path| path.extension().is_some_and(|ending| ending == "sh"));
    scripts.sort();
    for script in scripts {
        tracing::info!(script = %script.display(), "running");
        let status = Command::new("/bin/bash").arg(&script).status();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(format!("{}: {status}", script.display())),
            Err(error) => return Err(format!("{}: {error}", script.display())),
        }
    }
    Ok(())
}

/// Says what to do where the data folder does not belong to the user that the container runs as.
pub fn explain_denied(error: &str, folders: &[PathBuf]) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    if !error.contains("Permission denied") && !error.contains("Read-only file system") {
        return None;
    }
    let folder = folders.first()?;
    let existing = folder.ancestors().find_map(|folder| Some((folder, std::fs::metadata(folder).ok()?)));
    let (folder, meta) = existing?;
    let user = rustix::process::getuid().as_raw();
    Some(format!(
        "{error}: {} belongs to user {} and this process runs as user {user}; give it the folder (chown -R {user}) or run as \
         the owner (docker run --user {}:{}, in a compose file user:)",
        folder.display(),
        meta.uid(),
        meta.uid(),
        meta.gid()
    ))
}

/// A configuration as a server.properties.
pub fn as_properties(given: &Given) -> String {
    let mut text = String::new();
    for (key, value) in &given.values {
        let value = value.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
        text.push_str(&format!("{key}={value}\n"));
    }
    text
}

/// The word a first argument may have been meant as: `None` for words like nothing we know.
pub fn meant(word: &str, known: &[&'static str]) -> Option<&'static str> {
    let distance = |a: &str, b: &str| {
        let mut row: Vec<usize> = (0..=b.len()).collect();
        for (i, x) in a.bytes().enumerate() {
            let mut diagonal = row[0];
            row[0] = i + 1;
            for (j, y) in b.bytes().enumerate() {
                let substituted = diagonal + usize::from(x != y);
                diagonal = row[j + 1];
                row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
            }
        }
        row[b.len()]
    };
    let best = known.iter().map(|name| (distance(word, name), *name)).min()?;
    (best.0 <= 2).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_scripts_of_other_images_are_names_of_this_program() {
        let run = command_of_name("/etc/kafka/docker/run", &["KAFKA_NODE_ID=2".to_owned()]);
        assert_eq!(run, Some(vec!["container".to_owned(), "KAFKA_NODE_ID=2".to_owned()]));
        assert!(command_of_name("/opt/bitnami/scripts/kafka/run.sh", &[]).is_some());
        let start = command_of_name("/opt/kafka/bin/kafka-server-start.sh", &["-daemon".to_owned(), "a".to_owned()]);
        assert_eq!(start, Some(vec!["start".to_owned(), "a".to_owned()]));
        assert_eq!(command_of_name("/usr/bin/ottla", &["run".to_owned()]), None);
    }

    #[test]
    fn a_line_for_zookeeper_is_turned_to_the_local_broker() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let turned = |line: &str| without_zookeeper(&words(line), || "l:1".to_owned()).map(|words| words.join(" "));
        assert_eq!(turned("--list --zookeeper zoo:2181 --x").as_deref(), Some("--list --bootstrap-server l:1 --x"));
        assert_eq!(turned("--zookeeper=zoo:2181 --list").as_deref(), Some("--bootstrap-server l:1 --list"));
        let both = "--bootstrap-server a:1 --zookeeper zoo:2181";
        assert_eq!(turned(both).as_deref(), Some("--bootstrap-server a:1"));
        assert_eq!(turned("--list"), None);
    }

    #[test]
    fn only_the_console_producers_broker_list_names_the_brokers() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let turned = |name: &str, line: &str| without_broker_list(name, &words(line)).map(|words| words.join(" "));
        let line = "--topic t --broker-list a:1";
        assert_eq!(turned("kafka-console-producer.sh", line).as_deref(), Some("--topic t --bootstrap-server a:1"));
        let named = "console-producer --broker-list=a:1";
        assert_eq!(turned("ottla", named).as_deref(), Some("console-producer --bootstrap-server=a:1"));
        assert_eq!(turned("kafka-log-dirs", "--broker-list 1"), None);
    }

    #[test]
    fn the_image_has_a_link_for_every_tool() {
        let mut listed: Vec<&str> = include_str!("../../docker/tools.txt").lines().collect();
        listed.retain(|name| *name != "kafka-server-start");
        // What Kafka has no tool for is called as a word of the binary only.
        let kafkas = ottla_tools::names().filter(|(name, _)| !ottla_tools::OWN.contains(name));
        let names: Vec<String> = kafkas.map(|(name, _)| format!("kafka-{name}")).collect();
        assert_eq!(listed, names);
    }

    #[test]
    fn a_mistyped_word_is_recognised() {
        assert_eq!(meant("topcis", &["topics", "groups"]), Some("topics"));
        assert_eq!(meant("server.properties", &["topics", "groups"]), None);
    }

    #[test]
    fn properties_are_written_so_that_they_read_back() {
        let mut given = Given::default();
        given.values.insert("a.b".to_owned(), "c\\d\ne".to_owned());
        let text = as_properties(&given);
        assert_eq!(
            java_properties::read(text.as_bytes()).ok().and_then(|mut read| read.remove("a.b")),
            given.values.remove("a.b")
        );
    }
}
