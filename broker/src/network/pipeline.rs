//! Answers going out: in the order of their requests, several with one system call.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use ottla_storage::FileRecords;
use tokio::net::TcpStream;

use super::limits::{
    ANSWERS_QUEUED_BYTES_MAX, ANSWERS_QUEUED_MAX, RECORDS_PER_READ_BYTES, SENDFILE_BYTES_MIN, SLICES_PER_WRITE_MAX,
    STALL, STALLED_BYTES, UNREAD_ON_TRUST,
};
use super::memory::{RequestMemory, Reserved};
use super::outlet::{Outlet, send_file};
use super::records::{Loaned, read, unit};
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
pub struct Pipeline {
    slots: VecDeque<Slot>,
    /// What goes out with the next write.
    out: VecDeque<Piece>,
    out_bytes: usize,
    /// Encoded bytes of the answer at work that are not lined up yet.
    rest_bytes: usize,
    /// The client did not keep up with this answer.
    has_stalled: bool,
    /// For answers that no client takes.
    unread: RequestMemory,
}

/// Bytes that are lined up for the socket.
enum Piece {
    Encoded(Bytes),
    Records {
        loaned: Loaned,
        source: FileRecords,
    },
    /// Not in memory (any more).
    Unread(FileRecords),
}

impl Piece {
    /// What of it is in memory.
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Encoded(bytes) => bytes,
            Self::Records { loaned, .. } => loaned.bytes(),
            Self::Unread(_) => &[],
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Encoded(bytes) => bytes.advance(count),
            Self::Records { loaned, .. } => loaned.advance(count),
            Self::Unread(_) => {}
        }
    }
}

