//! The LZ4 frame format as Kafka uses it: one frame, independent blocks, no checksums when we write.

use std::io::{self, Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{Codec, CompressionError};
use crate::buf::{Cursor, ReadError};

pub(super) fn compress(input: &[u8]) -> Result<Vec<u8>, CompressionError> {
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::with_capacity(input.len() / 2));
    encoder.write_all(input).map_err(|e| corrupt(e.to_string()))?;
    encoder.finish().map_err(|e| corrupt(e.to_string()))
}

pub(super) struct Reader<'a>(FrameDecoder<&'a [u8]>);

impl<'a> Reader<'a> {
    pub(super) fn new(input: &'a [u8]) -> Result<Self, CompressionError> {
        check_frame(input).map_err(|e| corrupt(e.to_string()))?;
        Ok(Self(FrameDecoder::new(input)))
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

#[derive(Debug, thiserror::Error)]
enum FrameError {
    #[error("it is no LZ4 frame")]
    NotAFrame,
    #[error("its blocks depend on each other")]
    LinkedBlocks,
    #[error("it needs a dictionary")]
    Dictionary,
    #[error("bytes lie behind its end mark")]
    Trailing,
    #[error("the frame is cut off")]
    CutOff(#[from] ReadError),
}

/// Walks the frame's blocks without decompressing: the decoder does not mind a missing end mark or bytes behind it,
/// and would read linked blocks, which Java's consumers cannot.
fn check_frame(input: &[u8]) -> Result<(), FrameError> {
    let mut cursor = Cursor::new(input);
    if cursor.take(4)? != [0x04, 0x22, 0x4d, 0x18] {
        return Err(FrameError::NotAFrame);
    }
    let flags = cursor.u8()?;
    cursor.u8()?;
    if flags >> 6 != 1 {
        return Err(FrameError::NotAFrame);
    }
    if flags & 0x20 == 0 {
        return Err(FrameError::LinkedBlocks);
    }
    if flags & 0x01 != 0 {
        return Err(FrameError::Dictionary);
    }
    let content_size = if flags & 0x08 == 0 { 0 } else { 8 };
    cursor.take(content_size + 1)?;
    let block_checksum = if flags & 0x10 == 0 { 0 } else { 4 };
    loop {
        // The highest bit marks a block that is stored as it is.
        match cursor.u32()?.swap_bytes() & 0x7fff_ffff {
            0 => break,
            length => cursor.take(length as usize + block_checksum)?,
        };
    }
    cursor.take(if flags & 0x04 == 0 { 0 } else { 4 })?;
    if cursor.is_empty() { Ok(()) } else { Err(FrameError::Trailing) }
}

fn corrupt(reason: String) -> CompressionError {
    CompressionError::Corrupt { codec: Codec::Lz4, reason }
}
