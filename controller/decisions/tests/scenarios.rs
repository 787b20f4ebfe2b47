//! Stories as text: `testdata/*.txt` holds commands and, below `----`, what the controller answered and wrote.
//! `UPDATE_EXPECT=1` rewrites the expected half.
//!
//! ```text
//!   register ID [rack=R] [previous=EPOCH] [life=N] [dirs=N] [metadata=MIN..MAX]
//!   heartbeat ID [offset=N] [shutdown] [fence] [cordon|uncordon] [offline=DIR,..]
//!   place ID NAME-P DIR|lost
//!   create NAME [partitions=N] [rf=N] [replicas=1,2/2,1] [config=k=v;k=v] [validate]
//!   delete NAME   grow NAME COUNT [replicas=..]   config KIND NAME OP KEY [VALUE]   elect preferred|unclean [NAME-P]
//!   isr LEADER NAME-P IDS [recovering] [leader-epoch=N] [partition-epoch=N]   reassign NAME-P IDS|cancel   reassignments
//!   producers ID
//!   client internal|NAME [version=N]   quota NAME CHANGES_PER_SECOND
//!   features NAME=LEVEL [downgrade]   unregister ID   tick MS   expire   show NAME   describe brokers
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use ottla_decisions::{
    Context, ControllerDefaults, ControllerRequest, ControllerResponse, ControllerState, IdSource, RequestOrigin,
    SoftState,
};
use ottla_metadata::{FeatureRange, METADATA_VERSION, MetadataImage, MetadataRecord};
use ottla_protocol::messages::*;
use ottla_protocol::{ErrorCode, Offset, StrBytes, Timestamp};
use uuid::Uuid;

struct Ids(u64);

impl IdSource for Ids {
    fn uuid(&mut self) -> Uuid {
        self.0 += 1;
        Uuid::from_u128(0xABCD_0000 + u128::from(self.0))
    }
    fn below(&mut self, _bound: usize) -> usize {
        0
    }
}

struct World {
    state: ControllerState,
    soft: SoftState,
    ids: Ids,
    now: Timestamp,
    lives: BTreeMap<i32, u128>,
    /// Who asks, unless told otherwise the nodes themselves.
    origin: RequestOrigin,
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn option<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

fn ids(list: &str) -> Vec<BrokerId> {
    list.split(',').map(|id| id.parse::<i32>().unwrap().into()).collect()
}

fn outcome(code: i16, message: Option<&StrBytes>) -> String {
    let code = ErrorCode::from_code(code).unwrap();
    match message {
        Some(message) => format!("{code}: {message}"),
        None if code == ErrorCode::None => "ok".to_owned(),
        None => code.to_string(),
    }
}

/// An answer with how long its client should wait.
fn slowed(answer: String, throttle_ms: i32) -> String {
    if throttle_ms == 0 { answer } else { format!("{answer}, wait {throttle_ms} ms") }
}

/// The id of a broker's directory.
fn dir(broker: i32, number: u128) -> Uuid {
    Uuid::from_u128(4000 + number * 1000 + broker as u128)
}

fn split_partition(word: &str) -> (&str, i32) {
    let (topic, partition) = word.rsplit_once('-').unwrap();
    (topic, partition.parse().unwrap())
}

impl World {
    fn new() -> Self {
        let features = [
            ("metadata.version", 7, 30),
            ("group.version", 0, 1),
            ("transaction.version", 0, 2),
            ("eligible.leader.replicas.version", 0, 1),
        ];
        let range = |(name, min, max): &(&str, i16, i16)| FeatureRange { name: (*name).into(), min: *min, max: *max };
        let defaults = ControllerDefaults {
            node_id: ottla_protocol::BrokerId(1),
            cluster_id: "cluster".into(),
            num_partitions: 2,
            default_replication_factor: 1,
            delete_topic_enable: true,
            broker_session_timeout_ms: 9000,
            cluster_session_timeout_ms: None,
            mutation_burst_seconds: 11.0,
            internal_topics: Default::default(),
            static_configs: Arc::new(BTreeMap::from([("log.retention.hours".to_owned(), "24".to_owned())])),
            supported_features: features.iter().map(range).collect(),
            bootstrap_features: features.iter().map(|(name, _, max)| ((*name).into(), *max)).collect(),
        };
        let state = ControllerState {
            image: MetadataImage::default(),
            defaults: Arc::new(defaults),
            controllers: [ottla_protocol::BrokerId(100)].into(),
        };
        let mut world = Self {
            state,
            soft: SoftState::default(),
            ids: Ids(0),
            now: Timestamp(0),
            lives: BTreeMap::new(),
            origin: RequestOrigin::internal(),
        };
        world.commit(&world.state.bootstrap());
        world
    }

