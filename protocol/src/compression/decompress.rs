//! Reading any codec as a stream, with a bound on the output.

use std::io::{self, Read};

use super::{Budget, Codec, CompressionError, lz4, snappy, zstandard};

/// Decompresses a payload piece by piece. Ends only when the payload is complete and used up: a payload that is cut
/// off, or followed by other bytes, is an error.
pub struct Decompressor<'a> {
    codec: Codec,
    inner: Inner<'a>,
    produced: usize,
    limit: usize,
}

enum Inner<'a> {
    Plain(&'a [u8]),
    /// Producers may write several gzip members; they read as one stream.
    Gzip(Box<flate2::bufread::MultiGzDecoder<&'a [u8]>>),
    Snappy(snappy::Reader<'a>),
    Lz4(Box<lz4::Reader<'a>>),
    Zstd(Box<zstandard::Reader<'a>>),
}

impl<'a> Decompressor<'a> {
    /// Fails if the payload's own head is broken.
    pub fn new(codec: Codec, input: &'a [u8], budget: &Budget) -> Result<Self, CompressionError> {
        let inner = match codec {
            Codec::None => Inner::Plain(input),
            Codec::Gzip => Inner::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(input))),
            Codec::Snappy => Inner::Snappy(snappy::Reader::new(input)),
            Codec::Lz4 => Inner::Lz4(Box::new(lz4::Reader::new(input)?)),
            Codec::Zstd => Inner::Zstd(Box::new(zstandard::Reader::new(input))),
        };
        Ok(Self { codec, inner, produced: 0, limit: budget.limit(input.len()) })
    }

    /// The error for output that a reader refuses to hold.
    pub const fn too_large(&self, limit: usize) -> CompressionError {
        CompressionError::TooLarge { codec: self.codec, limit }
    }

    /// What an error of [`Read::read`] means.
    pub fn error(&self, error: &io::Error) -> CompressionError {
        if self.produced > self.limit {
            CompressionError::TooLarge { codec: self.codec, limit: self.limit }
        } else {
            CompressionError::Corrupt { codec: self.codec, reason: error.to_string() }
        }
    }
}

impl Read for Decompressor<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.inner {
            Inner::Plain(bytes) => bytes.read(buf),
            Inner::Gzip(reader) => reader.read(buf),
            Inner::Snappy(reader) => reader.read(buf),
            Inner::Lz4(reader) => reader.read(buf),
            Inner::Zstd(reader) => reader.read(buf),
        }?;
        self.produced += read;
        if self.produced > self.limit {
            return Err(io::Error::other("the output is larger than allowed"));
        }
        Ok(read)
    }
}

impl std::fmt::Debug for Decompressor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor")
            .field("codec", &self.codec)
            .field("produced", &self.produced)
            .finish_non_exhaustive()
    }
}
