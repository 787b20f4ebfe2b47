//! Frames coming in: nothing is allocated before its bytes are there or paid for.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ottla_protocol::frame::{self, FRAME_BYTES_MIN, Prefix};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

use super::limits::{
    FRAME_BYTES_ON_TRUST, FRAME_RATE_MIN, FRAME_RECEIVE_MAX, FRAME_RECEIVE_SHORT, INBOX_BYTES, SHORT_FRAMES_MAX,
    WIDE_INBOX_BYTES,
};
use super::memory::{Memory, Reserved};
use super::outlet::Outlet;

/// A whole request frame, without its length prefix.
#[derive(Debug)]
pub struct Frame {
    pub bytes: Bytes,
    /// Memory set aside for a long frame, until the request is done.
    pub reserved: Option<Reserved>,
}

impl Frame {
    /// The API key, which every frame begins with.
    pub fn api_key(&self) -> i16 {
        match self.bytes.first_chunk::<2>() {
            Some(key) => i16::from_be_bytes(*key),
            None => -1,
        }
    }
}

/// Why a connection's bytes are read no further.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("{0:?} instead of Kafka's protocol")]
    NotKafka(frame::Stranger),
    #[error("a frame of {length} bytes where at most {limit} are allowed")]
    TooLarge { length: usize, limit: usize },
    #[error("a frame of {0} bytes is too short to be a request")]
    TooShort(usize),
    #[error("the API key {0} is not served here")]
    NotServed(i16),
}

/// Collects frames from a socket.
pub struct Inbox {
    /// Bytes as they came; begins with a length prefix.
    buffer: BytesMut,
    /// A frame longer than the buffer, with its length, or one that memory is waited for.
    long: Option<LongFrame>,
    /// The buffer is a wide one.
    wide: Option<Reserved>,
    /// How often in a row what came in was so little that it did not need a wide buffer.
    short_frames: u32,
    /// With its prefix, where the buffer is a wide one; the next is probably about as long.
    last_frame: usize,
    memory: Memory,
    /// `socket.request.max.bytes`
    frame_bytes_max: usize,
}

struct LongFrame {
    bytes: BytesMut,
    length: usize,
    reserved: Option<Reserved>,
    /// Since memory is set aside for it, if that was before it was whole.
    holds_since: Option<Instant>,
}

impl LongFrame {
    fn is_whole(&self) -> bool {
        self.bytes.len() == self.length
    }

    /// Memory for it has to be set aside before it is handled.
    fn is_unpaid(&self) -> bool {
        self.length > FRAME_BYTES_ON_TRUST && self.reserved.is_none()
    }
}

impl Inbox {
    pub fn new(frame_bytes_max: usize, memory: Memory) -> Self {
        Self {
            buffer: BytesMut::new(),
            long: None,
            wide: None,
            short_frames: 0,
            last_frame: 0,
            memory,
            frame_bytes_max,
        }
    }

    /// The next whole frame, if all of it is here. `is_served` judges the API key before a long frame is collected.
    ///
    /// # Errors
    /// When what came in is no frame that will be read.
    pub fn next_frame(&mut self, is_served: impl Fn(i16) -> bool) -> Result<Option<Frame>, Refused> {
        if let Some(long) = &mut self.long {
            if !long.is_whole() {
                return Ok(None);
            }
            if long.is_unpaid() {
                long.reserved = self.memory.frames.try_reserve(long.length);
            }
            if long.is_unpaid() {
                return Ok(None);
            }
            let length = long.length;
            self.note_long_frame(4 + length);
            return Ok(self.long.take().map(|long| Frame { bytes: long.bytes.freeze(), reserved: long.reserved }));
        }
        let Some(prefix) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = match frame::check(*prefix, self.frame_bytes_max) {
            Prefix::Length(length) => length,
            Prefix::TooLarge { length, limit } => return Err(Refused::TooLarge { length, limit }),
            Prefix::NotKafka(stranger) => return Err(Refused::NotKafka(stranger)),
        };
        if length < FRAME_BYTES_MIN {
            return Err(Refused::TooShort(length));
        }
        if let Some(key) = self.buffer.get(4..6) {
            let key = i16::from_be_bytes([key[0], key[1]]);
            if !is_served(key) {
                return Err(Refused::NotServed(key));
            }
        }
        if self.buffer.len() >= 4 + length {
            let came = self.buffer.len();
            let mut bytes = self.buffer.split_to(4 + length);
            let _ = bytes.split_to(4);
            if 4 + length <= INBOX_BYTES {
                self.note_short_frame(4 + length, came);
            } else {
                self.note_long_frame(4 + length);
            }
            let long = LongFrame { bytes, length, reserved: None, holds_since: None };
            if !long.is_unpaid() {
                return Ok(Some(Frame { bytes: long.bytes.freeze(), reserved: None }));
            }
            self.long = Some(long);
            return self.next_frame(is_served);
        }
        if 4 + length > self.width() && self.buffer.len() > 6 {
            let mut bytes = BytesMut::with_capacity(length.min(FRAME_BYTES_ON_TRUST.max(self.buffer.len())));
            bytes.extend_from_slice(&self.buffer[4..]);
            self.buffer = BytesMut::new();
            self.long = Some(LongFrame { bytes, length, reserved: None, holds_since: None });
        }
        Ok(None)
    }