    fn commit(&mut self, records: &[MetadataRecord]) {
        let next = Offset(self.state.image.offset.0 + 1);
        if !records.is_empty() {
            self.state.image.replay_entry(next, 1, records);
        }
    }

    fn ask(&mut self, request: impl Into<ControllerRequest>, out: &mut String) -> ControllerResponse {
        let origin = self.origin.clone();
        let next_offset = Offset(self.state.image.offset.0 + 1);
        let mut cx = Context { origin: &origin, now: self.now, next_offset, ids: &mut self.ids };
        let decision = self.state.decide(&mut self.soft, &request.into(), &mut cx);
        self.show_records(&decision.records, out);
        self.commit(&decision.records);
        decision.response
    }

    fn show_records(&self, records: &[MetadataRecord], out: &mut String) {
        for record in records {
            let line = match record {
                MetadataRecord::Partition { index, partition, .. } => {
                    format!(
                        "partition {index} replicas {:?} isr {:?} leader {:?}",
                        numbers(&partition.replicas),
                        numbers(&partition.isr),
                        partition.leader.map(|id| id.0)
                    )
                }
                MetadataRecord::PartitionChanged { change } => {
                    let topic = self.state.image.topics.by_id(change.topic_id).unwrap();
                    let mut line = format!("change {}-{}", topic.name, change.partition);
                    let mut list = |name: &str, list: &Option<Vec<ottla_protocol::BrokerId>>| {
                        if let Some(list) = list {
                            write!(line, " {name} {:?}", numbers(list)).unwrap();
                        }
                    };
                    list("replicas", &change.replicas);
                    list("isr", &change.isr);
                    list("adding", &change.adding_replicas);
                    list("removing", &change.removing_replicas);
                    list("elr", &change.eligible_leader_replicas);
                    list("last-known-elr", &change.last_known_elr);
                    if let Some(leader) = change.leader {
                        write!(line, " leader {:?}", leader.map(|id| id.0)).unwrap();
                    }
                    if let Some(recovering) = change.recovering {
                        write!(line, " recovering {recovering}").unwrap();
                    }
                    line
                }
                MetadataRecord::RegisterBroker { registration } => {
                    format!("register broker {} epoch {}", registration.id, registration.epoch)
                }
                MetadataRecord::BrokerChange { change } => format!(
                    "broker {} fenced {:?} shutdown {:?}",
                    change.id, change.fenced, change.in_controlled_shutdown
                ),
                MetadataRecord::Topic { name, .. } => format!("topic {name}"),
                MetadataRecord::Config { resource, key, value } => {
                    format!("config {:?} '{}' {key}={value:?}", resource.kind, resource.name)
                }
                other => format!("{other:?}"),
            };
            writeln!(out, "  {line}").unwrap();
        }
    }

