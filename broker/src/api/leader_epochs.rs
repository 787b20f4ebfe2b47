//! OffsetForLeaderEpoch: v2-4. Where a leader epoch ends: what followers and consumers cut or check their history by
//! (KIP-101, KIP-320).

use ottla_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use ottla_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use ottla_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use super::{ApiSpec, House, Reply, RequestContext};
use crate::replica::{Epochs, Partitions};

/// Handler of OffsetForLeaderEpoch.
pub struct LeaderEpochs {
    partitions: Partitions,
}

impl LeaderEpochs {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(23)];

    pub fn new(house: &House) -> Self {
        Self { partitions: house.partitions.clone() }
    }

    pub async fn handle(&self, cx: &RequestContext, request: OffsetForLeaderEpochRequest) -> Reply {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let answer = EpochEndOffset::default().with_partition(asked.partition);
                match self.end_of_epoch(&topic.topic, asked) {
                    Ok(end) => {
                        let (epoch, end) = end.unwrap_or((LeaderEpoch::UNKNOWN, Offset(-1)));
                        answer.with_leader_epoch(epoch.0).with_end_offset(end.0)
                    }
                    Err(code) => answer.with_error_code(code as i16).with_leader_epoch(-1).with_end_offset(-1),
                }
            });
            OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone()).with_partitions(partitions.collect())
        });
        cx.reply(&OffsetForLeaderEpochResponse::default().with_topics(topics.collect()))
    }

    fn end_of_epoch(
        &self,
        topic: &str,
        asked: &OffsetForLeaderPartition,
    ) -> Result<Option<(LeaderEpoch, Offset)>, ErrorCode> {
        let partition = self.partitions.get(topic, asked.partition)?;
        let epochs = Epochs { current: LeaderEpoch(asked.current_leader_epoch), leader_only: true };
        partition.end_of_epoch(epochs, LeaderEpoch(asked.leader_epoch))
    }
}
