//! Answers going out: in the order of their requests, several with one system call.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use ottla_storage::FileRecords;

use super::limits::{ANSWERS_QUEUED_MAX, RECORDS_PER_READ_BYTES, SENDFILE_BYTES_MIN, SLICES_PER_WRITE_MAX};
use super::memory::Reserved;
use super::outlet::{Outlet, send_file};
use super::records::{Loaned, read};
use crate::api::{BoxFuture, Chunk, Reply, Response};

/// An answer in its place in the queue.
struct Slot {
    answer: Answer,
    is_produce: bool,
    /// The request's memory.
    _reserved: Option<Reserved>,
}

enum Answer {
    Ready(Response),
    Waiting(BoxFuture<'static, Response>),
    Close,
}

/// The queue of a connection's answers.
#[derive(Default)]
pub struct Pipeline {
    slots: VecDeque<Slot>,
    /// What goes out with the next write.
    out: VecDeque<Piece>,
    out_bytes: usize,
}

/// Bytes that are lined up for the socket.
enum Piece {
    Encoded(Bytes),
    Records(Loaned),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Encoded(bytes) => bytes,
            Self::Records(loaned) => loaned.bytes(),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Encoded(bytes) => bytes.advance(count),
            Self::Records(loaned) => loaned.advance(count),
        }
    }
}

/// What became of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Everything that is ready has gone out; mute the connection this long.
    Mute(Duration),
    /// An answer says that the connection ends here.
    Close,
}

impl Pipeline {
    /// Puts an answer behind those of earlier requests.
    pub fn push(&mut self, reply: Reply, is_produce: bool, reserved: Option<Reserved>) {
        let answer = match reply {
            Reply::Now(response) => Answer::Ready(response),
            Reply::Later(future) => Answer::Waiting(future),
            Reply::Close => Answer::Close,
            Reply::None { .. } => return,
        };
        self.slots.push_back(Slot { answer, is_produce, _reserved: reserved });
    }

    /// True when no answer is outstanding.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether a request may be started behind those that are outstanding: when they are all done, or when only
    /// produce requests wait and it is one too.
    pub fn admits(&self, is_produce: bool, produces_max: usize) -> bool {
        if self.slots.len() >= ANSWERS_QUEUED_MAX.max(produces_max) {
            return false;
        }
        let overlaps =
            self.slots.len() < produces_max && is_produce && self.slots.back().is_some_and(|slot| slot.is_produce);
        let holds = |slot: &Slot| match &slot.answer {
            // The client is muted once it has this answer.
            Answer::Ready(response) => response.throttle_ms > 0,
            Answer::Waiting(_) => !overlaps,
            Answer::Close => true,
        };
        !self.slots.iter().any(holds)
    }

    /// True when the first answer can be written.
    pub fn is_ready(&self) -> bool {
        self.slots.front().is_some_and(|slot| !matches!(slot.answer, Answer::Waiting(_)))
    }

    /// Waits for the first answer. Pending for ever when there is none to come.
    pub async fn front(&mut self) {
        std::future::poll_fn(|cx| match self.slots.front_mut() {
            None => Poll::Pending,
            Some(slot) => poll_slot(slot, cx),
        })
        .await;
    }

    /// Writes every answer that is ready, in order.
    ///
    /// # Errors
    /// Those of the socket; `TimedOut` when the client took no byte for `stall_max`.
    pub async fn write_ready<S: Outlet>(&mut self, socket: &mut S, stall_max: Duration) -> io::Result<Written> {
        let mut mute = Duration::ZERO;
        while let Some(slot) = self.slots.front_mut() {
            if matches!(slot.answer, Answer::Waiting(_)) {
                // It may have become ready while others were written; a look costs nothing.
                let is_ready = std::future::poll_fn(|cx| Poll::Ready(poll_slot(slot, cx).is_ready())).await;
                if !is_ready {
                    break;
                }
            }
            let Some(slot) = self.slots.pop_front() else { break };
            match slot.answer {
                Answer::Ready(response) if !response.chunks.is_empty() => {
                    mute = mute.max(Duration::from_millis(u64::try_from(response.throttle_ms).unwrap_or(0)));
                    self.gather(response, socket, stall_max).await?;
                }
                _ => {
                    self.write_out(socket, stall_max).await?;
                    return Ok(Written::Close);
                }
            }
        }
        self.write_out(socket, stall_max).await?;
        Ok(Written::Mute(mute))
    }

    /// Lines an answer's bytes up; writes when enough have come together.
    async fn gather<S: Outlet>(&mut self, response: Response, socket: &mut S, stall_max: Duration) -> io::Result<()> {
        for chunk in response.chunks {
            match chunk {
                Chunk::Bytes(bytes) => {
                    self.line_up(Piece::Encoded(bytes));
                    if self.out.len() >= SLICES_PER_WRITE_MAX {
                        self.write_out(socket, stall_max).await?;
                    }
                }
                Chunk::Records(records) => self.gather_records(&records, socket, stall_max).await?,
            }
        }
        Ok(())
    }