    fn run(&mut self, line: &str) -> String {
        let mut out = String::new();
        let words: Vec<&str> = line.split_whitespace().collect();
        let rest = &words[1..];
        let answer = match words[0] {
            "register" => self.register(rest, &mut out),
            "heartbeat" => self.heartbeat(rest, &mut out),
            "place" => self.place(rest, &mut out),
            "unregister" => {
                let request = UnregisterBrokerRequest::default().with_broker_id(rest[0].parse::<i32>().unwrap().into());
                let ControllerResponse::UnregisterBroker(r) = self.ask(request, &mut out) else { unreachable!() };
                outcome(r.error_code, r.error_message.as_ref())
            }
            "create" => self.create(rest, &mut out),
            "delete" => {
                let request = DeleteTopicsRequest::default().with_topic_names(vec![text(rest[0]).into()]);
                let ControllerResponse::DeleteTopics(r) = self.ask(request, &mut out) else { unreachable!() };
                let answer = outcome(r.responses[0].error_code, r.responses[0].error_message.as_ref());
                slowed(answer, r.throttle_time_ms)
            }
            "client" => {
                self.origin = match rest[0] {
                    "internal" => RequestOrigin::internal(),
                    name => RequestOrigin {
                        client_id: name.into(),
                        principal: "User:ANONYMOUS".into(),
                        api_version: option(rest, "version").map_or(7, |version| version.parse().unwrap()),
                    },
                };
                String::new()
            }
            "quota" => self.quota(rest, &mut out),
            "grow" => self.grow(rest, &mut out),
            "config" => self.config(rest, &mut out),
            "elect" => self.elect(rest, &mut out),
            "isr" => self.isr(rest, &mut out),
            "reassign" => self.reassign(rest, &mut out),
            "reassignments" => {
                let request = ListPartitionReassignmentsRequest::default().with_topics(None);
                let ControllerResponse::ListPartitionReassignments(r) = self.ask(request, &mut out) else {
                    unreachable!()
                };
                let ongoing = r.topics.iter().flat_map(|topic| {
                    topic.partitions.iter().map(move |p| {
                        let plain = |list: &[BrokerId]| list.iter().map(|id| id.0).collect::<Vec<_>>();
                        format!(
                            "{}-{} replicas {:?} adding {:?} removing {:?}",
                            topic.name.as_str(),
                            p.partition_index,
                            plain(&p.replicas),
                            plain(&p.adding_replicas),
                            plain(&p.removing_replicas)
                        )
                    })
                });
                ongoing.collect::<Vec<_>>().join("; ")
            }
            "producers" => {
                let id: i32 = rest[0].parse().unwrap();
                let epoch = self.epoch(id);
                let request = AllocateProducerIdsRequest::default().with_broker_id(id.into()).with_broker_epoch(epoch);
                let ControllerResponse::AllocateProducerIds(r) = self.ask(request, &mut out) else { unreachable!() };
                format!("{} from {} count {}", outcome(r.error_code, None), r.producer_id_start.0, r.producer_id_len)
            }
            "features" => self.features(rest, &mut out),
            "tick" => {
                self.now.0 += rest[0].parse::<i64>().unwrap();
                String::new()
            }
            "expire" => match self.state.fence_expired(&self.soft, self.now) {
                Some((id, records)) => {
                    self.show_records(&records, &mut out);
                    self.commit(&records);
                    format!("fenced {id}")
                }
                None => "nobody".to_owned(),
            },
            "balance" => {
                let records = self.state.balance_leaders(100);
                self.show_records(&records, &mut out);
                self.commit(&records);
                String::new()
            }
            "show" => self.show(rest[0]),
            other => panic!("no such command: {other}"),
        };
        if !answer.is_empty() {
            writeln!(out, "{answer}").unwrap();
        }
        out
    }

    fn epoch(&self, id: i32) -> i64 {
        self.state.image.brokers.get(&ottla_protocol::BrokerId(id)).map_or(-1, |broker| broker.epoch)
    }

    fn show(&self, name: &str) -> String {
        let topic = self.state.image.topics.by_name(name).unwrap();
        let line = |(index, p): (usize, &Arc<ottla_metadata::PartitionImage>)| {
            format!(
                "{index}: leader {:?} epoch {} isr {:?} elr {:?} replicas {:?}",
                p.leader.map(|id| id.0),
                p.leader_epoch,
                numbers(&p.isr),
                numbers(&p.eligible_leader_replicas),
                numbers(&p.replicas)
            )
        };
        topic.partitions.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
    }

