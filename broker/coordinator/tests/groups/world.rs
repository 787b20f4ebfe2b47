//! A coordinator with its log, its clock and its cluster, all in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_coordinator::group::{Client, GroupConfig, GroupRecord, GroupRequest, GroupResponse, GroupShard, GroupState};
use ottla_coordinator::shard::{Context, Decision, Effect, Ids, Producer, Shard, Token};
use ottla_metadata::{MetadataImage, MetadataRecord, PartitionImage};
use ottla_protocol::StrBytes;
use ottla_protocol::messages as m;
use ottla_protocol::{ErrorCode, ProducerEpoch, ProducerId, Timestamp, TopicId};
use ottla_state_machine::StateMachine;
use uuid::Uuid;

use crate::print;

/// Counts instead of drawing.
pub struct Counter(pub u128);

impl Ids for Counter {
    fn uuid(&mut self) -> Uuid {
        self.0 += 1;
        Uuid::from_u128(self.0)
    }
}

pub struct World {
    pub now: i64,
    pub image: MetadataImage,
    pub config: GroupConfig,
    pub ids: Counter,
    pub hard: GroupState,
    pub shard: GroupShard,
    pub log: Vec<GroupRecord>,
    pub tokens: u64,
    pub fail_next: bool,
    /// Tokens that the host refused, because the records of their outcome were not written.
    pub refused: Vec<u64>,
}

type Out = Decision<GroupShard>;

impl World {
    pub fn new() -> Self {
        let mut world = Self {
            now: 1_000,
            image: MetadataImage::default(),
            config: GroupConfig::default(),
            ids: Counter(0),
            hard: GroupState::default(),
            shard: GroupShard::default(),
            log: Vec::new(),
            tokens: 0,
            fail_next: false,
            refused: Vec::new(),
        };
        world.restart();
        world
    }

