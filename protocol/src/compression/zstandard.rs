//! Zstandard as a stream; decoding contexts are kept per thread, since making one costs more than a small batch.

use std::cell::RefCell;
use std::io::{self, Read};

use zstd::zstd_safe::{self, DCtx, InBuffer, OutBuffer, ResetDirective};

use super::{Codec, CompressionError};

/// Idle contexts per thread; more than one is in use only where a caller reads several batches at once.
const IDLE_CONTEXTS_MAX: usize = 4;

/// A context keeps the window of the largest frame it has read (up to 128 MiB); one as large as this is not kept.
const IDLE_CONTEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

thread_local! {
    static IDLE: RefCell<Vec<DCtx<'static>>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn compress(level: Option<i32>, input: &[u8]) -> Result<Vec<u8>, CompressionError> {
    let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
    zstd::bulk::compress(input, level)
        .map_err(|e| CompressionError::Corrupt { codec: Codec::Zstd, reason: e.to_string() })
}

pub(super) struct Reader<'a> {
    context: Option<DCtx<'static>>,
    input: &'a [u8],
    position: usize,
    /// Whether the last frame has been decoded to its end.
    complete: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        let context = IDLE.with_borrow_mut(Vec::pop).unwrap_or_else(DCtx::create);
        Self { context: Some(context), input, position: 0, complete: false }
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(context) = self.context.as_mut() else {
            return Ok(0);
        };
        let mut output = OutBuffer::around(buf);
        loop {
            if self.complete && self.position == self.input.len() {
                return Ok(0);
            }
            let mut input = InBuffer { src: self.input, pos: self.position };
            let hint = context
                .decompress_stream(&mut output, &mut input)
                .map_err(|code| io::Error::other(zstd_safe::get_error_name(code)))?;
            let progress = input.pos() > self.position;
            self.position = input.pos();
            self.complete = hint == 0;
            if output.pos() > 0 {
                return Ok(output.pos());
            }
            if !progress && !self.complete {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the frame is cut off"));
            }
        }
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if let Some(mut context) = self.context.take()
            && context.sizeof() <= IDLE_CONTEXT_BYTES_MAX
            && context.reset(ResetDirective::SessionOnly).is_ok()
        {
            // A thread that is ending has no list any more; the context then goes with it.
            let _ = IDLE.try_with(|idle| {
                let mut idle = idle.borrow_mut();
                if idle.len() < IDLE_CONTEXTS_MAX {
                    idle.push(context);
                }
            });
        }
    }
}
