//! No WebSocket at all: two copies of each payload, the physical mark.

use std::hint::black_box;

use super::case::Case;

/// Two buffers of the size of a payload.
#[derive(Debug)]
pub struct Copies {
    payload: Vec<u8>,
    first: Vec<u8>,
    second: Vec<u8>,
}

impl Copies {
    /// What it is called in tables.
    pub const NAME: &'static str = "memcpy x2";

    /// Makes the buffers.
    pub fn new(case: &Case) -> Self {
        Self {
            payload: case.payload().to_vec(),
            first: vec![0; case.size],
            second: vec![0; case.size],
        }
    }

    /// Copies as many payloads as the case has messages.
    pub fn pass(&mut self, case: &Case) {
        for _ in 0..case.messages {
            self.first.copy_from_slice(black_box(&self.payload));
            self.second.copy_from_slice(black_box(&self.first));
            black_box(&self.second);
        }
    }
}
