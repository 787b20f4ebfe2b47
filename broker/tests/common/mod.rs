//! A broker in a folder of its own, and a client that speaks the protocol to it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use ottla::api::{Chunk, ConnectionId, ListenerInfo, Reply, RequestContext};
use ottla::config::Settings;
use ottla::config::sources::Given;
use ottla::security::Principal;
use ottla::server::Server;
use ottla_protocol::messages::create_topics_request::CreatableTopic;
use ottla_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use ottla_protocol::messages::produce_response::PartitionProduceResponse;
use ottla_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse,
    RequestHeader, ResponseHeader, TopicName,
};
use ottla_protocol::record_batch::BatchBuilder;
use ottla_protocol::{Decodable, Encodable, HeaderVersion, RequestMessage, StrBytes, Timestamp};
use uuid::Uuid;

/// A broker whose requests go straight to its dispatch: encoded and decoded as on the wire, without a socket between.
pub struct Broker {
    pub server: Server,
    pub dir: tempfile::TempDir,
}

/// What became of a request.
pub enum Answer<R> {
    Now(R),
    /// It waits; the value is still to come.
    Later(std::pin::Pin<Box<dyn Future<Output = R> + Send>>),
    Nothing,
    Closed,
}

impl<R> Answer<R> {
    pub async fn value(self) -> R {
        match self {
            Self::Now(value) => value,
            Self::Later(future) => future.await,
            Self::Nothing => panic!("no answer"),
            Self::Closed => panic!("connection closed"),
        }
    }

    pub fn is_later(&self) -> bool {
        matches!(self, Self::Later(_))
    }
}

impl Broker {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(overrides: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(settings(dir.path(), overrides)).await.unwrap();
        Self { server, dir }
    }

    /// Ends the broker in good order and starts it again on its data.
    pub async fn restart(self) -> Self {
        let Self { server, dir } = self;
        server.shutdown().await;
        let server = Server::start(settings(dir.path(), &[])).await.unwrap();
        Self { server, dir }
    }

    pub async fn ask<Q>(&self, version: i16, request: Q) -> Answer<Q::Response>
    where
        Q: RequestMessage + HeaderVersion + Encodable,
        Q::Response: Decodable + HeaderVersion + 'static,
    {
        self.ask_as("test", version, request).await
    }

    pub async fn ask_as<Q>(&self, client_id: &str, version: i16, request: Q) -> Answer<Q::Response>
    where
        Q: RequestMessage + HeaderVersion + Encodable,
        Q::Response: Decodable + HeaderVersion + 'static,
    {
        let mut frame = BytesMut::new();
        RequestHeader::default()
            .with_request_api_key(Q::KEY)
            .with_request_api_version(version)
            .with_correlation_id(7)
            .with_client_id(Some(StrBytes::from_string(client_id.to_owned())))
            .encode(&mut frame, Q::header_version(version))
            .unwrap();
        request.encode(&mut frame, version).unwrap();
        let request = ottla_protocol::request::decode(frame.freeze()).unwrap();
        let cx = RequestContext {
            api_key: Q::KEY,
            version,
            correlation_id: 7,
            client_id: client_id.into(),
            connection: ConnectionId(1),
            listener: Arc::new(ListenerInfo {
                name: "PLAINTEXT".into(),
                advertised_host: "localhost".into(),
                advertised_port: 9092,
                is_controller: false,
            }),
            peer: "127.0.0.1:1".parse().unwrap(),
            principal: Principal::anonymous(),
            received: Instant::now(),
            request_size: request.size,
        };
        match self.server.api.dispatch(&cx, request.body).await {
            Reply::Now(response) => Answer::Now(decode::<Q>(version, response.chunks)),
            Reply::Later(future) => Answer::Later(Box::pin(async move { decode::<Q>(version, future.await.chunks) })),
            Reply::None => Answer::Nothing,
            Reply::Close => Answer::Closed,
        }
    }

    /// Asks and waits.
    pub async fn call<Q>(&self, version: i16, request: Q) -> Q::Response
    where
        Q: RequestMessage + HeaderVersion + Encodable,
        Q::Response: Decodable + HeaderVersion + 'static,
    {
        self.ask(version, request).await.value().await
    }

    pub async fn create_topic(&self, name: &str, partitions: i32) -> CreateTopicsResponse {
        let topic = CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1);
        self.call(7, CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(5000)).await
    }

    pub async fn topic_id(&self, name: &str) -> Uuid {
        let asked = ottla_protocol::messages::metadata_request::MetadataRequestTopic::default();
        let request = MetadataRequest::default().with_topics(Some(vec![asked.with_name(Some(topic(name)))]));
        let response: MetadataResponse = self.call(12, request).await;
        response.topics[0].topic_id
    }

    /// Produces one batch with the values given and acks=all.
    pub async fn produce(&self, name: &str, partition: i32, values: &[&str]) -> PartitionProduceResponse {
        let response: ProduceResponse = self.call(12, produce_request(name, partition, -1, batch(values))).await;
        response.responses[0].partition_responses[0].clone()
    }
}

fn decode<Q>(version: i16, chunks: Vec<Chunk<ottla::api::Records>>) -> Q::Response
where
    Q: RequestMessage,
    Q::Response: Decodable + HeaderVersion,
{
    let mut frame = BytesMut::new();
    for chunk in chunks {
        match chunk {
            Chunk::Bytes(bytes) => frame.extend_from_slice(&bytes),
            Chunk::Records(records) => frame.extend_from_slice(&records.read_all().unwrap()),
        }
    }
    assert!(!frame.is_empty(), "the answer closes the connection");
    let mut frame = frame.freeze();
    let length = frame.split_to(4);
    assert_eq!(u32::from_be_bytes(length[..].try_into().unwrap()) as usize, frame.len());
    let header = ResponseHeader::decode(&mut frame, Q::Response::header_version(version)).unwrap();
    assert_eq!(header.correlation_id, 7);
    let response = Q::Response::decode(&mut frame, version).unwrap();
    assert!(frame.is_empty(), "{} bytes behind the answer", frame.len());
    response
}

fn settings(dir: &Path, overrides: &[(&str, &str)]) -> Arc<Settings> {
    let mut values: BTreeMap<String, String> = [
        ("node.id", "1"),
        ("process.roles", "broker,controller"),
        ("controller.listener.names", "CONTROLLER"),
        ("listeners", "PLAINTEXT://localhost:0,CONTROLLER://localhost:0"),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"),
        ("controller.quorum.voters", "1@localhost:9093"),
        ("offsets.topic.replication.factor", "1"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
    ]
    .into_iter()
    .chain(overrides.iter().copied())
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    values.insert("log.dirs".to_owned(), dir.join("data").display().to_string());
    let given = Given { values, cluster_id: None, origin: "test".to_owned() };
    Arc::new(Settings::new(given).unwrap())
}

pub fn topic(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// A batch of records with these values, no keys.
pub fn batch(values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for (index, value) in (0..).zip(values) {
        builder.push(Timestamp(1_700_000_000_000 + index), None, Some(value.as_bytes()), &[]);
    }
    builder.build()
}

pub fn produce_request(name: &str, partition: i32, acks: i16, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(1000)
        .with_topic_data(vec![TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![data])])
}
