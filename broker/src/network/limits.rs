//! Every bound of the network in one place.

use std::time::Duration;

/// Produce requests of one connection that may wait for their replicas at a time.
pub const PRODUCES_IN_FLIGHT_MAX: usize = 64;

/// Answers that may wait to be written with one system call.
pub const ANSWERS_QUEUED_MAX: usize = 64;

/// Bytes of answers that may wait to be written with one system call; no request is started behind them before they are gone.
pub const ANSWERS_QUEUED_BYTES_MAX: usize = 256 * 1024;

/// A client that takes nothing for this long does not keep up: its connection lets go of the records it has read for it.
pub const STALL: Duration = Duration::from_millis(100);

/// Memory for answers of all connections whose clients do not take them, unless `queued.max.request.bytes` says otherwise;
/// who would need more is disconnected.
pub const UNREAD_ANSWERS_BYTES: usize = 256 * 1024 * 1024;

/// Elements of long requests (see `skeleton::ELEMENTS_MAX`) take about this much memory each while they are handled.
pub const ELEMENT_BYTES: usize = 256;

/// Requests of fewer elements than this are handled without asking for memory.
pub const ELEMENTS_ON_TRUST: usize = 4096;

/// What a connection may still do once the broker stops: hand out an answer that is being written.
pub const FAREWELL_MAX: Duration = Duration::from_millis(100);

/// Bytes of a connection's standing read buffer; a longer frame gets a buffer of its own.
pub const INBOX_BYTES: usize = 16 * 1024;

/// Bytes of a long frame that must have come in before memory for all of it is set aside; a frame that is shorter is handled
/// without asking for memory.
pub const FRAME_BYTES_ON_TRUST: usize = 64 * 1024;

/// The read buffer of a connection whose frames are longer than `INBOX_BYTES` and fit in here, or wait behind each other: what the
/// client has sent comes in with one system call. Two requests of a producer that fills batches of 16 KiB for four partitions,
/// eight of one that does for a single partition.
pub const WIDE_INBOX_BYTES: usize = 144 * 1024;

/// So much memory is given out for wide read buffers; who comes later reads in steps.
pub const WIDE_INBOXES_BYTES: usize = 64 * 1024 * 1024;

/// After so many short frames in a row a connection gives its wide buffer back.
pub const SHORT_FRAMES_MAX: u32 = 64;

/// Memory for long requests in all connections together, unless `queued.max.request.bytes` says otherwise.
pub const REQUEST_MEMORY_BYTES: usize = 512 * 1024 * 1024;

/// Slices handed to one `writev`.
pub const SLICES_PER_WRITE_MAX: usize = 64;

/// Bytes of lent records that are read into memory at a time.
pub const RECORDS_PER_READ_BYTES: usize = 512 * 1024;

/// Records from this length on go from the page cache to the socket without coming by; below it one system call for all
/// that is lined up is cheaper.
pub const SENDFILE_BYTES_MIN: usize = 32 * 1024;

/// The same for a client that does not keep up, and for all while the large buffers are in use.
pub const RECORDS_PER_STALL_BYTES: usize = 64 * 1024;

/// Buffers of `RECORDS_PER_READ_BYTES` that may be in use at a time.
pub const LARGE_BUFFERS_MAX: usize = 128;

/// Bytes of an answer that a client which takes nothing keeps in memory, besides what is not in a file.
pub const STALLED_BYTES: usize = 4 * 1024;

/// Bytes of answers that a client need not take at once, without a look at what others hold.
pub const UNREAD_ON_TRUST: usize = 64 * 1024;

/// A frame that was begun must be complete after this long ...
pub const FRAME_RECEIVE_MAX: Duration = Duration::from_secs(30);

/// ... plus the time its bytes take at this rate (bytes per second).
pub const FRAME_RATE_MIN: u64 = 128 * 1024;

/// The same for a frame that has held memory for so long while others wait for it; time in which it waited itself does not count.
pub const FRAME_RECEIVE_SHORT: Duration = Duration::from_secs(3);

/// How often a connection whose frame holds memory looks whether others wait for it.
pub const HOLDER_LOOKS: Duration = Duration::from_secs(1);

/// How long answers that are on their way are waited for when the client has closed its side.
pub const HALF_CLOSED_MAX: Duration = Duration::from_secs(5);

/// File descriptors that are left for files when connections are counted against the process limit.
pub const DESCRIPTORS_FOR_FILES_MIN: usize = 256;

/// Connections waiting to be accepted, unless `socket.listen.backlog.size` is given.
pub const BACKLOG: u32 = 1024;

/// Refused connections of one listener that are kept open for a while, so that they do not come back at once; more are closed
/// at once.
pub const LINGERING_MAX: usize = 1024;

/// Read buffers kept for the next answer when nobody uses them.
pub const SPARE_BUFFERS_MAX: usize = 4;

/// Records shorter than this are read into memory of just their length.
pub const SMALL_RECORDS_BYTES: usize = 16 * 1024;

/// A connection whose client streams produce requests waits for as many as come within this time, if that is two.
pub const MODERATION: Duration = Duration::from_micros(400);

/// Who waits for several requests reads after this time what there is, or a tick of the timer, which is as long, later.
pub const MODERATION_MAX: Duration = Duration::from_millis(1);

/// Requests that the time between two of them is taken from.
pub const MODERATION_WINDOW: u32 = 32;

/// Requests that must come fast one after the other before several are waited for ...
pub const MODERATION_PATIENCE: u32 = 64;

/// ... and this many times as many after each time that a request waited for others that did not come ...
pub const MODERATION_PATIENCE_FACTOR: u32 = 8;

/// ... unless so many had come since the last time.
pub const MODERATION_FORGIVEN: u32 = 1024;

/// ... but never more than this.
pub const MODERATION_PATIENCE_MAX: u32 = 64 * 1024;

/// After so many it is looked whether the client sends as fast as when none is waited for.
pub const MODERATION_COMPARED: u32 = 1024;

/// After so many one more is waited for at a time.
pub const MODERATION_TRUST: u32 = 16 * 1024;

/// Requests that are waited for at a time: most clients send five without an answer.
pub const MODERATED_REQUESTS_MAX: u32 = 4;

/// Bytes that are waited for: a receive buffer of Kafka's size holds more, a read buffer takes more.
pub const MODERATED_BYTES_MAX: usize = 64 * 1024;
