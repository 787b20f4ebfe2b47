//! Roles, voters, and the listeners they need: what a node is in its cluster.

use std::collections::BTreeSet;
use std::time::Duration;

use ottla_metadata::Endpoint;
use ottla_protocol::BrokerId;

use super::settings::{ConfigError, Settings};

const BOOTSTRAP: &str = "controller.quorum.bootstrap.servers";
const AUTO_JOIN: &str = "controller.quorum.auto.join.enable";

/// What holds for brokers that are not alone where Kafka's own keys are not given.
const CLUSTER_HEARTBEAT: &str = "cluster.broker.heartbeat.interval.ms";
const CLUSTER_SESSION: &str = "cluster.broker.session.timeout.ms";

/// One entry of `controller.quorum.voters`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    pub id: BrokerId,
    pub endpoint: Endpoint,
}

/// `id@host:port`, several parted by commas.
pub fn read_voters(settings: &Settings) -> Result<Vec<Voter>, ConfigError> {
    let listener = settings.list("controller.listener.names").first().map(|name| name.to_uppercase());
    let listener = listener.unwrap_or_else(|| "CONTROLLER".to_owned());
    let mut voters: Vec<Voter> = Vec::new();
    for entry in settings.list("controller.quorum.voters") {
        let voter = read_voter(&entry, &listener).ok_or_else(|| {
            ConfigError::new(format!(
                "Invalid value {entry} for configuration controller.quorum.voters: an entry is written as id@host:port"
            ))
        })?;
        if voters.iter().any(|other| other.id == voter.id) {
            return Err(ConfigError::new(format!("controller.quorum.voters names node {} twice", voter.id)));
        }
        voters.push(voter);
    }
    Ok(voters)
}

/// `controller.quorum.bootstrap.servers`: `host:port`, several parted by commas.
pub fn read_bootstrap(settings: &Settings) -> Result<Vec<Endpoint>, ConfigError> {
    let listener = settings.list("controller.listener.names").first().map(|name| name.to_uppercase());
    let listener = listener.unwrap_or_else(|| "CONTROLLER".to_owned());
    let entries = settings.list(BOOTSTRAP).into_iter().map(|entry| {
        read_address(&entry, &listener).ok_or_else(|| {
            ConfigError::new(format!(
                "Invalid value {entry} for configuration {BOOTSTRAP}: an entry is written as host:port"
            ))
        })
    });
    entries.collect()
}

fn read_address(address: &str, listener: &str) -> Option<Endpoint> {
    let (host, port) = split_address(address)?;
    Some(Endpoint { name: listener.into(), host: host.into(), port, security_protocol: 0 })
}

/// `host:port`, an IPv6 host in brackets.
pub fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.trim().rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host, port.parse().ok()?)).filter(|_| !host.is_empty())
}

fn read_voter(entry: &str, listener: &str) -> Option<Voter> {
    let (id, address) = entry.trim().split_once('@')?;
    let id: i32 = id.parse().ok().filter(|id| *id >= 0)?;
    Some(Voter { id: BrokerId(id), endpoint: read_address(address, listener)? })
}

/// How often a broker says that it lives, and after which silence it is fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    pub heartbeat: Duration,
    pub timeout: Duration,
}

/// The sessions of a broker that is the only one, and of one among several: as given by Kafka's keys. Where neither key is
/// given, a broker of several is found frozen within two seconds instead of Kafka's nine; a single one has nobody to take
/// over from it, and nobody is woken.
pub fn sessions(settings: &Settings) -> (Session, Session) {
    const HEARTBEAT: &str = "broker.heartbeat.interval.ms";
    const SESSION: &str = "broker.session.timeout.ms";
    let millis = |key| Duration::from_millis(u64::try_from(settings.i64(key)).unwrap_or(0));
    let kafkas = Session { heartbeat: millis(HEARTBEAT), timeout: millis(SESSION) };
    let is_given = [HEARTBEAT, SESSION].iter().any(|key| settings.given(key).is_some());
    let fast = Session { heartbeat: millis(CLUSTER_HEARTBEAT), timeout: millis(CLUSTER_SESSION) };
    let among = if is_given { kafkas } else { fast };
    (kafkas, among)
}

