//! A typed answer becomes a frame.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ResponseHeader;
use kafka_protocol::protocol::{Encodable, HeaderVersion};

/// A piece of an answer on its way to the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk<R> {
    Bytes(Bytes),
    /// Record batches that somebody lends (a region of a file); they are written as they are.
    Records(R),
}

impl<R> Chunk<R> {
    /// Length in bytes.
    pub fn len(&self) -> usize
    where
        R: RecordsLen,
    {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Records(records) => records.records_len(),
        }
    }

    /// True if there is nothing to write.
    pub fn is_empty(&self) -> bool
    where
        R: RecordsLen,
    {
        self.len() == 0
    }
}

/// The length in bytes of lent records: all that the encoder needs to know of them.
pub trait RecordsLen {
    fn records_len(&self) -> usize;
}

impl RecordsLen for Bytes {
    fn records_len(&self) -> usize {
        self.len()
    }
}

/// An answer holds what its version cannot express.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot encode {response} in version {version}: {reason}")]
pub struct EncodeError {
    pub response: &'static str,
    pub version: i16,
    pub reason: String,
}

/// Encodes header and body behind the four-byte length prefix.
pub fn encode<R: Encodable + HeaderVersion>(
    correlation_id: i32,
    version: i16,
    response: &R,
) -> Result<Bytes, EncodeError> {
    let fail = |reason: String| EncodeError { response: std::any::type_name::<R>(), version, reason };
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    let header_version = R::header_version(version);
    let size = response.compute_size(version).map_err(|e| fail(e.to_string()))?;
    let mut frame = BytesMut::with_capacity(4 + 5 + size);
    frame.put_i32(0);
    header.encode(&mut frame, header_version).map_err(|e| fail(e.to_string()))?;
    response.encode(&mut frame, version).map_err(|e| fail(e.to_string()))?;
    let length = i32::try_from(frame.len() - 4).map_err(|_| fail("longer than a frame can be".to_owned()))?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame.freeze())
}
