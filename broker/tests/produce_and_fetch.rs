//! What is produced is fetched: offsets, limits, long polls, sessions, errors.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{Broker, Silence, batch, produce_request, topic};
use ottla_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use ottla_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic, ReplicaState};
use ottla_protocol::messages::fetch_response::PartitionData;
use ottla_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use ottla_protocol::messages::{DeleteRecordsRequest, FetchRequest, FetchResponse, ProduceRequest, ProduceResponse};
use ottla_protocol::record_batch::{BatchBuilder, BatchView};
use ottla_protocol::{ErrorCode, ProducerEpoch, ProducerId, Timestamp};
use tokio::time::timeout;
use uuid::Uuid;

fn fetch(name: &str, offsets: &[(i32, i64)]) -> FetchRequest {
    let partitions = offsets.iter().map(|&(partition, offset)| {
        FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(offset)
            .with_current_leader_epoch(-1)
            .with_last_fetched_epoch(-1)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(1 << 20)
    });
    let topics = vec![FetchTopic::default().with_topic(topic(name)).with_partitions(partitions.collect())];
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_min_bytes(1)
        .with_max_bytes(1 << 24)
        .with_session_epoch(-1)
        .with_topics(topics)
}

fn by_id(mut request: FetchRequest, id: Uuid) -> FetchRequest {
    for topic in &mut request.topics {
        topic.topic = Default::default();
        topic.topic_id = id;
    }
    request
}

fn only(response: &FetchResponse) -> &PartitionData {
    assert_eq!(response.responses.len(), 1);
    assert_eq!(response.responses[0].partitions.len(), 1);
    &response.responses[0].partitions[0]
}

