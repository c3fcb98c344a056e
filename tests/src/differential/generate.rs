//! Random streams of frames, and where to cut them.

use wspulse_core::Role;

use super::frames::{self, Frame};
use super::{Case, Limits};
use crate::rng::Rng;

/// Makes the case of `seed`.
#[must_use]
pub fn case(seed: u64) -> Case {
    let mut rng = Rng::new(seed);
    let role = rng.pick(&[Role::Server, Role::Client]);
    let limits = rng.pick(&LIMITS);
    let mut stream = Stream {
        is_masked: frames::arrives_masked(role),
        limits,
        bytes: Vec::new(),
        message: None,
        // Half of the streams are legal but for the damage that is done afterwards.
        mischief: rng.pick(&[0, 0, 0, 5, 15, 40]),
        rng: rng.fork(),
    };
    match rng.below(2_000) {
        0 => stream.flood(),
        1..=40 => stream.burst_of_pings(),
        41..=60 => stream.burst_of_fragments(),
        _ => {}
    }
    for _ in 0..rng.len(1..=12) {
        stream.step();
    }
    let mut bytes = stream.bytes;
    damage(&mut rng, &mut bytes);
    Case {
        role,
        closes_first: rng.chance(10),
        limits,
        cuts: cuts(&mut rng, &bytes),
        bytes,
    }
}

/// Small ones, which are met often, and one that lets every form of the length pass.
const LIMITS: [Limits; 4] = [
    Limits {
        message: 300,
        frame: 200,
    },
    Limits {
        message: 200,
        frame: 300,
    },
    Limits {
        message: 1 << 20,
        frame: 1 << 20,
    },
    Limits {
        message: 1 << 20,
        frame: 1 << 20,
    },
];

/// A stream under way.
struct Stream {
    rng: Rng,
    is_masked: bool,
    limits: Limits,
    bytes: Vec<u8>,
    /// What is left of a message of which a fragment was written.
    message: Option<Vec<u8>>,
    /// How many frames of a hundred break a rule.
    mischief: u64,
}

impl Stream {
    fn step(&mut self) {
        if self.rng.chance(self.mischief) {
            return self.break_a_rule();
        }
        match self.rng.below(10) {
            0 => self.control(9),
            1 => self.control(10),
            2 if self.rng.chance(30) => self.close(),
            _ => self.data(),
        }
    }

    /// Writes the next legal data frame: a message, its first fragment, or the next one.
    fn data(&mut self) {
        let (opcode, mut rest) = match self.message.take() {
            Some(rest) => (0, rest),
            None => {
                let opcode = self.rng.pick(&[1, 1, 2]);
                let length = self.length();
                (opcode, self.payload(opcode, length))
            }
        };
        let is_last = self.rng.chance(if opcode == 0 { 40 } else { 60 });
        let part = if is_last {
            std::mem::take(&mut rest)
        } else {
            let length = self.rng.len(0..=rest.len());
            rest.drain(..length).collect()
        };
        self.frame(if is_last { 0x80 } else { 0 } | opcode, &part);
        self.message = (!is_last).then_some(rest);
    }

    fn control(&mut self, opcode: u8) {
        let payload = self.short();
        self.frame(0x80 | opcode, &payload);
    }

    fn close(&mut self) {
        if self.rng.chance(20) {
            return self.frame(0x88, &[]);
        }
        let code = self.rng.pick(&LEGAL_CODES);
        let length = self.rng.pick(&[0, 0, 3, 20, 100]);
        let reason = self.text(length);
        self.frame(0x88, &[&code.to_be_bytes(), &reason[..]].concat());
    }

    fn break_a_rule(&mut self) {
        let mut frame = self.plain(0x82, &[1, 2, 3]);
        match self.rng.below(15) {
            0 => frame.first = 0x80 | self.rng.pick(&RESERVED_OPCODES),
            1 => {
                let bit = self.rng.pick(&[0x40, 0x20, 0x10]);
                frame.first = bit | self.rng.pick(&[0x80, 0x81, 0x01, 0x88, 0x89, 0x8A]);
            }
            2 => {
                frame.mask = match frame.mask {
                    Some(_) => None,
                    None => Some([9, 8, 7, 6]),
                }
            }
            3 => frame.first = self.rng.pick(&[8, 9, 10]),
            4 => {
                let length = self.rng.len(126..=400);
                let opcode = self.rng.pick(&[8, 9, 10]);
                let payload = self.payload(1, length);
                frame = self.plain(0x80 | opcode, &payload);
            }
            5 => {
                let length = self.rng.pick(&[0, 1, 5, 125, 126, 300]);
                let opcode = self.rng.pick(&[1, 2, 8, 9, 10]);
                let payload = self.payload(1, length);
                frame = self.plain(0x80 | opcode, &payload);
                frame.length_size = if length < 126 {
                    self.rng.pick(&[3, 9])
                } else {
                    9
                };
            }
            6 => {
                frame.length_size = 9;
                frame.length = self.rng.draw() | 1 << 63;
            }
            7 => {
                frame.length = self.rng.range(1 << 14..=1 << 62);
                frame.length_size = Frame::shortest_length_size(frame.length);
            }
            8 => frame.first = self.rng.pick(&[0x80, 0x00]),
            9 => frame.first = self.rng.pick(&[0x81, 0x01, 0x82, 0x02]),
            10 => {
                let code = match self.rng.below(3) {
                    0 => self.rng.below(5_200) as u16,
                    1 => self.rng.draw() as u16,
                    _ => self.rng.pick(&ILLEGAL_CODES),
                };
                let mut reason = self.text(5);
                self.corrupt(&mut reason, 20);
                frame = self.plain(0x88, &[&code.to_be_bytes(), &reason[..]].concat());
            }
            11 => frame = self.plain(0x88, &[3]),
            // Two of the three bytes of a surrogate, which is none of UTF-8.
            13 => {
                let second = self.rng.pick(&[0xA0, 0xBF]);
                frame = self.plain(0x01, &[b'x', 0xED, second]);
                self.message = Some(self.text(8));
            }
            12 => {
                let mut reason = self.text(20);
                self.corrupt(&mut reason, 100);
                frame = self.plain(0x88, &[&[3, 0xE8], &reason[..]].concat());
            }
            _ => {
                let mut text = self.text(12);
                self.corrupt(&mut text, 100);
                let first = self.rng.pick(&[0x81, 0x81, 0x01]);
                frame = self.plain(first, &text);
                if first == 0x01 {
                    self.message = Some(self.text(8));
                }
            }
        }
        frame.encode_into(&mut self.bytes);
    }