    fn register(&mut self, rest: &[&str], out: &mut String) -> String {
        let id: i32 = rest[0].parse().unwrap();
        let life = option(rest, "life").map(|life| life.parse().unwrap());
        let life = life.unwrap_or_else(|| self.lives.get(&id).copied().unwrap_or(0) + 1);
        self.lives.insert(id, life);
        let own = option(rest, "metadata").map(|range| range.split_once("..").unwrap());
        let feature = |range: &FeatureRange| {
            let (min, max) = match own {
                Some((min, max)) if &*range.name == METADATA_VERSION => (min.parse().unwrap(), max.parse().unwrap()),
                _ => (range.min, range.max),
            };
            broker_registration_request::Feature::default()
                .with_name(text(&range.name))
                .with_min_supported_version(min)
                .with_max_supported_version(max)
        };
        let request = BrokerRegistrationRequest::default()
            .with_broker_id(id.into())
            .with_cluster_id(text(option(rest, "cluster").unwrap_or("cluster")))
            .with_incarnation_id(Uuid::from_u128(id as u128 * 1000 + life))
            .with_rack(option(rest, "rack").map(text))
            .with_log_dirs(
                (1..=option(rest, "dirs").map_or(1, |count| count.parse().unwrap())).map(|n| dir(id, n)).collect(),
            )
            .with_previous_broker_epoch(option(rest, "previous").map_or(-1, |epoch| epoch.parse().unwrap()))
            .with_features(self.state.defaults.supported_features.iter().map(feature).collect());
        let ControllerResponse::RegisterBroker(r) = self.ask(request, out) else { unreachable!() };
        format!("{} epoch {}", outcome(r.error_code, None), r.broker_epoch)
    }

    fn log_dirs(&self, id: i32) -> Vec<Uuid> {
        self.state.image.brokers[&ottla_protocol::BrokerId(id)].log_dirs.clone()
    }

    fn heartbeat(&mut self, rest: &[&str], out: &mut String) -> String {
        let id: i32 = rest[0].parse().unwrap();
        let offset = option(rest, "offset").map_or(self.state.image.offset.0, |offset| offset.parse().unwrap());
        let request = BrokerHeartbeatRequest::default()
            .with_broker_id(id.into())
            .with_broker_epoch(option(rest, "epoch").map_or(self.epoch(id), |epoch| epoch.parse().unwrap()))
            .with_current_metadata_offset(offset)
            .with_want_fence(rest.contains(&"fence"))
            .with_want_shut_down(rest.contains(&"shutdown"))
            .with_cordoned_log_dirs(match rest {
                rest if rest.contains(&"cordon") => Some(self.log_dirs(id)),
                rest if rest.contains(&"uncordon") => Some(Vec::new()),
                _ => None,
            })
            .with_offline_log_dirs(option(rest, "offline").map_or_else(Vec::new, |dirs| {
                dirs.split(',').map(|number| dir(id, number.parse().unwrap())).collect()
            }));
        let ControllerResponse::BrokerHeartbeat(r) = self.ask(request, out) else { unreachable!() };
        let (code, caught_up, fenced, go) =
            (outcome(r.error_code, None), r.is_caught_up, r.is_fenced, r.should_shut_down);
        format!("{code} caught-up {caught_up} fenced {fenced} may-shut-down {go}")
    }

    fn place(&mut self, rest: &[&str], out: &mut String) -> String {
        use assign_replicas_to_dirs_request::{DirectoryData, PartitionData, TopicData};
        let id: i32 = rest[0].parse().unwrap();
        let (topic, partition) = split_partition(rest[1]);
        let topic = self.state.image.topics.by_name(topic).unwrap().id;
        let to = if rest[2] == "lost" { ottla_metadata::topics::DIR_LOST } else { dir(id, rest[2].parse().unwrap()) };
        let partitions = vec![PartitionData::default().with_partition_index(partition)];
        let topics = vec![TopicData::default().with_topic_id(topic.0).with_partitions(partitions)];
        let request = AssignReplicasToDirsRequest::default()
            .with_broker_id(id.into())
            .with_broker_epoch(self.epoch(id))
            .with_directories(vec![DirectoryData::default().with_id(to).with_topics(topics)]);
        let ControllerResponse::AssignReplicasToDirs(r) = self.ask(request, out) else { unreachable!() };
        outcome(r.directories[0].topics[0].partitions[0].error_code, None)
    }