/// Bytes of an answer that are in memory, whoever reads it.
fn encoded_bytes(response: &Response) -> usize {
    let bytes = |chunk: &Chunk<FileRecords>| match chunk {
        Chunk::Bytes(bytes) => bytes.len(),
        Chunk::Records(_) => 0,
    };
    response.chunks.iter().map(bytes).sum()
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
    /// `unread` is the memory for answers that are not taken.
    pub const fn new(unread: RequestMemory) -> Self {
        Self { slots: VecDeque::new(), out: VecDeque::new(), out_bytes: 0, rest_bytes: 0, has_stalled: false, unread }
    }

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
        if self.slots.len() >= ANSWERS_QUEUED_MAX.max(produces_max) || self.queued_bytes() >= ANSWERS_QUEUED_BYTES_MAX {
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

    /// Bytes of the answers that are ready.
    fn queued_bytes(&self) -> usize {
        let bytes = |slot: &Slot| match &slot.answer {
            Answer::Ready(response) => encoded_bytes(response),
            _ => 0,
        };
        self.slots.iter().map(bytes).sum()
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
    /// Those of the socket; `TimedOut` when the client took no byte for `stall_max`, `OutOfMemory` when it takes none and too
    /// much is held for such already.
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
        self.has_stalled = false;
        self.rest_bytes = encoded_bytes(&response);
        for chunk in response.chunks {
            match chunk {
                Chunk::Bytes(bytes) => {
                    self.rest_bytes -= bytes.len();
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
            let unit = unit(self.has_stalled);
            let many = (records.len() - start).min(RECORDS_PER_READ_BYTES);
            if many >= SENDFILE_BYTES_MIN && socket.socket().is_some() && records.is_in_memory(start, many)? {
                self.write_out(socket, stall_max).await?;
                if let Some(socket) = socket.socket() {
                    self.send_records(&records.slice(start, many), socket, stall_max).await?;
                    start += many;
                    continue;
                }
            }
            if self.out_bytes >= unit || self.out.len() >= SLICES_PER_WRITE_MAX {
                self.write_out(socket, stall_max).await?;
            }
            let many = (records.len() - start).min(unit);
            let loaned = read(records, start, many, unit).await?;
            self.line_up(Piece::Records { loaned, source: records.slice(start, many) });
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
        let mut held: Option<Reserved> = None;
        while !self.out.is_empty() {
            self.bring_back().await?;
            // Mostly the socket takes everything at once, and no timer is needed.
            let at_once = std::future::poll_fn(|cx| Poll::Ready(self.poll_write(socket, cx))).await;
            if let Poll::Ready(result) = at_once {
                result?;
                continue;
            }
            let write = std::future::poll_fn(|cx| self.poll_write(socket, cx));
            if let Ok(written) = tokio::time::timeout(STALL.min(stall_max), write).await {
                written?;
                continue;
            }
            let bytes = self.let_go();
            if held.is_none() && bytes > UNREAD_ON_TRUST {
                held = Some(self.unread.try_reserve(bytes).ok_or(io::ErrorKind::OutOfMemory)?);
            }
            let write = std::future::poll_fn(|cx| self.poll_write(socket, cx));
            let patience = stall_max.saturating_sub(STALL);
            tokio::time::timeout(patience, write).await.map_err(|_| io::ErrorKind::TimedOut)??;
        }
        self.out_bytes = 0;
        Ok(())
    }

    /// Has the kernel send records. Meanwhile nothing of them is in memory, but the rest of the answers is.
    async fn send_records(&mut self, records: &FileRecords, socket: &TcpStream, stall_max: Duration) -> io::Result<()> {
        let (mut sent, mut held) = (0, None);
        if send_file(records, &mut sent, socket, STALL.min(stall_max)).await? {
            return Ok(());
        }
        let bytes = self.rest_bytes + self.queued_bytes();
        if bytes > UNREAD_ON_TRUST {
            held = Some(self.unread.try_reserve(bytes).ok_or(io::ErrorKind::OutOfMemory)?);
        }
        let all = send_file(records, &mut sent, socket, stall_max.saturating_sub(STALL)).await?;
        drop(held);
        if all { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
    }

    /// Records that were read for a client that takes nothing go out of memory; how many bytes stay.
    fn let_go(&mut self) -> usize {
        self.has_stalled = true;
        let mut kept = VecDeque::with_capacity(self.out.len() + 1);
        for piece in std::mem::take(&mut self.out) {
            let Piece::Records { loaned, source } = piece else {
                kept.push_back(piece);
                continue;
            };
            let (bytes, end) = (loaned.bytes(), source.len());
            let mut rest = bytes.len();
            if kept.is_empty() {
                // Something to ask the socket with.
                let head = rest.min(STALLED_BYTES);
                kept.push_back(Piece::Encoded(Bytes::copy_from_slice(&bytes[..head])));
                rest -= head;
            }
            if rest > 0 {
                kept.push_back(Piece::Unread(source.slice(end - rest, rest)));
            }
        }
        self.out = kept;
        self.out_bytes = self.out.iter().map(|piece| piece.bytes().len()).sum();
        self.out_bytes + self.rest_bytes + self.queued_bytes()
    }

    /// Reads again what comes first, where it was let go.
    async fn bring_back(&mut self) -> io::Result<()> {
        let Some(Piece::Unread(source)) = self.out.front() else { return Ok(()) };
        let (source, unit) = (source.clone(), unit(true));
        let many = source.len().min(unit);
        let loaned = read(&source, 0, many, unit).await?;
        self.out.pop_front();
        if many < source.len() {
            self.out.push_front(Piece::Unread(source.slice(many, source.len() - many)));
        }
        self.out.push_front(Piece::Records { loaned, source: source.slice(0, many) });
        Ok(())
    }

    /// One `writev` of what is lined up; what was written is dropped.
    fn poll_write<S: Outlet>(&mut self, socket: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE_MAX];
        let mut count = 0;
        // What is not in memory ends what can be written at once.
        let in_memory = self.out.iter().take_while(|piece| !matches!(piece, Piece::Unread(_)));
        for (slice, piece) in slices.iter_mut().zip(in_memory) {
            *slice = IoSlice::new(piece.bytes());
            count += 1;
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
        let mut pipeline = Pipeline::new(RequestMemory::new(1 << 20));
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
        let mut pipeline = Pipeline::new(RequestMemory::new(1 << 20));
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
        let mut pipeline = Pipeline::new(RequestMemory::new(1 << 20));
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
        let mut pipeline = Pipeline::new(RequestMemory::new(1 << 20));
        pipeline.push(now("too long for the pipe"), false, None);
        let error = pipeline.write_ready(&mut here, Duration::from_millis(10)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    /// 300 KB of records, as a log lends them.
    fn lent() -> FileRecords {
        let options = ottla_storage::LogOptions {
            disk: std::sync::Arc::new(ottla_storage::disk::faulty::FaultyDisk::default()),
            ..ottla_storage::LogOptions::new(ottla_protocol::TopicPartition::new("t", 0), ottla_protocol::Timestamp(1))
        };
        let (log, _) = ottla_storage::Log::open("/data/t-0".into(), options).unwrap();
        let context = ottla_storage::AppendContext {
            leader_epoch: ottla_protocol::LeaderEpoch(0),
            origin: ottla_storage::AppendOrigin::Client,
            now: ottla_protocol::Timestamp(1),
            verification: ottla_storage::Verification::NotNeeded,
            is_awaited: false,
        };
        for number in 0..3_u8 {
            let mut batch = ottla_protocol::record_batch::BatchBuilder::new();
            batch.push(ottla_protocol::Timestamp(1), None, Some(&vec![number; 100_000]), &[]);
            log.append_as_leader(batch.build(), &context).unwrap();
        }
        let read = log.read(ottla_protocol::Offset(0), 1 << 20, ottla_protocol::Offset(i64::MAX), true).unwrap();
        read.records[0].clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_falls_behind_holds_little_and_gets_everything() {
        let (mut here, mut there) = tokio::io::duplex(10_000);
        let records = lent();
        let expected = [&b"head"[..], &records.read_all().unwrap(), &b"tail"[..]].concat();
        let mut pipeline = Pipeline::new(RequestMemory::new(1 << 20));
        let chunks = vec![
            Chunk::Bytes(Bytes::from_static(b"head")),
            Chunk::Records(records),
            Chunk::Bytes(Bytes::from_static(b"tail")),
        ];
        pipeline.push(Reply::Now(Response { chunks, throttle_ms: 0 }), false, None);
        let read = async {
            let mut bytes = vec![0; expected.len()];
            let mut have = 0;
            while have < bytes.len() {
                // Every pause is longer than a client that keeps up would make.
                tokio::time::sleep(2 * super::STALL).await;
                have += there.read(&mut bytes[have..]).await.unwrap();
            }
            bytes
        };
        {
            let mut write = std::pin::pin!(pipeline.write_ready(&mut here, Duration::from_secs(60)));
            let stalled = tokio::time::timeout(super::STALL + Duration::from_millis(1), &mut write).await;
            assert!(stalled.is_err());
            let (written, bytes) = tokio::join!(write, read);
            assert_eq!(written.unwrap(), Written::Mute(Duration::ZERO));
            assert!(bytes == expected, "every byte, in order");
        }
        assert!(pipeline.has_stalled);
    }

    #[tokio::test(start_paused = true)]
    async fn records_for_a_reader_that_takes_nothing_are_not_kept() {
        let (mut here, _there) = tokio::io::duplex(10_000);
        let mut pipeline = Pipeline::new(RequestMemory::new(1 << 20));
        let chunks = vec![Chunk::Records(lent())];
        pipeline.push(Reply::Now(Response { chunks, throttle_ms: 0 }), false, None);
        let write = pipeline.write_ready(&mut here, Duration::from_secs(60));
        assert!(tokio::time::timeout(Duration::from_secs(1), write).await.is_err());
        assert_eq!(pipeline.out_bytes, STALLED_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_nobody_takes_share_a_budget() {
        let unread = RequestMemory::new(1 << 20);
        let (mut here, _there) = tokio::io::duplex(10_000);
        let large = || Reply::Now(Response::from_frame(Bytes::from(vec![0; 600 * 1024])));
        let mut first = Pipeline::new(unread.clone());
        first.push(large(), false, None);
        let mut writing = std::pin::pin!(first.write_ready(&mut here, Duration::from_secs(60)));
        assert!(tokio::time::timeout(Duration::from_secs(1), &mut writing).await.is_err());
        assert!(unread.free_bytes() < 600 * 1024);
        let (mut here, _there) = tokio::io::duplex(10_000);
        let mut second = Pipeline::new(unread);
        second.push(large(), false, None);
        let error = second.write_ready(&mut here, Duration::from_secs(60)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
    }

    #[test]
    fn no_request_is_started_behind_many_bytes_of_answers() {
        let mut pipeline = Pipeline::new(RequestMemory::new(1 << 20));
        let mut count = 0;
        while pipeline.admits(false, 64) {
            pipeline.push(Reply::Now(Response::from_frame(Bytes::from(vec![0; 100_000]))), false, None);
            count += 1;
        }
        assert_eq!(count, ANSWERS_QUEUED_BYTES_MAX.div_ceil(100_000));
    }
}