    /// Lent records that lie in memory go straight to a socket. Others are read piece by piece, so that a slow client
    /// holds little memory.
    async fn gather_records<S: Outlet>(
        &mut self,
        records: &FileRecords,
        socket: &mut S,
        stall_max: Duration,
    ) -> io::Result<()> {
        let mut start = 0;
        while start < records.len() {
            let many = (records.len() - start).min(RECORDS_PER_READ_BYTES);
            if many >= SENDFILE_BYTES_MIN && socket.socket().is_some() && records.is_in_memory(start, many)? {
                self.write_out(socket, stall_max).await?;
                if let Some(socket) = socket.socket() {
                    send_file(&records.slice(start, many), socket, stall_max).await?;
                    start += many;
                    continue;
                }
            }
            if self.out_bytes >= RECORDS_PER_READ_BYTES || self.out.len() >= SLICES_PER_WRITE_MAX {
                self.write_out(socket, stall_max).await?;
            }
            self.line_up(Piece::Records(read(records, start, many).await?));
            start += many;
        }
        Ok(())
    }

    fn line_up(&mut self, piece: Piece) {
        if !piece.bytes().is_empty() {
            self.out_bytes += piece.bytes().len();
            self.out.push_back(piece);
        }
    }

    async fn write_out<S: Outlet>(&mut self, socket: &mut S, stall_max: Duration) -> io::Result<()> {
        while !self.out.is_empty() {
            // Mostly the socket takes everything at once, and no timer is needed.
            let at_once = std::future::poll_fn(|cx| Poll::Ready(self.poll_write(socket, cx))).await;
            match at_once {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    let write = std::future::poll_fn(|cx| self.poll_write(socket, cx));
                    tokio::time::timeout(stall_max, write).await.map_err(|_| io::ErrorKind::TimedOut)??;
                }
            }
        }
        self.out_bytes = 0;
        Ok(())
    }

    /// One `writev` of what is lined up; what was written is dropped.
    fn poll_write<S: Outlet>(&mut self, socket: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE_MAX];
        let count = self.out.len().min(SLICES_PER_WRITE_MAX);
        for (slice, piece) in slices.iter_mut().zip(&self.out) {
            *slice = IoSlice::new(piece.bytes());
        }
        let written = match Pin::new(socket).poll_write_vectored(cx, &slices[..count]) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        };
        let mut rest = written;
        while rest > 0 {
            let Some(front) = self.out.front_mut() else { break };
            let length = front.bytes().len();
            if rest < length {
                front.advance(rest);
                break;
            }
            rest -= length;
            self.out.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}

/// Drives a waiting answer; one that panics closes the connection.
fn poll_slot(slot: &mut Slot, cx: &mut Context<'_>) -> Poll<()> {
    let Answer::Waiting(future) = &mut slot.answer else { return Poll::Ready(()) };
    match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => return Poll::Pending,
        Ok(Poll::Ready(response)) => slot.answer = Answer::Ready(response),
        // The panic hook has said what happened.
        Err(_) => slot.answer = Answer::Close,
    }
    Poll::Ready(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::AsyncReadExt;
    use tokio::sync::oneshot;

    use super::*;

    const STALL: Duration = Duration::from_secs(1);

    fn now(text: &'static str) -> Reply {
        Reply::Now(Response::from_frame(Bytes::from_static(text.as_bytes())))
    }

    fn later() -> (oneshot::Sender<&'static str>, Reply) {
        let (sender, receiver) = oneshot::channel::<&'static str>();
        let future = async move { Response::from_frame(Bytes::from_static(receiver.await.unwrap().as_bytes())) };
        (sender, Reply::Later(Box::pin(future)))
    }

    #[tokio::test]
    async fn answers_keep_their_order() {
        let (mut here, mut there) = tokio::io::duplex(1 << 16);
        let mut pipeline = Pipeline::default();
        let (first, reply) = later();
        pipeline.push(reply, true, None);
        let (second, reply) = later();
        pipeline.push(reply, true, None);
        second.send("b").unwrap();
        assert_eq!(pipeline.write_ready(&mut here, STALL).await.unwrap(), Written::Mute(Duration::ZERO));
        first.send("a").unwrap();
        pipeline.front().await;
        pipeline.write_ready(&mut here, STALL).await.unwrap();
        drop(here);
        let mut text = String::new();
        there.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "ab");
    }

    #[test]
    fn only_produce_requests_overlap() {
        let mut pipeline = Pipeline::default();
        assert!(pipeline.admits(false, 4));
        pipeline.push(now("x"), false, None);
        assert!(pipeline.admits(false, 4), "what is done holds nobody up");
        let (_keep, reply) = later();
        pipeline.push(reply, true, None);
        assert!(pipeline.admits(true, 4));
        assert!(!pipeline.admits(false, 4));
        pipeline.push(now("y"), true, None);
        assert!(!pipeline.admits(false, 4), "an earlier one still waits");
        let (_keep, reply) = later();
        pipeline.push(reply, true, None);
        assert!(!pipeline.admits(true, 4), "there is a bound");
    }

    #[tokio::test]
    async fn throttling_and_closing_are_reported() {
        let (mut here, _there) = tokio::io::duplex(1 << 16);
        let mut pipeline = Pipeline::default();
        let Reply::Now(mut response) = now("x") else { return };
        response.throttle_ms = 25;
        pipeline.push(Reply::Now(response), false, None);
        assert_eq!(pipeline.write_ready(&mut here, STALL).await.unwrap(), Written::Mute(Duration::from_millis(25)));
        pipeline.push(Reply::Close, false, None);
        assert_eq!(pipeline.write_ready(&mut here, STALL).await.unwrap(), Written::Close);
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_given_up() {
        let (mut here, _there) = tokio::io::duplex(4);
        let mut pipeline = Pipeline::default();
        pipeline.push(now("too long for the pipe"), false, None);
        let error = pipeline.write_ready(&mut here, Duration::from_millis(10)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
