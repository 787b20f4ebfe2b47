//! Many producers over many partitions, each waiting for its answer: what a durable broker has to be measured with.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ottla_protocol::Timestamp;
use ottla_protocol::record_batch::BatchBuilder;

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub producers: usize,
    pub partitions: usize,
    /// Partitions in a request.
    pub spread: usize,
    /// Bytes of a batch, in records of 1 KiB.
    pub batch_bytes: usize,
    pub seconds: f64,
}

/// What was answered.
#[derive(Debug, Default)]
pub struct Answered {
    pub bytes: u64,
    pub seconds: f64,
    /// Microseconds from the first byte sent to the last byte received.
    pub latencies: Vec<f64>,
}

impl Load {
    /// Runs the load on an existing topic; an error answer ends it.
    pub fn run(&self, address: SocketAddr, topic: &str) -> Result<Answered, String> {
        let stop = AtomicBool::new(false);
        let begun = Instant::now();
        let parts: Vec<Result<Answered, String>> = std::thread::scope(|scope| {
            let producers: Vec<_> = (0..self.producers)
                .map(|producer| {
                    let stop = &stop;
                    scope.spawn(move || self.produce(address, topic, producer, stop))
                })
                .collect();
            std::thread::sleep(Duration::from_secs_f64(self.seconds));
            stop.store(true, Ordering::Relaxed);
            producers
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err("a producer panicked".into())))
                .collect()
        });
        let mut all = Answered { seconds: begun.elapsed().as_secs_f64(), ..Answered::default() };
        for part in parts {
            let part = part?;
            all.bytes += part.bytes;
            all.latencies.extend(part.latencies);
        }
        all.latencies.sort_by(f64::total_cmp);
        Ok(all)
    }

    /// Waits until every partition takes a request: a topic may be known before all of it is led.
    pub fn settle(&self, address: SocketAddr, topic: &str) -> Result<(), String> {
        let failed = |error: io::Error| format!("{topic}: {error}");
        let mut stream = TcpStream::connect(address).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(failed)?;
        let batch = batch(1);
        let deadline = Instant::now() + Duration::from_secs(60);
        for partition in 0..i32::try_from(self.partitions).unwrap_or(i32::MAX) {
            loop {
                stream.write_all(&request(partition, topic, &[partition], &batch)).map_err(failed)?;
                match check(&receive(&mut stream).map_err(failed)?, topic) {
                    Ok(()) => break,
                    Err(error) if Instant::now() > deadline => return Err(error),
                    Err(_) => std::thread::sleep(Duration::from_millis(20)),
                }
            }
        }
        Ok(())
    }

    fn produce(
        &self,
        address: SocketAddr,
        topic: &str,
        producer: usize,
        stop: &AtomicBool,
    ) -> Result<Answered, String> {
        let failed = |error: io::Error| format!("producer {producer}: {error}");
        let mut stream = TcpStream::connect(address).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(failed)?;
        let batch = batch(self.batch_bytes);
        // Every producer walks over all partitions, each from another place.
        let mut next = producer * self.partitions / self.producers;
        let mut answered = Answered::default();
        let mut correlation = 0;
        while !stop.load(Ordering::Relaxed) {
            let partitions: Vec<i32> = (0..self.spread)
                .map(|_| {
                    next = (next + 1) % self.partitions;
                    i32::try_from(next).unwrap_or(0)
                })
                .collect();
            correlation += 1;
            let frame = request(correlation, topic, &partitions, &batch);
            let begun = Instant::now();
            stream.write_all(&frame).map_err(failed)?;
            let answer = receive(&mut stream).map_err(failed)?;
            answered.latencies.push(begun.elapsed().as_secs_f64() * 1e6);
            check(&answer, topic)?;
            answered.bytes += (batch.len() * partitions.len()) as u64;
        }
        Ok(answered)
    }
}

/// A batch of about `bytes` bytes, in records of 1 KiB that do not repeat themselves.
fn batch(bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp(i64::try_from(now.as_millis()).unwrap_or(0));
    for _ in 0..(bytes / 1024).max(1) {
        let value: Vec<u8> = (0..1024)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[0]
            })
            .collect();
        builder.push(now, None, Some(&value), &[]);
    }
    builder.build().to_vec()
}

/// Produce v3, acks=all.
fn request(correlation: i32, topic: &str, partitions: &[i32], batch: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 4];
    let text = |frame: &mut Vec<u8>, text: &str| {
        frame.extend(i16::try_from(text.len()).unwrap_or(0).to_be_bytes());
        frame.extend(text.as_bytes());
    };
    let count = |many: usize| i32::try_from(many).unwrap_or(0).to_be_bytes();
    frame.extend([0, 0, 0, 3]);
    frame.extend(correlation.to_be_bytes());
    text(&mut frame, "bench");
    // No transaction, acks=all, half a minute.
    frame.extend((-1_i16).to_be_bytes());
    frame.extend((-1_i16).to_be_bytes());
    frame.extend(30_000_i32.to_be_bytes());
    frame.extend(count(1));
    text(&mut frame, topic);
    frame.extend(count(partitions.len()));
    for partition in partitions {
        frame.extend(partition.to_be_bytes());
        frame.extend(count(batch.len()));
        frame.extend(batch);
    }
    let length = count(frame.len() - 4);
    frame[..4].copy_from_slice(&length);
    frame
}

fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).map_err(io::Error::other)?];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// Every partition without an error.
fn check(answer: &[u8], topic: &str) -> Result<(), String> {
    // Correlation id, one topic, its name, then the partitions: index, error, two times eight bytes.
    let mut at = 4 + 4 + 2 + topic.len();
    let number = |at: usize| answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes);
    let count = number(at).ok_or("a short answer")?;
    at += 4;
    for _ in 0..count {
        let partition = number(at).ok_or("a short answer")?;
        match answer.get(at + 4..at + 6) {
            Some([0, 0]) => at += 22,
            error => return Err(format!("partition {partition}: error {error:?}")),
        }
    }
    Ok(())
}

/// The value below which `part` of the sorted values lie.
pub fn percentile(sorted: &[f64], part: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index within the values")]
    let at = (sorted.len() as f64 * part) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}
