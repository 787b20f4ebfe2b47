//! A node without the controller role: it pulls the committed log from a controller, by choice from the active one, and
//! replays it. Nothing is kept on disk: a restart pulls a snapshot.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ottla_metadata::{Endpoint, MetadataImage};
use ottla_protocol::Offset;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::controller::{broker_id, node_id};
use crate::message::{self, Answer, Message, Pull, Pulled, PulledData};
use crate::options::ControllerOptions;
use crate::raft::network::{Destination, Lane, Transport};
use crate::raft::snapshot;
use crate::raft::types::VoterNode;

/// How long a controller holds a pull that has nothing to answer.
const WAIT: Duration = Duration::from_millis(1_000);
/// What the answer may take beyond that.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1_000);
/// A snapshot may be long.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after a controller did not answer.
const RETRY: Duration = Duration::from_millis(50);

/// Who leads and who votes, as a controller told it last.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Heard {
    pub leader: Option<u64>,
    pub voters: Vec<(u64, VoterNode)>,
}

/// The running pull.
pub(crate) struct Observer {
    heard: watch::Receiver<Heard>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Observer {
    pub(crate) fn start(
        options: &ControllerOptions,
        transport: Arc<dyn Transport>,
    ) -> (Self, watch::Receiver<Arc<MetadataImage>>) {
        let (published, images) = watch::channel(Arc::new(MetadataImage::default()));
        let (heard_sender, heard) = watch::channel(Heard::default());
        let work = Work {
            transport,
            pull: Pull {
                node_id: node_id(options.node_id),
                directory_id: options.directory_id,
                next: 0,
                wait_ms: 0,
                bytes_max: options.fetch_bytes_max,
            },
            bootstrap: options.bootstrap.clone(),
            turn: 0,
            image: MetadataImage::default(),
            published,
            heard: heard_sender,
        };
        let task = Mutex::new(Some(tokio::spawn(work.run())));
        (Self { heard, task }, images)
    }

    pub(crate) fn heard(&self) -> watch::Receiver<Heard> {
        self.heard.clone()
    }

    /// Returns once nothing is pulled any more.
    pub(crate) async fn failed(&self) -> String {
        let mut heard = self.heard();
        while heard.changed().await.is_ok() {}
        "the metadata is no longer pulled from the controllers".to_owned()
    }

    pub(crate) async fn shutdown(&self) {
        let task = self.task.lock().take();
        if let Some(task) = task {
            task.abort();
            let _ = task.await;
        }
    }
}

struct Work {
    transport: Arc<dyn Transport>,
    pull: Pull,
    bootstrap: Vec<Endpoint>,
    /// Which of those that may answer is asked next.
    turn: usize,
    image: MetadataImage,
    published: watch::Sender<Arc<MetadataImage>>,
    heard: watch::Sender<Heard>,
}

impl Work {
    async fn run(mut self) {
        let mut warned = false;
        loop {
            let Some(to) = self.destination() else { return };
            match self.pull_once(to.clone()).await {
                Ok(()) => warned = false,
                Err(error) => {
                    if !warned {
                        tracing::warn!(controller = crate::join::show(&to), %error, "no metadata from this controller");
                        warned = true;
                    }
                    self.turn = self.turn.wrapping_add(1);
                    self.heard.send_if_modified(|heard| heard.leader.take().is_some());
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// The leader, or in turn whoever may know it.
    fn destination(&self) -> Option<Destination> {
        let heard = self.heard.borrow();
        let of_voter =
            |(id, node): &(u64, VoterNode)| Destination { id: Some(broker_id(*id)), endpoint: message::endpoint(node) };
        if let Some(leader) = heard.leader
            && let Some(voter) = heard.voters.iter().find(|(id, _)| *id == leader)
        {
            return Some(of_voter(voter));
        }
        let bootstrap =
            self.bootstrap.iter().map(|endpoint| Destination { id: None, endpoint: Some(endpoint.clone()) });
        let all: Vec<Destination> = heard.voters.iter().map(of_voter).chain(bootstrap).collect();
        let turn = self.turn.checked_rem(all.len())?;
        all.get(turn).cloned()
    }

    async fn pull_once(&mut self, to: Destination) -> io::Result<()> {
        self.pull.next = u64::try_from(self.image.offset.0 + 1).unwrap_or(0);
        let message = message::write(&Message::Pull(self.pull.clone()))?;
        let patience = if self.pull.next == 0 { SNAPSHOT_TIMEOUT } else { WAIT + ANSWER_TIMEOUT };
        let call = self.transport.call(to, Lane::Observe, message);
        let bytes = tokio::time::timeout(patience, call).await.map_err(io::Error::other)??;
        let pulled: Pulled = message::read::<Answer<Pulled>>(&bytes)?.map_err(io::Error::other)?;
        // The first answer tells who leads: without waiting.
        self.pull.wait_ms = WAIT.as_millis() as u32;
        self.replay(pulled.data)?;
        let heard = Heard { leader: pulled.leader, voters: pulled.voters };
        if heard.leader.is_none() {
            // An election: ask somebody else, but not in a tight loop.
            self.turn = self.turn.wrapping_add(1);
            tokio::time::sleep(RETRY).await;
        }
        self.heard.send_if_modified(|before| {
            let changed = *before != heard;
            *before = heard;
            changed
        });
        Ok(())
    }

    fn replay(&mut self, data: PulledData) -> io::Result<()> {
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        match data {
            PulledData::Entries(entries) if entries.is_empty() => return Ok(()),
            PulledData::Entries(entries) => {
                for entry in entries {
                    let offset = Offset(i64::try_from(entry.index).unwrap_or(i64::MAX));
                    if offset.0 != self.image.offset.0 + 1 {
                        return Err(invalid(format!("entry {} does not follow {}", offset.0, self.image.offset.0)));
                    }
                    let records = match &entry.batch {
                        Some(batch) => batch.decode().map_err(|error| invalid(error.to_string()))?,
                        None => Vec::new(),
                    };
                    self.image.replay_entry(offset, entry.term as i32, &records);
                }
            }
            PulledData::Snapshot(bytes) => {
                let (_, image) = snapshot::decode(&bytes.0)?;
                if image.offset <= self.image.offset {
                    return Err(invalid(format!("a snapshot at {} goes back", image.offset.0)));
                }
                tracing::info!(offset = image.offset.0, "metadata snapshot read");
                self.image = image;
            }
        }
        self.published.send_replace(Arc::new(self.image.clone()));
        Ok(())
    }
}
