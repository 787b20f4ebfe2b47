//! Snappy, raw or in the framing of Java's library.
//!
//! The framing: 16 bytes of head (`0x82 "SNAPPY" 0`, version, oldest compatible version, both `i32`), then blocks of
//! an `i32` length and that many bytes of raw snappy. librdkafka and others write one raw block without it.

use std::io::{self, Read};

use super::{Codec, CompressionError};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEAD: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
/// Uncompressed bytes per block.
const BLOCK_BYTES: usize = 32 * 1024;
/// A copy of 64 bytes takes at least three, so no snappy block expands further than this.
const RATIO_MAX: usize = 22;

pub(super) fn compress(input: &[u8]) -> Result<Vec<u8>, CompressionError> {
    let mut encoder = snap::raw::Encoder::new();
    let mut output = Vec::with_capacity(HEAD.len() + input.len() / 2);
    output.extend_from_slice(&HEAD);
    for block in input.chunks(BLOCK_BYTES) {
        let start = output.len();
        output.resize(start + 4 + snap::raw::max_compress_len(block.len()), 0);
        let written = encoder
            .compress(block, &mut output[start + 4..])
            .map_err(|e| CompressionError::Corrupt { codec: Codec::Snappy, reason: e.to_string() })?;
        output[start..start + 4].copy_from_slice(&(written as u32).to_be_bytes());
        output.truncate(start + 4 + written);
    }
    Ok(output)
}

pub(super) struct Reader<'a> {
    rest: &'a [u8],
    framed: bool,
    block: Vec<u8>,
    position: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self { rest: input, framed: input.starts_with(&MAGIC), block: Vec::new(), position: 0 }
    }

    /// Decompresses the next block; `false` at the end.
    fn next_block(&mut self) -> io::Result<bool> {
        // A head may come again where streams were joined.
        while self.framed && self.rest.starts_with(&MAGIC) {
            self.rest = self.rest.get(HEAD.len()..).ok_or_else(|| corrupt("its head is cut off"))?;
        }
        if self.rest.is_empty() {
            return Ok(false);
        }
        let raw = if self.framed {
            let (length, rest) = self.rest.split_first_chunk().ok_or_else(|| corrupt("a block length is cut off"))?;
            let length = u32::from_be_bytes(*length) as usize;
            let (raw, rest) = rest.split_at_checked(length).ok_or_else(|| corrupt("a block is cut off"))?;
            self.rest = rest;
            raw
        } else {
            std::mem::take(&mut self.rest)
        };
        // The claimed length is five bytes of the sender's choice; nothing is reserved before it is plausible.
        let claimed = snap::raw::decompress_len(raw).map_err(io::Error::other)?;
        if claimed > raw.len().saturating_mul(RATIO_MAX) {
            return Err(corrupt("a block claims more than snappy can hold"));
        }
        self.block.resize(claimed, 0);
        let written = snap::raw::Decoder::new().decompress(raw, &mut self.block).map_err(io::Error::other)?;
        self.block.truncate(written);
        self.position = 0;
        Ok(true)
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.position == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let read = (&self.block[self.position..]).read(buf)?;
        self.position += read;
        Ok(read)
    }
}

fn corrupt(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
