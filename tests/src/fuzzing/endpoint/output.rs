//! What the application commands, and what leaves.

use wspulse_core::handshake::{Accept, Reject};
use wspulse_core::{Message, Role, SendError, State};

use super::{Run, copy, script};
use crate::fuzzing::parts::{binary, text};

impl Run<'_> {
    pub(super) fn state(&self) -> State {
        self.connection.state()
    }

    /// Sends what `make` makes of `message`: it belongs to the connection from there on.
    pub(super) fn send(&mut self, message: &Message, make: fn(&Message) -> Message) {
        self.meter.expect(message.len());
        match self.try_send(|connection| connection.send(make(message))) {
            Ok(()) => {
                assert!(self.state() == State::Open && self.unfinished.is_none());
                self.queued += message.len();
                self.sends += 1;
                self.wire
                    .queue(message.is_text(), message.as_bytes().to_vec());
            }
            Err(error) => self.is_given_back(error, message),
        }
    }

    pub(super) fn send_part(&mut self, kind: u8, length: u16) {
        let (is_text, last) = (kind & 1 != 0, kind & 2 != 0);
        let part: Message = if is_text {
            text(length).into()
        } else {
            binary(length).into()
        };
        self.meter.expect(part.len());
        match self.try_send(|connection| connection.send_part(copy(&part), last)) {
            Ok(()) => {
                assert_eq!(self.state(), State::Open);
                self.queued += part.len();
                self.sends += 1;
                let (kind, payload) = self.unfinished.get_or_insert((is_text, Vec::new()));
                assert_eq!(*kind, is_text);
                payload.extend_from_slice(part.as_bytes());
                if last && let Some((is_text, payload)) = self.unfinished.take() {
                    self.wire.queue(is_text, payload);
                }
            }
            Err(error) => self.is_given_back(error, &part),
        }
    }

    pub(super) fn is_given_back(&mut self, error: SendError, message: &Message) {
        match error {
            SendError::NotOpen(_) => assert_ne!(self.state(), State::Open),
            SendError::Unfinished(_) => assert!(self.unfinished.is_some()),
            SendError::Full(_) => {
                let limit = if self.is(script::SMALL_LIMITS) {
                    2_000
                } else {
                    1 << 20
                };
                // A place in the queue counts too.
                let held = self.connection.buffered_amount() + 128 * self.sends;
                assert!(held >= limit);
            }
            _ => panic!("{error:?}"),
        }
        let back = error.into_message();
        assert_eq!(back.as_ref(), Some(message));
        self.meter.count(|| drop(back));
        self.check_heap();
    }

    pub(super) fn accept(&mut self, kind: u8) {
        let now = self.now();
        let accept = if kind & 1 == 0 {
            Accept::new()
        } else {
            Accept::new().subprotocol("chat").expect("a token")
        };
        if self.engine(|connection| connection.accept(now, &accept).is_ok()) {
            assert_eq!(self.role, Role::Server);
            assert_eq!(self.state(), State::Open);
            self.request_waits = false;
            self.head_waits = true;
            self.frames_at = Some(self.taken);
        }
    }

    pub(super) fn reject(&mut self, kind: u8) {
        let now = self.now();
        let status = [503, 403, 426, 302][usize::from(kind % 4)];
        let reject = Reject::new(status).expect("legal").body("no\n");
        if self.engine(|connection| connection.reject(now, &reject).is_ok()) {
            assert_eq!(self.role, Role::Server);
            assert_eq!(self.state(), State::Closing);
            self.request_waits = false;
            self.head_waits = true;
        }
    }

    // ---- output

    /// Asks for what is lent, and checks it; returns how much it is.
    pub(super) fn borrow(&mut self) -> usize {
        let wants_write = self.connection.wants_write();
        // What lending takes, and then once more to look at it.
        self.engine(|connection| connection.poll_transmit().is_some());
        let Some(transmit) = self.connection.poll_transmit() else {
            assert!(!wants_write, "wants_write without output");
            assert!(self.lent.is_empty(), "what was lent is gone");
            return 0;
        };
        assert!(wants_write, "output without wants_write");
        assert!(!transmit.first().is_empty());
        let bytes = transmit.chunks().collect::<Vec<_>>().concat();
        assert_eq!(bytes.len(), transmit.len());
        assert!(bytes.starts_with(&self.lent), "what was lent has changed");
        let most = (2 * self.took).clamp(MIN_COMMIT, MAX_COMMIT) + MAX_BESIDE;
        assert!(bytes.len() <= most, "{} bytes at once", bytes.len());
        self.wire.extend(&bytes[self.lent.len()..]);
        self.lent = bytes;
        self.head_waits = false;
        self.lent.len()
    }

    /// Says how much the transport took, be it true or not.
    pub(super) fn report(&mut self, count: usize) {
        let now = self.now();
        self.engine(|connection| connection.handle_transmitted(now, count));
        let count = count.min(self.lent.len());
        self.took = self.took.max(count);
        self.lent.drain(..count);
    }

    pub(super) fn write(&mut self, most: usize) -> bool {
        let lent = self.borrow();
        if lent > 0 {
            self.report(most.min(lent));
            self.forget_if_over();
        }
        lent > 0
    }

    pub(super) fn write_all(&mut self) {
        for _ in 0..MAX_ROUNDS {
            if !self.write(usize::MAX) {
                return;
            }
        }
        panic!("there is no end of the output");
    }

    /// What was lent and not taken before the end is lost.
    pub(super) fn forget_if_over(&mut self) {
        if self.state() == State::Closed {
            self.lent.clear();
        }
    }
}

/// What may be committed at once: twice what was taken at once, within these.
const MIN_COMMIT: usize = 64 << 10;
const MAX_COMMIT: usize = (1 << 20) + 16 * 14;

/// And a frame beside it.
const MAX_BESIDE: usize = (64 << 10) + 28;

const MAX_ROUNDS: usize = 100_000;
