//! A small blocking client for the tools: one connection per broker, versions agreed by ApiVersions, retries where Kafka's
//! own clients retry. It speaks to any Kafka cluster, not only to ours.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, FindCoordinatorRequest, MetadataRequest, MetadataResponse, RequestHeader,
    ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, Request, StrBytes};
use ottla_protocol::ErrorCode;

use super::Failure;

/// Which broker a request goes to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// Any broker.
    Any,
    /// The broker with this `node.id`.
    Node(i32),
    /// The broker that Metadata names as controller.
    Controller,
    /// The coordinator of this consumer group.
    Group(String),
    /// The coordinator of this transactional id.
    Transaction(String),
}

/// A cluster as a tool sees it.
#[derive(Debug)]
pub struct Client {
    bootstrap: Vec<(String, u16)>,
    brokers: BTreeMap<i32, (String, u16)>,
    racks: BTreeMap<i32, String>,
    controller: Option<i32>,
    connections: HashMap<(String, u16), Connection>,
    timeout: Duration,
    client_id: StrBytes,
}

impl Client {
    /// Reads `host:port,host:port` and connects to the first broker that answers.
    pub fn connect(bootstrap: &str, timeout: Duration, client_id: &str) -> Result<Self, Failure> {
        Self::connect_to(bootstrap, timeout, false, client_id)
    }

    /// As [`Client::connect`]; controllers do not know Metadata, so they are only talked to directly.
    pub fn connect_to(
        bootstrap: &str,
        timeout: Duration,
        is_controller: bool,
        client_id: &str,
    ) -> Result<Self, Failure> {
        let bootstrap = parse_bootstrap(bootstrap)?;
        let mut client = Self {
            bootstrap,
            brokers: BTreeMap::new(),
            racks: BTreeMap::new(),
            controller: None,
            connections: HashMap::new(),
            timeout,
            client_id: StrBytes::from_string(client_id.to_owned()),
        };
        if !is_controller {
            client.refresh()?;
        }
        Ok(client)
    }

    /// The brokers by id.
    pub const fn brokers(&self) -> &BTreeMap<i32, (String, u16)> {
        &self.brokers
    }

    /// The racks of the brokers that have one.
    pub const fn racks(&self) -> &BTreeMap<i32, String> {
        &self.racks
    }

    /// Asks again who the brokers are.
    pub fn refresh(&mut self) -> Result<(), Failure> {
        let request = MetadataRequest::default().with_topics(Some(Vec::new())).with_allow_auto_topic_creation(false);
        let response: MetadataResponse = self.send(&Target::Any, &request)?;
        self.brokers = response
            .brokers
            .iter()
            .map(|broker| (broker.node_id.0, (broker.host.to_string(), u16::try_from(broker.port).unwrap_or(0))))
            .collect();
        self.racks = response
            .brokers
            .iter()
            .filter_map(|broker| Some((broker.node_id.0, broker.rack.as_ref()?.to_string())))
            .collect();
        self.controller = Some(response.controller_id.0).filter(|id| *id >= 0);
        Ok(())
    }

    /// Sends one request and waits for its answer. The version is the newest that both sides know; where the request cannot
    /// be written in it, `UNSUPPORTED_VERSION` is the answer.
    pub fn send<R: Request + Clone>(&mut self, target: &Target, request: &R) -> Result<R::Response, Failure> {
        self.send_with(target, |_| request.clone())
    }

    /// As [`Client::send`], for requests whose fields depend on the version that was agreed.
    pub fn send_with<R: Request>(&mut self, target: &Target, body: impl Fn(i16) -> R) -> Result<R::Response, Failure> {
        self.send_up_to(target, i16::MAX, body)
    }

    /// As [`Client::send_with`], in no version above `newest`.
    pub fn send_up_to<R: Request>(
        &mut self,
        target: &Target,
        newest: i16,
        body: impl Fn(i16) -> R,
    ) -> Result<R::Response, Failure> {
        let connection = self.connection_to(target)?;
        let version = connection.version_of::<R>()?.min(newest);
        connection.exchange(&body(version), version)
    }

    /// Sends a request that the broker does not answer (Produce with acks=0).
    pub fn send_without_answer<R: Request>(&mut self, target: &Target, body: impl Fn(i16) -> R) -> Result<(), Failure> {
        let connection = self.connection_to(target)?;
        let version = connection.version_of::<R>()?;
        connection.write(&body(version), version).map(|_| ())
    }

    /// What the broker says of itself.
    pub fn api_versions(&mut self, target: &Target) -> Result<ApiVersionsResponse, Failure> {
        Ok(self.connection_to(target)?.versions.clone())
    }