/// What roles, voters and listeners may say together; the texts are Kafka's where Kafka has one.
pub fn check(settings: &Settings) -> Result<(), ConfigError> {
    let require = |holds: bool, text: String| if holds { Ok(()) } else { Err(ConfigError::new(text)) };
    let roles = settings.list("process.roles");
    require(
        roles.iter().collect::<BTreeSet<_>>().len() == roles.len(),
        format!("Duplicate role names found in `process.roles`: {}", roles.join(",")),
    )?;
    let voters = settings.list("controller.quorum.voters").join(",");
    let is_voter = settings.voters.iter().any(|voter| voter.id == settings.node_id);
    let names = settings.list("controller.listener.names");
    let controller_listeners = settings.listeners.iter().filter(|listener| listener.is_controller).count();
    if settings.is_controller() {
        require(
            settings.voters.is_empty() || is_voter,
            format!(
                "If process.roles contains the 'controller' role, the node id {} must be included in the set of voters \
                 controller.quorum.voters={voters}",
                settings.node_id
            ),
        )?;
        require(
            (settings.voters.len() < 2 && settings.bootstrap.is_empty()) || settings.joins || controller_listeners > 0,
            "No controller listener is defined: the other voters reach this node by the listener that \
             controller.listener.names and listeners name"
                .to_owned(),
        )?;
    }
    if !settings.is_controller() {
        require(
            !is_voter,
            format!(
                "If process.roles contains just the 'broker' role, the node id {} must not be included in the set of \
                 voters controller.quorum.voters={voters}",
                settings.node_id
            ),
        )?;
        require(
            !settings.voters.is_empty() || !settings.bootstrap.is_empty(),
            "If using process.roles, either controller.quorum.bootstrap.servers must contain the set of bootstrap \
             controllers or controller.quorum.voters must contain a parseable set of controllers."
                .to_owned(),
        )?;
        require(
            !names.is_empty(),
            "controller.listener.names must contain at least one value when running KRaft with just the broker role"
                .to_owned(),
        )?;
        require(
            controller_listeners == 0,
            "controller.listener.names must not contain a value appearing in the 'listeners' configuration when running \
             KRaft with just the broker role"
                .to_owned(),
        )?;
    }
    require(
        !settings.bool(AUTO_JOIN) || (settings.is_controller() && settings.voters.is_empty()),
        format!(
            "{AUTO_JOIN} is only supported when process.roles contains the 'controller' role and controller.quorum.voters \
             is not set: then {BOOTSTRAP} says where the quorum is"
        ),
    )?;
    if !settings.is_broker() {
        require(
            controller_listeners > 0 && controller_listeners == settings.listeners.len(),
            format!(
                "The listeners config must only contain KRaft controller listeners from controller.listener.names when \
                 process.roles=controller: {}",
                settings.text("listeners").unwrap_or_default()
            ),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::sources::Given;
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let values = [("node.id", "1"), ("log.dirs", "/nowhere")].iter().chain(pairs);
        let values = values.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Settings::new(Given { values, cluster_id: Some("5L6g3nShT-eMCtK--X86sw".into()), ..Given::default() })
    }

    fn refusal(pairs: &[(&str, &str)]) -> String {
        settings(pairs).unwrap_err().0
    }

    const VOTERS: (&str, &str) = ("controller.quorum.voters", "1@a:9093,2@[::1]:9093, 3@c:9095");
    const NAMES: (&str, &str) = ("controller.listener.names", "CONTROLLER");

    #[test]
    fn a_node_of_each_kind() {
        let both = ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093");
        let combined = settings(&[VOTERS, NAMES, both]).unwrap();
        assert!(combined.is_broker() && combined.is_controller());
        assert_eq!(combined.voters.iter().map(|voter| voter.id.0).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((&*combined.voters[1].endpoint.host, combined.voters[2].endpoint.port), ("::1", 9095));
        let controller =
            settings(&[VOTERS, NAMES, ("process.roles", "controller"), ("listeners", "CONTROLLER://:9093")]).unwrap();
        assert!(!controller.is_broker());
        let broker = settings(&[VOTERS, NAMES, ("process.roles", "broker"), ("node.id", "4")]).unwrap();
        assert!(!broker.is_controller());
    }

    #[test]
    fn kafkas_sessions_are_honoured_when_asked_for() {
        let both = ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093");
        let of = |more: &[(&str, &str)]| sessions(&settings(&[&[VOTERS, NAMES, both], more].concat()).unwrap());
        let kafkas = Session { heartbeat: Duration::from_secs(2), timeout: Duration::from_secs(9) };
        assert_eq!(
            of(&[]),
            (kafkas, Session { heartbeat: Duration::from_millis(300), timeout: Duration::from_millis(1600) })
        );
        assert_eq!(of(&[("broker.session.timeout.ms", "9000")]), (kafkas, kafkas));
    }

    #[test]
    fn voters_may_be_left_to_the_quorum() {
        let bootstrap = ("controller.quorum.bootstrap.servers", "a:9093,[::1]:9094");
        let both = ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093");
        let combined = settings(&[bootstrap, NAMES, both, ("controller.quorum.auto.join.enable", "true")]).unwrap();
        let shown = |endpoint: &Endpoint| (endpoint.host.to_string(), endpoint.port);
        assert_eq!(
            combined.bootstrap.iter().map(shown).collect::<Vec<_>>(),
            [("a".into(), 9093), ("::1".into(), 9094)]
        );
        assert!(settings(&[bootstrap, NAMES, ("process.roles", "broker"), ("node.id", "4")]).is_ok());
        assert!(refusal(&[bootstrap, NAMES]).contains("No controller listener is defined"));
        assert!(refusal(&[("controller.quorum.bootstrap.servers", "a")]).contains("host:port"));
        let auto = ("controller.quorum.auto.join.enable", "true");
        assert!(refusal(&[VOTERS, NAMES, both, auto]).contains("auto.join"));
        assert!(
            refusal(&[bootstrap, NAMES, auto, ("process.roles", "broker"), ("node.id", "4")]).contains("auto.join")
        );
    }

    #[test]
    fn what_does_not_go_together_is_said() {
        let broker = ("process.roles", "broker");
        assert!(refusal(&[("controller.quorum.voters", "1@x")]).contains("id@host:port"));
        assert!(refusal(&[("controller.quorum.voters", "1@x:1,1@y:1")]).contains("names node 1 twice"));
        assert!(refusal(&[("process.roles", "zookeeper")]).contains("process.roles"));
        assert!(refusal(&[VOTERS, NAMES]).contains("No controller listener is defined"));
        assert!(refusal(&[VOTERS, NAMES, broker]).contains("must not be included in the set of voters"));
        assert!(refusal(&[broker, NAMES]).contains("controller.quorum.bootstrap.servers"));
        assert!(refusal(&[VOTERS, broker, ("node.id", "4")]).contains("must contain at least one value"));
        let listeners = ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093");
        assert!(refusal(&[VOTERS, NAMES, ("process.roles", "controller"), listeners]).contains("must only contain"));
    }
}
