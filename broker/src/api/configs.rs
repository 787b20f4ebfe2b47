//! DescribeConfigs v1-4, AlterConfigs v0-2, IncrementalAlterConfigs v0-1, ListConfigResources v0-1.
//!
//! DescribeConfigs: v3 documentation and types, v4 flexible. ListConfigResources: v0 knows client metrics only (it was
//! ListClientMetricsResources), v1 all kinds. A broker's own configs are described and changed by that broker only.

use std::collections::{HashMap, HashSet};

use ottla_controller::{Committed, Controller};
use ottla_metadata::{ConfigKind, MetadataImage};
use ottla_protocol::messages::describe_configs_request::DescribeConfigsResource;
use ottla_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use ottla_protocol::messages::list_config_resources_response::ConfigResource as ListedResource;
use ottla_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, ListConfigResourcesRequest,
    ListConfigResourcesResponse,
};
use ottla_protocol::{BrokerId, ErrorCode, StrBytes};

use super::config_changes::{self, Changes, Decided};
use super::explain::Explain;
use super::topics::origin;
use super::turn::Turn;
use super::wire::text;
use super::{ApiSpec, House, Reply, RequestContext, topic_names};
use crate::config::Effective;
use crate::config::effective::{Described, Source};
use crate::metadata_cache::MetadataCache;
use crate::publisher::Publisher;
use crate::telemetry::Loggers;

/// Configs that one answer describes: those of thirty thousand topics.
const DESCRIBED_MAX: usize = 1 << 20;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

/// An error code and what it is about.
pub(super) type Refusal = (ErrorCode, String);

/// Kind and name of a resource.
type Resource = (i8, StrBytes);
/// Code and message of an answer.
type Told = (i16, Option<StrBytes>);

/// Handler of DescribeConfigs, AlterConfigs, IncrementalAlterConfigs and ListConfigResources.
pub struct Configs {
    effective: Effective,
    metadata: MetadataCache,
    loggers: Loggers,
    controller: Controller,
    publisher: Publisher,
    explain: Explain,
}

/// A key that Kafka does not have, not set on the topic itself. It is told to whoever names it: what copies all that a topic
/// has would carry it to brokers that refuse the topic for it.
fn is_our_default(resource: &DescribeConfigsResource, described: &Described) -> bool {
    resource.resource_type == TOPIC && described.name == "log.durability" && described.source != Source::Topic
}

