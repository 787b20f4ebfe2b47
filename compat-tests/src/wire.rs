//! A raw connection that sends and receives length-prefixed frames.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

/// One connection.
pub struct Wire {
    stream: TcpStream,
}

impl Wire {
    /// Connects; reads fail with `WouldBlock` or `TimedOut` after `limit`.
    pub fn connect(address: SocketAddr, limit: Duration) -> io::Result<Wire> {
        Wire::over(TcpStream::connect_timeout(&address, Duration::from_secs(10))?, limit)
    }

    /// Takes over an open connection.
    pub fn over(stream: TcpStream, limit: Duration) -> io::Result<Wire> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        // A closing test leaves no TIME_WAIT behind: thousands of connections must not use up the ports.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        Ok(Wire { stream })
    }

    /// Sends one frame: the length, then `frame`.
    pub fn send_raw(&mut self, frame: &[u8]) -> io::Result<()> {
        let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
        let mut bytes = Vec::with_capacity(frame.len() + 4);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(frame);
        self.stream.write_all(&bytes)
    }

    /// Sends bytes as they are, without a length.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Receives one frame, without its length.
    pub fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > 256 << 20 {
            return Err(io::Error::other(format!("a frame of {length} bytes")));
        }
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame)?;
        Ok(frame)
    }

    /// Whether the other side has closed: reads until the end or the time limit.
    pub fn is_closed(&mut self) -> bool {
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
            }
        }
    }
}
