//! What RFC 6455 says about the bytes that come after the opening handshake.
//!
//! Written from the RFC alone, for one byte at a time, and without a thought for speed. It shares
//! nothing with the engine: only the names of the two roles.

use wspulse_core::Role;

/// The receiving end of a connection, as the RFC has it.
#[derive(Debug)]
pub struct Oracle {
    role: Role,
    /// The longest payload of a frame, and of a message (§10.4).
    limit: u64,
    /// The header under way, or that of the frame whose payload is under way.
    header: Vec<u8>,
    in_payload: bool,
    /// The payload of the frame under way, unmasked.
    payload: Vec<u8>,
    message: Option<Message>,
    has_closed: bool,
    doom: Option<u16>,
    outcome: Outcome,
}

/// What came of the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The messages that are whole: whether they are text, and their payload.
    pub messages: Vec<(bool, Vec<u8>)>,
    /// The payloads of the pongs that are owed.
    pub pongs: Vec<Vec<u8>>,
    /// What ended it. Nothing that comes after it counts.
    pub end: Option<End>,
}

/// Why bytes no longer count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer's Close frame came, with this code and reason (§5.5.1).
    Closed(Option<u16>, String),
    /// The connection is failed, with this close code (§7.1.7).
    Failed(u16),
}

/// A message of which a fragment came.
#[derive(Debug)]
struct Message {
    is_text: bool,
    data: Vec<u8>,
    /// The bytes of a character that is not whole.
    cut: Vec<u8>,
}

impl Oracle {
    /// Begins behind the opening handshake.
    #[must_use]
    pub fn new(role: Role, limit: u64) -> Self {
        Self {
            role,
            limit,
            header: Vec::new(),
            in_payload: false,
            payload: Vec::new(),
            message: None,
            has_closed: false,
            doom: None,
            outcome: Outcome::default(),
        }
    }

    /// This end sent its Close frame: it sends nothing after it (§5.5.1).
    pub fn close(&mut self) {
        self.has_closed = true;
    }

    /// What came of the bytes so far.
    #[must_use]
    pub const fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Whether no further byte could make it legal. The end comes with that byte, or at the
    /// latest with the last one of the header.
    #[must_use]
    pub const fn is_doomed(&self) -> bool {
        self.doom.is_some()
    }

    /// A byte came.
    pub fn push(&mut self, byte: u8) {
        if self.outcome.end.is_some() {
            return; // §5.5.1, §7.1.7
        }
        if self.in_payload {
            let key = &self.header[self.header.len().saturating_sub(4)..];
            let mask = match self.role {
                Role::Server => key[self.payload.len() % 4], // §5.3
                Role::Client => 0,
            };
            self.push_payload(byte ^ mask);
        } else {
            self.header.push(byte);
            self.doom = self.doom.or_else(|| self.fault());
            let whole = self.header.get(1).is_some_and(|&second| {
                self.header.len() == 2 + extended(second) + if second >= 0x80 { 4 } else { 0 }
            });
            if !whole {
                return;
            }
            if let Some(code) = self.doom {
                return self.fail(code);
            }
            self.in_payload = true;
            if self.opcode() == 1 || self.opcode() == 2 {
                self.message = Some(Message {
                    is_text: self.opcode() == 1,
                    data: Vec::new(),
                    cut: Vec::new(),
                });
            }
        }
        if self.outcome.end.is_none() && length(&self.header) == Some(self.payload.len() as u64) {
            self.end_frame();
        }
    }

    fn opcode(&self) -> u8 {
        self.header[0] & 0x0F
    }