impl Configs {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(32), ApiSpec::of(33), ApiSpec::of(44), ApiSpec::of(74)];

    pub fn new(house: &House) -> Self {
        Self {
            effective: house.effective.clone(),
            metadata: house.metadata.clone(),
            loggers: house.loggers.clone(),
            controller: house.controller.clone(),
            publisher: house.publisher.clone(),
            explain: Explain::new(house),
        }
    }

    pub async fn describe_configs(&self, cx: &RequestContext, request: DescribeConfigsRequest) -> Reply {
        const KINDS: &[i8] = &[TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
        // As in Kafka one kind that is none spoils the whole request.
        if request.resources.iter().any(|resource| !KINDS.contains(&resource.resource_type)) {
            let code = ErrorCode::InvalidRequest;
            let refused = request.resources.into_iter().map(|resource| {
                DescribeConfigsResult::default()
                    .with_error_code(code.code())
                    .with_error_message(Some(text(code.message())))
                    .with_resource_type(resource.resource_type)
                    .with_resource_name(resource.resource_name)
            });
            return cx.reply(&DescribeConfigsResponse::default().with_results(refused.collect()));
        }
        let explained = self.explain.asked_for(&request).await;
        let mut budget = Budget(DESCRIBED_MAX);
        let mut results = Vec::new();
        let mut turn = Turn::begin();
        let mut seen = HashSet::new();
        // A resource that is named again is told once: its name is much shorter than all that it has.
        for resource in &request.resources {
            if !seen.insert((resource.resource_type, resource.resource_name.as_str())) {
                continue;
            }
            turn.pass().await;
            let result = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            let keys = asked_keys(resource);
            results.push(match budget.spend(|| self.describe(resource)) {
                Ok(described) => result.with_configs(
                    described
                        .into_iter()
                        .filter(|described| match &keys {
                            Some(keys) => keys.contains(described.name.as_str()),
                            None => !is_our_default(resource, described),
                        })
                        .chain(explained.of(resource))
                        .map(|described| entry(described, cx.version, &request))
                        .collect(),
                ),
                Err((code, message)) => {
                    result.with_error_code(code.code()).with_error_message(Some(StrBytes::from_string(message)))
                }
            });
        }
        cx.reply(&DescribeConfigsResponse::default().with_results(results))
    }

    fn describe(&self, resource: &DescribeConfigsResource) -> Result<Vec<Described>, Refusal> {
        let invalid = |message: String| Err((ErrorCode::InvalidRequest, message));
        let (image, name) = (self.metadata.load(), resource.resource_name.as_str());
        let at = self.effective.at(&image);
        let own = self.effective.settings.node_id;
        match resource.resource_type {
            TOPIC if !topic_names::is_valid(name) => {
                Err((ErrorCode::InvalidTopicException, ErrorCode::InvalidTopicException.message().to_owned()))
            }
            // As in Kafka the message is empty and not missing, so that clients add no words of their own.
            TOPIC if image.topics.by_name(name).is_none() => Err((ErrorCode::UnknownTopicOrPartition, String::new())),
            TOPIC => Ok(at.describe_topic(name)),
            BROKER if name.is_empty() => Ok(at.describe_cluster_default()),
            BROKER if config_changes::broker_id(name)? == own => Ok(at.describe_broker()),
            BROKER => invalid(format!("Unexpected broker id, expected {own} or empty string, but received {name}")),
            BROKER_LOGGER if name.is_empty() => invalid("Broker id must not be empty".to_owned()),
            BROKER_LOGGER if config_changes::broker_id(name)? == own => Ok(self.describe_loggers()),
            BROKER_LOGGER => invalid(format!("Unexpected broker id, expected {own} but received {name}")),
            CLIENT_METRICS if name.is_empty() => {
                invalid("Client metrics subscription name must not be empty".to_owned())
            }
            CLIENT_METRICS => Ok(at.describe_client_metrics(name)),
            GROUP if name.is_empty() => invalid("Group name must not be empty".to_owned()),
            GROUP => Ok(at.describe_group(name)),
            _ => invalid(format!("Unexpected resource type UNKNOWN for resource {name}")),
        }
    }

    fn describe_loggers(&self) -> Vec<Described> {
        let loggers = self.loggers.list().into_iter();
        loggers
            .map(|(name, level)| Described {
                name,
                value: Some(level.to_owned()),
                source: Source::BrokerLogger,
                is_sensitive: false,
                is_read_only: false,
                synonyms: Vec::new(),
                value_type: 0,
                documentation: None,
            })
            .collect()
    }

    pub async fn alter_configs(&self, cx: &RequestContext, mut request: AlterConfigsRequest) -> Reply {
        use ottla_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
        let asked: Vec<Resource> =
            request.resources.iter().map(|one| (one.resource_type, one.resource_name.clone())).collect();
        let decided = self.changes(cx).check_replacements(&request);
        let mut here = decided.iter();
        request.resources.retain(|_| here.next().is_some_and(Option::is_none));
        let submit = self.controller.alter_configs(origin(cx), request);
        let told = self.submit_rest(&asked, decided, submit, |response| {
            let one = |one: AlterConfigsResourceResponse| {
                ((one.resource_type, one.resource_name), (one.error_code, one.error_message))
            };
            response.responses.into_iter().map(one).collect()
        });
        let responses = asked.iter().zip(told.await).map(|((kind, name), (code, message))| {
            AlterConfigsResourceResponse::default()
                .with_error_code(code)
                .with_error_message(message)
                .with_resource_type(*kind)
                .with_resource_name(name.clone())
        });
        cx.reply(&AlterConfigsResponse::default().with_responses(responses.collect()))
    }

    pub async fn incremental_alter_configs(
        &self,
        cx: &RequestContext,
        mut request: IncrementalAlterConfigsRequest,
    ) -> Reply {
        use ottla_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
        let asked: Vec<Resource> =
            request.resources.iter().map(|one| (one.resource_type, one.resource_name.clone())).collect();
        let decided = self.changes(cx).check_increments(&request);
        let mut here = decided.iter();
        request.resources.retain(|_| here.next().is_some_and(Option::is_none));
        let submit = self.controller.incremental_alter_configs(origin(cx), request);
        let told = self.submit_rest(&asked, decided, submit, |response| {
            let one = |one: AlterConfigsResourceResponse| {
                ((one.resource_type, one.resource_name), (one.error_code, one.error_message))
            };
            response.responses.into_iter().map(one).collect()
        });
        let responses = asked.iter().zip(told.await).map(|((kind, name), (code, message))| {
            AlterConfigsResourceResponse::default()
                .with_error_code(code)
                .with_error_message(message)
                .with_resource_type(*kind)
                .with_resource_name(name.clone())
        });
        cx.reply(&IncrementalAlterConfigsResponse::default().with_responses(responses.collect()))
    }

    /// What is told of each resource that was asked about: what was decided here, or else what the controller says of the rest.
    async fn submit_rest<R>(
        &self,
        asked: &[Resource],
        decided: Vec<Decided>,
        submit: impl Future<Output = Result<Committed<R>, ErrorCode>>,
        answers: impl FnOnce(R) -> HashMap<Resource, Told>,
    ) -> Vec<Told> {
        let submitted = if decided.iter().any(Option::is_none) { Some(submit.await) } else { None };
        let (mut answers, otherwise) = match submitted {
            Some(Ok(committed)) => {
                (answers(self.publisher.in_force(committed).await), (ErrorCode::UnknownServerError.code(), None))
            }
            Some(Err(code)) => (HashMap::new(), (code.code(), Some(text(code.message())))),
            None => (HashMap::new(), (0, None)),
        };
        let told = asked.iter().zip(decided).map(|(resource, decided)| match decided {
            Some(Ok(())) => (0, None),
            Some(Err((code, message))) => (code.code(), Some(StrBytes::from_string(message))),
            None => answers.remove(resource).unwrap_or_else(|| otherwise.clone()),
        });
        told.collect()
    }

    fn changes(&self, cx: &RequestContext) -> Changes<'_> {
        Changes {
            effective: &self.effective,
            metadata: &self.metadata,
            loggers: &self.loggers,
            at_controller: cx.listener.is_controller,
        }
    }

    pub async fn list_config_resources(&self, cx: &RequestContext, request: ListConfigResourcesRequest) -> Reply {
        const ALL: &[i8] = &[GROUP, CLIENT_METRICS, BROKER_LOGGER, BROKER, TOPIC];
        let known: &[i8] = if cx.version == 0 { &[CLIENT_METRICS] } else { ALL };
        let asked = if request.resource_types.is_empty() { known } else { &request.resource_types };
        if asked.iter().any(|kind| !known.contains(kind)) {
            let code = ErrorCode::UnsupportedVersion.code();
            return cx.reply(&ListConfigResourcesResponse::default().with_error_code(code));
        }
        let image = self.metadata.load();
        let mut resources = Vec::new();
        for kind in ALL.iter().filter(|kind| asked.contains(kind)) {
            let mut list = |name: &str| {
                // v0 has no kinds.
                let kind = if cx.version == 0 { ListedResource::default().resource_type } else { *kind };
                resources.push(ListedResource::default().with_resource_name(text(name)).with_resource_type(kind));
            };
            match *kind {
                GROUP => image.configs.names(ConfigKind::Group).for_each(|name| list(name)),
                CLIENT_METRICS => image.configs.names(ConfigKind::ClientMetrics).for_each(|name| list(name)),
                BROKER | BROKER_LOGGER => brokers_of(&image, &cx.listener.name).for_each(|id| list(&id.to_string())),
                _ => image.topics.iter().for_each(|topic| list(&topic.name)),
            }
        }
        cx.reply(&ListConfigResourcesResponse::default().with_config_resources(resources))
    }
}

