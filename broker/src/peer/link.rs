//! One connection to one address, opened when something is to be sent and again when it was lost.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{Limits, PeerError};

/// Read at once; a longer answer grows its buffer as its bytes come.
const READ_BYTES: usize = 16 * 1024;

/// Where the frame of an answer goes.
type AnswerSender = oneshot::Sender<Result<Bytes, PeerError>>;

/// A request on its way.
pub(super) struct Call {
    pub correlation_id: i32,
    pub frame: Bytes,
    /// When nobody waits for it any more.
    pub deadline: Instant,
    pub answer: AnswerSender,
}

/// A request that was sent.
struct Sent {
    correlation_id: i32,
    deadline: Instant,
    answer: AnswerSender,
}

pub(super) struct Link {
    host: Arc<str>,
    port: u16,
    limits: Limits,
    waiting: mpsc::Receiver<Call>,
    /// Attempts that failed since an answer came.
    failures: u32,
}

/// Why a connection is used no further.
enum End {
    /// All handles of the lane are gone.
    Closed,
    Lost,
    /// The answer that should have come did not: what is behind it would wait as long.
    Silent,
    Malformed(String),
}

impl Link {
    pub(super) fn new(host: &Arc<str>, port: u16, limits: Limits, waiting: mpsc::Receiver<Call>) -> Self {
        Self { host: Arc::clone(host), port, limits, waiting, failures: 0 }
    }

    pub(super) async fn run(mut self) {
        while let Some(first) = self.waiting.recv().await {
            if first.answer.is_closed() {
                continue;
            }
            match self.connect().await {
                Ok(socket) => {
                    if matches!(self.serve(socket, first).await, End::Closed) {
                        return;
                    }
                }
                Err(error) => {
                    let error = PeerError::Unreachable {
                        host: Arc::clone(&self.host),
                        port: self.port,
                        kind: error.kind(),
                        reason: error.to_string().into(),
                    };
                    let _ = first.answer.send(Err(error.clone()));
                    // Who waited for the same attempt learns of it as well.
                    while let Ok(call) = self.waiting.try_recv() {
                        let _ = call.answer.send(Err(error.clone()));
                    }
                    self.failures = self.failures.saturating_add(1);
                    tokio::time::sleep(self.backoff()).await;
                }
            }
        }
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let connecting = TcpStream::connect((&*self.host, self.port));
        let socket = tokio::time::timeout(self.limits.connect_timeout, connecting)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        socket.set_nodelay(true)?;
        Ok(socket)
    }

    /// Doubles from attempt to attempt, and up to a fifth is random, so that nodes do not come back in step.
    fn backoff(&self) -> Duration {
        let doubled = self.limits.backoff.saturating_mul(1 << self.failures.saturating_sub(1).min(16));
        doubled.min(self.limits.backoff_max).mul_f64(rand::random_range(0.8..=1.0))
    }

    async fn serve(&mut self, socket: TcpStream, first: Call) -> End {
        let (mut reader, mut writer) = socket.into_split();
        let mut sent: VecDeque<Sent> = VecDeque::new();
        let mut inbox = BytesMut::new();
        let mut outgoing = note(&mut sent, first);
        let end = loop {
            let patience = sent.front().map(|oldest| oldest.deadline);
            let may_send = !outgoing.has_remaining() && sent.len() < self.limits.in_flight_max;
            inbox.reserve(READ_BYTES);
            tokio::select! {
                read = reader.read_buf(&mut inbox) => {
                    match read {
                        Ok(0) | Err(_) => break End::Lost,
                        Ok(_) => {}
                    }
                    if let Err(reason) = self.deliver(&mut inbox, &mut sent) {
                        break End::Malformed(reason);
                    }
                    if sent.is_empty() && inbox.is_empty() {
                        // An idle connection holds no memory.
                        inbox = BytesMut::new();
                    }
                }
                written = writer.write_buf(&mut outgoing), if outgoing.has_remaining() => {
                    if written.is_err() {
                        break End::Lost;
                    }
                }
                call = self.waiting.recv(), if may_send => match call {
                    Some(call) if call.answer.is_closed() => {}
                    Some(call) => outgoing = note(&mut sent, call),
                    None => break End::Closed,
                },
                () = until(patience) => break End::Silent,
            }
        };
        for sent in sent {
            let (host, port) = (Arc::clone(&self.host), self.port);
            let error = match &end {
                End::Malformed(reason) => PeerError::Malformed(reason.as_str().into()),
                End::Silent => PeerError::TimedOut { host, port },
                End::Lost | End::Closed => PeerError::Disconnected { host, port },
            };
            let _ = sent.answer.send(Err(error));
        }
        end
    }

    /// Hands out every whole answer that is here.
    fn deliver(&mut self, inbox: &mut BytesMut, sent: &mut VecDeque<Sent>) -> Result<(), String> {
        while let Some(&prefix) = inbox.first_chunk::<4>() {
            let length = u32::from_be_bytes(prefix) as usize;
            if !(4..=self.limits.response_bytes_max).contains(&length) {
                return Err(format!("{}:{} answers with {length} bytes", self.host, self.port));
            }
            if inbox.len() < 4 + length {
                return Ok(());
            }
            let mut frame = inbox.split_to(4 + length).freeze();
            frame.advance(4);
            let id = frame.first_chunk::<4>().map_or(-1, |id| i32::from_be_bytes(*id));
            // Kafka's nodes answer in order.
            match sent.pop_front() {
                Some(sent) if sent.correlation_id == id => {
                    self.failures = 0;
                    let _ = sent.answer.send(Ok(frame));
                }
                other => {
                    if let Some(sent) = other {
                        let _ = sent.answer.send(Err(PeerError::Malformed("an answer to another request".into())));
                    }
                    return Err(format!("{}:{} answers another request", self.host, self.port));
                }
            }
        }
        Ok(())
    }
}

/// Remembers a request; its bytes are what is to be written.
fn note(sent: &mut VecDeque<Sent>, call: Call) -> Bytes {
    let Call { correlation_id, frame, deadline, answer } = call;
    sent.push_back(Sent { correlation_id, deadline, answer });
    frame
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
