//! The far end of a connection, the path to it, and this host's socket.

use std::collections::VecDeque;

use wspulse_core::Role;

use crate::wire::{Frame, Wire, frame, opcode};
use crate::world::search::Tick;

/// What the peer does of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Say {
    /// A whole binary message.
    Message,
    /// The first half of a text message in one frame.
    Half,
    /// The rest of that message.
    Rest,
    /// A ping.
    Ping,
    /// The text `ping`, which a heartbeat of the application answers.
    TextPing,
    /// A Close frame, 1000.
    Close,
    /// A frame that breaks RFC 6455.
    Bad,
    /// Its opening handshake.
    Head,
    /// A part of its opening handshake that has no end.
    HalfHead,
    /// The end of its stream.
    Eof,
    /// A reset: the end of its stream, and what was not read is lost.
    Reset,
    /// Nothing any more: it is gone and did not say so.
    Die,
}

/// The far end and everything between it and the calls of this host.
#[derive(Clone, Debug, Hash)]
pub struct Peer {
    role: Role,
    is_alive: bool,
    /// Reads our output, and fails on what must not be sent.
    hears: Wire,
    /// Its bytes on the way, with the tick in which they arrive.
    flying: Vec<(Tick, Kind, Vec<u8>)>,
    fin_at: Option<Tick>,
    /// Bytes that arrived and were not read, and what they are, with their lengths.
    unread: Vec<u8>,
    pieces: VecDeque<(Kind, usize)>,
    has_ended: bool,
    is_inside_message: bool,
    /// Bytes of its opening handshake that it sent.
    head_sent: usize,
    has_sent_head: bool,
    has_sent_close: bool,
    /// Whether it answers the text `ping` with the text `pong`.
    answers_text: bool,
    /// Whole frames that it got, by kind.
    heard: Heard,
}

/// What bytes of the peer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// A message, or a part of one.
    Message,
    /// Its Close frame.
    Close,
    /// Anything else.
    Other,
}

/// Of which kinds some bytes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Kinds {
    /// A message, or a part of one.
    pub message: bool,
    /// The Close frame.
    pub close: bool,
}

/// What the peer got of us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Heard {
    /// Ping frames.
    pub pings: u16,
    /// Texts `ping`.
    pub text_pings: u16,
    /// Texts `pong`.
    pub text_pongs: u16,
    /// Pong frames.
    pub pongs: u16,
    /// Whole messages of the application.
    pub messages: u16,
    /// The code of the Close frame.
    pub close: Option<u16>,
}

/// How long the peer takes to answer, and the path to carry both.
const ROUND_TRIP: Tick = 1;

impl Peer {
    /// Places a live peer at the other end of a connection of `role`.
    #[must_use]
    pub fn of(role: Role, is_open: bool, answers_text: bool) -> Self {
        let hears = if is_open {
            Wire::frames(role)
        } else {
            Wire::after_head(role)
        };
        Self {
            role: role.peer(),
            is_alive: true,
            hears: hears.keeping_data(),
            flying: Vec::new(),
            fin_at: None,
            unread: Vec::new(),
            pieces: VecDeque::new(),
            has_ended: false,
            is_inside_message: false,
            head_sent: 0,
            has_sent_head: is_open,
            has_sent_close: false,
            answers_text,
            heard: Heard::default(),
        }
    }

    /// Whether it lives.
    #[must_use]
    pub const fn is_alive(&self) -> bool {
        self.is_alive
    }

    /// What it got so far.
    #[must_use]
    pub const fn heard(&self) -> Heard {
        self.heard
    }

