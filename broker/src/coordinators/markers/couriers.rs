//! Has markers written by leaders on other brokers (WriteTxnMarkers): one request at a time to each broker, with
//! everything in it that came up meanwhile.

use std::collections::HashMap;
use std::sync::Arc;

use ottla_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use ottla_protocol::messages::write_txn_markers_response::WriteTxnMarkersResponse;
use ottla_protocol::messages::{self, TopicName, WriteTxnMarkersRequest};
use ottla_protocol::{BrokerId, ErrorCode, StrBytes, TopicPartition};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::coordinators::log::TxnMarker;
use crate::peer::Neighbours;

/// Errands that share a request.
const BATCH_MAX: usize = 256;
/// The first that tells the transaction version.
const VERSION: i16 = 2;

/// Markers of one transaction for one broker.
#[derive(Debug, Clone)]
pub(super) struct Errand {
    pub marker: TxnMarker,
    pub partitions: Vec<TopicPartition>,
}

/// What became of each partition.
type Written = Vec<(TopicPartition, Result<(), ErrorCode>)>;

struct Waiting {
    errand: Errand,
    reply: oneshot::Sender<Result<Written, ErrorCode>>,
}

/// A queue for each broker that markers were ever sent to. Cheap to clone.
#[derive(Clone)]
pub(super) struct Couriers {
    neighbours: Neighbours,
    queues: Arc<Mutex<HashMap<BrokerId, mpsc::UnboundedSender<Waiting>>>>,
}

impl Couriers {
    pub(super) fn new(neighbours: Neighbours) -> Self {
        Self { neighbours, queues: Arc::default() }
    }

    /// Waits until the broker has answered for each partition.
    ///
    /// # Errors
    /// When there is no answer: the markers may or may not have been written.
    pub(super) async fn send(&self, broker: BrokerId, errand: Errand) -> Result<Written, ErrorCode> {
        let (reply, answer) = oneshot::channel();
        let _ = self.queue(broker).send(Waiting { errand, reply });
        answer.await.unwrap_or(Err(ErrorCode::NetworkException))
    }

    fn queue(&self, broker: BrokerId) -> mpsc::UnboundedSender<Waiting> {
        let mut queues = self.queues.lock();
        let queue = queues.entry(broker).or_insert_with(|| {
            let (queue, errands) = mpsc::unbounded_channel();
            tokio::spawn(carry(self.neighbours.clone(), broker, errands));
            queue
        });
        queue.clone()
    }
}

async fn carry(neighbours: Neighbours, broker: BrokerId, mut errands: mpsc::UnboundedReceiver<Waiting>) {
    let mut batch = Vec::new();
    while errands.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let request = WriteTxnMarkersRequest::default()
            .with_markers(batch.iter().map(|waiting| marker(&waiting.errand)).collect());
        let answer = neighbours.ask(broker, VERSION, &request).await;
        let mut answers = answer.map(|response| by_producer(&response));
        for Waiting { errand, reply } in batch.drain(..) {
            let written = match &mut answers {
                Ok(answers) => Ok(of_errand(answers, errand)),
                Err(error) => Err(*error),
            };
            let _ = reply.send(written);
        }
    }
}

/// One code for each partition and producer. A producer has one transaction at a time, so that names the errand.
type Answers = HashMap<(i64, String, i32), i16>;

fn by_producer(response: &WriteTxnMarkersResponse) -> Answers {
    let mut answers = Answers::new();
    for marker in &response.markers {
        for topic in &marker.topics {
            for partition in &topic.partitions {
                let key = (marker.producer_id.0, topic.name.as_str().to_owned(), partition.partition_index);
                answers.insert(key, partition.error_code);
            }
        }
    }
    answers
}

fn of_errand(answers: &mut Answers, errand: Errand) -> Written {
    let id = errand.marker.producer.id.0;
    let judge = |partition: TopicPartition| {
        let code = answers.get(&(id, partition.topic.to_string(), partition.partition));
        let written = match code.map(|&code| ErrorCode::from_code(code)) {
            Some(Some(ErrorCode::None)) => Ok(()),
            Some(Some(error)) => Err(error),
            // Not answered for, or in words nobody knows.
            _ => Err(ErrorCode::UnknownServerError),
        };
        (partition, written)
    };
    errand.partitions.into_iter().map(judge).collect()
}

fn marker(errand: &Errand) -> WritableTxnMarker {
    let mut topics: Vec<WritableTxnMarkerTopic> = Vec::new();
    for partition in &errand.partitions {
        match topics.iter_mut().find(|topic| topic.name.as_str() == &*partition.topic) {
            Some(topic) => topic.partition_indexes.push(partition.partition),
            None => topics.push(
                WritableTxnMarkerTopic::default()
                    .with_name(TopicName(StrBytes::from_string(partition.topic.to_string())))
                    .with_partition_indexes(vec![partition.partition]),
            ),
        }
    }
    WritableTxnMarker::default()
        .with_producer_id(messages::ProducerId(errand.marker.producer.id.0))
        .with_producer_epoch(errand.marker.producer.epoch.0)
        .with_transaction_result(errand.marker.commit)
        .with_coordinator_epoch(errand.marker.coordinator_epoch)
        .with_transaction_version(i8::try_from(errand.marker.transaction_version).unwrap_or(i8::MAX))
        .with_topics(topics)
}
