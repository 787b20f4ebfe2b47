//! A typed answer becomes a frame.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ResponseHeader;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request as RequestMessage};

use crate::skeleton;

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

/// A message holds what its version cannot express.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot encode {message} in version {version}: {reason}")]
pub struct EncodeError {
    pub message: &'static str,
    pub version: i16,
    pub reason: String,
}

/// Encodes header and body behind the four-byte length prefix.
pub fn encode<R: Encodable + HeaderVersion>(
    correlation_id: i32,
    version: i16,
    response: &R,
) -> Result<Bytes, EncodeError> {
    let fail = |reason: String| EncodeError { message: std::any::type_name::<R>(), version, reason };
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    let header_version = R::header_version(version);
    let size = response.compute_size(version).map_err(|e| fail(e.to_string()))?;
    if size > FRAME_MAX {
        return Err(fail(format!("{size} bytes are longer than a frame can be")));
    }
    let mut frame = BytesMut::with_capacity(4 + 5 + size);
    frame.put_i32(0);
    header.encode(&mut frame, header_version).map_err(|e| fail(e.to_string()))?;
    response.encode(&mut frame, version).map_err(|e| fail(e.to_string()))?;
    seal(&mut frame).map_err(fail)?;
    Ok(frame.freeze())
}

/// What the length of a frame can say, less its header.
const FRAME_MAX: usize = i32::MAX as usize - 64;

/// Writes the length of what follows into the first four bytes.
pub(crate) fn seal(frame: &mut BytesMut) -> Result<(), String> {
    let length = i32::try_from(frame.len() - 4).map_err(|_| "longer than a frame can be".to_owned())?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// A frame is no answer to the request it should answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed answer (API {api_key}, version {version}): {reason}")]
pub struct DecodeError {
    pub api_key: i16,
    pub version: i16,
    pub reason: String,
}

/// Reads the answer to a request of type `R` (without the length prefix): its correlation id and its body.
pub fn decode<R: RequestMessage>(version: i16, frame: Bytes) -> Result<(i32, R::Response), DecodeError> {
    let fail = |reason: String| DecodeError { api_key: R::KEY, version, reason };
    let mut rest = frame;
    let header =
        ResponseHeader::decode(&mut rest, R::Response::header_version(version)).map_err(|e| fail(e.to_string()))?;
    skeleton::check_response(R::KEY, version, &rest).map_err(|e| fail(e.to_string()))?;
    let response = R::Response::decode(&mut rest, version).map_err(|e| fail(e.to_string()))?;
    Ok((header.correlation_id, response))
}
