//! kafka-storage: ids for clusters, formatting log directories, and saying what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ottla_protocol::ids;

use super::features::{
    METADATA_VERSION, METADATA_VERSION_MAX, METADATA_VERSIONS, STABLE_COUNT, default_levels, dependencies, level_of,
    shown, version_mapping,
};
use super::options::{Kind, Options, Spec, flag, value};
use super::{Failure, Tool, properties};

pub const TOOL: Tool = Tool { name: "storage", about: "The Kafka storage tool.", specs: SPECS, run };

const SPECS: &[Spec] = &[
    value(&["add-scram", "S"], Kind::Text, "credential", "Not built into this tool: use kafka-configs."),
    value(&["cluster-id", "t"], Kind::Text, "id", "With format: the cluster's id."),
    value(&["config", "c"], Kind::Text, "file", "The configuration of the node."),
    value(&["feature", "f"], Kind::Text, "feature=level", "A feature's level; new clusters get the newest."),
    flag(&["help", "h"], "Print usage information."),
    flag(&["ignore-formatted", "g"], "With format: pass over directories that are formatted."),
    value(&["initial-controllers", "I"], Kind::Text, "id@host:port:directory,...", "Not built into this tool."),
    flag(&["no-initial-controllers", "N"], "With format: the node joins a quorum that exists."),
    value(&["release-version", "r"], Kind::Text, "release", "The release whose feature levels are meant."),
    flag(&["standalone", "s"], "With format: the controller is a quorum of one."),
];

const META: &str = "meta.properties";

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    match options.positional.first().map(String::as_str).unwrap_or_default() {
        "random-uuid" => {
            writeln!(out, "{}", random_id())?;
            Ok(ExitCode::SUCCESS)
        }
        "info" => info(options, out),
        "format" => format(options, out).map(|()| ExitCode::SUCCESS),
        "version-mapping" => version_mapping(options, out).map(|()| ExitCode::SUCCESS),
        "feature-dependencies" => dependencies(options, out).map(|()| ExitCode::SUCCESS),
        "" => Err(Failure::usage("too few arguments")),
        other => Err(Failure::usage(format!(
            "invalid choice: '{other}' (choose from 'info', 'format', 'version-mapping', \
             'feature-dependencies', 'random-uuid')"
        ))),
    }
}

/// An id that no command line takes for an option: Kafka's never begin with a dash.
pub(super) fn random_id() -> String {
    loop {
        let id = ids::encode_uuid(uuid::Uuid::new_v4());
        if !id.starts_with('-') {
            return id;
        }
    }
}

/// What the tool has to know of a node's configuration.
struct Node {
    id: i32,
    is_controller: bool,
    has_static_voters: bool,
    dirs: BTreeSet<PathBuf>,
    metadata_dir: PathBuf,
}

fn node(options: &Options) -> Result<Node, Failure> {
    let path = options.text("config").ok_or_else(|| Failure::usage("argument --config/-c is required"))?;
    let config = properties::load(Some(path)).map_err(|_| {
        Failure::failed(format!("Exception in thread \"main\" java.nio.file.NoSuchFileException: {path}"))
    })?;
    let get = |key: &str| config.get(key).map(|text| text.trim()).filter(|text| !text.is_empty());
    let roles = get("process.roles").ok_or_else(|| {
        Failure::failed(
            "The kafka configuration file appears to be for a legacy cluster. Formatting is only supported for clusters in \
             KRaft mode.",
        )
    })?;
    let id = get("node.id")
        .or(get("broker.id"))
        .ok_or_else(|| Failure::failed("Missing required configuration \"node.id\" which has no default value."))?;
    let id = id.parse().map_err(|_| {
        Failure::failed(format!("Invalid value {id} for configuration node.id: Not a number of type INT"))
    })?;
    let dirs = get("log.dirs").or(get("log.dir")).unwrap_or("/tmp/kafka-logs");
    let mut dirs: BTreeSet<PathBuf> =
        dirs.split(',').map(str::trim).filter(|dir| !dir.is_empty()).map(PathBuf::from).collect();
    let first = get("log.dirs").or(get("log.dir")).unwrap_or("/tmp/kafka-logs").split(',').next().unwrap_or_default();
    let metadata_dir = PathBuf::from(get("metadata.log.dir").unwrap_or(first.trim()));
    dirs.insert(metadata_dir.clone());
    Ok(Node {
        id,
        is_controller: roles.split(',').any(|role| role.trim() == "controller"),
        has_static_voters: get("controller.quorum.voters").is_some(),
        dirs,
        metadata_dir,
    })
}

