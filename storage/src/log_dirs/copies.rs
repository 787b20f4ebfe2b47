//! A partition whose log is in more than one directory: one was made while another directory was away.

use ottla_protocol::{TopicId, TopicPartition};
use uuid::Uuid;

use super::{Hosted, LogDirs};

impl LogDirs {
    /// Decides which log counts where a partition has several: one of the topic that `named` tells, if possible in the
    /// directory that it tells, else the one that knows the latest leader epoch and reaches furthest. The others are moved
    /// aside. To be called before any log is served.
    pub fn settle_copies(&self, named: impl Fn(&TopicPartition) -> Option<(TopicId, Uuid)>) {
        let _changing = self.changing.lock();
        let twins = std::mem::take(&mut *self.twins.lock());
        for twin in twins {
            let id = twin.log.topic_partition().clone();
            let wanted = named(&id);
            let rank = |hosted: &Hosted| {
                let (is_of_topic, is_named) = wanted
                    .map_or((false, false), |(topic, dir)| (hosted.log.topic_id() == topic, hosted.dir.id == dir));
                (is_of_topic, is_named, hosted.log.latest_epoch(), hosted.log.offsets().log_end)
            };
            self.give_up(&id);
            let other = {
                let mut logs = self.logs.write();
                if logs.get(&id).is_some_and(|here| rank(&twin) <= rank(here)) {
                    twin
                } else {
                    let Some(replaced) = logs.insert(id.clone(), twin) else { continue };
                    replaced
                }
            };
            let (log_end, from) = (other.log.offsets().log_end, other.log.dir());
            match self.set_aside(&other, "stray") {
                Ok(to) => {
                    tracing::warn!(partition = %id, dir = %to.display(), %log_end, "the partition was in two log directories, this log is not the newer one and was moved aside");
                }
                Err(error) => {
                    tracing::error!(partition = %id, dir = %from.display(), %error, "could not be moved aside")
                }
            }
        }
    }
}
