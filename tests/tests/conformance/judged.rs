//! An engine and the oracle, told the same, and compared.

use std::sync::Arc;

use wspulse_core::heartbeat::HeartbeatConfig;
use wspulse_core::{
    Cause, CloseCode, Closed, Config, ConfigBuilder, Connection, Event, Message, Role, State,
};
use wspulse_tests::kit::{at, drain, open};
use wspulse_tests::oracle::{End, Oracle, Outcome};
use wspulse_tests::wire::{Frame, Wire, opcode};

/// A configuration without a heartbeat, whose frames and messages have this limit.
pub(crate) fn limited(limit: u64) -> ConfigBuilder {
    Config::builder()
        .heartbeat(HeartbeatConfig::off())
        .max_frame_size(limit)
        .max_message_size(limit)
}

/// How input arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    Whole,
    Bytes,
}

/// An open connection whose every byte the oracle sees too.
pub(crate) struct Judged {
    connection: Connection,
    oracle: Oracle,
    wire: Wire,
    /// What the engine made of it, in the oracle's words.
    told: Outcome,
    /// The parts of a message that came so far, where it is delivered in parts.
    parts: Option<(bool, Vec<u8>)>,
    closed: Option<Box<Closed>>,
    /// The Close frames on the wire: their codes, or none where they are empty.
    sent: Vec<Option<u16>>,
    has_closed: bool,
    /// Whether input came in lumps, and the answers to it have not left before its end.
    writes_late: bool,
}

impl Judged {
    pub(crate) fn new(role: Role, config: &Arc<Config>, limit: u64) -> Self {
        Self {
            connection: open(role, config),
            oracle: Oracle::new(role, limit),
            wire: Wire::frames(role).keeping_data(),
            told: Outcome::default(),
            parts: None,
            closed: None,
            sent: Vec::new(),
            has_closed: false,
            writes_late: false,
        }
    }

    /// Closes, if it is open, and sends the Close frame.
    pub(crate) fn close(&mut self) {
        if self.connection.state() == State::Open {
            self.has_closed = true;
            self.oracle.close();
            let closed = self.connection.close(at(2), CloseCode::NORMAL, "");
            closed.expect("a legal code");
        }
        self.write();
    }

    pub(crate) fn feed_cut(&mut self, bytes: &[u8], cut: Cut) {
        match cut {
            Cut::Whole => self.feed(bytes),
            Cut::Bytes => self.feed_bytes(bytes),
        }
    }

    /// All of it at once.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.oracle.push(byte));
        self.writes_late |= self.oracle.outcome().pongs.len() > self.told.pongs.len();
        self.take(bytes);
    }

    /// Byte by byte, and what is lent is written at once: the engine ends no sooner than the input cannot be legal any more, and no
    /// later than the oracle does.
    pub(crate) fn feed_bytes(&mut self, bytes: &[u8]) {
        for (index, &byte) in bytes.iter().enumerate() {
            let was_over = self.oracle.outcome().end.is_some();
            self.oracle.push(byte);
            self.take(&[byte]);
            if self.connection.wants_write() {
                self.write();
            }
            if was_over {
                continue;
            }
            let must = self.oracle.outcome().end.is_some();
            let may = must || self.oracle.is_doomed();
            let is_over = self.is_over();
            assert!(
                (is_over || !must) && (may || !is_over),
                "over is {is_over} behind byte {index} of {bytes:02x?}; {:?}",
                self.oracle
            );
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.connection.handle_input(at(5), bytes);
            bytes = &bytes[taken..];
            assert!(self.listen() || taken > 0, "neither took nor told anything");
        }
    }

    /// Takes the events and tells whether there were any.
    fn listen(&mut self) -> bool {
        let mut any = false;
        while let Some(event) = self.connection.poll_event() {
            any = true;
            assert!(self.closed.is_none(), "{event:?} behind the end");
            match event {
                Event::TextPart(part) => self.take_part(true, part.as_bytes()),
                Event::BinaryPart(part) => self.take_part(false, &part),
                Event::MessageEnd => {
                    let message = self.parts.take().expect("a part before the end");
                    self.told.messages.push(message);
                }
                Event::Closing(frame) => {
                    let code = frame.code.as_u16();
                    let code = (frame.code != CloseCode::NO_STATUS).then_some(code);
                    let end = End::Closed(code, frame.reason.to_string());
                    assert_eq!(self.told.end.replace(end), None, "two ends");
                }
                Event::Closed(closed) => self.closed = Some(closed),
                event => {
                    let message = Message::try_from(event).expect("a message");
                    let data = message.as_bytes().to_vec();
                    self.told.messages.push((message.is_text(), data));
                }
            }
        }
        any
    }

    fn take_part(&mut self, is_text: bool, part: &[u8]) {
        let (kind, data) = self.parts.get_or_insert((is_text, Vec::new()));
        assert_eq!(*kind, is_text, "parts of one kind");
        data.extend_from_slice(part);
    }

    /// Whether more input would change nothing, as far as one can see from outside.
    fn is_over(&self) -> bool {
        let failed = match self.connection.state() {
            State::Open => false,
            State::Closing => !self.has_closed || self.connection.wants_shutdown(),
            _ => true,
        };
        failed || self.told.end.is_some()
    }

    /// Writes what is lent; it is legal, says the wire.
    pub(crate) fn write(&mut self) {
        let bytes = drain(&mut self.connection, at(5));
        for frame in self.wire.push(&bytes).expect("legal frames") {
            let code = frame.close_code();
            match frame {
                Frame {
                    opcode: opcode::PONG,
                    payload,
                    ..
                } => self.told.pongs.push(payload),
                Frame {
                    opcode: opcode::CLOSE,
                    ..
                } => self.sent.push(code),
                frame => panic!("nobody asked for {frame:?}"),
            }
        }
        self.listen();
    }

    /// Ends the stream, and compares.
    #[track_caller]
    pub(crate) fn conclude(mut self, what: &dyn std::fmt::Debug) {
        self.write();
        self.connection.handle_eof(at(6));
        self.write();
        let closed = self.closed.take().expect("one end");
        let failed = match &closed.cause {
            Cause::Protocol(error) => Some(error.close_code()),
            Cause::Limit(limit) => Some(limit.close_code()),
            _ => None,
        };
        if let Some(code) = failed {
            let end = End::Failed(code.as_u16());
            assert_eq!(self.told.end.replace(end), None, "two ends: {what:02x?}");
        }
        let expected = self.oracle.outcome();
        // §7.1.7: a connection that is failed says why, and nothing else that had not left.
        let owed = &expected.pongs[self.told.pongs.len().min(expected.pongs.len())..];
        if failed.is_some() && self.writes_late {
            self.told.pongs.extend_from_slice(owed);
        }
        assert_eq!(&self.told, expected, "{what:02x?}");

        // Its last words: at most one Close frame, the answer or the reason.
        let answer = match expected.end {
            _ if self.has_closed => Some(Some(1000)),
            Some(End::Closed(code, _)) => Some(code),
            Some(End::Failed(code)) => Some(Some(code)),
            None => None,
        };
        assert_eq!(self.sent, Vec::from_iter(answer), "{what:02x?}");
        let is_normal = closed.cause == Cause::Normal;
        let is_closed = matches!(expected.end, Some(End::Closed(..)));
        assert_eq!(
            (is_normal, closed.clean),
            (is_closed, is_closed),
            "{what:02x?}"
        );
        assert_eq!(
            expected.end.is_none(),
            closed.cause == Cause::Eof,
            "{what:02x?}"
        );
    }
}