    /// Bytes that the read buffer takes.
    const fn width(&self) -> usize {
        if self.wide.is_some() { WIDE_INBOX_BYTES } else { INBOX_BYTES }
    }

    /// The client sends frames of `bytes`: they shall come in with one system call each, and stay where they came in.
    fn note_long_frame(&mut self, bytes: usize) {
        self.short_frames = 0;
        if bytes <= WIDE_INBOX_BYTES {
            self.last_frame = bytes;
            self.widen();
        }
    }

    fn widen(&mut self) {
        if self.wide.is_none() {
            self.wide = self.memory.inboxes.try_reserve(WIDE_INBOX_BYTES);
        }
    }

    /// A frame of `bytes` came with others behind it, `came` in all. Where that is as much as a narrow buffer takes the client sends
    /// requests faster than they are handled: those that wait shall come in, and be answered, together. When little came in many times
    /// the wide buffer is for others.
    fn note_short_frame(&mut self, bytes: usize, came: usize) {
        if came >= INBOX_BYTES {
            self.short_frames = 0;
            self.widen();
        } else if self.buffer.is_empty() {
            self.short_frames = self.short_frames.saturating_add(1);
        }
        if self.wide.is_none() {
            return;
        }
        self.last_frame = bytes;
        if self.short_frames > SHORT_FRAMES_MAX && self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            self.last_frame = 0;
            self.wide = None;
        }
    }

    /// Bytes from the head of the buffer on that the next read should have room for.
    fn wanted(&self) -> usize {
        let frame = match self.buffer.first_chunk::<4>() {
            Some(prefix) => 4_usize.saturating_add(u32::from_be_bytes(*prefix) as usize),
            None => self.last_frame,
        };
        frame.min(self.width()).max(self.buffer.len() + INBOX_BYTES / 4)
    }

    /// Reads once, or waits for memory for a frame that is whole. Nothing is lost when the future is dropped. Returns 0 at the
    /// end of the stream.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn read<S: AsyncRead + Unpin>(&mut self, socket: &mut S) -> std::io::Result<usize> {
        let (width, wanted) = (self.width(), self.wanted());
        let Some(long) = &mut self.long else {
            if self.buffer.capacity() < wanted {
                self.buffer.reserve(wanted.max(width) - self.buffer.len());
            }
            return socket.read_buf(&mut self.buffer).await;
        };
        if long.is_whole() || long.bytes.len() == long.bytes.capacity() {
            if long.reserved.is_none() {
                long.reserved = self.memory.frames.reserve(long.length).await;
                long.holds_since = Some(Instant::now());
            }
            if long.is_whole() {
                return Ok(long.length);
            }
            let mut whole = BytesMut::with_capacity(long.length);
            whole.extend_from_slice(&long.bytes);
            long.bytes = whole;
        }
        // The buffer may hold more than was asked for; the next frame's bytes are not for it.
        let room = (long.length - long.bytes.len()) as u64;
        (&mut *socket).take(room).read_buf(&mut long.bytes).await
    }

    /// Takes in what waits in the socket, however much it is to wait for; how many bytes that were. The end of the stream is
    /// seen again by the next read.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn take_waiting<S: Outlet>(&mut self, socket: &S) -> io::Result<usize> {
        let (mut part, mut found) = ([0; INBOX_BYTES / 4], 0);
        while self.long.is_none() && self.has_room() {
            match socket.read_waiting(&mut part) {
                Ok(0) => break,
                Ok(read) => {
                    self.buffer.extend_from_slice(&part[..read]);
                    found += read;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// True while there is room to read ahead of a request that is being handled, or memory to wait for.
    pub fn has_room(&self) -> bool {
        match &self.long {
            Some(long) => !long.is_whole() || long.is_unpaid(),
            None => self.buffer.len() < self.width(),
        }
    }

    /// True while a frame comes in that has a buffer of its own, or waits for memory.
    pub fn is_long(&self) -> bool {
        self.long.is_some()
    }

    /// True when nothing came in that was not handed out.
    pub fn is_empty(&self) -> bool {
        self.long.is_none() && self.buffer.is_empty()
    }

    /// How long the frame that has begun may take in all.
    pub fn patience(&self) -> Duration {
        // Time is earned by bytes that came, not by those that were announced.
        let length = self.long.as_ref().map_or(0, |long| long.bytes.len() as u64);
        FRAME_RECEIVE_MAX + Duration::from_secs(length / FRAME_RATE_MIN)
    }

    /// Since when memory is set aside for a frame that has not come in.
    pub fn holds_since(&self) -> Option<Instant> {
        self.long.as_ref().filter(|long| !long.is_whole()).and_then(|long| long.holds_since)
    }

    /// Nothing was read for a while, which is not the client's doing.
    pub fn forgive(&mut self, now: Instant) {
        if let Some(since) = self.long.as_mut().and_then(|long| long.holds_since.as_mut()) {
            *since = now;
        }
    }

    /// Others wait for the memory of a frame that was announced and comes in slowly, or not at all.
    pub fn is_in_the_way(&self, now: Instant) -> bool {
        let Some(long) = self.long.as_ref().filter(|long| !long.is_whole()) else { return false };
        let patience = FRAME_RECEIVE_SHORT + Duration::from_secs(long.bytes.len() as u64 / FRAME_RATE_MIN);
        long.holds_since.is_some_and(|since| now >= since + patience) && self.memory.frames.is_short()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn frame(api_key: i16, length: usize) -> Vec<u8> {
        let mut bytes = u32::try_from(length).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(&api_key.to_be_bytes());
        bytes.resize(4 + length, 7);
        bytes
    }

    async fn feed(inbox: &mut Inbox, bytes: &[u8]) -> Result<Vec<Frame>, Refused> {
        let (mut socket, mut frames) = (bytes, Vec::new());
        loop {
            while let Some(frame) = inbox.next_frame(|_| true)? {
                frames.push(frame);
            }
            if inbox.read(&mut socket).await.unwrap() == 0 {
                return Ok(frames);
            }
        }
    }

    #[tokio::test]
    async fn frames_of_all_lengths_come_whole() {
        let mut inbox = Inbox::new(1 << 20, Memory::new(1 << 20));
        let lengths = [8, 100, INBOX_BYTES - 4, INBOX_BYTES, 70_000, 300_000, 9];
        let bytes: Vec<u8> = lengths.iter().flat_map(|length| frame(0, *length)).collect();
        let frames = feed(&mut inbox, &bytes).await.unwrap();
        assert_eq!(frames.iter().map(|frame| frame.bytes.len()).collect::<Vec<_>>(), lengths);
        assert!(frames.iter().all(|frame| frame.api_key() == 0));
        assert!(frames[5].reserved.is_some(), "a long frame holds memory");
        assert!(inbox.is_empty());
    }

    #[tokio::test]
    async fn what_is_no_request_is_refused_from_its_first_bytes() {
        let refusal = |bytes: Vec<u8>| async move {
            feed(&mut Inbox::new(100_000, Memory::new(1 << 20)), &bytes).await.unwrap_err()
        };
        assert!(matches!(refusal(b"GET / HTTP/1.1\r\n".to_vec()).await, Refused::NotKafka(_)));
        assert!(matches!(refusal(vec![0x16, 3, 1, 2, 0, 1]).await, Refused::NotKafka(_)));
        assert!(matches!(refusal(vec![0, 0, 0, 3]).await, Refused::TooShort(3)));
        assert!(matches!(refusal(100_001_u32.to_be_bytes().to_vec()).await, Refused::TooLarge { .. }));
        let mut inbox = Inbox::new(100_000, Memory::new(1 << 20));
        inbox.buffer.extend_from_slice(&frame(77, 8));
        assert_eq!(inbox.next_frame(|key| key != 77).unwrap_err(), Refused::NotServed(77));
    }

    #[tokio::test]
    async fn a_client_of_long_frames_is_read_with_few_calls_and_pays_for_its_buffer() {
        let memory = Memory::new(1 << 20);
        let free = memory.inboxes.free_bytes();
        let mut inbox = Inbox::new(1 << 20, memory.clone());
        let bytes: Vec<u8> = (0..40).flat_map(|_| frame(0, 66_000)).collect();
        let (mut socket, mut reads, mut frames) = (bytes.as_slice(), 0, 0);
        while inbox.read(&mut socket).await.unwrap() > 0 {
            reads += 1;
            while let Some(frame) = inbox.next_frame(|_| true).unwrap() {
                assert!(frame.reserved.is_some() && frame.bytes.len() == 66_000);
                frames += 1;
            }
        }
        assert_eq!(frames, 40);
        assert!(reads < 40, "{reads} reads");
        assert_eq!(memory.inboxes.free_bytes(), free - WIDE_INBOX_BYTES);

        for _ in 0..=SHORT_FRAMES_MAX {
            let short: Vec<u8> = (0..20).flat_map(|_| frame(0, 100)).collect();
            assert_eq!(feed(&mut inbox, &short).await.unwrap().len(), 20);
        }
        assert_eq!(memory.inboxes.free_bytes(), free, "others may have it");
    }

    #[tokio::test]
    async fn who_announces_much_and_stops_has_less_time_once_others_wait() {
        let memory = Memory::new(200_000);
        let mut slow = Inbox::new(1 << 20, memory.clone());
        let begun = frame(0, 190_000);
        let mut socket = &begun[..100_000];
        while !socket.is_empty() {
            assert!(slow.read(&mut socket).await.unwrap() > 0);
            assert!(slow.next_frame(|_| true).unwrap().is_none());
        }
        let late = Instant::now() + FRAME_RECEIVE_SHORT + Duration::from_secs(1);
        assert!(slow.holds_since().is_some() && !slow.is_in_the_way(late), "nobody else wants memory");

        let mut other = Inbox::new(1 << 20, memory.clone());
        let whole = frame(0, 80_000);
        let mut socket = whole.as_slice();
        while tokio::time::timeout(Duration::from_millis(5), other.read(&mut socket)).await.is_ok() {
            assert!(other.next_frame(|_| true).unwrap().is_none());
        }
        let mut waiting = Box::pin(other.read(&mut socket));
        assert!(tokio::time::timeout(Duration::from_millis(5), &mut waiting).await.is_err());
        assert!(slow.is_in_the_way(late) && !slow.is_in_the_way(Instant::now()));
        drop(slow);
        assert!(waiting.await.unwrap() > 0);
        assert!(!memory.frames.is_short());
    }

    #[tokio::test]
    async fn requests_that_wait_behind_each_other_come_in_together() {
        let memory = Memory::new(1 << 20);
        let free = memory.inboxes.free_bytes();
        let mut inbox = Inbox::new(1 << 20, memory.clone());
        // A batch of a producer that fills it, and what is around it.
        let bytes: Vec<u8> = (0..80).flat_map(|_| frame(0, 16_350)).collect();
        let (mut socket, mut reads, mut frames) = (bytes.as_slice(), 0, 0);
        while inbox.read(&mut socket).await.unwrap() > 0 {
            reads += 1;
            while let Some(frame) = inbox.next_frame(|_| true).unwrap() {
                assert!(frame.reserved.is_none() && frame.bytes.len() == 16_350);
                frames += 1;
            }
        }
        assert_eq!(frames, 80);
        assert!(reads < 80 / 4, "{reads} reads");
        assert_eq!(memory.inboxes.free_bytes(), free - WIDE_INBOX_BYTES);

        for _ in 0..=SHORT_FRAMES_MAX + 8 {
            let alone = frame(0, 16_350);
            assert_eq!(feed(&mut inbox, &alone).await.unwrap().len(), 1);
        }
        assert_eq!(memory.inboxes.free_bytes(), free, "others may have it");
    }

    #[tokio::test]
    async fn a_frame_that_is_whole_waits_for_memory() {
        let memory = Memory::new(100_000);
        let mut inbox = Inbox::new(1 << 20, memory.clone());
        let bytes: Vec<u8> = (0..2).flat_map(|_| frame(0, 70_000)).collect();
        let mut socket = bytes.as_slice();
        let first = loop {
            assert!(inbox.read(&mut socket).await.unwrap() > 0);
            if let Some(frame) = inbox.next_frame(|_| true).unwrap() {
                break frame;
            }
        };
        while !socket.is_empty() {
            assert!(inbox.read(&mut socket).await.unwrap() > 0);
            assert!(inbox.next_frame(|_| true).unwrap().is_none(), "memory is with the first");
        }
        assert!(inbox.has_room(), "there is memory to wait for");
        assert!(tokio::time::timeout(Duration::from_millis(5), inbox.read(&mut socket)).await.is_err());
        drop(first);
        assert!(inbox.read(&mut socket).await.unwrap() > 0);
        assert_eq!(inbox.next_frame(|_| true).unwrap().unwrap().bytes.len(), 70_000);
    }
}