    fn create(&mut self, rest: &[&str], out: &mut String) -> String {
        use create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig};
        let number = |key: &str| option(rest, key).map_or(-1, |value| value.parse().unwrap());
        let assignments = option(rest, "replicas").map(|all| {
            let one = |(index, list): (i32, &str)| {
                CreatableReplicaAssignment::default().with_partition_index(index).with_broker_ids(ids(list))
            };
            (0..).zip(all.split('/')).map(one).collect()
        });
        let configs = option(rest, "config").map(|all| {
            let one = |pair: &str| {
                let (key, value) = pair.split_once('=').unwrap();
                CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
            };
            all.split(';').map(one).collect()
        });
        let name = rest[0].strip_prefix("name:").unwrap_or(rest[0]);
        let topic = CreatableTopic::default()
            .with_name(text(name).into())
            .with_num_partitions(number("partitions"))
            .with_replication_factor(number("rf") as i16)
            .with_assignments(assignments.unwrap_or_default())
            .with_configs(configs.unwrap_or_default());
        let request =
            CreateTopicsRequest::default().with_topics(vec![topic]).with_validate_only(rest.contains(&"validate"));
        let ControllerResponse::CreateTopics(r) = self.ask(request, out) else { unreachable!() };
        let topic = &r.topics[0];
        let mut answer = outcome(topic.error_code, topic.error_message.as_ref());
        let set = topic.configs.iter().flatten().filter(|config| config.config_source != 5);
        for config in set {
            write!(answer, " {}={}({})", config.name, config.value.as_deref().unwrap_or("null"), config.config_source)
                .unwrap();
        }
        slowed(answer, r.throttle_time_ms)
    }

    fn quota(&mut self, rest: &[&str], out: &mut String) -> String {
        use alter_client_quotas_request::{EntityData, EntryData, OpData};
        let entity = EntityData::default().with_entity_type(text("client-id")).with_entity_name(Some(text(rest[0])));
        let op = OpData::default().with_key(text("controller_mutation_rate")).with_value(rest[1].parse().unwrap());
        let entry = EntryData::default().with_entity(vec![entity]).with_ops(vec![op]);
        let request = AlterClientQuotasRequest::default().with_entries(vec![entry]);
        let ControllerResponse::AlterClientQuotas(r) = self.ask(request, out) else { unreachable!() };
        outcome(r.entries[0].error_code, r.entries[0].error_message.as_ref())
    }

    fn grow(&mut self, rest: &[&str], out: &mut String) -> String {
        use create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
        let one = |list: &str| CreatePartitionsAssignment::default().with_broker_ids(ids(list));
        let topic = CreatePartitionsTopic::default()
            .with_name(text(rest[0]).into())
            .with_count(rest[1].parse().unwrap())
            .with_assignments(option(rest, "replicas").map(|all| all.split('/').map(one).collect()));
        let request =
            CreatePartitionsRequest::default().with_topics(vec![topic]).with_validate_only(rest.contains(&"validate"));
        let ControllerResponse::CreatePartitions(r) = self.ask(request, out) else { unreachable!() };
        slowed(outcome(r.results[0].error_code, r.results[0].error_message.as_ref()), r.throttle_time_ms)
    }

