//! The four codecs of record batches. Only the records are compressed, all of a batch as one stream.

mod decompress;
mod lz4;
mod snappy;
mod zstandard;

pub use decompress::Decompressor;

use std::io::{Read, Write};

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(i16)]
pub enum Codec {
    #[default]
    None = 0,
    Gzip = 1,
    /// Written in the framing of Java's snappy; raw snappy, as librdkafka writes it, is read as well.
    Snappy = 2,
    /// The frame format with independent blocks: Java reads no others.
    Lz4 = 3,
    Zstd = 4,
}

impl Codec {
    /// The codec for bits 0 to 2 of a batch's attributes.
    pub const fn from_id(id: i16) -> Option<Self> {
        Some(match id {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            _ => return None,
        })
    }

    pub const fn id(self) -> i16 {
        self as i16
    }

    /// The name in `compression.type`; `None` for names of no codec (`producer`, `uncompressed`).
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "gzip" => Self::Gzip,
            "snappy" => Self::Snappy,
            "lz4" => Self::Lz4,
            "zstd" => Self::Zstd,
            _ => return None,
        })
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// How much a payload may expand to: the larger of `bytes_max` and `ratio_max` times its own size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    pub bytes_max: usize,
    pub ratio_max: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { bytes_max: 64 * 1024 * 1024, ratio_max: 1000 }
    }
}

impl Budget {
    pub const fn limit(&self, input: usize) -> usize {
        let by_ratio = self.ratio_max.saturating_mul(input);
        if by_ratio > self.bytes_max { by_ratio } else { self.bytes_max }
    }
}

/// Why a payload could not be (de)compressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    #[error("{} payload is corrupt: {reason}", codec.name())]
    Corrupt { codec: Codec, reason: String },
    /// More output than the [`Budget`] allows: a bomb.
    #[error("{} payload expands to more than {limit} bytes", codec.name())]
    TooLarge { codec: Codec, limit: usize },
}

/// Compresses `input`; `level` is the codec's own scale (gzip 1-9, lz4 ignored, zstd -131072..22).
pub fn compress(codec: Codec, level: Option<i32>, input: &[u8]) -> Result<Vec<u8>, CompressionError> {
    let corrupt = |e: std::io::Error| CompressionError::Corrupt { codec, reason: e.to_string() };
    match codec {
        Codec::None => Ok(input.to_vec()),
        Codec::Gzip => {
            let level = level.and_then(|level| u32::try_from(level).ok()).filter(|level| (1..=9).contains(level));
            let level = level.map_or_else(flate2::Compression::default, flate2::Compression::new);
            let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(input.len() / 2), level);
            encoder.write_all(input).map_err(corrupt)?;
            encoder.finish().map_err(corrupt)
        }
        Codec::Snappy => snappy::compress(input),
        Codec::Lz4 => lz4::compress(input),
        Codec::Zstd => zstandard::compress(level, input),
    }
}

/// Decompresses a whole payload. Memory grows with what the payload really holds, and never beyond `budget`.
pub fn decompress(codec: Codec, input: &[u8], budget: &Budget) -> Result<Vec<u8>, CompressionError> {
    let mut decompressor = Decompressor::new(codec, input, budget)?;
    let mut output = Vec::new();
    match decompressor.read_to_end(&mut output) {
        Ok(_) => Ok(output),
        Err(error) => Err(decompressor.error(&error)),
    }
}
