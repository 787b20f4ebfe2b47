//! What a container of the images in use may be given: the environments of `apache/kafka`, `confluentinc/cp-kafka`,
//! `bitnami/kafka` and `wurstmeister/kafka`, and the folders that volumes are mounted at.
//!
//! Invariant: no variable that asks for a closed door is passed over. What is not built stops the start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::settings::ConfigError;

/// The folder for data: the volume that the image declares.
pub const DATA_FOLDER: &str = "/var/lib/kafka/data";

/// The file that is read where it is mounted, as in Apache's image.
pub const MOUNTED_FILE: &str = "/mnt/shared/config/server.properties";

/// Where volumes of other images are mounted, and the folder in them that takes the data. The declared volume comes last: it
/// is always there.
const VOLUMES: &[(&str, &str)] = &[
    ("/bitnami/kafka/data", "/bitnami/kafka/data"),
    ("/bitnami/kafka", "/bitnami/kafka/data"),
    ("/tmp/kraft-combined-logs", "/tmp/kraft-combined-logs"),
    ("/tmp/kafka-logs", "/tmp/kafka-logs"),
    ("/kafka", "/kafka/kafka-logs"),
];

/// Variables that are for the JVM, for a start script, or for Kubernetes, and say nothing about the broker: exact names and,
/// with a star, beginnings (all without `KAFKA_`).
const SILENT: &[&str] = &[
    "VERSION",
    "HEAP_OPTS",
    "OPTS",
    "JMX_*",
    "JVM_*",
    "GC_*",
    "LOG4J_*",
    "LOG4J2_*",
    "TOOLS_LOG4J_*",
    "LOG4J",
    "HOME",
    "BASE_DIR",
    "VOLUME_DIR",
    "DATA_DIR",
    "CONF_DIR",
    "CONF_FILE",
    "MOUNTED_CONF_DIR",
    "INITSCRIPTS_DIR",
    "DAEMON_*",
    "EXTRA_FLAGS",
    "DEBUG",
    "LIBS",
    "RUN",
    "CLUSTER_ID",
    "KRAFT_CLUSTER_ID",
    "ENABLE_KRAFT",
    "SKIP_KRAFT_STORAGE_INIT",
    "USER",
    "GROUP",
    "CREATE_TOPICS_SEPARATOR",
    "PORT_*",
    "SERVICE_*",
];

/// Variables with which the images switch on encryption or authentication beside the broker's own keys.
const SECURITY: &[&str] = &[
    "CLIENT_USERS",
    "CLIENT_PASSWORDS",
    "INTER_BROKER_USER",
    "INTER_BROKER_PASSWORD",
    "CONTROLLER_USER",
    "CONTROLLER_PASSWORD",
    "KRAFT_BOOTSTRAP_SCRAM_USERS",
    "CERTIFICATE_PASSWORD",
    "TLS_TYPE",
    "TLS_CLIENT_AUTH",
    "SSL_KEYSTORE_FILENAME",
    "SSL_KEYSTORE_CREDENTIALS",
    "SSL_KEY_CREDENTIALS",
    "SSL_TRUSTSTORE_FILENAME",
    "SSL_TRUSTSTORE_CREDENTIALS",
];

/// Whether `name`, without its `KAFKA_`, is no configuration of the broker.
pub fn is_silent(name: &str) -> bool {
    SILENT.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == *pattern,
    })
}

/// Turns the variables that only one image knows into those that all know.
///
/// # Errors
/// When a variable asks for security that is not built.
pub fn translate(environment: &mut Vec<(String, String)>) -> Result<(), ConfigError> {
    let given = environment.clone();
    let get = |name: &str| {
        given.iter().find(|(variable, value)| variable == name && !value.trim().is_empty()).map(|(_, v)| v.clone())
    };
    if let Some(name) = SECURITY.iter().find(|name| get(&format!("KAFKA_{name}")).is_some()) {
        return Err(ConfigError::new(format!(
            "KAFKA_{name} asks for encryption or authentication, and TLS and SASL are not built yet: a broker that ignored \
             it would be open, so it does not start. Remove the variable to run an open broker"
        )));
    }
    // wurstmeister's, and Kafka's own before 3.0.
    let host = get("KAFKA_ADVERTISED_HOST_NAME");
    let port = get("KAFKA_ADVERTISED_PORT");
    // Kubernetes sets KAFKA_PORT=tcp://... for a service named kafka.
    let listener_port = get("KAFKA_PORT").filter(|port| port.parse::<u16>().is_ok());
    if (host.is_some() || port.is_some()) && get("KAFKA_ADVERTISED_LISTENERS").is_none() {
        let (host, port) = (host.unwrap_or_default(), port.or(listener_port.clone()).unwrap_or_else(|| "9092".into()));
        environment.push(("KAFKA_ADVERTISED_LISTENERS".into(), format!("PLAINTEXT://{host}:{port}")));
    }
    if let Some(port) = listener_port
        && get("KAFKA_LISTENERS").is_none()
    {
        let host = get("KAFKA_HOST_NAME").unwrap_or_default();
        environment.push(("KAFKA_LISTENERS".into(), format!("PLAINTEXT://{host}:{port}")));
    }
    if let (Some(topics), Some(separator)) = (get("KAFKA_CREATE_TOPICS"), get("KAFKA_CREATE_TOPICS_SEPARATOR")) {
        // The separator is written for bash: $'\n'.
        let separator = if separator.contains("\\n") { "\n" } else { separator.as_str() }.to_owned();
        let topics = topics.replace(&separator, ",");
        for (_, value) in environment.iter_mut().filter(|(name, _)| name == "KAFKA_CREATE_TOPICS") {
            value.clone_from(&topics);
        }
    }
    let gone = ["KAFKA_ADVERTISED_HOST_NAME", "KAFKA_ADVERTISED_PORT", "KAFKA_PORT", "KAFKA_HOST_NAME"];
    environment.retain(|(name, _)| !gone.contains(&name.as_str()));
    Ok(())
}

