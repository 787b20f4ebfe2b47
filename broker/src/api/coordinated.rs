//! What the APIs of coordinators have in common: who asks, and answering once the coordinator has.

use std::sync::Arc;

use ottla_coordinator::group::{Client, GroupRequest, GroupResponse, GroupShard};
use ottla_coordinator::shard::Producer;
use ottla_protocol::{Encodable, ErrorCode, HeaderVersion, ProducerEpoch, ProducerId};

use super::{Reply, RequestContext};
use crate::coordinators::{Coordinators, Kind, Waiting};

/// Takes the answer of one kind out of a coordinator's answers.
macro_rules! expect_answer {
    ($answer:expr, $variant:path) => {
        match $answer {
            Ok($variant(response)) => Ok(response),
            Ok(_) => Err(ottla_protocol::ErrorCode::UnknownServerError),
            Err(error) => Err(error),
        }
    };
}

pub(super) use expect_answer;

/// The client behind a request, as groups remember it.
pub(super) fn client(cx: &RequestContext) -> Client {
    Client {
        client_id: Arc::clone(&cx.client_id),
        client_host: format!("/{}", cx.peer.ip()).into(),
        version: cx.version,
    }
}

/// The producer of a transactional request.
pub(super) const fn producer(id: ottla_protocol::messages::ProducerId, epoch: i16) -> Producer {
    Producer { id: ProducerId(id.0), epoch: ProducerEpoch(epoch) }
}

/// A request in a group coordinator's queue, or why it did not get there.
pub(super) type Asked = Result<Waiting<GroupShard>, ErrorCode>;

/// Puts a request in the queue of the group's coordinator.
pub(super) async fn ask_group(coordinators: &Coordinators, group: &str, request: GroupRequest) -> Asked {
    let partition = coordinators.partition_for(Kind::Group, group);
    coordinators.groups().submit(partition, request).await
}

/// Answers at once if the request was not even queued, otherwise when the coordinator does.
pub(super) fn answer_later<R, F>(cx: &RequestContext, asked: Asked, finish: F) -> Reply
where
    R: Encodable + HeaderVersion,
    F: FnOnce(Result<GroupResponse, ErrorCode>) -> R + Send + 'static,
{
    match asked {
        Err(error) => cx.reply(&finish(Err(error))),
        Ok(waiting) => {
            let cx = cx.clone();
            Reply::Later(Box::pin(async move { cx.respond(&finish(waiting.answer().await)) }))
        }
    }
}

/// Clients before a certain version know this error under its old name.
pub(super) const fn fenced_for_old(error: ErrorCode, is_old: bool) -> ErrorCode {
    match error {
        ErrorCode::ProducerFenced if is_old => ErrorCode::InvalidProducerEpoch,
        other => other,
    }
}