    /// What is wrong with the header, as far as it has come.
    fn fault(&self) -> Option<u16> {
        let is_final = self.header[0] & 0x80 != 0;
        let is_control = self.opcode() >= 8;
        let is_known = matches!(self.opcode(), 0 | 1 | 2 | 8 | 9 | 10);
        // §5.2: RSV bits MUST be 0 without an extension; unknown opcodes MUST fail the connection.
        if self.header[0] & 0x70 != 0 || !is_known {
            return Some(1002);
        }
        // §5.5: control frames MUST NOT be fragmented.
        if is_control && !is_final {
            return Some(1002);
        }
        // §5.4: a continuation continues something, and nothing else may come before it.
        if !is_control && (self.opcode() == 0) != self.message.is_some() {
            return Some(1002);
        }
        let second = *self.header.get(1)?;
        // §5.1: a client MUST mask all its frames, a server MUST NOT mask any.
        if (second & 0x80 != 0) != (self.role == Role::Server) {
            return Some(1002);
        }
        // §5.5: control frames MUST have a payload length of 125 bytes or less.
        if is_control && extended(second) > 0 {
            return Some(1002);
        }
        // §5.2: the most significant bit MUST be 0, the minimal number of bytes MUST be used.
        let field = &self.header[2..];
        let is_legal = match extended(second) {
            2 if field.len() >= 2 => field[0] > 0 || field[1] > 125,
            8 if field.len() >= 6 => field[0] < 0x80 && field[..6] != [0; 6],
            8 if !field.is_empty() => field[0] < 0x80,
            _ => true,
        };
        if !is_legal {
            return Some(1002);
        }
        // §10.4 allows limits, §7.4.1 has the code.
        let before = self
            .message
            .as_ref()
            .map_or(0, |message| message.data.len());
        let whole = length(&self.header)?.saturating_add(before as u64);
        (!is_control && whole > self.limit).then_some(1009)
    }

    fn push_payload(&mut self, byte: u8) {
        self.payload.push(byte);
        let is_control = self.opcode() >= 8;
        let Some(message) = self.message.as_mut().filter(|_| !is_control) else {
            return;
        };
        message.data.push(byte);
        if message.is_text {
            message.cut.push(byte);
            match str::from_utf8(&message.cut) {
                Ok(_) => message.cut.clear(),
                // §8.1: what cannot become a character fails the connection.
                Err(error) if error.error_len().is_some() => self.fail(1007),
                Err(_) => {}
            }
        }
    }

    fn end_frame(&mut self) {
        let payload = std::mem::take(&mut self.payload);
        let (opcode, is_final) = (self.opcode(), self.header[0] & 0x80 != 0);
        self.header.clear();
        self.in_payload = false;
        match opcode {
            8 => self.end_close(&payload),
            9 if !self.has_closed => self.outcome.pongs.push(payload), // §5.5.2
            9 | 10 => {}
            _ if is_final => match self.message.take() {
                Some(message) if message.cut.is_empty() => {
                    let message = (message.is_text, message.data);
                    self.outcome.messages.push(message);
                }
                _ => self.fail(1007), // §8.1: it ends inside a character
            },
            _ => {}
        }
    }

    fn end_close(&mut self, payload: &[u8]) {
        // §5.5.1: the body, if there is one, MUST begin with a code of two bytes, then UTF-8.
        let (code, reason) = match payload {
            [] => (None, payload),
            [_] => return self.fail(1002),
            [high, low, reason @ ..] => (Some(u16::from_be_bytes([*high, *low])), reason),
        };
        // §7.4.1, §7.4.2 and the registry: 1012 to 1014 were added.
        let is_legal = matches!(code, None | Some(1000..=1003 | 1007..=1014 | 3000..=4999));
        match str::from_utf8(reason) {
            _ if !is_legal => self.fail(1002),
            Ok(reason) => self.outcome.end = Some(End::Closed(code, reason.to_owned())),
            Err(_) => self.fail(1007),
        }
    }

    fn fail(&mut self, code: u16) {
        self.doom = Some(code);
        self.outcome.end = Some(End::Failed(code));
    }
}

/// How many bytes of length follow the second one (§5.2).
fn extended(second: u8) -> usize {
    match second & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    }
}

/// The length of the payload, once the header tells it.
fn length(header: &[u8]) -> Option<u64> {
    let second = *header.get(1)?;
    match extended(second) {
        0 => Some(u64::from(second & 0x7F)),
        size => {
            let field = header.get(2..2 + size)?;
            Some(
                field
                    .iter()
                    .fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
            )
        }
    }
}
