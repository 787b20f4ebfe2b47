//! One client: reads its requests, has them handled, writes the answers. One task, no locks.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ottla_protocol::request::{self, DecodeError, Request};
use ottla_protocol::versions::PRIVATE_KEY_MIN;
use tokio::io::AsyncRead;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::complaints::{Complaint, Complaints};
use super::inbox::{Frame, Inbox, Refused};
use super::limits::{
    ELEMENT_BYTES, ELEMENTS_ON_TRUST, FAREWELL_MAX, HALF_CLOSED_MAX, HOLDER_LOOKS, MODERATION_MAX,
    PRODUCES_IN_FLIGHT_MAX,
};
use super::memory::Memory;
use super::moderation::{EVERY_BYTE, Moderation};
use super::outlet::Outlet;
use super::pipeline::{Pipeline, Written};
use crate::api::{ApiTable, BoxFuture, ConnectionId, ListenerInfo, Reply, RequestContext, Service};
use crate::config::Effective;
use crate::quotas::{self, Quotas};
use crate::security::Principal;

const PRODUCE: i16 = 0;
const API_VERSIONS: i16 = 18;

/// What all connections of a listener share.
#[derive(Clone)]
pub struct Door {
    pub service: Arc<dyn Service>,
    /// What is served here.
    pub table: Arc<ApiTable>,
    pub listener: Arc<ListenerInfo>,
    /// Those of the container that this runs in, if it does.
    pub gateways: Arc<[std::net::IpAddr]>,
    pub memory: Memory,
    pub config: Effective,
    pub quotas: Quotas,
    pub complaints: Complaints,
    pub shutdown: CancellationToken,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum End {
    #[error("closed by the client")]
    ByClient,
    #[error("idle for too long")]
    Idle,
    #[error("a request took too long to come in")]
    SlowSender,
    #[error("it does not take its answers, and memory for such is used up")]
    Unread,
    #[error("the broker stops")]
    Shutdown,
    #[error("closed by the answer")]
    ByAnswer,
    #[error("{0}")]
    Refused(#[from] Refused),
    #[error("{0}")]
    Undecodable(#[from] DecodeError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// A client's connection.
pub struct Connection<S> {
    socket: S,
    id: ConnectionId,
    peer: SocketAddr,
    door: Door,
    inbox: Inbox,
    pipeline: Pipeline,
    /// A whole frame that waits for earlier requests to end.
    next: Option<Frame>,
    /// Most requests of a connection carry the same client id.
    client_id: Arc<str>,
    principal: Principal,
    idle_max: Duration,
    last_active: Instant,
    /// When the frame that is coming in began.
    frame_began: Option<Instant>,
    muted_until: Option<Instant>,
    half_closed: Option<Instant>,
    /// Another node of the cluster: the end of its connections is evidence of its own end.
    is_peer: bool,
    /// Where the kernel can wait for more than a byte.
    moderation: Option<Moderation>,
    /// Bytes that the kernel waits for before it reports what came in.
    mark: usize,
    last_read: Instant,
}

impl<S: AsyncRead + Outlet> Connection<S> {
    pub fn new(socket: S, id: ConnectionId, peer: SocketAddr, door: Door) -> Self {
        let frame_bytes_max = door.config.settings.usize("socket.request.max.bytes");
        let idle_ms = door.config.settings.i64("connections.max.idle.ms");
        // Negative: never.
        let idle_max = u64::try_from(idle_ms).map_or(Duration::from_secs(365 * 86_400), Duration::from_millis);
        let pipeline = Pipeline::new(door.memory.unread.clone());
        let inbox = Inbox::new(frame_bytes_max, door.memory.clone());
        let moderation = socket.socket().map(|_| Moderation::default());
        Self {
            socket,
            id,
            peer,
            door,
            inbox,
            pipeline,
            next: None,
            client_id: "".into(),
            principal: Principal::anonymous(),
            idle_max,
            last_active: Instant::now(),
            frame_began: None,
            muted_until: None,
            half_closed: None,
            is_peer: false,
            moderation,
            mark: EVERY_BYTE,
            last_read: Instant::now(),
        }
    }

    /// Serves the client until either side ends it.
    pub async fn run(mut self) {
        let shutdown = self.door.shutdown.clone();
        let end = tokio::select! {
            biased;
            Err(end) = self.serve() => end,
            // Whoever does not take the answer that is being written, or waits for another part of the broker, holds up nobody.
            () = async { shutdown.cancelled().await; tokio::time::sleep(FAREWELL_MAX).await } => End::Shutdown,
        };
        if self.is_peer {
            self.door.service.peer_closed(self.id);
        }
        let (id, peer, listener) = (self.id.0, self.peer, &*self.door.listener.name);
        let Some(kind) = Complaint::of(&end) else {
            debug!(id, %peer, listener, reason = %end, "disconnected");
            return;
        };
        self.door.complaints.say(kind, || {
            // Whatever came from the client is written with its control characters escaped.
            let reason = end.to_string();
            if kind.is_warning() {
                warn!(id, %peer, listener, client_id = ?self.client_id, ?reason, "disconnected");
            } else {
                info!(id, %peer, listener, client_id = ?self.client_id, ?reason, "disconnected");
            }
        });
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        let mut timer = Box::pin(tokio::time::sleep_until(self.next_deadline()));
        let shutdown = self.door.shutdown.clone();
        // One for as long as the connection lasts: to begin to wait for it takes a lock that all connections share.
        let mut shutdown = std::pin::pin!(shutdown.cancelled());
        loop {
            self.start_requests().await?;
            if self.pipeline.is_ready() {
                self.write().await?;
                continue;
            }
            if let Some(since) = self.half_closed
                && (self.pipeline.is_empty() || since.elapsed() > HALF_CLOSED_MAX)
            {
                return Err(End::ByClient);
            }
            if self.moderate()? {
                continue;
            }
            arm(&mut timer, self.next_deadline());
            let may_read = self.half_closed.is_none() && self.inbox.has_room();
            tokio::select! {
                biased;
                () = self.pipeline.front(), if !self.pipeline.is_empty() => {}
                read = self.inbox.read(&mut self.socket), if may_read => {
                    self.last_read = Instant::now();
                    if read? == 0 {
                        if self.is_peer {
                            return Err(End::ByClient);
                        }
                        self.half_closed = Some(self.last_read);
                    } else if self.pipeline.is_empty() {
                        self.last_active = self.last_read;
                    }
                }
                () = timer.as_mut() => self.on_deadline()?,
                () = shutdown.as_mut() => return Err(End::Shutdown),
            }
        }
    }

    /// Has the kernel wait for as much as the client is going to send anyway. True when something came in meanwhile.
    fn moderate(&mut self) -> Result<bool, End> {
        let Some(moderation) = &mut self.moderation else { return Ok(false) };
        let is_muted = self.muted_until.is_some() || self.half_closed.is_some();
        let mark = if is_muted || !self.pipeline.is_empty() || self.inbox.is_long() {
            moderation.stop();
            EVERY_BYTE
        } else {
            moderation.mark(self.last_read)
        };
        let is_lower = mark < self.mark;
        self.wait_for(mark);
        // Kernels before 4.18 do not report what lies between the two marks.
        Ok(is_lower && self.half_closed.is_none() && self.take_waiting()? > 0)
    }

    fn wait_for(&mut self, mark: usize) {
        if mark == self.mark {
            return;
        }
        match self.socket.wait_for(mark) {
            Ok(()) => self.mark = mark,
            Err(error) => {
                debug!(id = self.id.0, %error, "requests cannot be waited for");
                self.moderation = None;
            }
        }
    }

    /// Reads what has come in short of the mark, if it was not reached in time.
    fn read_overdue(&mut self, now: Instant) -> Result<(), End> {
        if self.mark == EVERY_BYTE || now < self.overdue() {
            return Ok(());
        }
        // In this order: what comes in behind what is read is reported.
        self.wait_for(EVERY_BYTE);
        let found = self.take_waiting()?;
        if let Some(moderation) = &mut self.moderation {
            moderation.on_overdue(found);
        }
        self.last_read = now;
        Ok(())
    }

    /// When the mark should have been reached: the client has its answers since it was last active.
    fn overdue(&self) -> Instant {
        self.last_read.max(self.last_active) + MODERATION_MAX
    }

    fn take_waiting(&mut self) -> Result<usize, End> {
        let found = self.inbox.take_waiting(&self.socket)?;
        if found > 0 {
            self.last_active = Instant::now();
        }
        Ok(found)
    }

    /// Starts every request that is here and may be started.
    async fn start_requests(&mut self) -> Result<(), End> {
        while self.muted_until.is_none() {
            if self.next.is_none() {
                let table = &self.door.table;
                self.next = self.inbox.next_frame(|key| table.serves(key))?;
            }
            self.frame_began = match (&self.next, self.inbox.is_empty()) {
                (None, false) => self.frame_began.or_else(|| Some(Instant::now())),
                _ => None,
            };
            let Some(frame) = &self.next else { return Ok(()) };
            if !self.pipeline.admits(frame.api_key() == PRODUCE, PRODUCES_IN_FLIGHT_MAX) {
                return Ok(());
            }
            if let Some(frame) = self.next.take() {
                self.start(frame).await?;
            }
        }
        Ok(())
    }

    /// Decodes a request and runs the part of it that must keep its place.
    async fn start(&mut self, frame: Frame) -> Result<(), End> {
        let (api_key, reserved) = (frame.api_key(), frame.reserved);
        if let Some(moderation) = &mut self.moderation {
            match api_key {
                PRODUCE => moderation.on_request(frame.bytes.len()),
                _ => moderation.stop(),
            }
        }
        let checked = match request::check(frame.bytes) {
            Ok(checked) => checked,
            Err(DecodeError::UnsupportedVersion { api_key: API_VERSIONS, version, correlation_id, client_id }) => {
                let client_id = client_id.unwrap_or_default();
                let cx = self.context(API_VERSIONS, version, correlation_id, &client_id, 0);
                self.pipeline.push(self.door.service.unsupported_api_versions(&cx), false, reserved);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let elements = checked.elements();
        let decoded = match elements > ELEMENTS_ON_TRUST {
            true => self.door.memory.elements.reserve(elements * ELEMENT_BYTES).await,
            false => None,
        };
        let Request { header, version, body, size, .. } = checked.decode()?;
        if !self.door.table.serves_version(api_key, version) {
            let client_id = header.client_id;
            return Err(DecodeError::UnsupportedVersion {
                api_key,
                version,
                correlation_id: header.correlation_id,
                client_id,
            }
            .into());
        }
        self.is_peer |= api_key >= PRIVATE_KEY_MIN;
        let client_id = header.client_id.unwrap_or_default();
        let cx = self.context(api_key, version, header.correlation_id, &client_id, size);
        // The quorum is no client, whichever way it comes.
        let is_rationed = !cx.listener.is_controller && api_key < PRIVATE_KEY_MIN && self.door.quotas.is_any_set();
        let (mut reply, busy) = guarded(self.door.service.call(&cx, body), is_rationed).await;
        drop(decoded);
        if is_rationed {
            let percent_seconds = busy.as_secs_f64() * 100.0;
            let throttle_ms = self.door.quotas.record(quotas::Kind::Request, &cx.client(), percent_seconds);
            reply = throttled(reply, cx, throttle_ms);
        }
        if let Reply::None { throttle_ms: ms @ 1.. } = reply {
            self.muted_until = Some(Instant::now() + Duration::from_millis(u64::from(ms.unsigned_abs())));
        }
        self.pipeline.push(reply, api_key == PRODUCE, reserved);
        self.has_not_read();
        Ok(())
    }

    fn context(
        &mut self,
        api_key: i16,
        version: i16,
        correlation_id: i32,
        client_id: &str,
        request_size: usize,
    ) -> RequestContext {
        if *self.client_id != *client_id {
            self.client_id = client_id.into();
        }
        RequestContext {
            api_key,
            version,
            correlation_id,
            client_id: Arc::clone(&self.client_id),
            connection: self.id,
            listener: Arc::clone(&self.door.listener),
            peer: self.peer,
            principal: self.principal.clone(),
            request_size,
        }
    }

    async fn write(&mut self) -> Result<(), End> {
        let written = match self.pipeline.write_ready(&mut self.socket, self.idle_max).await {
            Err(error) if error.kind() == std::io::ErrorKind::OutOfMemory => return Err(End::Unread),
            written => written?,
        };
        self.last_active = Instant::now();
        self.has_not_read();
        match written {
            Written::Close => Err(End::ByAnswer),
            Written::Mute(time) => {
                if !time.is_zero() {
                    self.muted_until = Some(self.last_active + time);
                }
                Ok(())
            }
        }
    }

    /// Nothing was read for a while: a frame that is coming in has its time from now on.
    fn has_not_read(&mut self) {
        let now = Instant::now();
        self.frame_began = self.frame_began.map(|_| now);
        self.inbox.forgive(now);
    }

    /// When something must be looked at again without the client's doing.
    fn next_deadline(&self) -> Instant {
        let ends = self.half_closed.map(|since| since + HALF_CLOSED_MAX);
        if let Some(muted) = self.muted_until {
            return ends.map_or(muted, |ends| ends.min(muted));
        }
        if let Some(ends) = ends {
            return ends;
        }
        // A request in work keeps the connection, however long it takes, but not a frame that does not come in.
        let idle_since = if self.pipeline.is_empty() { self.last_active } else { Instant::now() };
        let mut deadline = idle_since + self.idle_max;
        if self.inbox.holds_since().is_some() {
            deadline = deadline.min(Instant::now() + HOLDER_LOOKS);
        }
        if self.mark > EVERY_BYTE {
            deadline = deadline.min(self.overdue());
        }
        self.frame_deadline().map_or(deadline, |late| deadline.min(late))
    }

    /// When the frame that is coming in is late. The time in which it waited for memory is not the client's.
    fn frame_deadline(&self) -> Option<Instant> {
        let began = self.frame_began?;
        Some(self.inbox.holds_since().map_or(began, |since| since.max(began)) + self.inbox.patience())
    }

    fn on_deadline(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if let Some(muted) = self.muted_until {
            if now >= muted {
                self.muted_until = None;
                self.last_active = now;
                self.frame_began = None;
                self.inbox.forgive(now);
            }
            return Ok(());
        }
        self.read_overdue(now)?;
        let is_late = self.frame_deadline().is_some_and(|late| now >= late);
        if self.half_closed.is_none() && (is_late || self.inbox.is_in_the_way(now)) {
            return Err(End::SlowSender);
        }
        if self.pipeline.is_empty() && now >= self.last_active + self.idle_max {
            return Err(End::Idle);
        }
        Ok(())
    }
}

/// Moves the timer only when it would fire too late or has fired: most deadlines only move away.
fn arm(timer: &mut std::pin::Pin<Box<Sleep>>, deadline: Instant) {
    if timer.is_elapsed() || deadline < timer.deadline() {
        timer.as_mut().reset(deadline);
    }
}

/// A request that panics costs its connection, not the broker. Tells how long the handler was at work, if that is `timed`.
async fn guarded(mut future: BoxFuture<'_, Reply>, timed: bool) -> (Reply, Duration) {
    let mut busy = Duration::ZERO;
    std::future::poll_fn(move |cx| {
        let began = timed.then(std::time::Instant::now);
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        busy += began.map_or(Duration::ZERO, |began| began.elapsed());
        match polled {
            Ok(poll) => poll.map(|reply| (reply, busy)),
            // The panic hook has said what happened.
            Err(_) => Poll::Ready((Reply::Close, busy)),
        }
    })
    .await
}

/// The reply with at least this much time to wait.
fn throttled(reply: Reply, cx: RequestContext, throttle_ms: i32) -> Reply {
    if throttle_ms == 0 {
        return reply;
    }
    match reply {
        Reply::Now(mut response) => {
            response.throttle(&cx, throttle_ms);
            Reply::Now(response)
        }
        Reply::Later(response) => Reply::Later(Box::pin(async move {
            let mut response = response.await;
            response.throttle(&cx, throttle_ms);
            response
        })),
        Reply::None { throttle_ms: own } => Reply::None { throttle_ms: own.max(throttle_ms) },
        Reply::Close => Reply::Close,
    }
}

#[cfg(test)]
mod tests;
