//! One write of the journal, and how it is known to be whole.
//!
//! ```text
//!  0  magic   "OTJ1"
//!  4  crc     CRC-32C of bytes 8..length
//!  8  length  of the frame; zeros follow up to the next multiple of 4096
//! 12  flags   0
//! 16  run     drawn at random for a journal: records cannot be made to look like its frames
//! 24  number  one more than the frame's before it
//! 32  round   number of the first frame that was synced together with this one
//! 40  oldest  number of the first frame that still counts: what older ones say is in the logs' own files
//! 48  entries
//! ```

use crate::disk::BLOCK;

const MAGIC: [u8; 4] = *b"OTJ1";
/// Bytes before the entries.
pub const HEADER: usize = 48;
/// A frame is closed once its entries have this many bytes.
pub const FULL: usize = 4 << 20;
/// The largest entry. What is larger is synced where it lies.
const ENTRY_MAX: usize = (1 << 20) + (1 << 18);
/// The most that an entry may have to say behind its head.
pub const BATCHES_MAX: usize = ENTRY_MAX - 1024;
/// The largest frame, padding included.
pub const FRAME_MAX: usize = HEADER + FULL + ENTRY_MAX + BLOCK;

/// What a frame's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub length: usize,
    pub run: u64,
    pub number: u64,
    pub round: u64,
    pub oldest: u64,
}

impl Header {
    /// Of a frame that begins with `bytes`; its checksum is not looked at.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER)?;
        let length = u32::from_be_bytes(bytes[8..12].try_into().ok()?) as usize;
        if bytes[..4] != MAGIC || length < HEADER || padded(length) > FRAME_MAX {
            return None;
        }
        let number = |at: usize| bytes[at..at + 8].try_into().map(u64::from_be_bytes).ok();
        Some(Self { length, run: number(16)?, number: number(24)?, round: number(32)?, oldest: number(40)? })
    }
}

/// The entries of a whole frame; `None` if it is not sound.
pub fn entries(frame: &[u8]) -> Option<&[u8]> {
    let header = Header::read(frame)?;
    let frame = frame.get(..header.length)?;
    let crc = u32::from_be_bytes(frame[4..8].try_into().ok()?);
    (crc == checksum(&frame[8..])).then_some(&frame[HEADER..])
}

/// Bytes on the disk of a frame of `length` bytes.
pub const fn padded(length: usize) -> usize {
    length.div_ceil(BLOCK) * BLOCK
}

fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// Where frames are put together: memory at an address that direct writes may use.
#[derive(Debug)]
pub struct FrameBuffer {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl FrameBuffer {
    pub fn new() -> Self {
        Self::of(FRAME_MAX)
    }

    /// For a frame without entries.
    pub fn of_one_block() -> Self {
        Self::of(BLOCK)
    }

    fn of(bytes: usize) -> Self {
        let memory = vec![0; bytes + BLOCK];
        let start = memory.as_ptr().align_offset(BLOCK).min(BLOCK);
        Self { memory, start, length: HEADER }
    }

    pub const fn is_empty(&self) -> bool {
        self.length == HEADER
    }

    /// Whether an entry of `size` bytes belongs into the next frame.
    pub const fn is_full_for(&self, size: usize) -> bool {
        !self.is_empty() && self.length - HEADER + size > FULL
    }

    /// Adds bytes of an entry. At most [`ENTRY_MAX`] of them fit behind what [`Self::is_full_for`] let pass.
    pub fn push(&mut self, bytes: &[u8]) {
        let at = self.start + self.length;
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    /// Bytes that the frame takes on the disk.
    pub const fn padded(&self) -> usize {
        padded(self.length)
    }

    /// The whole frame, padded. The header's length is that of what was pushed.
    pub fn finish(&mut self, header: &Header) -> &[u8] {
        let padded = padded(self.length);
        let length = self.length;
        let frame = &mut self.memory[self.start..self.start + padded];
        frame[length..].fill(0);
        frame[..4].copy_from_slice(&MAGIC);
        #[expect(clippy::cast_possible_truncation, reason = "a frame is far below 4 GiB")]
        frame[8..12].copy_from_slice(&(length as u32).to_be_bytes());
        frame[12..16].fill(0);
        frame[16..24].copy_from_slice(&header.run.to_be_bytes());
        frame[24..32].copy_from_slice(&header.number.to_be_bytes());
        frame[32..40].copy_from_slice(&header.round.to_be_bytes());
        frame[40..48].copy_from_slice(&header.oldest.to_be_bytes());
        let crc = checksum(&frame[8..length]);
        frame[4..8].copy_from_slice(&crc.to_be_bytes());
        frame
    }

    /// Begins the next frame.
    pub const fn clear(&mut self) {
        self.length = HEADER;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_frame_is_whole_or_it_is_none() {
        let mut buffer = FrameBuffer::new();
        buffer.push(b"some entries");
        let header = Header { length: HEADER + 12, run: 7, number: 3, round: 2, oldest: 1 };
        let frame = buffer.finish(&header).to_vec();
        assert_eq!((frame.len(), frame.as_ptr().align_offset(8)), (BLOCK, 0));
        assert_eq!(Header::read(&frame).unwrap(), header);
        assert_eq!(entries(&frame), Some(&b"some entries"[..]));
        for bit in 0..(HEADER + 12) * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(entries(&flipped), None, "bit {bit}");
        }
    }
}
