//! What an end puts on the wire, read by a peer that trusts nothing.

use std::collections::VecDeque;

use wspulse_core::{CloseFrame, Role};

use crate::fuzzing::naive;

/// Reads the output of an end as it is committed and checks every byte of it.
#[derive(Debug)]
pub(in crate::fuzzing) struct Wire {
    role: Role,
    /// All of it.
    pub(in crate::fuzzing) bytes: Vec<u8>,
    /// Where the next head or frame begins.
    next: usize,
    expects_head: bool,
    /// The answer was not 101: nothing may follow its body.
    is_refused: bool,
    /// The message under way.
    message: Option<(bool, Vec<u8>)>,
    /// Messages that the application queued and that have not come out yet.
    queued: VecDeque<(bool, Vec<u8>)>,
    /// Text messages that a heartbeat may put between them.
    pub(in crate::fuzzing) heartbeat_texts: &'static [&'static str],
    /// Payload bytes of data frames: of those that are whole, and of the last one.
    data_bytes: (usize, usize),
    /// The payload of the last ping.
    pub(in crate::fuzzing) last_ping: Option<Vec<u8>>,
    /// The payloads of all pongs.
    pub(in crate::fuzzing) pongs: Vec<Vec<u8>>,
    is_closed: bool,
}

impl Wire {
    pub(in crate::fuzzing) const fn new(role: Role, expects_head: bool) -> Self {
        Self {
            role,
            bytes: Vec::new(),
            next: 0,
            expects_head,
            is_refused: false,
            message: None,
            queued: VecDeque::new(),
            heartbeat_texts: &[],
            data_bytes: (0, 0),
            last_ping: None,
            pongs: Vec::new(),
            is_closed: false,
        }
    }

    /// The application queued a message.
    pub(in crate::fuzzing) fn queue(&mut self, is_text: bool, payload: Vec<u8>) {
        self.queued.push_back((is_text, payload));
    }

    /// Returns the payload bytes of data frames so far.
    pub(in crate::fuzzing) const fn data_bytes(&self) -> usize {
        self.data_bytes.0 + self.data_bytes.1
    }

    /// Tells whether all that was queued came.
    #[cfg(feature = "drive")]
    pub(in crate::fuzzing) fn has_all(&self) -> bool {
        self.queued.is_empty()
    }

    /// More bytes were committed.
    pub(in crate::fuzzing) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if self.expects_head {
            self.read_head();
        }
        if self.is_refused {
            return assert_eq!(self.next, self.bytes.len(), "bytes behind a refusal");
        }
        let is_masked = self.role == Role::Client;
        let stream = naive::read(&self.bytes[self.next..], is_masked, 0);
        assert_eq!(stream.fault, None, "an illegal frame");
        self.data_bytes.1 = 0;
        for frame in stream.frames {
            assert!(!self.is_closed, "a frame behind the Close");
            if frame.is_whole {
                let header = match frame.len {
                    0..=125 => 2,
                    126..=0xFFFF => 4,
                    _ => 10,
                };
                let mask = if is_masked { 4 } else { 0 };
                self.next += header + mask + frame.payload.len();
                self.read_frame(frame);
            } else if frame.opcode < 8 {
                self.data_bytes.1 = frame.payload.len();
            }
        }
        if self.is_closed {
            assert_eq!(self.next, self.bytes.len(), "bytes behind the Close");
        }
    }

    fn read_head(&mut self) {
        let end = self.bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.expect("a head is lent whole") + 4;
        let head = str::from_utf8(&self.bytes[..end]).expect("ASCII");
        self.expects_head = false;
        self.next = end;
        if self.role == Role::Client {
            return assert!(head.starts_with("GET "), "{head}");
        }
        if !head.starts_with("HTTP/1.1 101 ") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "))
                .expect("the length of a body");
            self.next += length.parse::<usize>().expect("a number");
            self.is_refused = true;
        }
    }

    fn read_frame(&mut self, frame: naive::Frame) {
        match frame.opcode {
            8 => {
                CloseFrame::parse(&frame.payload).expect("a legal Close");
                self.is_closed = true;
            }
            9 => self.last_ping = Some(frame.payload),
            10 => self.pongs.push(frame.payload),
            0 => {
                let (_, message) = self.message.as_mut().expect("a message to continue");
                message.extend_from_slice(&frame.payload);
                self.data_bytes.0 += frame.payload.len();
            }
            opcode => {
                assert!(self.message.is_none(), "a message inside another");
                self.data_bytes.0 += frame.payload.len();
                self.message = Some((opcode == 1, frame.payload));
            }
        }
        if frame.opcode < 8
            && frame.fin
            && let Some(message) = self.message.take()
        {
            self.read_message(message);
        }
    }

    /// Messages come out as they were queued.
    fn read_message(&mut self, message: (bool, Vec<u8>)) {
        if self.queued.front() == Some(&message) {
            self.queued.pop_front();
            return;
        }
        let is_heartbeat = message.0
            && self
                .heartbeat_texts
                .iter()
                .any(|text| text.as_bytes() == message.1);
        assert!(is_heartbeat, "a message that nobody sent: {message:?}");
    }
}