fn values(partition: &PartitionData) -> Vec<String> {
    let mut bytes = &partition.records.as_ref().unwrap()[..];
    let mut values = Vec::new();
    while !bytes.is_empty() {
        let batch = BatchView::parse(bytes).unwrap();
        assert!(batch.crc_is_valid());
        let mut records = batch.records().unwrap();
        while let Some(record) = records.next_record().unwrap() {
            values.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
        }
        bytes = &bytes[batch.bytes().len()..];
    }
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_of_produce_is_answered() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1).await;
    let id = broker.topic_id("t").await;
    for version in 3..=13 {
        let mut request = produce_request("t", 0, -1, batch(&["a", "b"]));
        if version >= 13 {
            request.topic_data[0].name = Default::default();
            request.topic_data[0].topic_id = id;
        }
        let response: ProduceResponse = broker.call(version, request).await;
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (0, i64::from(version - 3) * 2), "v{version}");
        assert_eq!(partition.log_append_time_ms, -1);
        assert_eq!(partition.log_start_offset, if version >= 5 { 0 } else { -1 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_of_fetch_brings_the_records() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1).await;
    let id = broker.topic_id("t").await;
    broker.produce("t", 0, &["one", "two"]).await;
    broker.produce("t", 0, &["three"]).await;
    for version in 4..=18 {
        let mut request = fetch("t", &[(0, 2)]);
        if version >= 13 {
            request = by_id(request, id);
        }
        if version >= 15 {
            request.replica_id = (-1).into();
            request.replica_state = ReplicaState::default();
        }
        let response: FetchResponse = broker.call(version, request).await;
        let partition = only(&response);
        assert_eq!(partition.error_code, 0, "v{version}");
        assert_eq!((partition.high_watermark, partition.last_stable_offset), (3, 3));
        assert_eq!(values(partition), ["three"], "v{version}");
        assert_eq!(partition.aborted_transactions, None);
        if version >= 13 {
            assert_eq!(response.responses[0].topic_id, id);
        } else {
            assert_eq!(response.responses[0].topic, topic("t"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_decide_about_the_answer() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1).await;
    let nothing = broker.ask(9, produce_request("t", 0, 0, batch(&["a"]))).await;
    assert_eq!(nothing.silence().await, Silence::Open);
    let closed = broker.ask(9, produce_request("missing", 0, 0, batch(&["a"]))).await;
    assert_eq!(closed.silence().await, Silence::Closed);
    let one: ProduceResponse = broker.call(9, produce_request("t", 0, 1, batch(&["b"]))).await;
    assert_eq!(one.responses[0].partition_responses[0].base_offset, 1);
    let odd: ProduceResponse = broker.call(9, produce_request("t", 0, 2, batch(&["b"]))).await;
    let odd = &odd.responses[0].partition_responses[0];
    assert_eq!((odd.error_code, odd.base_offset), (ErrorCode::InvalidRequiredAcks as i16, -1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_produced_is_refused_by_partition() {
    let broker = Broker::start().await;
    broker.create_topic("t", 2).await;
    broker.create_topic("__consumer_offsets", 1).await;
    let two_batches = [batch(&["a"]), batch(&["b"])].concat();
    let data = |index, records| PartitionProduceData::default().with_index(index).with_records(records);
    let topics = vec![
        TopicProduceData::default().with_name(topic("t")).with_partition_data(vec![
            data(0, Some(batch(&["good"]))),
            data(1, Some(two_batches.into())),
            data(7, Some(batch(&["a"]))),
        ]),
        TopicProduceData::default().with_name(topic("nope")).with_partition_data(vec![data(0, Some(batch(&["a"])))]),
        TopicProduceData::default()
            .with_name(topic("__consumer_offsets"))
            .with_partition_data(vec![data(0, Some(batch(&["a"])))]),
    ];
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(topics);
    let response: ProduceResponse = broker.call(9, request.clone()).await;
    let codes: Vec<i16> =
        response.responses.iter().flat_map(|t| &t.partition_responses).map(|p| p.error_code).collect();
    let expected = [
        ErrorCode::None,
        ErrorCode::InvalidRecord,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::InvalidTopicException,
    ];
    assert_eq!(codes, expected.map(|code| code as i16));
    // The admin client may.
    let response: ProduceResponse = broker.ask_as("__admin_client", 9, request).await.value().await;
    assert_eq!(response.responses[2].partition_responses[0].error_code, 0);
    // An unknown id is told from an unknown name.
    let mut request = produce_request("", 0, -1, batch(&["a"]));
    request.topic_data[0].topic_id = Uuid::from_u128(7);
    let response: ProduceResponse = broker.call(13, request).await;
    assert_eq!(response.responses[0].partition_responses[0].error_code, ErrorCode::UnknownTopicId as i16);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_sent_at_once_are_answered_as_one_by_one() {
    let broker = Broker::start().await;
    broker.create_topic("alone", 2).await;
    broker.create_topic("together", 2).await;
    let counted = |sequence: i32, value: &str| {
        let mut builder = BatchBuilder::new().producer(ProducerId(7), ProducerEpoch(0), sequence);
        builder.push(Timestamp(1_700_000_000_000), None, Some(value.as_bytes()), &[]);
        builder.build()
    };
    let mut damaged = batch(&["damaged"]).to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    // What several requests have for a partition, with what is refused among it.
    let sent: Vec<(i32, Bytes)> = vec![
        (0, counted(0, "first")),
        (0, counted(1, "second")),
        (1, batch(&["a", "b"])),
        (0, damaged.into()),
        (7, batch(&["nowhere"])),
        (0, counted(2, "third")),
        (0, counted(1, "second")),
        (0, counted(9, "behind a gap")),
        (0, counted(3, "fourth")),
        (1, batch(&["c"])),
        (1, [batch(&["d"]), batch(&["e"])].concat().into()),
        (0, batch(&["of nobody"])),
    ];
    let request =
        |name: &str, (partition, records): &(i32, Bytes)| produce_request(name, *partition, -1, records.clone());
    let mut alone: Vec<ProduceResponse> = Vec::new();
    for one in &sent {
        alone.push(broker.call(9, request("alone", one)).await);
    }
    let together = broker.call_together(9, sent.iter().map(|one| request("together", one)).collect()).await;
    let told = |answers: &[ProduceResponse]| {
        let partition = |answer: &ProduceResponse| answer.responses[0].partition_responses[0].clone();
        answers.iter().map(partition).collect::<Vec<_>>()
    };
    assert_eq!(told(&together), told(&alone));
    let codes: Vec<i16> = told(&together).iter().map(|partition| partition.error_code).collect();
    let (ok, corrupt, unknown, gap, invalid) = (
        0,
        ErrorCode::CorruptMessage as i16,
        ErrorCode::UnknownTopicOrPartition as i16,
        ErrorCode::OutOfOrderSequenceNumber as i16,
        ErrorCode::InvalidRecord as i16,
    );
    assert_eq!(codes, [ok, ok, ok, corrupt, unknown, ok, ok, gap, ok, ok, invalid, ok]);
    let read: FetchResponse = broker.call(12, fetch("together", &[(0, 0)])).await;
    assert_eq!(values(only(&read)), ["first", "second", "third", "fourth", "of nobody"]);
    let read: FetchResponse = broker.call(12, fetch("together", &[(1, 0)])).await;
    assert_eq!(values(only(&read)), ["a", "b", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_wakes_for_the_first_record() {
    let broker = Broker::start().await;
    broker.create_topic("t", 3).await;
    let mut request = fetch("t", &[(0, 0), (1, 0), (2, 0)]);
    request.max_wait_ms = 30_000;
    let waiting = broker.ask(12, request).await;
    let waiting = tokio::spawn(waiting.value());
    tokio::time::sleep(Duration::from_millis(50)).await;
    broker.produce("t", 1, &["now"]).await;
    let response: FetchResponse = timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    let partitions = &response.responses[0].partitions;
    assert_eq!(partitions.len(), 3);
    assert_eq!(values(&partitions[1]), ["now"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_ends_with_its_time_or_with_the_topic() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1).await;
    let mut request = fetch("t", &[(0, 0)]);
    request.max_wait_ms = 50;
    let response: FetchResponse = timeout(Duration::from_secs(5), broker.call(12, request)).await.unwrap();
    assert_eq!((only(&response).error_code, only(&response).high_watermark), (0, 0));
    let mut request = fetch("t", &[(0, 0)]);
    request.max_wait_ms = 30_000;
    let waiting = tokio::spawn(broker.ask(12, request).await.value());
    let delete = ottla_protocol::messages::DeleteTopicsRequest::default()
        .with_topic_names(vec![topic("t")])
        .with_timeout_ms(1000);
    broker.call(5, delete).await;
    let response: FetchResponse = timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    assert_eq!(only(&response).error_code, ErrorCode::UnknownTopicOrPartition as i16);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_batch_may_exceed_the_limits() {
    let broker = Broker::start().await;
    broker.create_topic("t", 2).await;
    let big = "x".repeat(5000);
    broker.produce("t", 0, &[&big]).await;
    broker.produce("t", 1, &[&big]).await;
    let mut request = fetch("t", &[(0, 0), (1, 0)]);
    request.max_bytes = 100;
    request.topics[0].partitions[0].partition_max_bytes = 1;
    let response: FetchResponse = broker.call(12, request).await;
    let partitions = &response.responses[0].partitions;
    assert_eq!(values(&partitions[0]), [big]);
    assert_eq!(partitions[1].records.as_ref().unwrap().len(), 0, "the answer is full");
}

/// A consumer that is given the begin of a batch finds no record in it, and asks for it again for ever.
#[tokio::test(flavor = "multi_thread")]
async fn no_batch_but_the_first_is_cut_off() {
    let broker = Broker::start().await;
    broker.create_topic("t", 2).await;
    let big = "x".repeat(5000);
    broker.produce("t", 0, &[&big]).await;
    broker.produce("t", 1, &[&big]).await;
    for (answer, partition) in [(8_000, 1_000), (8_000, 1 << 20), (1 << 20, 1_000)] {
        let mut request = fetch("t", &[(0, 0), (1, 0)]);
        request.max_bytes = answer;
        request.topics[0].partitions[1].partition_max_bytes = partition;
        let response: FetchResponse = broker.call(12, request).await;
        let partitions = &response.responses[0].partitions;
        assert_eq!(values(&partitions[0]), [big.as_str()]);
        let second = partitions[1].records.as_ref().unwrap().len();
        assert_eq!(second, 0, "answer of {answer}, partition of {partition}");
    }
    // In a session the one that got nothing comes first the next time.
    let mut open = fetch("t", &[(0, 0), (1, 0)]);
    open.max_bytes = 8_000;
    open.session_epoch = 0;
    let opened: FetchResponse = broker.call(12, open).await;
    assert_eq!(values(&opened.responses[0].partitions[0]), [big.as_str()]);
    for (epoch, partition) in [(1, 0), (2, 1), (3, 0)] {
        let mut next = fetch("t", &[]);
        next.max_bytes = 8_000;
        next.session_id = opened.session_id;
        next.session_epoch = epoch;
        let response: FetchResponse = broker.call(12, next).await;
        let first = &response.responses[0].partitions[0];
        assert_eq!((first.partition_index, values(first).len()), (partition, 1), "epoch {epoch}");
    }
}

/// As in Kafka: what lies behind the end of a segment is there, so there is nothing to wait for.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_at_the_end_of_a_segment() {
    let broker = Broker::start_with(&[("log.segment.bytes", "1048576")]).await;
    broker.create_topic("t", 1).await;
    let big = "x".repeat(700_000);
    for _ in 0..2 {
        broker.produce("t", 0, &[&big]).await;
    }
    let mut request = fetch("t", &[(0, 0)]);
    request.min_bytes = 1_000_000;
    request.max_bytes = 4_000_000;
    request.max_wait_ms = 120_000;
    request.topics[0].partitions[0].partition_max_bytes = 4_000_000;
    let response: FetchResponse =
        timeout(Duration::from_secs(60), broker.call(12, request)).await.expect("the answer does not wait");
    assert_eq!(values(only(&response)), [big]);
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_and_epochs_are_checked() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1).await;
    broker.produce("t", 0, &["a"]).await;
    let code = async |request: FetchRequest| only(&broker.call(12, request).await).error_code;
    assert_eq!(code(fetch("t", &[(0, 2)])).await, ErrorCode::OffsetOutOfRange as i16);
    assert_eq!(code(fetch("t", &[(0, -5)])).await, ErrorCode::OffsetOutOfRange as i16);
    assert_eq!(code(fetch("t", &[(0, 1)])).await, 0, "the end of the log is in range");
    assert_eq!(code(fetch("t", &[(1, 0)])).await, ErrorCode::UnknownTopicOrPartition as i16);
    let mut newer = fetch("t", &[(0, 0)]);
    newer.topics[0].partitions[0].current_leader_epoch = 99;
    assert_eq!(code(newer).await, ErrorCode::UnknownLeaderEpoch as i16);
    let response: FetchResponse = broker.call(13, by_id(fetch("t", &[(0, 0)]), Uuid::from_u128(9))).await;
    assert_eq!(only(&response).error_code, ErrorCode::UnknownTopicId as i16);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_created_again_is_another_topic() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1).await;
    let old = broker.topic_id("t").await;
    // A session opened on the old topic keeps its name.
    let mut open = by_id(fetch("t", &[(0, 0)]), old);
    open.session_epoch = 0;
    let opened: FetchResponse = broker.call(17, open).await;
    let delete = ottla_protocol::messages::DeleteTopicsRequest::default().with_topic_names(vec![topic("t")]);
    broker.call(5, delete.with_timeout_ms(1000)).await;
    broker.create_topic("t", 1).await;
    assert_ne!(broker.topic_id("t").await, old);
    let response: FetchResponse = broker.call(13, by_id(fetch("t", &[(0, 0)]), old)).await;
    assert_eq!(only(&response).error_code, ErrorCode::UnknownTopicId as i16);
    let mut next = FetchRequest::default().with_replica_id((-1).into()).with_max_bytes(1000);
    next.session_id = opened.session_id;
    next.session_epoch = 1;
    let response: FetchResponse = broker.call(17, next).await;
    assert_eq!(only(&response).error_code, ErrorCode::InconsistentTopicId as i16);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_tells_only_what_is_new() {
    let broker = Broker::start().await;
    broker.create_topic("t", 2).await;
    let mut open = fetch("t", &[(0, 0), (1, 0)]);
    open.session_epoch = 0;
    let opened: FetchResponse = broker.call(12, open).await;
    assert_ne!(opened.session_id, 0);
    assert_eq!(opened.responses[0].partitions.len(), 2);
    let next = |epoch| {
        let mut request = FetchRequest::default().with_replica_id((-1).into()).with_max_bytes(1 << 20);
        request.session_id = opened.session_id;
        request.session_epoch = epoch;
        request
    };
    let response: FetchResponse = broker.call(12, next(1)).await;
    assert!(response.responses.is_empty(), "nothing is new");
    assert_eq!(response.session_id, opened.session_id);
    broker.produce("t", 1, &["x"]).await;
    let response: FetchResponse = broker.call(12, next(2)).await;
    assert_eq!(only(&response).partition_index, 1);
    assert_eq!(values(only(&response)), ["x"]);
    let wrong: FetchResponse = broker.call(12, next(9)).await;
    assert_eq!(wrong.error_code, ErrorCode::InvalidFetchSessionEpoch as i16);
    let by_ids: FetchResponse = broker.call(13, next(3)).await;
    assert_eq!(by_ids.error_code, ErrorCode::FetchSessionTopicIdError as i16);
    let mut forget = next(3);
    forget.forgotten_topics_data = vec![ForgottenTopic::default().with_topic(topic("t")).with_partitions(vec![0, 1])];
    let closed: FetchResponse = broker.call(12, forget).await;
    assert_eq!((closed.error_code, closed.session_id), (0, 0));
    let gone: FetchResponse = broker.call(12, next(4)).await;
    assert_eq!(gone.error_code, ErrorCode::FetchSessionIdNotFound as i16);
}

/// The next requests of a consumer's session, which name nothing.
fn going_on(session_id: i32, epoch: i32, wait_ms: i32) -> FetchRequest {
    let mut request = FetchRequest::default().with_replica_id((-1).into()).with_max_bytes(1 << 20).with_min_bytes(1);
    request.session_id = session_id;
    request.session_epoch = epoch;
    request.max_wait_ms = wait_ms;
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_at_rest_waits_and_hears_of_the_partition_that_moves() {
    let broker = Broker::start().await;
    broker.create_topic("t", 20).await;
    let everything: Vec<(i32, i64)> = (0..20).map(|partition| (partition, 0)).collect();
    let mut open = fetch("t", &everything);
    open.session_epoch = 0;
    let opened: FetchResponse = broker.call(12, open).await;
    // Looked at once more, and then left alone.
    let _: FetchResponse = broker.call(12, going_on(opened.session_id, 1, 0)).await;
    let waiting = broker.ask(12, going_on(opened.session_id, 2, 30_000)).await;
    let waiting = tokio::spawn(waiting.value());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished(), "there is nothing to tell, and nothing to answer for that");
    broker.produce("t", 13, &["now"]).await;
    let response: FetchResponse = timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    assert_eq!(only(&response).partition_index, 13);
    assert_eq!(values(only(&response)), ["now"]);
    // It did not say that it has that record, so it is told again.
    let response: FetchResponse = broker.call(12, going_on(opened.session_id, 3, 0)).await;
    assert_eq!(values(only(&response)), ["now"]);
    let mut read = fetch("t", &[(13, 1)]);
    (read.session_id, read.session_epoch) = (opened.session_id, 4);
    let response: FetchResponse = broker.call(12, read).await;
    assert!(response.responses.is_empty());
    // Deleted while it waits: every partition of it is told.
    let waiting = tokio::spawn(broker.ask(12, going_on(opened.session_id, 5, 30_000)).await.value());
    let delete = ottla_protocol::messages::DeleteTopicsRequest::default()
        .with_topic_names(vec![topic("t")])
        .with_timeout_ms(1000);
    broker.call(5, delete).await;
    let response: FetchResponse = timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    assert!(response.responses[0].partitions.iter().all(|p| p.error_code != 0));
    let response: FetchResponse = broker.call(12, going_on(opened.session_id, 6, 0)).await;
    assert_eq!(response.responses[0].partitions.len(), 20);
    let unknown = ErrorCode::UnknownTopicOrPartition as i16;
    assert!(response.responses[0].partitions.iter().all(|p| p.error_code == unknown));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_told_of_a_log_start_that_moves_while_nothing_is_written() {
    let broker = Broker::start().await;
    broker.create_topic("t", 3).await;
    broker.produce("t", 1, &["a", "b"]).await;
    let mut open = fetch("t", &[(0, 0), (1, 2), (2, 0)]);
    open.session_epoch = 0;
    let opened: FetchResponse = broker.call(12, open).await;
    for epoch in 1..4 {
        let response: FetchResponse = broker.call(12, going_on(opened.session_id, epoch, 0)).await;
        assert!(response.responses.is_empty());
    }
    let partition = DeleteRecordsPartition::default().with_partition_index(1).with_offset(2);
    let delete = DeleteRecordsRequest::default()
        .with_topics(vec![DeleteRecordsTopic::default().with_name(topic("t")).with_partitions(vec![partition])])
        .with_timeout_ms(1000);
    broker.call(2, delete).await;
    let response: FetchResponse = broker.call(12, going_on(opened.session_id, 4, 0)).await;
    assert_eq!((only(&response).partition_index, only(&response).log_start_offset), (1, 2));
}
