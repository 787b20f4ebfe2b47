//! Where answers go, and the short way for records: from the page cache to the socket inside the kernel.

use std::io;
use std::time::Duration;

use ottla_storage::FileRecords;
use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;

/// The writing half of a connection.
pub trait Outlet: AsyncWrite + Unpin {
    /// The socket, where the kernel may write to it what lies in files.
    fn socket(&self) -> Option<&TcpStream> {
        None
    }

    /// Has the kernel report what came in only when so many bytes are there, or the client has closed its side.
    ///
    /// # Errors
    /// When the socket cannot.
    fn wait_for(&self, _bytes: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Reads what is there, however much is waited for.
    ///
    /// # Errors
    /// Those of the socket; `WouldBlock` when there is nothing.
    fn read_waiting(&self, _buffer: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Outlet for TcpStream {
    #[cfg(target_os = "linux")]
    fn socket(&self) -> Option<&TcpStream> {
        Some(self)
    }

    #[cfg(target_os = "linux")]
    fn wait_for(&self, bytes: usize) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        let mark = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        #[expect(unsafe_code, reason = "the descriptor is open and the kernel reads an integer that lives")]
        let done = unsafe {
            let (value, length) = ((&raw const mark).cast(), size_of::<libc::c_int>() as libc::socklen_t);
            libc::setsockopt(self.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVLOWAT, value, length)
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    #[cfg(target_os = "linux")]
    fn read_waiting(&self, buffer: &mut [u8]) -> io::Result<usize> {
        io::Read::read(&mut &*socket2::SockRef::from(self), buffer)
    }
}

#[cfg(test)]
impl Outlet for tokio::io::DuplexStream {}

/// Sends `records` from the byte `sent` on, which moves along; false when the client took no byte for `patience`. Waits for the
/// disk where they are not in memory.
///
/// # Errors
/// Those of the socket; `UnexpectedEof` when the file ends before the region does: it was truncated, and the frame cannot
/// be kept to.
pub async fn send_file(
    records: &FileRecords,
    sent: &mut usize,
    socket: &TcpStream,
    patience: Duration,
) -> io::Result<bool> {
    while *sent < records.len() {
        // A client that takes everything at once leaves other tasks their turn.
        consume_budget().await;
        match socket.try_io(Interest::WRITABLE, || move_some(records, *sent, socket)) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(moved) => *sent += moved,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                match tokio::time::timeout(patience, socket.writable()).await {
                    Ok(writable) => writable?,
                    Err(_) => return Ok(false),
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// One system call: as many bytes as the socket takes, 0 when the file has ended.
#[cfg(target_os = "linux")]
fn move_some(records: &FileRecords, start: usize, socket: &TcpStream) -> io::Result<usize> {
    let Some(file) = records.file().as_fd() else { return Err(io::ErrorKind::Unsupported.into()) };
    let mut position = records.position() + start as u64;
    Ok(rustix::fs::sendfile(socket, file, Some(&mut position), records.len() - start)?)
}

/// `socket()` is `None` on these systems: nobody gets here.
#[cfg(not(target_os = "linux"))]
fn move_some(_: &FileRecords, _: usize, _: &TcpStream) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;
    use ottla_storage::disk::{Disk, OpenMode, RealDisk};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::api::{Chunk, Reply, Response};
    use crate::network::memory::RequestMemory;
    use crate::network::pipeline::Pipeline;

    const STALL: Duration = Duration::from_secs(5);

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (there, here) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (here.unwrap().0, there.unwrap())
    }

    #[tokio::test]
    async fn bytes_short_of_the_mark_are_not_reported_and_can_be_read() {
        let (here, mut there) = pair().await;
        here.wait_for(1000).unwrap();
        let mut buffer = [0; 4096];
        // A new socket counts as ready until it was read.
        assert_eq!(here.try_read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(here.read_waiting(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        there.write_all(&[7; 900]).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), here.readable()).await.is_err());
        assert_eq!(here.read_waiting(&mut buffer).unwrap(), 900);
        there.write_all(&[7; 900]).await.unwrap();
        there.write_all(&[7; 100]).await.unwrap();
        here.readable().await.unwrap();
        assert_eq!(here.read_waiting(&mut buffer).unwrap(), 1000);
    }

    #[tokio::test]
    async fn a_lower_mark_reports_what_had_been_short_of_the_higher_one() {
        let (mut here, mut there) = pair().await;
        here.wait_for(1000).unwrap();
        assert_eq!(here.try_read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        there.write_all(&[7; 900]).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), here.readable()).await.is_err());
        here.wait_for(1).unwrap();
        assert_eq!(here.read(&mut [0; 4096]).await.unwrap(), 900);
    }

    #[tokio::test]
    async fn the_end_is_reported_short_of_the_mark() {
        let (mut here, mut there) = pair().await;
        here.wait_for(1000).unwrap();
        there.write_all(&[7; 10]).await.unwrap();
        there.shutdown().await.unwrap();
        let mut buffer = [0; 4096];
        assert_eq!(here.read(&mut buffer).await.unwrap(), 10);
        assert_eq!(here.read(&mut buffer).await.unwrap(), 0);
    }

    /// A file in which every place holds other bytes than its neighbours, and a region of it.
    fn lent(dir: &tempfile::TempDir, position: u64, len: usize) -> (Vec<u8>, FileRecords) {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let path = dir.path().join("log");
        std::fs::write(&path, &bytes).unwrap();
        let file = RealDisk.open(&path, OpenMode::ReadWrite).unwrap();
        let from = usize::try_from(position).unwrap();
        (bytes[from..(from + len).min(bytes.len())].to_vec(), FileRecords::new(file, position, len))
    }

    #[tokio::test]
    async fn records_arrive_in_their_place_whichever_way_they_go() {
        let dir = tempfile::tempdir().unwrap();
        let (mut here, mut there) = pair().await;
        let (long, long_records) = lent(&dir, 12_345, 2_500_000);
        let (short, short_records) = lent(&dir, 7, 100);
        let chunks = vec![
            Chunk::Bytes(Bytes::from_static(b"head")),
            Chunk::Records(long_records),
            Chunk::Bytes(Bytes::from_static(b"between")),
            Chunk::Records(short_records),
            Chunk::Bytes(Bytes::from_static(b"tail")),
        ];
        let mut response = Response::from_frame(Bytes::new());
        response.chunks = chunks;
        let mut pipeline = Pipeline::new(RequestMemory::new(1 << 20));
        pipeline.push(Reply::Now(response), false, None);
        let writing = async {
            pipeline.write_ready(&mut here, STALL).await.unwrap();
            drop(here);
        };
        let mut got = Vec::new();
        let (_, read) = tokio::join!(writing, there.read_to_end(&mut got));
        read.unwrap();
        assert!(got == [&b"head"[..], &long, b"between", &short, b"tail"].concat());
    }

    #[tokio::test]
    async fn a_file_that_ends_early_ends_the_connection() {
        let dir = tempfile::tempdir().unwrap();
        let (here, mut there) = pair().await;
        let (_, records) = lent(&dir, 2_900_000, 200_000);
        let reading = tokio::spawn(async move { there.read_to_end(&mut Vec::new()).await });
        let error = send_file(&records, &mut 0, &here, STALL).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        drop(here);
        reading.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let (here, _there) = pair().await;
        let (_, records) = lent(&dir, 0, 3_000_000);
        let mut sent = 0;
        let mut stalled = false;
        // What the socket's buffers take depends on the system.
        for _ in 0..100 {
            stalled = !send_file(&records, &mut sent, &here, Duration::from_millis(20)).await.unwrap();
            if stalled {
                break;
            }
            sent = 0;
        }
        assert!(stalled && sent < records.len());
    }
}