/// The brokers that have a listener of this name; those that are fenced keep their configs.
fn brokers_of(image: &MetadataImage, listener: &str) -> impl Iterator<Item = BrokerId> {
    image.brokers.values().filter(move |broker| broker.listener(listener).is_some()).map(|broker| broker.id)
}

/// The keys that are asked for. Null and empty both mean every key.
fn asked_keys(resource: &DescribeConfigsResource) -> Option<HashSet<&str>> {
    let keys = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty())?;
    Some(keys.iter().map(|key| key.as_str()).collect())
}

/// How many more configs one answer describes. A resource takes a few bytes of a request and hundreds of entries of its
/// answer, as often as it is named.
struct Budget(usize);

impl Budget {
    /// Describes the next resource, unless those before it have used up everything.
    fn spend(&mut self, describe: impl FnOnce() -> Result<Vec<Described>, Refusal>) -> Result<Vec<Described>, Refusal> {
        if self.0 == 0 {
            let message = "Excessively large number of configs per request.".to_owned();
            return Err((ErrorCode::PolicyViolation, message));
        }
        let described = describe()?;
        self.0 = self.0.saturating_sub(described.len());
        Ok(described)
    }
}

fn entry(described: Described, version: i16, request: &DescribeConfigsRequest) -> DescribeConfigsResourceResult {
    let synonyms = described.synonyms.into_iter().filter(|_| request.include_synonyms).map(|synonym| {
        DescribeConfigsSynonym::default()
            .with_name(StrBytes::from_string(synonym.name))
            .with_value(synonym.value.map(StrBytes::from_string))
            .with_source(synonym.source as i8)
    });
    let entry = DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_string(described.name))
        .with_value(described.value.map(StrBytes::from_string))
        .with_read_only(described.is_read_only)
        .with_config_source(described.source as i8)
        .with_is_sensitive(described.is_sensitive)
        .with_synonyms(synonyms.collect());
    if version < 3 {
        return entry;
    }
    let documentation = described.documentation.filter(|_| request.include_documentation);
    entry.with_config_type(described.value_type).with_documentation(documentation.map(StrBytes::from_static_str))
}