    pub fn with<R>(&mut self, act: impl FnOnce(&mut GroupShard, &GroupState, &mut Context<'_, GroupShard>) -> R) -> R {
        let mut cx = Context { now: Timestamp(self.now), image: &self.image, config: &self.config, ids: &mut self.ids };
        act(&mut self.shard, &self.hard, &mut cx)
    }

    /// Appends and replays, as a host would.
    pub fn apply(&mut self, out: &Out) {
        for record in &out.records {
            self.hard.replay(record);
            self.log.push(record.clone());
        }
    }

    pub fn request(&mut self, mut request: GroupRequest) -> Out {
        if let GroupRequest::OffsetCommit(_, request) = &mut request {
            for topic in &mut request.topics {
                topic.topic_id = self.image.topics.by_name(&topic.name).map(|topic| topic.id.0).unwrap_or_default();
            }
        }
        self.tokens += 1;
        let token = Token(self.tokens);
        let out = self.with(|shard, hard, cx| shard.handle(hard, token, request, cx));
        if self.fail_next && !out.records.is_empty() {
            self.fail_next = false;
            self.refused.extend(out.effects.iter().filter_map(|effect| match effect {
                Effect::Reply(token, _) | Effect::Refuse(token, _) => Some(token.0),
                Effect::Act(_) => None,
            }));
            let out = self.with(|shard, hard, cx| shard.append_failed(hard, ErrorCode::NotCoordinator, cx));
            self.apply(&out);
            return out;
        }
        self.apply(&out);
        out
    }

    /// Lets time pass up to `to`, timer by timer.
    pub fn tick(&mut self, to: i64) -> Vec<Out> {
        let mut outcomes = Vec::new();
        while let Some(at) = self.shard.next_deadline(&self.hard).filter(|at| at.0 <= to) {
            self.now = self.now.max(at.0);
            let out = self.with(|shard, hard, cx| shard.on_deadline(hard, cx));
            self.apply(&out);
            outcomes.push(out);
        }
        self.now = to;
        outcomes
    }

    /// A heartbeat of the consumer protocol at `now`.
    pub fn beat(&mut self, now: i64, line: &str) -> m::ConsumerGroupHeartbeatResponse {
        self.tick(now);
        let args = Args(line.split_whitespace().map(|word| word.split_once('=').unwrap_or((word, ""))).collect());
        let out = self.request(request("consumer", &args));
        let mut answers = out.effects.into_iter().filter_map(|effect| match effect {
            Effect::Reply(_, GroupResponse::ConsumerGroupHeartbeat(answer)) => Some(answer),
            _ => None,
        });
        answers.next().unwrap()
    }

    /// A new life from the log alone, read as it was written.
    pub fn restart(&mut self) -> Out {
        let mut state = GroupState::default();
        for record in &self.log {
            let read = GroupShard::decode(GroupShard::encode(record)).unwrap().unwrap();
            assert_eq!(&read, record, "a record reads as it was written");
            state.replay(&read);
        }
        assert_eq!(state, self.hard, "the log gives the state that was served");
        let mut cx = Context { now: Timestamp(self.now), image: &self.image, config: &self.config, ids: &mut self.ids };
        let (shard, out) = GroupShard::loaded(&state, &mut cx);
        self.hard = state;
        self.shard = shard;
        self.apply(&out);
        out
    }

    pub fn add_topic(&mut self, name: &str, partitions: i32) {
        let id = TopicId(Uuid::from_u128(0x1000 + self.image.topics.len() as u128));
        let known = self.image.topics.by_name(name).map(|topic| (topic.id, topic.partitions.len()));
        let (id, from) = known.unwrap_or((id, 0));
        if from == 0 {
            self.image.replay(&MetadataRecord::Topic { name: Arc::from(name), id });
        }
        for index in i32::try_from(from).unwrap()..partitions {
            let partition = PartitionImage::default();
            self.image.replay(&MetadataRecord::Partition { topic_id: id, index, partition });
        }
        self.image.offset.0 += 1;
    }

    pub fn run(&mut self, line: &str) -> String {
        let line = print::long_ids(line);
        let mut words = line.split_whitespace();
        let Some(verb) = words.next() else { return String::new() };
        let args = Args(words.map(|word| word.split_once('=').unwrap_or((word, ""))).collect());
        if let Some(now) = args.get("now")
            && verb != "tick"
        {
            self.now = now.parse().unwrap();
        }
        let outcomes = match verb {
            "topic" => {
                self.add_topic(args.str("name"), args.number("partitions", 1));
                return String::new();
            }
            "config" => {
                self.config.classic_members_max = args.number("max", 1_000) as usize;
                return String::new();
            }
            "fail" => {
                self.fail_next = true;
                return String::new();
            }
            "restart" => vec![self.restart()],
            "tick" => self.tick(args.number("now", 0).into()),
            _ => vec![self.request(request(verb, &args))],
        };
        outcomes.iter().map(|out| print::outcome(out, &self.image)).collect()
    }
}

/// The words of a command.
pub struct Args<'a>(pub BTreeMap<&'a str, &'a str>);

impl Args<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).copied()
    }

    fn str(&self, key: &str) -> &str {
        self.get(key).unwrap_or_default()
    }

    fn wire(&self, key: &str) -> StrBytes {
        StrBytes::from_string(self.str(key).to_owned())
    }

    fn wire_option(&self, key: &str) -> Option<StrBytes> {
        self.get(key).map(|text| StrBytes::from_string(text.to_owned()))
    }

    fn number(&self, key: &str, default: i32) -> i32 {
        self.get(key).map_or(default, |text| text.parse().unwrap())
    }

    fn list(&self, key: &str) -> Vec<&str> {
        self.str(key).split(',').filter(|text| !text.is_empty()).collect()
    }

    fn group(&self) -> m::GroupId {
        m::GroupId::from(self.wire("g"))
    }

    fn client(&self, version: i32) -> Client {
        let client_id = Arc::from(self.get("client").unwrap_or("c"));
        let version = i16::try_from(self.number("v", version)).unwrap();
        Client { client_id, client_host: Arc::from("/127.0.0.1"), version }
    }

    fn producer(&self) -> Producer {
        Producer { id: ProducerId(self.number("pid", 1).into()), epoch: ProducerEpoch(0) }
    }

    /// `orders:0@10,orders:1@20` by topic.
    fn offsets(&self) -> BTreeMap<String, Vec<(i32, i64)>> {
        let mut topics: BTreeMap<String, Vec<(i32, i64)>> = BTreeMap::new();
        for text in self.list("at") {
            let (partition, offset) = text.split_once('@').unwrap_or((text, "0"));
            let (topic, partition) = partition.split_once(':').unwrap();
            topics.entry(topic.to_owned()).or_default().push((partition.parse().unwrap(), offset.parse().unwrap()));
        }
        topics
    }
}