    /// More control frames than any honest use.
    fn flood(&mut self) {
        for _ in 0..self.rng.range(1_990..=2_040) {
            self.frame(0x8A, &[]);
        }
    }

    /// More pings than are answered at once.
    fn burst_of_pings(&mut self) {
        for index in 0..self.rng.below(40) {
            self.frame(0x89, &index.to_be_bytes()[6..]);
        }
    }

    /// More fragments than so few bytes need.
    fn burst_of_fragments(&mut self) {
        self.frame(2, b"first");
        for _ in 0..self.rng.range(8..=40) {
            let payload = self.rng.pick(&[&b""[..], b"x"]);
            self.frame(0, payload);
        }
        self.frame(0x80, b"last");
    }

    fn frame(&mut self, first: u8, payload: &[u8]) {
        let frame = self.plain(first, payload);
        frame.encode_into(&mut self.bytes);
    }

    fn plain(&mut self, first: u8, payload: &[u8]) -> Frame {
        let length = payload.len() as u64;
        let key = (self.rng.draw() as u32).to_be_bytes();
        Frame {
            start: 0,
            end: 0,
            first,
            mask: self.is_masked.then_some(key),
            length_size: Frame::shortest_length_size(length),
            length,
            payload: payload.to_vec(),
            is_whole: true,
        }
    }

    /// A length near one at which something changes, or a small one.
    fn length(&mut self) -> usize {
        let Limits { message, frame } = self.limits;
        match self.rng.below(100) {
            0..=69 => self.rng.len(0..=24),
            70..=79 => self.rng.len(120..=130),
            80..=89 if message < 1_000 => self.rng.len(message - 2..=message + 2),
            80..=89 => self.rng.len(250..=260),
            90..=98 if frame < 1_000 => self.rng.len(frame - 2..=frame + 2),
            90..=98 => self.rng.len(500..=1_000),
            _ if frame < 1_000 => frame,
            _ => self.rng.len(65_530..=65_540),
        }
    }

    fn short(&mut self) -> Vec<u8> {
        let length = self.rng.pick(&[0, 1, 4, 8, 30, 124, 125]);
        self.payload(2, length)
    }

    fn payload(&mut self, opcode: u8, length: usize) -> Vec<u8> {
        if opcode == 1 {
            return self.text(length);
        }
        let mut payload = vec![0; length];
        self.rng.fill(&mut payload);
        payload
    }

    /// Text of `length` bytes, with characters of all widths.
    fn text(&mut self, length: usize) -> Vec<u8> {
        let mut text = String::new();
        let is_wide = self.rng.chance(50);
        while text.len() < length {
            let left = length - text.len();
            let next = if is_wide {
                self.rng
                    .pick(&['a', 'é', 'ß', '€', '\u{FFFD}', '𝄞', '\u{10FFFF}'])
            } else {
                'x'
            };
            text.push(if next.len_utf8() <= left { next } else { '.' });
        }
        text.into_bytes()
    }

    /// Makes text that is not UTF-8, `percent` times of a hundred.
    fn corrupt(&mut self, text: &mut [u8], percent: u64) {
        if self.rng.chance(percent) {
            let at = self.rng.len(0..=text.len() - 1);
            text[at] = self.rng.pick(&[
                0x80, 0xBF, 0xC0, 0xC1, 0xC3, 0xE0, 0xED, 0xF0, 0xF4, 0xF5, 0xFF,
            ]);
        }
    }
}

const LEGAL_CODES: [u16; 8] = [1000, 1001, 1003, 1011, 1013, 1014, 3000, 4999];
const ILLEGAL_CODES: [u16; 10] = [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535];
const RESERVED_OPCODES: [u8; 10] = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15];

/// Changes some bytes anywhere, and ends the stream at any byte, in some streams.
fn damage(rng: &mut Rng, bytes: &mut Vec<u8>) {
    if rng.chance(10) {
        for _ in 0..rng.range(1..=3) {
            let at = rng.len(0..=bytes.len() - 1);
            bytes[at] ^= 1 << rng.below(8);
        }
    }
    if rng.chance(2) {
        let at = rng.len(0..=bytes.len());
        bytes.truncate(at);
        let mut garbage = vec![0; rng.len(1..=40)];
        rng.fill(&mut garbage);
        bytes.extend_from_slice(&garbage);
    }
    if rng.chance(20) {
        let at = rng.len(0..=bytes.len());
        bytes.truncate(at);
    }
}

fn cuts(rng: &mut Rng, bytes: &[u8]) -> Vec<usize> {
    let longest = rng.pick(&[1, 3, 20, 200, usize::MAX]);
    let mut rest = bytes.len();
    let mut cuts = Vec::new();
    while rest > 0 {
        let length = rng.len(1..=longest.min(rest));
        // Byte by byte costs too much where there are many.
        let length = length.max(bytes.len() / 200).min(rest);
        cuts.push(length);
        rest -= length;
    }
    cuts
}