#[cfg(test)]
mod tests {
    use ottla_metadata::{BrokerRegistration, Endpoint, MetadataRecord};
    use ottla_state_machine::StateMachine;

    use super::*;

    #[test]
    fn an_answer_describes_no_more_than_its_budget() {
        let described = |count: usize| {
            let one = Described {
                name: "k".to_owned(),
                value: None,
                source: Source::Default,
                is_sensitive: false,
                is_read_only: false,
                synonyms: Vec::new(),
                value_type: 0,
                documentation: None,
            };
            Ok(vec![one; count])
        };
        let mut budget = Budget(5);
        assert!(budget.spend(|| described(3)).is_ok());
        assert!(budget.spend(|| described(3)).is_ok(), "a resource is described as a whole");
        let refused = budget.spend(|| described(3)).err().map(|(code, _)| code);
        assert_eq!(refused, Some(ErrorCode::PolicyViolation));
    }

    #[test]
    fn fenced_brokers_are_listed_too() {
        let mut image = MetadataImage::default();
        for (id, fenced, listener) in [(1, false, "INSIDE"), (2, true, "INSIDE"), (3, false, "OUTSIDE")] {
            let endpoint = Endpoint { name: listener.into(), host: "h".into(), port: 1, security_protocol: 0 };
            let registration = BrokerRegistration {
                id: BrokerId(id),
                epoch: 1,
                incarnation_id: uuid::Uuid::nil(),
                listeners: vec![endpoint],
                features: Vec::new(),
                rack: None,
                fenced,
                in_controlled_shutdown: false,
                log_dirs: Vec::new(),
                cordoned_log_dirs: Vec::new(),
            };
            image.replay(&MetadataRecord::RegisterBroker { registration });
        }
        let listed: Vec<BrokerId> = brokers_of(&image, "INSIDE").collect();
        assert_eq!(listed, [BrokerId(1), BrokerId(2)]);
    }
}