    /// Bytes that arrived and wait to be read.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Whether the end of its stream is what a read finds next.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.has_ended && self.unread.is_empty()
    }

    /// Whether a read would find anything.
    #[must_use]
    pub const fn is_readable(&self) -> bool {
        self.has_ended || !self.unread.is_empty()
    }

    /// Whether anything of it is on its way.
    #[must_use]
    pub const fn is_flying(&self) -> bool {
        !self.flying.is_empty() || self.fin_at.is_some()
    }

    /// Whether a message of it is under way.
    #[must_use]
    pub const fn is_inside_message(&self) -> bool {
        self.is_inside_message
    }

    /// Whether what we sent so far ends inside a message in several frames.
    #[must_use]
    pub const fn hears_half_a_message(&self) -> bool {
        self.hears.is_inside_message()
    }

    /// The host read `count` bytes. Returns what they were.
    pub fn read(&mut self, count: usize) -> Kinds {
        self.unread.drain(..count);
        let mut kinds = Kinds::default();
        let mut left = count;
        while left > 0
            && let Some((kind, length)) = self.pieces.pop_front()
        {
            kinds.message |= kind == Kind::Message;
            kinds.close |= kind == Kind::Close && length <= left;
            if length > left {
                self.pieces.push_front((kind, length - left));
            }
            left = left.saturating_sub(length);
        }
        kinds
    }

    /// A tick begins: what is due arrives, or is late by one more tick if there is no network.
    pub fn tick(&mut self, now: Tick, has_network: bool) {
        if !has_network {
            // TCP sends again what was lost, after the path is back.
            let again = now + 1 + ROUND_TRIP;
            for (at, ..) in &mut self.flying {
                *at = again;
            }
            self.fin_at = self.fin_at.map(|_| again);
            return;
        }
        while self.flying.first().is_some_and(|(at, ..)| *at <= now) {
            let (_, kind, bytes) = self.flying.remove(0);
            self.put(kind, &bytes);
        }
        if self.fin_at.is_some_and(|at| at <= now) {
            self.fin_at = None;
            self.has_ended = true;
        }
    }

    /// Whether it can do this now.
    #[must_use]
    pub const fn can(&self, say: Say) -> bool {
        let talks = self.is_alive && !self.has_ended && self.fin_at.is_none();
        let speaks = talks && self.has_sent_head && !self.has_sent_close;
        match say {
            Say::Message | Say::Bad | Say::TextPing => speaks && !self.is_inside_message,
            Say::Half => speaks && !self.is_inside_message && self.unread.is_empty(),
            Say::Rest => speaks && self.is_inside_message,
            Say::Ping | Say::Close => speaks && !self.is_inside_message,
            Say::Head | Say::HalfHead => talks && !self.has_sent_head,
            Say::Eof | Say::Reset => talks,
            Say::Die => self.is_alive,
        }
    }

    /// Does it; its bytes are in the socket at once. `head` is its opening handshake.
    pub fn say(&mut self, say: Say, head: &[u8]) {
        let encoded = frame(self.role, opcode::TEXT, b"a text in two");
        let (half, rest) = encoded.split_at(encoded.len() - 6);
        match say {
            Say::Message => {
                let message = frame(self.role, opcode::BINARY, b"hello");
                self.put(Kind::Message, &message);
            }
            Say::Half => {
                self.is_inside_message = true;
                self.put(Kind::Message, half);
            }
            Say::Rest => {
                self.is_inside_message = false;
                self.put(Kind::Message, rest);
            }
            Say::Ping => self.put(Kind::Other, &frame(self.role, opcode::PING, b"?")),
            Say::TextPing => self.put(Kind::Other, &frame(self.role, opcode::TEXT, b"ping")),
            Say::Close => {
                self.has_sent_close = true;
                self.put(Kind::Close, &close(self.role));
            }
            // RFC 6455 §5.2: an opcode that is reserved.
            Say::Bad => self.put(Kind::Other, &frame(self.role, 0xB, b"")),
            Say::Head => {
                self.has_sent_head = true;
                self.put(Kind::Other, &head[self.head_sent..]);
            }
            Say::HalfHead => {
                self.put(Kind::Other, &head[self.head_sent..=self.head_sent]);
                self.head_sent += 1;
            }
            Say::Eof => self.has_ended = true,
            Say::Reset => {
                self.unread.clear();
                self.pieces.clear();
                self.flying.clear();
                self.has_ended = true;
                self.is_alive = false;
            }
            Say::Die => self.is_alive = false,
        }
    }

    fn put(&mut self, kind: Kind, bytes: &[u8]) {
        self.pieces.push_back((kind, bytes.len()));
        self.unread.extend_from_slice(bytes);
    }

    /// The transport took these bytes of ours; a live peer reads them at once.
    ///
    /// # Errors
    /// Says what must not be sent.
    pub fn hear(&mut self, now: Tick, bytes: &[u8]) -> Result<(), String> {
        for got in self.hears.push(bytes)? {
            self.note(&got);
            if self.is_alive {
                self.answer(now, &got);
            }
        }
        Ok(())
    }

    fn note(&mut self, got: &Frame) {
        let heard = &mut self.heard;
        match got.opcode {
            opcode::PING => heard.pings += 1,
            opcode::PONG => heard.pongs += 1,
            opcode::CLOSE => heard.close = Some(got.close_code().unwrap_or(1005)),
            opcode::TEXT if got.payload == b"ping" => heard.text_pings += 1,
            opcode::TEXT if got.payload == b"pong" => heard.text_pongs += 1,
            _ if got.fin => heard.messages += 1,
            _ => {}
        }
    }

    fn answer(&mut self, now: Tick, got: &Frame) {
        let at = now + ROUND_TRIP;
        if self.has_ended || self.fin_at.is_some() {
            return;
        }
        match got.opcode {
            // An answer would cut the message that is under way in two.
            _ if self.is_inside_message && got.opcode != opcode::CLOSE => {}
            opcode::PING if !self.has_sent_close => {
                let pong = frame(self.role, opcode::PONG, &got.payload);
                self.flying.push((at, Kind::Other, pong));
            }
            opcode::TEXT if self.answers_text && got.payload == b"ping" && !self.has_sent_close => {
                let pong = frame(self.role, opcode::TEXT, b"pong");
                self.flying.push((at, Kind::Other, pong));
            }
            opcode::CLOSE => {
                if !self.has_sent_close && !self.is_inside_message {
                    self.has_sent_close = true;
                    self.flying.push((at, Kind::Close, close(self.role)));
                }
                // RFC 6455 §7.1.1: the server closes TCP first.
                if self.role == Role::Server {
                    self.fin_at = Some(at);
                }
            }
            _ => {}
        }
    }

    /// This side half-closed the transport.
    pub fn hear_end(&mut self, now: Tick) {
        if self.is_alive && !self.has_ended {
            self.fin_at = self.fin_at.or(Some(now + ROUND_TRIP));
        }
    }
}

fn close(role: Role) -> Vec<u8> {
    frame(role, opcode::CLOSE, &1000_u16.to_be_bytes())
}