    fn config(&mut self, rest: &[&str], out: &mut String) -> String {
        use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
        let kind = match rest[0] {
            "topic" => 2,
            "broker" => 4,
            "group" => 32,
            "client-metrics" => 16,
            other => other.parse().unwrap(),
        };
        let operation = ["set", "delete", "append", "subtract"].iter().position(|name| *name == rest[2]).unwrap();
        let config = AlterableConfig::default()
            .with_name(text(rest[3]))
            .with_config_operation(operation as i8)
            .with_value(rest.get(4).map(|value| text(value)));
        let resource = AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(if rest[1] == "default" { "" } else { rest[1] }))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let ControllerResponse::IncrementalAlterConfigs(r) = self.ask(request, out) else { unreachable!() };
        outcome(r.responses[0].error_code, r.responses[0].error_message.as_ref())
    }

    fn elect(&mut self, rest: &[&str], out: &mut String) -> String {
        use elect_leaders_request::TopicPartitions;
        let asked = rest.get(1).map(|word| {
            let (topic, partition) = split_partition(word);
            vec![TopicPartitions::default().with_topic(text(topic).into()).with_partitions(vec![partition])]
        });
        let request = ElectLeadersRequest::default()
            .with_election_type(i8::from(rest[0] == "unclean"))
            .with_topic_partitions(asked);
        let ControllerResponse::ElectLeaders(r) = self.ask(request, out) else { unreachable!() };
        let results = r.replica_election_results.iter().flat_map(|topic| {
            topic.partition_result.iter().map(move |p| {
                format!(
                    "{}-{} {}",
                    topic.topic.as_str(),
                    p.partition_id,
                    outcome(p.error_code, p.error_message.as_ref())
                )
            })
        });
        results.collect::<Vec<_>>().join("; ")
    }

    fn isr(&mut self, rest: &[&str], out: &mut String) -> String {
        use alter_partition_request::{BrokerState, PartitionData, TopicData};
        let leader: i32 = rest[0].parse().unwrap();
        let (topic, index) = split_partition(rest[1]);
        let image = self.state.image.topics.by_name(topic).unwrap();
        let partition = image.partition(index).unwrap();
        let state = |id: BrokerId| BrokerState::default().with_broker_id(id).with_broker_epoch(self.epoch(id.0));
        let epoch = option(rest, "leader-epoch").map_or(partition.leader_epoch.0, |epoch| epoch.parse().unwrap());
        let version = option(rest, "partition-epoch").map_or(partition.partition_epoch, |epoch| epoch.parse().unwrap());
        let data = PartitionData::default()
            .with_partition_index(index)
            .with_leader_epoch(epoch)
            .with_partition_epoch(version)
            .with_leader_recovery_state(i8::from(rest.contains(&"recovering")))
            .with_new_isr_with_epochs(ids(rest[2]).into_iter().map(state).collect());
        let data = TopicData::default().with_topic_id(image.id.0).with_partitions(vec![data]);
        let request = AlterPartitionRequest::default()
            .with_broker_id(leader.into())
            .with_broker_epoch(self.epoch(leader))
            .with_topics(vec![data]);
        let ControllerResponse::AlterPartition(r) = self.ask(request, out) else { unreachable!() };
        outcome(r.topics[0].partitions[0].error_code, None)
    }

    fn reassign(&mut self, rest: &[&str], out: &mut String) -> String {
        use alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
        let (topic, index) = split_partition(rest[0]);
        let replicas = (rest[1] != "cancel").then(|| ids(rest[1]));
        let partition = ReassignablePartition::default().with_partition_index(index).with_replicas(replicas);
        let topic = ReassignableTopic::default().with_name(text(topic).into()).with_partitions(vec![partition]);
        let request = AlterPartitionReassignmentsRequest::default()
            .with_allow_replication_factor_change(!rest.contains(&"same-rf"))
            .with_topics(vec![topic]);
        let ControllerResponse::AlterPartitionReassignments(r) = self.ask(request, out) else { unreachable!() };
        let partition = &r.responses[0].partitions[0];
        outcome(partition.error_code, partition.error_message.as_ref())
    }

    fn features(&mut self, rest: &[&str], out: &mut String) -> String {
        use update_features_request::FeatureUpdateKey;
        let (name, level) = rest[0].split_once('=').unwrap();
        let update = FeatureUpdateKey::default()
            .with_feature(text(name))
            .with_max_version_level(level.parse().unwrap())
            .with_upgrade_type(if rest.contains(&"downgrade") { 2 } else { 1 });
        let request = UpdateFeaturesRequest::default().with_feature_updates(vec![update]);
        let ControllerResponse::UpdateFeatures(r) = self.ask(request, out) else { unreachable!() };
        outcome(r.error_code, r.error_message.as_ref())
    }
}

fn numbers(ids: &[ottla_protocol::BrokerId]) -> Vec<i32> {
    ids.iter().map(|id| id.0).collect()
}

#[test]
fn every_scenario_ends_as_written() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    let mut failures = Vec::new();
    for path in paths {
        let story = std::fs::read_to_string(&path).unwrap();
        let (commands, expected) = story.split_once("----\n").unwrap_or((&story, ""));
        let mut world = World::new();
        let mut actual = String::new();
        for line in commands.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            writeln!(actual, "> {line}").unwrap();
            actual.push_str(&world.run(line));
        }
        if update {
            std::fs::write(&path, format!("{commands}----\n{actual}")).unwrap();
        } else if actual != expected {
            failures.push(format!("{}\n{actual}", path.display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
