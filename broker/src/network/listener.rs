//! Binds the addresses of a listener and accepts what comes.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::admission::{Admission, Denied};
use super::complaints::Complaint;
use super::connection::{Connection, Door};
use super::dialled::as_seen_by;
use super::limits::{BACKLOG, LINGERING_MAX};
use crate::api::ConnectionId;
use crate::config::{ListenerSettings, Settings};

/// A listener with its sockets, not yet accepting.
pub struct BoundListener {
    pub settings: ListenerSettings,
    sockets: Vec<TcpListener>,
}

/// Binds every address that the listener's host stands for: all of the machine when there is none.
///
/// # Errors
/// When none of the addresses can be bound; the text names the listener.
pub async fn bind(listener: &ListenerSettings, settings: &Settings) -> io::Result<BoundListener> {
    let backlog = match settings.given("socket.listen.backlog.size") {
        Some(_) => u32::try_from(settings.i32("socket.listen.backlog.size")).unwrap_or(BACKLOG),
        None => BACKLOG,
    };
    let explain = |error: io::Error| {
        let (name, host, port) = (&listener.name, &listener.bind_host, listener.bind_port);
        io::Error::new(error.kind(), format!("listener {name} cannot be bound to {host}:{port}: {error}"))
    };
    let mut addresses: Vec<SocketAddr> = if listener.bind_host.is_empty() {
        vec![(Ipv6Addr::UNSPECIFIED, listener.bind_port).into(), (Ipv4Addr::UNSPECIFIED, listener.bind_port).into()]
    } else {
        tokio::net::lookup_host((listener.bind_host.as_str(), listener.bind_port)).await.map_err(explain)?.collect()
    };
    // IPv4 first: it is the one that must work for a name that stands for both.
    addresses.sort_by_key(|address| address.is_ipv6() != listener.bind_host.is_empty());
    addresses.dedup();
    let mut sockets: Vec<TcpListener> = Vec::new();
    let mut failure = None;
    for mut address in addresses {
        if let Some(first) = sockets.first() {
            if listener.bind_host.is_empty() {
                // The IPv6 socket takes IPv4 too.
                break;
            }
            address.set_port(first.local_addr()?.port());
        }
        match bind_address(address, backlog) {
            Ok(socket) => sockets.push(socket),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(explain(error)),
            Err(error) => failure = Some(error),
        }
    }
    match (sockets.is_empty(), failure) {
        (false, _) => Ok(BoundListener { settings: listener.clone(), sockets }),
        (true, Some(error)) => Err(explain(error)),
        (true, None) => Err(explain(io::ErrorKind::AddrNotAvailable.into())),
    }
}

fn bind_address(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

impl BoundListener {
    /// The port in use, also when any free one was asked for.
    pub fn port(&self) -> u16 {
        self.sockets.first().and_then(|socket| socket.local_addr().ok()).map_or(0, |address| address.port())
    }

    /// The addresses in use.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// Begins to accept; every connection is a task of `tasks`.
    pub fn open(self, door: &Door, admission: &Admission, ids: &Arc<AtomicU64>, tasks: &TaskTracker) {
        for socket in self.sockets {
            tasks.spawn(accept(socket, door.clone(), admission.clone(), Arc::clone(ids), tasks.clone()));
        }
    }
}

async fn accept(socket: TcpListener, door: Door, admission: Admission, ids: Arc<AtomicU64>, tasks: TaskTracker) {
    let shutdown = door.shutdown.clone();
    let lingering = Arc::new(Semaphore::new(LINGERING_MAX));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = async { admission.wait_for_room(&door.listener).await; socket.accept().await } => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors or a client that is gone already: neither is worth a busy loop.
                door.complaints.say(Complaint::NotAccepted, || {
                    warn!(listener = &*door.listener.name, %error, "a connection could not be accepted");
                });
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = admission.pace(&door.listener) => {}
        }
        let ticket = match admission.admit(&door.listener, peer.ip()) {
            Ok(ticket) => ticket,
            Err(Denied::TooMany) => {
                debug!(listener = &*door.listener.name, %peer, "refused: max.connections.per.ip is reached");
                continue;
            }
            Err(Denied::TooFast(wait)) => {
                debug!(listener = &*door.listener.name, %peer, "refused: too many new connections from this address");
                // Closed only after a while, or the client would be back at once.
                let Ok(place) = Arc::clone(&lingering).try_acquire_owned() else { continue };
                let shutdown = shutdown.clone();
                tasks.spawn(async move {
                    let _place = place;
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                    drop(stream);
                });
                continue;
            }
        };
        if let Err(error) = prepare(&stream, &door.config.settings) {
            debug!(%peer, %error, "socket options");
        }
        let id = ConnectionId(ids.fetch_add(1, Ordering::Relaxed));
        let mut door = door.clone();
        if door.listener.follows_client
            && let Ok(local) = stream.local_addr()
        {
            door.listener = Arc::new(as_seen_by(&door.listener, local, peer, &door.gateways));
        }
        let connection = Connection::new(stream, id, peer, door);
        tasks.spawn(async move {
            connection.run().await;
            drop(ticket);
        });
    }
}

/// Small answers go out at once. Buffers have Kafka's sizes, unless -1 leaves them to the system: left alone, a send buffer grows
/// to megabytes for every reader that does not read.
fn prepare(stream: &TcpStream, settings: &Settings) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new())?;
    if let Ok(bytes) = usize::try_from(settings.i32("socket.send.buffer.bytes")) {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Ok(bytes) = usize::try_from(settings.i32("socket.receive.buffer.bytes")) {
        socket.set_recv_buffer_size(bytes)?;
    }
    Ok(())
}