    fn connection_to(&mut self, target: &Target) -> Result<&mut Connection, Failure> {
        let address = match target {
            Target::Any => return self.any_connection(),
            Target::Node(id) => self.address_of(*id)?,
            Target::Controller => match self.controller {
                Some(id) => self.address_of(id)?,
                None => return self.any_connection(),
            },
            Target::Group(group) => self.coordinator(group, GROUP)?.1,
            Target::Transaction(id) => self.coordinator(id, TRANSACTION)?.1,
        };
        self.open(address)
    }

    fn address_of(&self, id: i32) -> Result<(String, u16), Failure> {
        self.brokers
            .get(&id)
            .cloned()
            .ok_or_else(|| Failure::lost(format!("Broker {id} is not a live broker of this cluster")))
    }

    /// Who coordinates a group: its broker's id, host and port.
    pub fn group_coordinator(&mut self, group: &str) -> Result<(i32, String, u16), Failure> {
        let (id, (host, port)) = self.coordinator(group, GROUP)?;
        Ok((id, host, port))
    }

    /// Who coordinates a transactional id.
    pub fn transaction_coordinator(&mut self, transactional_id: &str) -> Result<i32, Failure> {
        Ok(self.coordinator(transactional_id, TRANSACTION)?.0)
    }

    fn coordinator(&mut self, key: &str, key_type: i8) -> Result<(i32, (String, u16)), Failure> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let key = StrBytes::from_string(key.to_owned());
            let response = self.send_with(&Target::Any, |version| {
                let request = FindCoordinatorRequest::default().with_key_type(key_type);
                if version >= 4 {
                    request.with_coordinator_keys(vec![key.clone()])
                } else {
                    request.with_key(key.clone())
                }
            })?;
            let (code, id, host, port) = match response.coordinators.first() {
                Some(found) => (found.error_code, found.node_id.0, found.host.to_string(), found.port),
                None => (response.error_code, response.node_id.0, response.host.to_string(), response.port),
            };
            match ErrorCode::from_code(code) {
                Some(ErrorCode::None) => return Ok((id, (host, u16::try_from(port).unwrap_or(0)))),
                Some(error) if error.is_retriable() && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                _ => return Err(Failure::from_code(code, None)),
            }
        }
    }

    fn any_connection(&mut self) -> Result<&mut Connection, Failure> {
        let mut candidates: Vec<(String, u16)> =
            self.bootstrap.iter().cloned().chain(self.brokers.values().cloned()).collect();
        // One that answered before is asked first: to reach one that is gone may take as long as the timeout.
        let is_open = |address: &(String, u16)| self.connections.get(address).is_some_and(|open| !open.is_broken);
        candidates.sort_by_key(|address| !is_open(address));
        let mut last = Failure::failed("No bootstrap servers given");
        for address in candidates {
            match self.open(address.clone()) {
                Ok(_) => return self.open(address),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    fn open(&mut self, address: (String, u16)) -> Result<&mut Connection, Failure> {
        if self.connections.get(&address).is_some_and(|connection| connection.is_broken) {
            self.connections.remove(&address);
        }
        match self.connections.entry(address) {
            std::collections::hash_map::Entry::Occupied(open) => Ok(open.into_mut()),
            std::collections::hash_map::Entry::Vacant(none) => {
                let connection = Connection::open(none.key(), self.timeout, self.client_id.clone())?;
                Ok(none.insert(connection))
            }
        }
    }
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    versions: ApiVersionsResponse,
    next_correlation_id: i32,
    client_id: StrBytes,
    is_broken: bool,
}

/// FindCoordinator's key types.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
/// An answer larger than this is refused before it is read.
const RESPONSE_BYTES_MAX: usize = 256 * 1024 * 1024;

impl Connection {
    fn open((host, port): &(String, u16), timeout: Duration, client_id: StrBytes) -> Result<Self, Failure> {
        let unreachable = |why: &dyn std::fmt::Display| {
            Failure::lost(format!("Connection to {host}:{port} could not be established: {why}"))
        };
        let addresses = (host.as_str(), *port).to_socket_addrs().map_err(|error| unreachable(&error))?;
        let mut last = unreachable(&"the name has no address");
        for address in addresses {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(|error| unreachable(&error))?;
                    stream.set_read_timeout(Some(timeout)).map_err(|error| unreachable(&error))?;
                    let mut connection = Self {
                        stream,
                        versions: ApiVersionsResponse::default(),
                        next_correlation_id: 0,
                        client_id,
                        is_broken: false,
                    };
                    connection.agree()?;
                    return Ok(connection);
                }
                Err(error) => last = unreachable(&error),
            }
        }
        Err(last)
    }

    /// Asks with the newest ApiVersions and falls back to version 0, as KIP-511 lets an older broker answer.
    fn agree(&mut self) -> Result<(), Failure> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("ottla"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        self.versions = self.exchange::<ApiVersionsRequest>(&request, 4)?;
        if self.versions.error_code == ErrorCode::UnsupportedVersion.code() {
            self.versions = self.exchange::<ApiVersionsRequest>(&ApiVersionsRequest::default(), 0)?;
        }
        match self.versions.error_code {
            0 => Ok(()),
            code => Err(Failure::from_code(code, None)),
        }
    }

    fn version_of<R: Request>(&self) -> Result<i16, Failure> {
        let ours_min = R::VERSIONS.min.max(<R::Response as Message>::VERSIONS.min);
        let ours_max = R::VERSIONS.max.min(<R::Response as Message>::VERSIONS.max);
        let theirs = self.versions.api_keys.iter().find(|api| api.api_key == R::KEY);
        let version = theirs.map(|api| api.max_version.min(ours_max));
        match (theirs, version) {
            (Some(api), Some(version)) if version >= api.min_version.max(ours_min) => Ok(version),
            _ => Err(Failure::from_code(
                ErrorCode::UnsupportedVersion.code(),
                Some(format!("The node does not support API key {}", R::KEY)),
            )),
        }
    }

    fn exchange<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response, Failure> {
        let answer = self.exchange_bytes::<R>(request, version);
        if answer.is_err() {
            self.is_broken = true;
        }
        answer
    }

    /// Writes a request; its correlation id is what the answer must carry.
    fn write<R: Request>(&mut self, request: &R, version: i16) -> Result<i32, Failure> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(correlation_id)
            .with_client_id(Some(self.client_id.clone()));
        let mut frame = BytesMut::from(&[0_u8; 4][..]);
        let encoded =
            header.encode(&mut frame, R::header_version(version)).and_then(|()| request.encode(&mut frame, version));
        encoded.map_err(|error| Failure::from_code(ErrorCode::UnsupportedVersion.code(), Some(error.to_string())))?;
        let length = u32::try_from(frame.len() - 4).unwrap_or(u32::MAX);
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&frame).map_err(disconnected)?;
        Ok(correlation_id)
    }

    fn exchange_bytes<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response, Failure> {
        let correlation_id = self.write(request, version)?;
        let mut prefix = [0_u8; 4];
        self.stream.read_exact(&mut prefix).map_err(disconnected)?;
        let length = u32::from_be_bytes(prefix) as usize;
        if length > RESPONSE_BYTES_MAX {
            return Err(Failure::failed(format!("The answer claims {length} bytes: is this a Kafka broker?")));
        }
        let mut body = Vec::new();
        (&mut self.stream).take(length as u64).read_to_end(&mut body).map_err(disconnected)?;
        if body.len() < length {
            return Err(Failure::lost("The broker closed the connection in the middle of an answer"));
        }
        let mut body = Bytes::from(body);
        // A broker that does not know this version of ApiVersions answers in version 0 (KIP-511).
        let is_refusal =
            R::KEY == 18 && body.len() >= 6 && body[4..6] == ErrorCode::UnsupportedVersion.code().to_be_bytes();
        let version = if is_refusal { 0 } else { version };
        let malformed = |error: &dyn std::fmt::Display| Failure::failed(format!("The answer cannot be read: {error}"));
        let header = ResponseHeader::decode(&mut body, <R::Response as HeaderVersion>::header_version(version))
            .map_err(|error| malformed(&error))?;
        if header.correlation_id != correlation_id {
            return Err(malformed(&"it belongs to another request"));
        }
        R::Response::decode(&mut body, version).map_err(|error| malformed(&error))
    }
}

fn disconnected(error: std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => Failure::from_code(
            ErrorCode::RequestTimedOut.code(),
            Some("Timed out waiting for a node assignment.".into()),
        ),
        _ => Failure::lost(format!("The connection was lost: {error}")),
    }
}

fn parse_bootstrap(text: &str) -> Result<Vec<(String, u16)>, Failure> {
    text.split(',')
        .map(str::trim)
        .filter(|server| !server.is_empty())
        .map(|server| {
            let server = server.split_once("://").map_or(server, |(_, rest)| rest);
            let (host, port) = server
                .rsplit_once(':')
                .and_then(|(host, port)| Some((host, port.parse().ok()?)))
                .ok_or_else(|| Failure::failed(format!("Invalid url in bootstrap.servers: {server}")))?;
            Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bootstrap_servers_are_lists_of_hosts_and_ports() {
        assert_eq!(
            parse_bootstrap("a:1, b.c:2,[::1]:3,PLAINTEXT://d:4").unwrap(),
            [("a".into(), 1), ("b.c".into(), 2), ("::1".into(), 3), ("d".into(), 4)]
        );
        assert!(parse_bootstrap("no-port").is_err());
    }
}