/// The properties of a directory; `None` where it is not formatted.
fn meta_of(dir: &Path) -> Result<Option<BTreeMap<String, String>>, Failure> {
    let path = dir.join(META);
    if !path.exists() {
        return Ok(None);
    }
    let meta = properties::load(path.to_str())?;
    Ok(Some(meta.into_iter().collect()))
}

fn info(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let node = node(options)?;
    let mut problems = Vec::new();
    let mut found = Vec::new();
    let mut first: Option<BTreeMap<String, String>> = None;
    for dir in &node.dirs {
        let name = dir.display();
        if !dir.exists() {
            problems.push(format!("{name} does not exist"));
            continue;
        }
        if !dir.is_dir() {
            problems.push(format!("{name} is not a directory"));
            continue;
        }
        found.push(dir);
        match (meta_of(dir), &first) {
            (Err(failure), _) => {
                problems.push(format!("Error loading {}: {}", dir.join(META).display(), failure.message));
            }
            (Ok(None), _) => problems.push(format!("{name} is not formatted.")),
            (Ok(Some(meta)), None) => first = Some(meta),
            (Ok(Some(meta)), Some(known)) if meta.get("cluster.id") != known.get("cluster.id") => {
                problems.push("Mismatched cluster IDs between storage directories.".into());
            }
            (Ok(Some(meta)), Some(known)) if meta.get("node.id") != known.get("node.id") => {
                problems.push("Mismatched node IDs between storage directories.".into());
            }
            _ => {}
        }
    }
    if !found.is_empty() {
        writeln!(out, "{}", if found.len() == 1 { "Found log directory:" } else { "Found log directories:" })?;
        for dir in found {
            writeln!(out, "  {}", dir.display())?;
        }
        writeln!(out)?;
    }
    if let Some(meta) = first {
        let pairs: Vec<String> = meta.iter().map(|(key, value)| format!("{key}={value}")).collect();
        writeln!(out, "Found metadata: {{{}}}\n", pairs.join(", "))?;
    }
    if problems.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "{}", if problems.len() == 1 { "Found problem:" } else { "Found problems:" })?;
    for problem in problems {
        writeln!(out, "  {problem}")?;
    }
    writeln!(out)?;
    Ok(ExitCode::FAILURE)
}

fn format(options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
    let cluster_id =
        options.text("cluster-id").ok_or_else(|| Failure::usage("argument --cluster-id/-t is required"))?;
    let node = node(options)?;
    check_quorum(options, &node)?;
    check_features(options)?;
    let mut empty = Vec::new();
    for dir in &node.dirs {
        match meta_of(dir)? {
            None => empty.push(dir),
            Some(meta) => {
                check_meta(dir, &meta, cluster_id, node.id)?;
                if !options.has("ignore-formatted") {
                    return Err(Failure::failed(format!(
                        "Log directory {} is already formatted. Use --ignore-formatted to ignore this directory and format \
                         the others.",
                        dir.display()
                    )));
                }
            }
        }
    }
    if empty.is_empty() {
        writeln!(out, "All of the log directories are already formatted.")?;
        return Ok(());
    }
    let is_dynamic = !node.has_static_voters && (options.has("standalone"));
    writeln!(out, "Bootstrap metadata: {}", bootstrap_metadata(i16::from(!node.has_static_voters)))?;
    for dir in empty {
        let what = match (*dir == node.metadata_dir, is_dynamic) {
            (false, _) => "data directory",
            (true, false) => "metadata directory",
            (true, true) => "dynamic metadata voter directory",
        };
        let release = shown(METADATA_VERSION, METADATA_VERSION_MAX);
        writeln!(out, "Formatting {what} {} with {METADATA_VERSION} {release}.", dir.display())?;
        write_meta(dir, cluster_id, node.id)
            .map_err(|error| Failure::failed(format!("Error while writing {META} file {}: {error}", dir.display())))?;
    }
    Ok(())
}

fn check_quorum(options: &Options, node: &Node) -> Result<(), Failure> {
    if options.has("initial-controllers") {
        return Err(Failure::failed(
            "--initial-controllers is not built into this tool: name the controllers with controller.quorum.voters",
        ));
    }
    if node.has_static_voters && options.has("standalone") {
        return Err(Failure::failed(
            "You cannot specify controller.quorum.voters and format the node with --initial-controllers or --standalone. If \
             you want to use dynamic quorum, please remove controller.quorum.voters and specify \
             controller.quorum.bootstrap.servers instead.",
        ));
    }
    if options.has("standalone") && !node.is_controller {
        return Err(Failure::failed("You can only use --standalone on a controller."));
    }
    let is_decided = options.has("standalone") || options.has("no-initial-controllers");
    if node.is_controller && !node.has_static_voters && !is_decided {
        return Err(Failure::failed(
            "Because controller.quorum.voters is not set on this controller, you must specify one of the following: \
             --standalone, --initial-controllers, or --no-initial-controllers.",
        ));
    }
    Ok(())
}

