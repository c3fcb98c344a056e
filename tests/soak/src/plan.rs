//! What a connection says: decided by one seed, whatever the times.

use std::time::Duration;

use bytes::Bytes;
use wspulse_core::Message;
use wspulse_tests::rng::Rng;

/// The traffic of one connection, step by step.
#[derive(Debug)]
pub(crate) struct Plan {
    rng: Rng,
    steps: u64,
}

/// One step.
#[derive(Debug)]
pub(crate) enum Step {
    /// Send a message, in these parts.
    Send(Vec<Message>),
    /// Send a ping with this payload.
    Ping([u8; 8]),
    /// Say nothing for a while.
    Pause(Duration),
    /// Wait for all that was sent to come back.
    Settle,
    /// Close with this code once it has.
    Close(u16),
    /// Drop the connection now.
    Abort,
}

impl Plan {
    /// The plan of a connection: `who` is the client's number, `nth` the connection's.
    pub(crate) fn new(seed: u64, who: u64, nth: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut rng = Rng::new(rng.draw() ^ (who << 40) ^ nth);
        let steps = rng.range(3..=60);
        Self { rng, steps }
    }

    pub(crate) fn next(&mut self) -> Step {
        if self.steps == 0 {
            return match self.rng.below(100) {
                0..15 => Step::Abort,
                _ => Step::Close(self.rng.pick(&CODES)),
            };
        }
        self.steps -= 1;
        match self.rng.below(100) {
            0..65 => Step::Send(self.message()),
            65..72 => Step::Ping(self.rng.draw().to_le_bytes()),
            72..94 => Step::Pause(self.rng.span(Duration::ZERO..=SHORT_PAUSE)),
            94 => Step::Pause(self.rng.span(SHORT_PAUSE..=LONG_PAUSE)),
            _ => Step::Settle,
        }
    }

    fn message(&mut self) -> Vec<Message> {
        let length = match self.rng.below(1_000) {
            0..700 => self.rng.len(0..=125),
            700..900 => self.rng.len(126..=4_096),
            900..990 => self.rng.len(4_097..=65_536),
            _ => LARGE,
        };
        let cuts = match self.rng.below(100) {
            0..20 => self.rng.len(1..=4),
            _ => 0,
        };
        if self.rng.chance(50) {
            let text = self.text(length);
            self.cut(cuts, text.len(), |from, to| {
                Message::from(&text[text.ceil(from)..text.ceil(to)])
            })
        } else {
            let mut data = vec![0; length];
            self.rng.fill(&mut data);
            let data = Bytes::from(data);
            self.cut(cuts, length, |from, to| Message::from(data.slice(from..to)))
        }
    }

    /// Cuts `length` bytes at so many places, some of which may be the same.
    fn cut(
        &mut self,
        cuts: usize,
        length: usize,
        part: impl Fn(usize, usize) -> Message,
    ) -> Vec<Message> {
        let mut places: Vec<usize> = (0..cuts).map(|_| self.rng.len(0..=length)).collect();
        places.push(length);
        places.sort_unstable();
        let mut from = 0;
        let mut parts = Vec::with_capacity(places.len());
        for to in places {
            parts.push(part(from, to));
            from = to;
        }
        parts
    }

    /// Characters of one to four bytes.
    fn text(&mut self, length: usize) -> String {
        let mut text = String::with_capacity(length);
        while text.len() < length {
            let mut bits = self.rng.draw();
            for _ in 0..8 {
                let rest = length - text.len();
                let character = match bits & 0xff {
                    0..8 if rest >= 4 => '🦀',
                    8..24 if rest >= 3 => '€',
                    24..48 if rest >= 2 => 'é',
                    other => char::from(b' ' + (other % 94) as u8),
                };
                if rest > 0 {
                    text.push(character);
                }
                bits >>= 8;
            }
        }
        text
    }
}

trait Ceil {
    /// The next place at which a character begins.
    fn ceil(&self, at: usize) -> usize;
}

impl Ceil for String {
    fn ceil(&self, at: usize) -> usize {
        (at..).find(|at| self.is_char_boundary(*at)).unwrap_or(at)
    }
}

/// Joins the parts of a message.
pub(crate) fn whole(parts: &[Message]) -> Message {
    match parts {
        [one] => one.clone(),
        [Message::Text(_), ..] => {
            let texts = parts.iter().filter_map(Message::as_text);
            Message::from(texts.collect::<String>())
        }
        _ => Message::from(
            parts
                .iter()
                .map(Message::as_bytes)
                .collect::<Vec<_>>()
                .concat(),
        ),
    }
}

/// What a client may close with.
const CODES: [u16; 4] = [1000, 1001, 3500, 4999];

const SHORT_PAUSE: Duration = Duration::from_millis(150);

/// Long enough for the heartbeats of either side.
const LONG_PAUSE: Duration = Duration::from_millis(4_000);

const LARGE: usize = 1 << 20;
