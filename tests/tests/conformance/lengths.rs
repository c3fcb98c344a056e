//! Lengths in the longer forms, where there are too many for the pairs of first bytes: F1, F12.

use std::sync::Arc;

use wspulse_core::{Config, Role};
use wspulse_tests::oracle::{End, Oracle};

use crate::judged::{Cut, Judged, limited};

const LIMIT: u64 = 16 << 20;

fn config() -> Arc<Config> {
    Arc::new(limited(LIMIT).build().expect("valid"))
}

/// The header of a binary frame for `role`, with a length that is put down as it comes.
fn header(role: Role, marker: u8, field: &[u8]) -> Vec<u8> {
    let mask = match role {
        Role::Server => 0x80,
        Role::Client => 0,
    };
    let key: &[u8] = if mask > 0 { &[0; 4] } else { &[] };
    [&[0x82, mask | marker], field, key].concat()
}

/// Judges the header, and expects that it fails with this code, or not at all.
fn expect(config: &Arc<Config>, role: Role, header: &[u8], code: Option<u16>) {
    let mut oracle = Oracle::new(role, LIMIT);
    header.iter().for_each(|&byte| oracle.push(byte));
    assert_eq!(oracle.outcome().end, code.map(End::Failed), "{header:02x?}");

    for cut in [Cut::Whole, Cut::Bytes] {
        let mut judged = Judged::new(role, config, LIMIT);
        judged.feed_cut(header, cut);
        judged.conclude(&(role, header));
    }
}

/// RFC 6455 §5.2: the most significant bit MUST be 0.
#[test]
fn a_length_with_its_highest_bit_is_refused_whatever_follows_it() {
    let config = config();
    for role in [Role::Server, Role::Client] {
        for top in 0x80..=0xFF {
            for rest in [
                [0; 7],
                [0xFF; 7],
                [0, 0, 0, 0, 0, 0, 1],
                [0, 0, 0, 0, 1, 0, 0],
            ] {
                let field = [&[top], &rest[..]].concat();
                expect(&config, role, &header(role, 127, &field), Some(1002));
            }
        }
        // Without it, the same lengths are legal, and too long for us.
        for top in 0x01..=0x7F {
            let field = [top, 0, 0, 0, 0, 0, 0, 0];
            expect(&config, role, &header(role, 127, &field), Some(1009));
        }
    }
}

/// RFC 6455 §5.2: the minimal number of bytes MUST be used to encode the length.
#[test]
fn every_length_that_has_a_shorter_form_is_refused() {
    let config = config();
    for role in [Role::Server, Role::Client] {
        for len in 0..=u16::MAX {
            let code = (len <= 125).then_some(1002);
            expect(&config, role, &header(role, 126, &len.to_be_bytes()), code);
            let field = u64::from(len).to_be_bytes();
            expect(&config, role, &header(role, 127, &field), Some(1002));
        }
        for len in [1 << 16, (1 << 16) + 1, LIMIT] {
            expect(&config, role, &header(role, 127, &len.to_be_bytes()), None);
        }
    }
}

/// Each power of two and its neighbours: nothing wraps, narrows or is taken for negative.
#[test]
fn a_length_is_held_against_the_limit_as_it_is() {
    let config = config();
    for role in [Role::Server, Role::Client] {
        for power in 17..=63 {
            for len in [(1 << power) - 1, 1 << power, (1 << power) + 1_u64] {
                let code = match len {
                    0..=LIMIT => None,
                    _ if len >> 63 == 0 => Some(1009),
                    _ => Some(1002),
                };
                expect(&config, role, &header(role, 127, &len.to_be_bytes()), code);
            }
        }
        // With what came before, the sum passes 2^64.
        let config = Arc::new(limited(u64::MAX).build().expect("valid"));
        let first = [&[0x02, header(role, 5, &[])[1]], &header(role, 5, &[])[2..]].concat();
        let mut judged = Judged::new(role, &config, u64::MAX);
        judged.feed(&[&first[..], b"hello"].concat());
        let mut next = header(role, 127, &i64::MAX.to_be_bytes());
        next[0] = 0x80;
        judged.feed(&next);
        judged.conclude(&(role, next));
    }
}