/// A new cluster gets the newest levels when it first starts: other wishes would be forgotten, so they are refused.
fn check_features(options: &Options) -> Result<(), Failure> {
    let refused = |what: &str| {
        Failure::failed(format!(
            "{what} is not built into this tool: a new cluster starts with the newest feature levels"
        ))
    };
    if options.has("add-scram") {
        return Err(Failure::failed(
            "--add-scram is not built into this tool: add credentials with kafka-configs once the cluster runs",
        ));
    }
    if let Some(release) = options.text("release-version")
        && level_of(release, &METADATA_VERSIONS[..STABLE_COUNT])? != METADATA_VERSION_MAX
    {
        return Err(refused("An older --release-version"));
    }
    let defaults: BTreeMap<&str, i16> = default_levels(METADATA_VERSION_MAX).collect();
    for feature in options.all("feature") {
        let (name, level) = super::features::name_and_level(feature)?;
        if name == METADATA_VERSION && level == METADATA_VERSION_MAX {
            continue;
        }
        match defaults.get(name) {
            None => {
                let known: Vec<&str> = defaults.keys().copied().collect();
                return Err(Failure::failed(format!(
                    "Unsupported feature: {name}. Supported features are: {}",
                    known.join(", ")
                )));
            }
            Some(default) if *default != level => return Err(refused(&format!("--feature {name}={level}"))),
            Some(_) => {}
        }
    }
    Ok(())
}

fn check_meta(dir: &Path, meta: &BTreeMap<String, String>, cluster_id: &str, node_id: i32) -> Result<(), Failure> {
    let path = dir.display();
    if let Some(found) = meta.get("cluster.id").filter(|found| *found != cluster_id) {
        return Err(Failure::failed(format!(
            "Exception in thread \"main\" java.lang.RuntimeException: Invalid cluster.id in: {path}/{META}. Expected {cluster_id}, but read {found}"
        )));
    }
    if let Some(found) = meta.get("node.id").filter(|found| **found != node_id.to_string()) {
        return Err(Failure::failed(format!(
            "Stored node id {found} doesn't match previous node id {node_id} in {path}/{META}"
        )));
    }
    Ok(())
}

/// The records that Kafka's tool says it writes, in its words: scripts look for this line.
fn bootstrap_metadata(kraft_version: i16) -> String {
    let record = |name: &str, level: i16| {
        format!("ApiMessageAndVersion(FeatureLevelRecord(name='{name}', featureLevel={level}) at version 0)")
    };
    let mut levels: BTreeMap<&str, i16> = default_levels(METADATA_VERSION_MAX).collect();
    levels.insert("kraft.version", kraft_version);
    let mut records = vec![record(METADATA_VERSION, METADATA_VERSION_MAX)];
    records.extend(levels.iter().filter(|(_, level)| **level > 0).map(|(name, level)| record(name, *level)));
    format!(
        "BootstrapMetadata(records=[{}], metadataVersionLevel={METADATA_VERSION_MAX}, source=format command)",
        records.join(", ")
    )
}

fn write_meta(dir: &Path, cluster_id: &str, node_id: i32) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let text = format!("#\ncluster.id={cluster_id}\ndirectory.id={}\nnode.id={node_id}\nversion=1\n", random_id());
    let unfinished = dir.join("meta.properties.tmp");
    let mut file = std::fs::File::create(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(unfinished, dir.join(META))?;
    std::fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(arguments: &[&str]) -> Options {
        Options::parse(SPECS, &arguments.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), true).unwrap()
    }

    #[test]
    fn formatting_writes_what_a_node_reads() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let config = folder.path().join("server.properties");
        let text = format!("process.roles=broker,controller\nnode.id=3\nlog.dirs={}\n", data.display());
        std::fs::write(&config, text).unwrap();
        let line = ["format", "--standalone", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", config.to_str().unwrap()];
        let mut out = Vec::new();
        format(&parse(&line), &mut out).unwrap();
        let meta = meta_of(&data).unwrap().unwrap();
        assert_eq!(meta["cluster.id"], "MkU3OEVBNTcwNTJENDM2Qk");
        assert_eq!((meta["node.id"].as_str(), meta["version"].as_str()), ("3", "1"));
        assert!(ids::decode_uuid(&meta["directory.id"]).is_some());
        assert!(String::from_utf8(out).unwrap().contains("Formatting dynamic metadata voter directory"));
        let again = format(&parse(&line), &mut Vec::new()).unwrap_err();
        assert!(again.message.contains("is already formatted"));
        assert!(format(&parse(&[&line[..], &["-g"]].concat()), &mut Vec::new()).is_ok());
    }
}
