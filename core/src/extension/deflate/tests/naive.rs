//! A second opinion on deflate (RFC 1951): slow, plain, and it says how far back data refers.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "a test that trips has failed, which is its purpose"
)]

use alloc::vec;
use alloc::vec::Vec;

/// Bits, first the least significant one of each byte.
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn bit(&mut self) -> usize {
        let bit = (self.data[self.at / 8] >> (self.at % 8)) & 1;
        self.at += 1;
        usize::from(bit)
    }

    fn number(&mut self, bits: usize) -> usize {
        (0..bits).fold(0, |number, place| number | (self.bit() << place))
    }
}

/// A canonical Huffman code (§3.2.2): the number of codes of each length, and the symbols in order.
struct Code {
    counts: [usize; 16],
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[usize]) -> Self {
        let mut counts = [0; 16];
        for &length in lengths {
            counts[length] += 1;
        }
        counts[0] = 0;
        let mut symbols: Vec<usize> = (0..lengths.len()).filter(|&at| lengths[at] > 0).collect();
        symbols.sort_by_key(|&at| lengths[at]);
        Self { counts, symbols }
    }

    fn symbol(&self, bits: &mut Bits<'_>) -> usize {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for length in 1..16 {
            code |= bits.bit();
            let count = self.counts[length];
            if code < first + count {
                return self.symbols[index + code - first];
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        panic!("no such code");
    }
}

/// Inflates a whole message behind `output`, without its removed tail, which is added here; returns
/// the largest distance.
pub(super) fn inflate(message: &[u8], output: &mut Vec<u8>) -> usize {
    let data = [message, &[0, 0, 0xFF, 0xFF]].concat();
    let mut bits = Bits { data: &data, at: 0 };
    let mut farthest = 0;
    while bits.at < data.len() * 8 {
        let is_final = bits.bit() == 1;
        match bits.number(2) {
            0 => {
                bits.at = bits.at.next_multiple_of(8);
                let length = bits.number(16);
                assert_eq!(bits.number(16), 0xFFFF ^ length);
                (0..length).for_each(|_| output.push(u8::try_from(bits.number(8)).unwrap()));
            }
            1 => {
                let lengths: Vec<usize> = (0..288)
                    .map(|at| match at {
                        0..=143 => 8,
                        144..=255 => 9,
                        256..=279 => 7,
                        _ => 8,
                    })
                    .collect();
                let codes = (Code::new(&lengths), Code::new(&[5; 30]));
                farthest = farthest.max(block(&mut bits, output, &codes));
            }
            2 => {
                let codes = read_codes(&mut bits);
                farthest = farthest.max(block(&mut bits, output, &codes));
            }
            _ => panic!("reserved block type"),
        }
        if is_final {
            bits.at = bits.at.next_multiple_of(8);
        }
    }
    farthest
}

/// §3.2.7
fn read_codes(bits: &mut Bits<'_>) -> (Code, Code) {
    let literals = bits.number(5) + 257;
    let distances = bits.number(5) + 1;
    let count = bits.number(4) + 4;
    let mut lengths = [0; 19];
    let order = [
        16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
    ];
    for &at in &order[..count] {
        lengths[at] = bits.number(3);
    }
    let code = Code::new(&lengths);
    let mut lengths = Vec::new();
    while lengths.len() < literals + distances {
        match code.symbol(bits) {
            16 => {
                let last = *lengths.last().unwrap();
                lengths.extend(vec![last; bits.number(2) + 3]);
            }
            17 => lengths.extend(vec![0; bits.number(3) + 3]),
            18 => lengths.extend(vec![0; bits.number(7) + 11]),
            length => lengths.push(length),
        }
    }
    let (literals, distances) = lengths.split_at(literals);
    (Code::new(literals), Code::new(distances))
}

/// §3.2.5
fn block(bits: &mut Bits<'_>, output: &mut Vec<u8>, codes: &(Code, Code)) -> usize {
    let mut farthest = 0;
    loop {
        let symbol = codes.0.symbol(bits);
        if symbol < 256 {
            output.push(u8::try_from(symbol).unwrap());
            continue;
        }
        let length = match symbol - 256 {
            0 => return farthest,
            symbol @ 1..=8 => symbol + 2,
            29 => 258,
            symbol => {
                let extra = (symbol - 1) / 4 - 1;
                ((4 + (symbol - 1) % 4) << extra) + 3 + bits.number(extra)
            }
        };
        let distance = match codes.1.symbol(bits) {
            symbol @ 0..=3 => symbol + 1,
            symbol => {
                let extra = symbol / 2 - 1;
                ((2 + symbol % 2) << extra) + 1 + bits.number(extra)
            }
        };
        farthest = farthest.max(distance);
        for _ in 0..length {
            output.push(output[output.len() - distance]);
        }
    }
}