/// Where data goes when nothing names a folder: into the volume of another image if one is mounted, else into our own.
pub fn data_folder(mounts: &[PathBuf]) -> PathBuf {
    let mounted = VOLUMES.iter().find(|(volume, _)| mounts.iter().any(|mount| mount == Path::new(volume)));
    mounted.map_or(DATA_FOLDER, |(_, folder)| folder).into()
}

/// The mount points of this process; empty where the system does not tell.
pub fn mounts() -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect()
}

/// Whether the values describe a node that is its whole cluster.
pub fn is_alone(values: &BTreeMap<String, String>) -> bool {
    let list = |key: &str| -> Vec<&str> {
        let text = values.get(key).map(String::as_str).unwrap_or_default();
        text.split(',').map(str::trim).filter(|member| !member.is_empty()).collect()
    };
    let id = values.get("node.id").or(values.get("broker.id")).map_or("1", |id| id.trim());
    let roles = list("process.roles");
    let has_both = roles.is_empty() || (roles.contains(&"broker") && roles.contains(&"controller"));
    let voters = list("controller.quorum.voters");
    let only_itself = voters.iter().all(|voter| voter.split('@').next() == Some(id));
    has_both && only_itself && list("controller.quorum.bootstrap.servers").len() <= 1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn the_variables_of_the_oldest_image() {
        let mut environment =
            pairs(&[("KAFKA_ADVERTISED_HOST_NAME", "192.0.2.1"), ("KAFKA_PORT", "tcp://10.0.0.1:9092")]);
        translate(&mut environment).unwrap();
        assert_eq!(environment, pairs(&[("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://192.0.2.1:9092")]));
        let mut environment = pairs(&[("KAFKA_PORT", "9093"), ("KAFKA_ADVERTISED_PORT", "19093")]);
        translate(&mut environment).unwrap();
        let expected = [("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://:19093"), ("KAFKA_LISTENERS", "PLAINTEXT://:9093")];
        assert_eq!(environment, pairs(&expected));
        let mut environment =
            pairs(&[("KAFKA_CREATE_TOPICS", "a:1:1\nb:2:1"), ("KAFKA_CREATE_TOPICS_SEPARATOR", "$'\\n'")]);
        translate(&mut environment).unwrap();
        assert_eq!(environment[0].1, "a:1:1,b:2:1");
    }

    #[test]
    fn security_that_is_not_built_stops_the_start() {
        for name in SECURITY {
            let mut environment = vec![(format!("KAFKA_{name}"), "x".to_owned())];
            assert!(translate(&mut environment).unwrap_err().0.contains(name));
        }
        assert!(translate(&mut pairs(&[("KAFKA_CLIENT_USERS", "")])).is_ok());
    }

    #[test]
    fn variables_of_the_jvm_are_passed_over() {
        for name in ["HEAP_OPTS", "JMX_PORT", "LOG4J_LOGGERS", "SERVICE_HOST", "PORT_9092_TCP_ADDR"] {
            assert!(is_silent(name), "{name}");
        }
        assert!(!is_silent("LOG_DIRS") && !is_silent("NODE_ID"));
    }

    #[test]
    fn data_goes_to_the_volume_that_is_mounted() {
        let mounts = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(data_folder(&mounts(&["/", "/var/lib/kafka/data"])), Path::new(DATA_FOLDER));
        let of_bitnami = mounts(&["/", "/bitnami/kafka", "/var/lib/kafka/data"]);
        assert_eq!(data_folder(&of_bitnami), Path::new("/bitnami/kafka/data"));
    }

    #[test]
    fn a_node_is_alone_unless_others_are_named() {
        let values = |given: &[(&str, &str)]| -> BTreeMap<String, String> { pairs(given).into_iter().collect() };
        assert!(is_alone(&values(&[])));
        assert!(is_alone(&values(&[("broker.id", "7"), ("zookeeper.connect", "zoo:2181")])));
        assert!(is_alone(&values(&[("node.id", "2"), ("controller.quorum.voters", "2@kafka:9093")])));
        assert!(!is_alone(&values(&[("node.id", "2"), ("controller.quorum.voters", "2@a:1,3@b:1")])));
        assert!(!is_alone(&values(&[("process.roles", "broker")])));
        assert!(!is_alone(&values(&[("controller.quorum.bootstrap.servers", "a:1,b:1")])));
    }
}
