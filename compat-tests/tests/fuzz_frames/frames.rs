//! Makes frames: a right one as the start, then bytes flipped, cut, inserted, or nothing right at all.

use ottla_compat_tests::requests;
use rand::Rng;
use rand::rngs::StdRng;

/// A source of frames for one API and version.
pub struct Frames {
    header: Vec<u8>,
    /// The smallest right body, or zeros where the client codec does not know the version.
    body: Vec<u8>,
}

/// Pieces that Kafka's messages are made of; put together at random they get further than noise.
const PIECES: &[&[u8]] = &[
    &[0],
    &[1],
    &[2],
    &[3],
    &[0xff],
    &[0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff],
    &[0, 0, 0, 1],
    &[0, 0, 0, 2],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0x80, 0, 0, 0],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0, 4, b'f', b'u', b'z', b'z'],
    &[5, b'f', b'u', b'z', b'z'],
    &[0, 0],
    &[0; 8],
    &[0; 16],
    &[0, 0, 0, 61],
    &[62],
    // A batch header of magic 2 that promises more than follows.
    &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 49, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0, 4, 0, 0, 0, 9],
];

impl Frames {
    pub fn new(key: i16, version: i16) -> Frames {
        // A version nobody knows gets a plain header and zeros.
        let zeros = || (requests::header(key, version, 1), vec![0; 40]);
        let (header, body) = requests::default_request(key, version).unwrap_or_else(zeros);
        Frames { header, body }
    }

    /// One frame with its length; one in twenty lies about the length.
    pub fn next(&self, random: &mut StdRng) -> Vec<u8> {
        let mut frame = self.header.clone();
        match random.random_range(0..10) {
            0 => frame.extend_from_slice(&self.body),
            1..=5 => frame.extend(mutated(&self.body, random)),
            6..=7 => frame.extend((0..random.random_range(1..40)).flat_map(|_| piece(random)).copied()),
            8 => frame.extend((0..random.random_range(0..200)).map(|_| random.random::<u8>())),
            _ => {
                let whole = [&self.header[4..], &self.body].concat();
                frame.truncate(4);
                frame.extend(mutated(&whole, random));
            }
        }
        let mut length = frame.len() as u32;
        if random.random_ratio(1, 20) {
            length = match random.random_range(0..4) {
                0 => u32::MAX,
                1 => 0,
                2 => length.saturating_sub(random.random_range(1..9)),
                _ => length + random.random_range(1..100_000),
            };
        }
        [&length.to_be_bytes()[..], &frame].concat()
    }
}

fn mutated(bytes: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..=bytes.len());
        match random.random_range(0..5) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = random.random(),
            2 => bytes.truncate(at),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            _ => drop(bytes.splice(at..at, piece(random).iter().copied())),
        }
    }
    bytes
}

fn piece(random: &mut StdRng) -> &'static [u8] {
    PIECES[random.random_range(0..PIECES.len())]
}
