//! `ottla health`: is the broker ready? Asked over the wire, as a client would ask.

use std::time::{Duration, Instant};

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::Failure;
use super::client::{Client, Target};
use super::properties::ADMIN;

/// What has to hold.
#[derive(Debug, Clone, Default)]
pub struct Probe {
    /// `host:port`
    pub bootstrap: String,
    /// Controllers answer ApiVersions and know no Metadata.
    pub is_controller: bool,
    /// The broker that has to be among the living.
    pub node_id: Option<i32>,
    /// Topics that have to exist.
    pub topics: Vec<String>,
    pub timeout: Duration,
}

/// Asks once.
///
/// # Errors
/// What does not hold.
pub fn check(probe: &Probe) -> Result<String, Failure> {
    let since = Instant::now();
    let mut client = Client::connect_to(&probe.bootstrap, probe.timeout, true, ADMIN)?;
    let versions = client.api_versions(&Target::Any)?;
    if probe.is_controller {
        return Ok(format!("{} answers ({} APIs)", probe.bootstrap, versions.api_keys.len()));
    }
    let topics = probe
        .topics
        .iter()
        .map(|name| MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_string(name.clone())))));
    let request = MetadataRequest::default().with_topics(Some(topics.collect())).with_allow_auto_topic_creation(false);
    let metadata: MetadataResponse = client.send(&Target::Any, &request)?;
    if let Some(id) = probe.node_id
        && !metadata.brokers.iter().any(|broker| broker.node_id.0 == id)
    {
        return Err(Failure::failed(format!("{}: node {id} is not among the brokers yet", probe.bootstrap)));
    }
    if let Some(topic) = metadata.topics.iter().find(|topic| topic.error_code != 0) {
        let name = topic.name.as_ref().map(|name| name.0.to_string()).unwrap_or_default();
        return Err(Failure::failed(format!("{}: declared topic {name} is not there yet", probe.bootstrap)));
    }
    Ok(format!("{} answers in {} ms, {} brokers", probe.bootstrap, since.elapsed().as_millis(), metadata.brokers.len()))
}

/// Asks until `brokers` brokers are there or the time is over.
///
/// # Errors
/// What was missing at the end.
pub fn wait_for_brokers(bootstrap: &str, brokers: usize, patience: Duration) -> Result<(), Failure> {
    const PAUSE: Duration = Duration::from_millis(100);
    let since = Instant::now();
    loop {
        let seen = Client::connect(bootstrap, Duration::from_secs(5), ADMIN).map(|client| client.brokers().len());
        match seen {
            Ok(seen) if seen >= brokers => return Ok(()),
            outcome if since.elapsed() >= patience => {
                return Err(match outcome {
                    Ok(seen) => Failure::failed(format!("Expected {brokers} brokers but found only {seen}.")),
                    Err(failure) => failure,
                });
            }
            _ => std::thread::sleep(PAUSE),
        }
    }
}