/// A consumer's metadata in the classic protocol, version 0.
fn subscription(topics: &[&str]) -> bytes::Bytes {
    let mut bytes = vec![0, 0];
    bytes.extend(u32::try_from(topics.len()).unwrap().to_be_bytes());
    for topic in topics {
        bytes.extend(u16::try_from(topic.len()).unwrap().to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend((-1_i32).to_be_bytes());
    bytes.into()
}

fn topic(name: &str) -> m::TopicName {
    m::TopicName::from(StrBytes::from_string(name.to_owned()))
}

pub fn request(verb: &str, args: &Args<'_>) -> GroupRequest {
    match verb {
        "join" => {
            let metadata = match args.get("topics") {
                Some(_) => subscription(&args.list("topics")),
                None => bytes::Bytes::copy_from_slice(args.get("meta").unwrap_or("m").as_bytes()),
            };
            let names = if args.get("protocols").is_some() { args.list("protocols") } else { vec!["range"] };
            let protocols = names.into_iter().map(|name| {
                m::join_group_request::JoinGroupRequestProtocol::default()
                    .with_name(StrBytes::from_string(name.to_owned()))
                    .with_metadata(metadata.clone())
            });
            let request = m::JoinGroupRequest::default()
                .with_group_id(args.group())
                .with_member_id(args.wire("m"))
                .with_group_instance_id(args.wire_option("instance"))
                .with_session_timeout_ms(args.number("session", 10_000))
                .with_rebalance_timeout_ms(args.number("rebalance", 20_000))
                .with_protocol_type(args.wire_option("type").unwrap_or("consumer".into()))
                .with_protocols(protocols.collect());
            GroupRequest::JoinGroup(args.client(9), request)
        }
        "sync" => {
            let assignments = args.list("assign").into_iter().map(|text| {
                let (member, assignment) = text.split_once(':').unwrap();
                m::sync_group_request::SyncGroupRequestAssignment::default()
                    .with_member_id(StrBytes::from_string(member.to_owned()))
                    .with_assignment(bytes::Bytes::copy_from_slice(assignment.as_bytes()))
            });
            let request = m::SyncGroupRequest::default()
                .with_group_id(args.group())
                .with_member_id(args.wire("m"))
                .with_group_instance_id(args.wire_option("instance"))
                .with_generation_id(args.number("gen", 0))
                .with_assignments(assignments.collect());
            GroupRequest::SyncGroup(args.client(5), request)
        }
        "heartbeat" => {
            let request = m::HeartbeatRequest::default()
                .with_group_id(args.group())
                .with_member_id(args.wire("m"))
                .with_group_instance_id(args.wire_option("instance"))
                .with_generation_id(args.number("gen", 0));
            GroupRequest::Heartbeat(args.client(4), request)
        }
        "leave" => {
            let members = args.list("m").into_iter().map(|member| {
                let (member, instance) = member.split_once('/').map_or((member, None), |(m, i)| (m, Some(i)));
                m::leave_group_request::MemberIdentity::default()
                    .with_member_id(StrBytes::from_string(member.to_owned()))
                    .with_group_instance_id(instance.map(|text| StrBytes::from_string(text.to_owned())))
            });
            let request = m::LeaveGroupRequest::default().with_group_id(args.group()).with_members(members.collect());
            GroupRequest::LeaveGroup(args.client(5), request)
        }
        "commit" => {
            let topics = args.offsets().into_iter().map(|(name, partitions)| {
                let partitions = partitions.into_iter().map(|(partition, offset)| {
                    m::offset_commit_request::OffsetCommitRequestPartition::default()
                        .with_partition_index(partition)
                        .with_committed_offset(offset)
                });
                m::offset_commit_request::OffsetCommitRequestTopic::default()
                    .with_name(topic(&name))
                    .with_partitions(partitions.collect())
            });
            let request = m::OffsetCommitRequest::default()
                .with_group_id(args.group())
                .with_member_id(args.wire("m"))
                .with_generation_id_or_member_epoch(args.number("gen", -1))
                .with_retention_time_ms(-1)
                .with_topics(topics.collect());
            GroupRequest::OffsetCommit(args.client(9), request)
        }
        "txn-commit" => {
            let topics = args.offsets().into_iter().map(|(name, partitions)| {
                let partitions = partitions.into_iter().map(|(partition, offset)| {
                    m::txn_offset_commit_request::TxnOffsetCommitRequestPartition::default()
                        .with_partition_index(partition)
                        .with_committed_offset(offset)
                });
                m::txn_offset_commit_request::TxnOffsetCommitRequestTopic::default()
                    .with_name(topic(&name))
                    .with_partitions(partitions.collect())
            });
            let request = m::TxnOffsetCommitRequest::default()
                .with_group_id(args.group())
                .with_member_id(args.wire("m"))
                .with_producer_id(m::ProducerId(args.producer().id.0))
                .with_generation_id(args.number("gen", -1))
                .with_topics(topics.collect());
            GroupRequest::TxnOffsetCommit(args.client(5), request)
        }
        "end-txn" => GroupRequest::EndTransaction {
            producer: args.producer(),
            coordinator_epoch: 0,
            commit: args.get("abort").is_none(),
        },
        "fetch" => {
            let topics = args.offsets().into_iter().map(|(name, partitions)| {
                m::offset_fetch_request::OffsetFetchRequestTopics::default()
                    .with_name(topic(&name))
                    .with_partition_indexes(partitions.into_iter().map(|(partition, _)| partition).collect())
            });
            let group = m::offset_fetch_request::OffsetFetchRequestGroup::default()
                .with_group_id(args.group())
                .with_member_id(args.wire_option("m"))
                .with_member_epoch(args.number("epoch", -1))
                .with_topics(args.get("at").map(|_| topics.collect()));
            let require_stable = args.get("stable").is_some();
            GroupRequest::OffsetFetch { client: args.client(9), group, require_stable }
        }
        "delete-offsets" => {
            let topics = args.offsets().into_iter().map(|(name, partitions)| {
                let partitions = partitions.into_iter().map(|(partition, _)| {
                    m::offset_delete_request::OffsetDeleteRequestPartition::default().with_partition_index(partition)
                });
                m::offset_delete_request::OffsetDeleteRequestTopic::default()
                    .with_name(topic(&name))
                    .with_partitions(partitions.collect())
            });
            let request = m::OffsetDeleteRequest::default().with_group_id(args.group()).with_topics(topics.collect());
            GroupRequest::OffsetDelete(args.client(0), request)
        }
        "delete-groups" => GroupRequest::DeleteGroups(vec![args.group()]),
        "list" => GroupRequest::ListGroups {
            states_filter: args.list("states").into_iter().map(str::to_owned).collect(),
            types_filter: args.list("types").into_iter().map(str::to_owned).collect(),
        },
        "describe" => GroupRequest::DescribeGroups(args.client(6), vec![args.group()]),
        "consumer-describe" => GroupRequest::ConsumerGroupDescribe(vec![args.group()]),
        "consumer" => {
            let owned = args.get("owned").map(|_| {
                let mut topics: BTreeMap<u128, Vec<i32>> = BTreeMap::new();
                for text in args.list("owned") {
                    let (topic, partition) = text.split_once(':').unwrap();
                    let number = u128::from_str_radix(topic.trim_start_matches('t'), 16).unwrap();
                    topics.entry(0x1000 + number).or_default().push(partition.parse().unwrap());
                }
                let topics = topics.into_iter().map(|(topic, partitions)| {
                    m::consumer_group_heartbeat_request::TopicPartitions::default()
                        .with_topic_id(Uuid::from_u128(topic))
                        .with_partitions(partitions)
                });
                topics.collect()
            });
            let epoch = args.number("epoch", 0);
            let request = m::ConsumerGroupHeartbeatRequest::default()
                .with_group_id(args.group())
                .with_member_id(args.wire("m"))
                .with_member_epoch(epoch)
                .with_instance_id(args.wire_option("instance"))
                .with_rebalance_timeout_ms(args.number("rebalance", if epoch == 0 { 20_000 } else { -1 }))
                .with_subscribed_topic_names(
                    args.get("topics").map(|_| args.list("topics").into_iter().map(topic).collect()),
                )
                .with_subscribed_topic_regex(args.wire_option("regex"))
                .with_server_assignor(args.wire_option("assignor"))
                .with_topic_partitions(if epoch == 0 { Some(Vec::new()) } else { owned });
            GroupRequest::ConsumerGroupHeartbeat(args.client(1), request)
        }
        "topic-deleted" => {
            let id = TopicId(Uuid::from_u128(0x1000));
            GroupRequest::TopicsDeleted(vec![(id, Arc::from(args.str("name")))])
        }
        "explain" => GroupRequest::Explain(Arc::from(args.str("g"))),
        other => panic!("no such command: {other}"),
    }
}
