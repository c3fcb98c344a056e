//! Input: the opening handshake, then frames to events.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::budget::{self, Standing};
use super::state::OpeningSide;
use super::{Connection, Phase};
use crate::close::CloseFrame;
use crate::config::Delivery;
use crate::error::{Cause, Initiator, LimitExceeded, ProtocolError};
use crate::event::Event;
use crate::frame::{FrameEvent, FrameHeader, Opcode, PayloadPart, mask};
use crate::heartbeat::PongMatch;
use crate::message::{Assembler, Message, whole_binary, whole_text};
use crate::time::Instant;
use crate::utf8::InvalidUtf8;

/// What has arrived in part. Exists only while there is something.
#[derive(Clone, Default, Hash)]
pub(super) struct Incoming {
    pub(super) message: Option<Assembler>,
    /// The payload of a control frame that came in pieces.
    control: Vec<u8>,
}

/// Why the connection is to be failed.
pub(super) enum Fault {
    Protocol(ProtocolError),
    Limit(LimitExceeded),
}

impl From<ProtocolError> for Fault {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

impl From<LimitExceeded> for Fault {
    fn from(limit: LimitExceeded) -> Self {
        Self::Limit(limit)
    }
}

impl From<InvalidUtf8> for Fault {
    fn from(_: InvalidUtf8) -> Self {
        Self::Protocol(ProtocolError::InvalidUtf8)
    }
}

impl Connection {
    /// Takes the opening handshake's head; never a byte of what follows it.
    pub(super) fn receive_head(&mut self, now: Instant, input: &[u8]) -> usize {
        let Phase::Opening(opening) = &mut self.phase else {
            return 0;
        };
        match &mut opening.side {
            OpeningSide::Client(handshake) => {
                let taken = handshake.handle_input(input);
                match handshake.poll_response() {
                    None if handshake.is_refused() => {
                        // The status is known, and the rest is a courtesy.
                        let latest = now.saturating_add(REFUSAL_PATIENCE);
                        opening.clock.end_by(now, latest);
                    }
                    None => {}
                    Some(Err(error)) => {
                        self.finish(now, Cause::Handshake(error), Initiator::Local);
                    }
                    Some(Ok(response)) => {
                        self.open(now);
                        self.agree_on_deflate(response.deflate());
                        self.slot = Some(Event::Open(Box::new(response)));
                    }
                }
                taken
            }
            OpeningSide::Server { handshake, asked } => {
                let taken = handshake.handle_input(input);
                match handshake.poll_request() {
                    None => {}
                    Some(Err(error)) => {
                        let response = error.to_response().unwrap_or_default();
                        self.refuse(now, Cause::Handshake(error), response);
                    }
                    Some(Ok(request)) => {
                        *asked = true;
                        self.slot = Some(Event::Request(Box::new(request)));
                    }
                }
                taken
            }
            OpeningSide::Elsewhere => 0,
        }
    }

