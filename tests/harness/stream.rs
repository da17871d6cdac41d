//! Streams of bytes that are the same at both ends, or the test fails.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::meeting::Gate;
use crate::wait::uninterrupted;

/// A write that waits this long is held back.
const HELD_BACK: Duration = Duration::from_millis(200);
/// A prime: what is lost, repeated or swapped does not hide in the repetition.
const PERIOD: usize = 1_048_583;
/// The most bytes of one write.
pub const LONGEST: usize = 1 << 20;

/// Numbers that look random and are the same in every run.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number from 0 to `end - 1`.
    pub fn below(&mut self, end: u32) -> u32 {
        u32::try_from((self.next() >> 32) % u64::from(end)).expect("it is below a u32")
    }
}

/// The bytes of one direction of one connection.
#[derive(Debug, Clone, Copy)]
pub struct Stream<'a> {
    /// No two streams of a test have the same.
    pub seed: u64,
    pub bytes: usize,
    /// The lengths of writes, of which each one picks one at random.
    pub writes: &'a [usize],
    /// Where the two ends meet when the sender is held back by a receiver that does not read.
    pub stall: Option<&'a Gate>,
}

impl Stream<'_> {
    /// The bytes, over and over.
    pub fn pattern(&self) -> Vec<u8> {
        let mut random = Random::new(self.seed);
        let mut pattern = Vec::with_capacity(PERIOD + 8);
        while pattern.len() < PERIOD {
            pattern.extend(random.next().to_le_bytes());
        }
        pattern.truncate(PERIOD);
        pattern
    }

    /// Sends all but the first `sent` bytes, which somebody has sent.
    pub fn send(&self, mut stream: &TcpStream, mut sent: usize) {
        let mut pattern = self.pattern();
        pattern.extend_from_within(..LONGEST);
        let mut random = Random::new(!self.seed);
        let mut stall = self.stall;
        if stall.is_some() {
            stream
                .set_write_timeout(Some(HELD_BACK))
                .expect("it is a socket");
        }
        while sent < self.bytes {
            let pick = random.below(u32::try_from(self.writes.len()).expect("there are few"));
            let length = self.writes[pick as usize].min(self.bytes - sent);
            let mut message = &pattern[sent % PERIOD..][..length];
            sent += length;
            while !message.is_empty() {
                match stream.write(message) {
                    Ok(count) => message = &message[count..],
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        if let Some(gate) = stall.take() {
                            gate.meet();
                        }
                    }
                    Err(error) => panic!("after {sent} of {} bytes sent: {error}", self.bytes),
                }
            }
        }
        assert!(
            stall.is_none(),
            "all {sent} bytes found room, and nobody read"
        );
    }

    /// Receives all of it.
    pub fn receive(&self, mut stream: &TcpStream) {
        let pattern = self.pattern();
        let mut random = Random::new(self.seed ^ 0xffff);
        let mut buffer = vec![0; 1 << 18];
        let mut received = 0;
        if let Some(gate) = self.stall {
            gate.meet();
        }
        while received < self.bytes {
            let place = received % PERIOD;
            let most = buffer.len().min(PERIOD - place).min(self.bytes - received);
            let wanted = 1 + random.below(u32::try_from(most).expect("it is short")) as usize;
            let read = uninterrupted(|| stream.read(&mut buffer[..wanted]));
            let count = read.unwrap_or_else(|error| {
                panic!("after {received} of {} bytes: {error}", self.bytes)
            });
            assert!(
                count > 0,
                "the end came after {received} of {} bytes",
                self.bytes
            );
            assert!(
                buffer[..count] == pattern[place..place + count],
                "damage after {received} of {} bytes",
                self.bytes
            );
            received += count;
        }
    }
}

/// The end of a stream comes next.
///
/// # Panics
///
/// Anything else comes.
pub fn expect_end(mut stream: &TcpStream) {
    let mut more = [0; 64];
    let count = uninterrupted(|| stream.read(&mut more)).expect("the end comes without an error");
    assert_eq!(count, 0, "more came than was sent: {:?}", &more[..count]);
}
