//! Every sequence of up to four frames out of sixteen that mean different things in different
//! places, our own Close among them.

use std::sync::Arc;

use wspulse_core::{Config, Delivery, Role};
use wspulse_tests::wire::Frame;

use crate::judged::{Cut, Judged, limited};

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A frame comes: its first byte, and its payload.
    Frame(u8, &'static [u8]),
    /// The application closes.
    Close,
}

/// "€" is E2 82 AC: what begins one and what ends one are text only together.
const STEPS: [Step; 16] = [
    Step::Frame(0x81, b"a"),
    Step::Frame(0x81, b""),
    Step::Frame(0x01, b"a"),
    Step::Frame(0x01, b"\xE2"),
    Step::Frame(0x82, b"\xE2"),
    Step::Frame(0x02, b""),
    Step::Frame(0x00, b"\x82"),
    Step::Frame(0x00, b""),
    Step::Frame(0x80, b"\x82\xAC"),
    Step::Frame(0x80, b"\xAC"),
    Step::Frame(0x80, b""),
    Step::Frame(0x89, b"ping"),
    Step::Frame(0x8A, b"pong"),
    Step::Frame(0x88, b"\x03\xE9bye"),
    Step::Frame(0x88, b""),
    Step::Close,
];

const LIMIT: u64 = 1_000;

fn judge(role: Role, config: &Arc<Config>, steps: &[Step], cut: Cut) {
    let mut judged = Judged::new(role, config, LIMIT);
    let mut run = Vec::new();
    for step in steps {
        match *step {
            Step::Frame(first, payload) => {
                let frame = Frame::new(first & 0x0F, payload).from(role.peer());
                let frame = match first & 0x80 {
                    0 => frame.unfinished(),
                    _ => frame,
                };
                run.extend(frame.encode());
            }
            Step::Close => {
                judged.feed_cut(&std::mem::take(&mut run), cut);
                judged.close();
            }
        }
    }
    judged.feed_cut(&run, cut);
    judged.conclude(&(role, steps));
}

fn each_sequence(len: usize, mut then: impl FnMut(&[Step])) {
    let mut steps = Vec::new();
    for number in 0..STEPS.len().pow(u32::try_from(len).expect("short")) {
        steps.clear();
        let mut rest = number;
        for _ in 0..len {
            steps.push(STEPS[rest % STEPS.len()]);
            rest /= STEPS.len();
        }
        then(&steps);
    }
}

#[test]
fn every_sequence_of_four_frames() {
    let config = Arc::new(limited(LIMIT).build().expect("valid"));
    for role in [Role::Server, Role::Client] {
        each_sequence(4, |steps| judge(role, &config, steps, Cut::Whole));
    }
    for role in [Role::Server, Role::Client] {
        each_sequence(3, |steps| judge(role, &config, steps, Cut::Bytes));
    }
}

#[test]
fn every_sequence_of_frames_delivered_in_parts() {
    let config = limited(LIMIT).delivery(Delivery::Parts).build();
    let config = Arc::new(config.expect("valid"));
    for cut in [Cut::Whole, Cut::Bytes] {
        each_sequence(3, |steps| judge(Role::Server, &config, steps, cut));
    }
}

/// RFC 6455 §7.4: the codes that may be on the wire are answered with themselves.
#[test]
fn every_close_code() {
    let config = Arc::new(limited(LIMIT).build().expect("valid"));
    for role in [Role::Server, Role::Client] {
        for code in 0..=u16::MAX {
            let bytes = Frame::close(code, "bye").from(role.peer()).encode();
            let mut judged = Judged::new(role, &config, LIMIT);
            judged.feed(&bytes);
            judged.conclude(&(role, code));
        }
    }
}
