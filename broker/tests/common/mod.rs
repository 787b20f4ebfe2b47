//! A broker in a folder of its own, and a client that speaks the protocol to it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ottla::config::Settings;
use ottla::config::sources::Given;
use ottla::server::Server;
use ottla::telemetry::Loggers;
use ottla_protocol::messages::create_topics_request::CreatableTopic;
use ottla_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use ottla_protocol::messages::produce_response::PartitionProduceResponse;
use ottla_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse,
    RequestHeader, ResponseHeader, TopicName,
};
use ottla_protocol::record_batch::BatchBuilder;
use ottla_protocol::{Decodable, Encodable, HeaderVersion, RequestMessage, StrBytes, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

const CORRELATION_ID: i32 = 7;

/// A running broker; every request has a connection of its own.
pub struct Broker {
    pub server: Server,
    pub dir: tempfile::TempDir,
}

/// A request that was sent.
pub struct Sent<R> {
    socket: TcpStream,
    version: i16,
    answer: PhantomData<R>,
}

/// What happened to a request that may have no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Silence {
    /// Nothing came, and the connection is open.
    Open,
    Closed,
}

impl<R: Decodable + HeaderVersion> Sent<R> {
    pub async fn value(mut self) -> R {
        self.next_value().await
    }

    async fn next_value(&mut self) -> R {
        let mut length = [0; 4];
        self.socket.read_exact(&mut length).await.expect("an answer");
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.socket.read_exact(&mut frame).await.expect("a whole answer");
        let mut frame = Bytes::from(frame);
        let header = ResponseHeader::decode(&mut frame, R::header_version(self.version)).unwrap();
        assert_eq!(header.correlation_id, CORRELATION_ID);
        let response = R::decode(&mut frame, self.version).unwrap();
        assert!(frame.is_empty(), "{} bytes behind the answer", frame.len());
        response
    }

    /// The socket takes little of what the broker has to say, and nobody reads it.
    pub fn limit_what_comes_in(&mut self) {
        let _ = socket2::SockRef::from(&self.socket).set_recv_buffer_size(4096);
    }

    /// True when nothing has come for a while.
    pub async fn is_waiting(&self) -> bool {
        tokio::time::timeout(Duration::from_millis(300), self.socket.peek(&mut [0; 1])).await.is_err()
    }

    /// How many bytes still come before the connection is closed.
    pub async fn bytes_to_the_end(mut self) -> usize {
        let mut bytes = Vec::new();
        // A connection that is reset is as good as closed.
        let _ = self.socket.read_to_end(&mut bytes).await;
        bytes.len()
    }

    pub async fn silence(mut self) -> Silence {
        let mut byte = [0; 1];
        match tokio::time::timeout(Duration::from_millis(300), self.socket.read(&mut byte)).await {
            Err(_) => Silence::Open,
            Ok(Ok(0) | Err(_)) => Silence::Closed,
            Ok(Ok(_)) => panic!("an answer came"),
        }
    }
}

impl Broker {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(overrides: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(settings(dir.path(), overrides), Loggers::default()).await.unwrap();
        Self { server, dir }
    }

    /// Ends the broker in good order and starts it again on its data.
    pub async fn restart(self) -> Self {
        self.restart_with(&[]).await
    }

    pub async fn restart_with(self, overrides: &[(&str, &str)]) -> Self {
        let Self { server, dir } = self;
        server.shutdown().await;
        let server = Server::start(settings(dir.path(), overrides), Loggers::default()).await.unwrap();
        Self { server, dir }
    }

    pub async fn ask<Q>(&self, version: i16, request: Q) -> Sent<Q::Response>
    where
        Q: RequestMessage + HeaderVersion + Encodable,
    {
        self.ask_as("test", version, request).await
    }

    pub async fn ask_as<Q>(&self, client_id: &str, version: i16, request: Q) -> Sent<Q::Response>
    where
        Q: RequestMessage + HeaderVersion + Encodable,
    {
        let frame = encoded(client_id, version, &request);
        let mut socket = TcpStream::connect(&self.server.bootstrap_servers()[0]).await.unwrap();
        socket.write_all(&frame).await.unwrap();
        Sent { socket, version, answer: PhantomData }
    }

    /// Asks and waits.
    pub async fn call<Q>(&self, version: i16, request: Q) -> Q::Response
    where
        Q: RequestMessage + HeaderVersion + Encodable,
        Q::Response: Decodable + HeaderVersion + 'static,
    {
        self.ask(version, request).await.value().await
    }

    /// The answers to requests that are sent at once, over one connection.
    pub async fn call_together<Q>(&self, version: i16, requests: Vec<Q>) -> Vec<Q::Response>
    where
        Q: RequestMessage + HeaderVersion + Encodable,
        Q::Response: Decodable + HeaderVersion + 'static,
    {
        let frames: Vec<u8> = requests.iter().flat_map(|request| encoded("test", version, request)).collect();
        let mut socket = TcpStream::connect(&self.server.bootstrap_servers()[0]).await.unwrap();
        socket.write_all(&frames).await.unwrap();
        let mut sent = Sent { socket, version, answer: PhantomData };
        let mut answers = Vec::new();
        for _ in &requests {
            answers.push(sent.next_value().await);
        }
        answers
    }

    pub async fn create_topic(&self, name: &str, partitions: i32) -> CreateTopicsResponse {
        let topic =
            CreatableTopic::default().with_name(topic(name)).with_num_partitions(partitions).with_replication_factor(1);
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

pub fn settings(dir: &Path, overrides: &[(&str, &str)]) -> Arc<Settings> {
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
    values.entry("log.dirs".to_owned()).or_insert_with(|| dir.join("data").display().to_string());
    let given = Given { values, cluster_id: None, origin: "test".to_owned(), ..Given::default() };
    Arc::new(Settings::new(given).unwrap())
}

pub fn topic(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// A frame with its length.
fn encoded<Q: RequestMessage + HeaderVersion + Encodable>(client_id: &str, version: i16, request: &Q) -> BytesMut {
    let mut frame = BytesMut::from(&[0; 4][..]);
    RequestHeader::default()
        .with_request_api_key(Q::KEY)
        .with_request_api_version(version)
        .with_correlation_id(CORRELATION_ID)
        .with_client_id(Some(StrBytes::from_string(client_id.to_owned())))
        .encode(&mut frame, Q::header_version(version))
        .unwrap();
    request.encode(&mut frame, version).unwrap();
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
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