    /// Takes a message that is at the front of `input` in one frame and needs nothing but to be
    /// delivered, as nearly all do; returns what follows it. It is what
    /// [`receive_frames`](Self::receive_frames) makes of it, without the questions; `None` for
    /// whatever else it is.
    #[inline]
    pub(super) fn receive_message<'a>(
        &mut self,
        now: Instant,
        input: &'a [u8],
    ) -> Option<&'a [u8]> {
        let is_next = self.is_quiet()
            && self.slot.is_none()
            && self.incoming.is_none()
            && self.decoder.is_between_frames();
        if !is_next {
            return None;
        }
        let (opcode, part, rest) = self.decoder.peek_message(input)?;
        if part.data.len() >= usize::from(self.plain_below) {
            return None;
        }
        // Made in its place: moving a fresh event about costs more than making it.
        self.slot = Some(if opcode == Opcode::Text {
            // What is not UTF-8 goes the long way to its end.
            Event::Text(whole_text(part.data, part.mask).ok()?)
        } else {
            Event::Binary(whole_binary(part.data, part.mask))
        });
        self.bucket.refund_message(part.data.len());
        self.heartbeat.handle_message(now);
        Some(rest)
    }

    /// Takes frames until an event waits, the input is used up, or frames no longer count.
    pub(super) fn receive_frames(&mut self, now: Instant, input: &[u8]) -> usize {
        let mut rest = input;
        while !self.holds_input() {
            let takes_frames = match &self.phase {
                Phase::Open => true,
                Phase::Ending(ending) => ending.takes_frames(),
                Phase::Opening(_) | Phase::Over(_) => false,
            };
            if !takes_frames {
                // RFC 6455 §7.1.7: after a failure or a Close, input is swallowed.
                return input.len();
            }
            let mut step = self.step(rest);
            let length = step.len();
            let handled = if let Some((header, part)) = self.decoder.decode_whole(&mut step) {
                self.receive_header(now, &header)
                    .and_then(|()| self.receive_payload(now, part))
            } else {
                match self.decoder.decode(&mut step) {
                    Ok(None) if length == rest.len() => {
                        rest = step;
                        break;
                    }
                    Ok(None) => Ok(()),
                    Ok(Some(FrameEvent::Header(header))) => self.receive_header(now, &header),
                    Ok(Some(FrameEvent::Payload(part))) => self.receive_payload(now, part),
                    Err(error) => Err(ProtocolError::Frame(error).into()),
                }
            };
            let taken = length.saturating_sub(step.len());
            rest = rest.get(taken..).unwrap_or_default();
            match handled {
                Ok(()) => {}
                Err(Fault::Protocol(error)) => self.fail_protocol(now, error),
                Err(Fault::Limit(limit)) => self.fail_limit(now, limit),
            }
        }
        input.len().saturating_sub(rest.len())
    }

    /// Judges a frame by its header alone.
    #[inline]
    fn receive_header(&mut self, now: Instant, header: &FrameHeader) -> Result<(), Fault> {
        if header.opcode().is_control() {
            return Ok(());
        }
        let is_compressed = self.begin_inflating(header);
        let message = self
            .incoming
            .as_ref()
            .and_then(|incoming| incoming.message.as_ref());
        // RFC 6455 §5.4: fragments of one message must not be interleaved with those of another.
        match (header.opcode(), message) {
            (Opcode::Continuation, None) => Err(ProtocolError::UnexpectedContinuation)?,
            (Opcode::Text | Opcode::Binary, Some(_)) => Err(ProtocolError::ExpectedContinuation)?,
            _ => {}
        }
        budget::admit_frame(&self.config, message, header.payload_len(), is_compressed)?;
        self.frame_is_short_text = self.config.application_heartbeat.is_some()
            && header.opcode() == Opcode::Text
            && header.fin()
            && header.payload_len() <= 125;
        if message.is_none()
            && let Some(timers) = self.optional_timers()
        {
            timers.message_began(now);
        }
        Ok(())
    }

    #[inline]
    fn receive_payload(&mut self, now: Instant, part: PayloadPart<'_>) -> Result<(), Fault> {
        if self.decoder.opcode().is_control() {
            self.receive_control(now, part)?;
        } else {
            self.receive_data(now, part)?;
        }
        if part.end {
            self.heartbeat.handle_frame(now);
        }
        Ok(())
    }

    #[inline]
    fn receive_data(&mut self, now: Instant, part: PayloadPart<'_>) -> Result<(), Fault> {
        self.bucket.refund_bytes(part.data.len());
        if part.end {
            self.bucket.refund_frame();
        }
        let last = part.end && self.decoder.fin();
        let is_text = self.decoder.opcode() == Opcode::Text;
        let in_parts = self.config.delivery == Delivery::Parts && !self.frame_is_short_text;
        let under_way = self
            .incoming
            .as_ref()
            .is_some_and(|incoming| incoming.message.is_some());
        let is_compressed = self.is_inflating();
        if last && !under_way && !in_parts && !is_compressed {
            let event = if is_text {
                Event::Text(whole_text(part.data, part.mask)?)
            } else {
                Event::Binary(whole_binary(part.data, part.mask))
            };
            self.deliver(now, event);
            return Ok(());
        }
        if let Some(timers) = self.optional_timers() {
            timers.message_goes_on(now);
        }
        let rest = if in_parts {
            0
        } else {
            self.decoder.remaining()
        };
        if is_compressed {
            self.inflate(part, is_text, in_parts, last)?;
        }
        let incoming = self.incoming.get_or_insert_default();
        let message = incoming
            .message
            .get_or_insert_with(|| Assembler::new(is_text));
        if !is_compressed {
            message.push(part.data, part.mask, rest)?;
        }
        if part.end {
            message.end_fragment();
        }
        if in_parts {
            return self.deliver_part(now, last);
        }
        if last && let Some(message) = self.take_assembler() {
            let message = message.finish()?;
            self.deliver(now, message.into());
        }
        Ok(())
    }

    /// Returns the message under way whose buffer is shorter than what its frame announces, and how
    /// long it will be at least.
    pub(super) fn growing_message(&mut self) -> Option<(&mut Assembler, usize)> {
        let is_plain = self.config.delivery != Delivery::Parts && !self.is_inflating();
        if !is_plain || self.decoder.opcode().is_control() {
            return None;
        }
        let rest = usize::try_from(self.decoder.remaining()).ok()?;
        let message = self.incoming.as_mut()?.message.as_mut()?;
        let length = message.len().saturating_add(rest);
        (length > message.capacity()).then_some((message, length))
    }

    fn take_assembler(&mut self) -> Option<Assembler> {
        let message = self.incoming.as_mut()?.message.take();
        self.release_incoming(false);
        message
    }

    #[inline]
    fn deliver(&mut self, now: Instant, event: Event) {
        // Straight into its place: moving a fresh event about costs more than making it.
        self.slot = Some(event);
        if self.extras.is_some() || self.config.application_heartbeat.is_some() {
            self.handle_delivered(now);
        }
    }

    fn handle_delivered(&mut self, now: Instant) {
        if let Some(Event::Text(text)) = &self.slot {
            let text = text.clone();
            if self.take_application_heartbeat(now, &text) {
                self.slot = None;
            } else if self.config.delivery == Delivery::Parts {
                self.slot = Some(Event::TextPart(text));
                self.end_unreported = true;
            }
        }
        let is_use = self.slot.is_some();
        if let Some(timers) = self.optional_timers() {
            timers.message_ended(now, is_use);
        }
    }

    fn deliver_part(&mut self, now: Instant, last: bool) -> Result<(), Fault> {
        let incoming = self.incoming.get_or_insert_default();
        let Some(message) = &mut incoming.message else {
            return Ok(());
        };
        if last && !message.is_complete() {
            return Err(InvalidUtf8.into());
        }
        // A message without a byte has one empty part, which tells its kind.
        let is_empty = last && message.received() == 0;
        let part = message.take_part();
        if last {
            drop(self.take_assembler());
            if let Some(timers) = self.optional_timers() {
                timers.message_ended(now, true);
            }
        }
        if is_empty || !part.is_empty() {
            self.slot = Some(match part {
                Message::Text(data) => Event::TextPart(data),
                Message::Binary(data) => Event::BinaryPart(data),
            });
        }
        self.end_unreported = last;
        Ok(())
    }

    /// Rule 14: the heartbeat of peers that cannot ping stays out of the application's sight.
    fn take_application_heartbeat(&mut self, now: Instant, text: &str) -> bool {
        let Some(heartbeat) = &self.config.application_heartbeat else {
            return false;
        };
        if heartbeat.sends && *text == *heartbeat.response {
            self.heartbeat.handle_unnumbered_answer(now);
            return true;
        }
        if !heartbeat.sends && *text == *heartbeat.request {
            if matches!(self.phase, Phase::Open) {
                self.queue_answer();
            }
            return true;
        }
        false
    }

    fn receive_control(&mut self, now: Instant, part: PayloadPart<'_>) -> Result<(), Fault> {
        let partial = self
            .incoming
            .as_ref()
            .is_some_and(|incoming| !incoming.control.is_empty());
        if !part.end || partial {
            let incoming = self.incoming.get_or_insert_default();
            match part.mask {
                Some(key) => mask::extend(&mut incoming.control, part.data, key),
                None => incoming.control.extend_from_slice(part.data),
            }
            if !part.end {
                return Ok(());
            }
            let mut payload = core::mem::take(&mut incoming.control);
            let handled = self.handle_control(now, &payload);
            // The buffer waits for the next one: pings in pieces allocate nothing.
            if let Some(incoming) = &mut self.incoming {
                payload.clear();
                incoming.control = payload;
            }
            self.release_incoming(false);
            return handled;
        }
        let mut payload = [0; CloseFrame::MAX_PAYLOAD];
        let Some(payload) = payload.get_mut(..part.data.len()) else {
            return Ok(());
        };
        payload.copy_from_slice(part.data);
        if let Some(key) = part.mask {
            mask::apply(payload, key);
        }
        self.handle_control(now, payload)
    }

    fn handle_control(&mut self, now: Instant, payload: &[u8]) -> Result<(), Fault> {
        match self.decoder.opcode() {
            Opcode::Ping => self.handle_ping(now, payload),
            Opcode::Pong => self.handle_pong(now, payload),
            _ => {
                let frame = CloseFrame::parse(payload).map_err(ProtocolError::Close)?;
                self.handle_close_frame(now, frame);
                Ok(())
            }
        }
    }

    fn handle_ping(&mut self, now: Instant, payload: &[u8]) -> Result<(), Fault> {
        self.count_control(now)?;
        let answers = match &self.phase {
            Phase::Open => true,
            Phase::Ending(ending) => ending.answers_pings(),
            Phase::Opening(_) | Phase::Over(_) => false,
        };
        if answers {
            // RFC 6455 §5.5.2, §5.5.3: as soon as is practical, with identical payload.
            self.queue_pong(payload);
        }
        if self.config.report_control {
            self.slot = Some(Event::Ping(Bytes::copy_from_slice(payload)));
        }
        Ok(())
    }

    fn handle_pong(&mut self, now: Instant, payload: &[u8]) -> Result<(), Fault> {
        let matched = self.heartbeat.handle_pong(now, payload);
        if matches!(matched, PongMatch::Matched(_) | PongMatch::Untimed) {
            return Ok(());
        }
        self.count_control(now)?;
        let is_foreign = matched == PongMatch::Unsolicited;
        if is_foreign && (self.has_pinged || self.config.report_control) {
            self.slot = Some(Event::Pong(Bytes::copy_from_slice(payload)));
        }
        Ok(())
    }

    /// Rule 10: first a word to the application, then the end.
    fn count_control(&mut self, now: Instant) -> Result<(), Fault> {
        match self.bucket.take(now) {
            Standing::Fine => Ok(()),
            Standing::Flood => {
                self.flood_unreported = true;
                Ok(())
            }
            Standing::Excess => Err(LimitExceeded::ControlFlood.into()),
        }
    }

    /// Frees what is not in use: at once, but for the buffer of small control frames, which goes
    /// when the line is `quiet`.
    pub(super) fn release_incoming(&mut self, quiet: bool) {
        let quiet = quiet || self.next_deadline().is_none();
        let unused = self.incoming.as_ref().is_some_and(|incoming| {
            let control = &incoming.control;
            incoming.message.is_none() && control.is_empty() && (quiet || control.capacity() == 0)
        });
        if unused {
            self.incoming = None;
        }
    }
}

/// How long the body of a refusal may take that does not say where it ends.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(1);
