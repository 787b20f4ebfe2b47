//! A consumer of one partition, at either isolation level.

use std::collections::BTreeSet;

use ottla_protocol::ErrorCode;
use ottla_protocol::control_record::ControlRecord;
use ottla_protocol::record_batch::batches;

use super::values_of;
use crate::context::{Context, Event};
use crate::message::{Message, Node, ReadAnswer, ReadRequest};
use crate::observation::Observation;
use crate::plan::REQUEST_TIMEOUT_MS;

const POLL_MS: i64 = 45;

#[derive(Debug)]
pub struct Consumer {
    pub node: Node,
    pub partition: i32,
    pub position: i64,
    pub committed_only: bool,
    outstanding: Option<(u64, i64)>,
}

impl Consumer {
    pub const fn new(node: Node, partition: i32, committed_only: bool) -> Self {
        Self { node, partition, position: 0, committed_only, outstanding: None }
    }

    pub fn on_tick(&mut self, leader: Option<Node>, cx: &mut Context) {
        cx.after(POLL_MS, Event::Tick { node: self.node, life: 0 });
        let waits = self.outstanding.is_some_and(|(_, at)| cx.now - at < REQUEST_TIMEOUT_MS);
        let Some(leader) = leader.filter(|_| !waits) else { return };
        let id = cx.id();
        self.outstanding = Some((id, cx.now));
        let (partition, offset, committed_only) = (self.partition, self.position, self.committed_only);
        cx.send(
            self.node,
            leader,
            Message::Read(ReadRequest { id, partition, offset, current_epoch: -1, committed_only }),
        );
    }

    pub fn on_answer(&mut self, answer: ReadAnswer, cx: &mut Context) {
        if self.outstanding.is_none_or(|(id, _)| id != answer.id) {
            return;
        }
        self.outstanding = None;
        match answer.result {
            Ok((records, aborted)) => self.read(&records, aborted, cx),
            Err(ErrorCode::OffsetOutOfRange) if answer.log_start > self.position => self.position = answer.log_start,
            Err(_) => {}
        }
    }

    fn read(&mut self, records: &[u8], mut aborted: Vec<(i64, i64)>, cx: &mut Context) {
        aborted.sort_by_key(|(_, first)| *first);
        let mut skipped: BTreeSet<i64> = BTreeSet::new();
        let mut next_aborted = aborted.into_iter().peekable();
        for batch in batches(records) {
            let Ok(batch) = batch else { break };
            while let Some((producer, _)) = next_aborted.next_if(|(_, first)| *first <= batch.last_offset().0) {
                skipped.insert(producer);
            }
            let of_aborted = batch.is_transactional() && skipped.contains(&batch.producer_id.0);
            if batch.is_control() && matches!(ControlRecord::of_batch(&batch), Ok(ControlRecord::Abort { .. })) {
                skipped.remove(&batch.producer_id.0);
            }
            let partition = self.partition;
            for (offset, value) in values_of(&batch).unwrap_or_default() {
                if offset < self.position || batch.is_control() {
                    continue;
                }
                if !self.committed_only {
                    cx.observe(Observation::Read { partition, offset, value });
                } else if !of_aborted {
                    cx.observe(Observation::ReadCommitted { partition, offset, value });
                }
            }
            self.position = self.position.max(batch.next_offset().0);
        }
    }
}
