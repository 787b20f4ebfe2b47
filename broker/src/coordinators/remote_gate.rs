//! Asks a transaction coordinator on another broker whether partitions belong to a producer's open transaction, or has it
//! add them (AddPartitionsToTxn v4+, KIP-890): one request at a time to each coordinator, with everything in it that came
//! up meanwhile.

use std::collections::HashMap;
use std::sync::Arc;

use ottla_coordinator::shard::Producer;
use ottla_protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use ottla_protocol::messages::add_partitions_to_txn_response::AddPartitionsToTxnResult;
use ottla_protocol::messages::{self, AddPartitionsToTxnRequest, TopicName, TransactionalId};
use ottla_protocol::{BrokerId, ErrorCode, StrBytes, TopicPartition};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::peer::Neighbours;

/// Questions that share a request.
const BATCH_MAX: usize = 256;
const VERSION: i16 = 5;

/// A code for each partition, or one for all of them.
type Verified = Result<Vec<(TopicPartition, ErrorCode)>, ErrorCode>;

struct Question {
    transactional_id: String,
    producer: Producer,
    partitions: Vec<TopicPartition>,
    add: bool,
    reply: oneshot::Sender<Verified>,
}

/// A queue for each broker that was ever asked. Cheap to clone.
#[derive(Clone)]
pub(super) struct RemoteGate {
    neighbours: Neighbours,
    queues: Arc<Mutex<HashMap<BrokerId, mpsc::UnboundedSender<Question>>>>,
}

impl RemoteGate {
    pub(super) fn new(neighbours: Neighbours) -> Self {
        Self { neighbours, queues: Arc::default() }
    }

    /// The coordinator's code for each partition.
    ///
    /// # Errors
    /// What to refuse all of them with; `NetworkException` and its like when there is no answer.
    pub(super) async fn ask(
        &self,
        coordinator: BrokerId,
        transactional_id: &str,
        producer: Producer,
        partitions: Vec<TopicPartition>,
        add: bool,
    ) -> Verified {
        let (reply, answer) = oneshot::channel();
        let transactional_id = transactional_id.to_owned();
        let _ = self.queue(coordinator).send(Question { transactional_id, producer, partitions, add, reply });
        answer.await.unwrap_or(Err(ErrorCode::NetworkException))
    }

    fn queue(&self, broker: BrokerId) -> mpsc::UnboundedSender<Question> {
        let mut queues = self.queues.lock();
        let queue = queues.entry(broker).or_insert_with(|| {
            let (queue, questions) = mpsc::unbounded_channel();
            tokio::spawn(carry(self.neighbours.clone(), broker, questions));
            queue
        });
        queue.clone()
    }
}

async fn carry(neighbours: Neighbours, broker: BrokerId, mut questions: mpsc::UnboundedReceiver<Question>) {
    let mut batch = Vec::new();
    while questions.recv_many(&mut batch, BATCH_MAX).await > 0 {
        while !batch.is_empty() {
            // A request names a transaction once; what else is asked about it goes with the next.
            let (now, later) = distinct(std::mem::take(&mut batch));
            batch = later;
            let request = AddPartitionsToTxnRequest::default().with_transactions(now.iter().map(transaction).collect());
            // Whatever kept the answer away, asking again is what helps.
            let asked = neighbours.ask(broker, VERSION, &request).await.map_err(|_| ErrorCode::NetworkException);
            let answer = asked.and_then(|response| match ErrorCode::from_code(response.error_code) {
                Some(ErrorCode::None) => Ok(response.results_by_transaction),
                Some(error) => Err(error),
                None => Err(ErrorCode::UnknownServerError),
            });
            for question in now {
                let verified = match &answer {
                    Ok(results) => of_question(results, &question),
                    Err(error) => Err(*error),
                };
                let _ = question.reply.send(verified);
            }
        }
    }
}

fn distinct(questions: Vec<Question>) -> (Vec<Question>, Vec<Question>) {
    let (mut now, mut later): (Vec<Question>, Vec<Question>) = (Vec::new(), Vec::new());
    for question in questions {
        let again = now.iter().chain(&later).any(|other| other.transactional_id == question.transactional_id);
        if again { later.push(question) } else { now.push(question) }
    }
    (now, later)
}

fn of_question(results: &[AddPartitionsToTxnResult], question: &Question) -> Verified {
    let result = results.iter().find(|result| result.transactional_id.as_str() == question.transactional_id);
    let topics = &result.ok_or(ErrorCode::UnknownServerError)?.topic_results;
    let code = |partition: &TopicPartition| {
        let topic = topics.iter().find(|topic| topic.name.as_str() == &*partition.topic)?;
        let found = topic.results_by_partition.iter().find(|found| found.partition_index == partition.partition)?;
        ErrorCode::from_code(found.partition_error_code)
    };
    let judge =
        |partition: &TopicPartition| (partition.clone(), code(partition).unwrap_or(ErrorCode::UnknownServerError));
    Ok(question.partitions.iter().map(judge).collect())
}

fn transaction(question: &Question) -> AddPartitionsToTxnTransaction {
    let mut topics: Vec<AddPartitionsToTxnTopic> = Vec::new();
    for partition in &question.partitions {
        match topics.iter_mut().find(|topic| topic.name.as_str() == &*partition.topic) {
            Some(topic) => topic.partitions.push(partition.partition),
            None => topics.push(
                AddPartitionsToTxnTopic::default()
                    .with_name(TopicName(StrBytes::from_string(partition.topic.to_string())))
                    .with_partitions(vec![partition.partition]),
            ),
        }
    }
    AddPartitionsToTxnTransaction::default()
        .with_transactional_id(TransactionalId(StrBytes::from_string(question.transactional_id.clone())))
        .with_producer_id(messages::ProducerId(question.producer.id.0))
        .with_producer_epoch(question.producer.epoch.0)
        .with_verify_only(!question.add)
        .with_topics(topics)
}

#[cfg(test)]
mod tests {
    use ottla_protocol::{ProducerEpoch, ProducerId};

    use super::*;

    fn question(id: &str) -> Question {
        let producer = Producer { id: ProducerId(1), epoch: ProducerEpoch(0) };
        let (reply, _) = oneshot::channel();
        Question { transactional_id: id.to_owned(), producer, partitions: Vec::new(), add: true, reply }
    }

    #[test]
    fn a_request_names_a_transaction_once() {
        let ids = |questions: &[Question]| questions.iter().map(|q| q.transactional_id.clone()).collect::<Vec<_>>();
        let (now, later) = distinct(["a", "b", "a", "c", "a"].map(question).into());
        assert_eq!((ids(&now), ids(&later)), (vec!["a".into(), "b".into(), "c".into()], vec!["a".into(), "a".into()]));
    }
}
