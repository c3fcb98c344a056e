//! RFC 6455 frames, written down a second time and slowly: what the engines' output is judged by.

use wspulse_core::Role;

/// Opcodes by number (RFC 6455 §5.2).
pub mod opcode {
    #![expect(missing_docs, reason = "the names say it")]
    pub const CONTINUATION: u8 = 0x0;
    pub const TEXT: u8 = 0x1;
    pub const BINARY: u8 = 0x2;
    pub const CLOSE: u8 = 0x8;
    pub const PING: u8 = 0x9;
    pub const PONG: u8 = 0xA;
}
use opcode::{BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT};

/// A whole frame; the payload is unmasked here.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Whether the message ends here.
    pub fin: bool,
    /// The three reserved bits.
    pub rsv: u8,
    /// The opcode.
    pub opcode: u8,
    /// The masking key.
    pub mask: Option<[u8; 4]>,
    /// The payload; empty in a [`Wire`] that does not keep that of data frames.
    pub payload: Vec<u8>,
    /// The payload's length as the header tells it.
    pub len: u64,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = self.payload.len().min(16);
        write!(
            f,
            "{{op {:x} fin {} len {}",
            self.opcode, self.fin, self.len
        )?;
        write!(
            f,
            " mask {} {:02x?}}}",
            self.mask.is_some(),
            &self.payload[..end]
        )
    }
}

impl Frame {
    /// Makes a final frame without a mask.
    #[must_use]
    pub fn new(opcode: u8, payload: &[u8]) -> Self {
        let len = payload.len() as u64;
        Self {
            fin: true,
            rsv: 0,
            opcode,
            mask: None,
            payload: payload.to_vec(),
            len,
        }
    }

    /// Makes a Close frame.
    #[must_use]
    pub fn close(code: u16, reason: &str) -> Self {
        Self::new(CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat())
    }

    /// Leaves the FIN bit out.
    #[must_use]
    pub fn unfinished(mut self) -> Self {
        self.fin = false;
        self
    }

    /// Masks as `role` has to.
    #[must_use]
    pub fn from(mut self, role: Role) -> Self {
        self.mask = (role == Role::Client).then_some([0x37, 0xfa, 0x21, 0x3d]);
        self
    }

    /// Encodes the frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = header(self.fin, self.rsv, self.opcode, self.mask, self.len);
        let start = out.len();
        out.extend_from_slice(&self.payload);
        if let Some(mask) = self.mask {
            apply(&mut out[start..], mask);
        }
        out
    }

    /// Returns the code of a Close frame.
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        let code = self.payload.first_chunk::<2>()?;
        (self.opcode == CLOSE).then_some(u16::from_be_bytes(*code))
    }
}

/// Encodes a frame of `role` in one call.
#[must_use]
pub fn frame(role: Role, opcode: u8, payload: &[u8]) -> Vec<u8> {
    Frame::new(opcode, payload).from(role).encode()
}

/// Encodes a header, with any length.
#[must_use]
pub fn header(fin: bool, rsv: u8, opcode: u8, mask: Option<[u8; 4]>, len: u64) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut out = vec![u8::from(fin) << 7 | rsv << 4 | opcode];
    match len {
        0..=125 => out.push(masked | len as u8),
        126..=0xffff => {
            out.push(masked | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
    out.extend_from_slice(mask.as_ref().map_or(&[], |mask| &mask[..]));
    out
}

fn apply(payload: &mut [u8], mask: [u8; 4]) {
    for (index, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[index % 4];
    }
}

/// Reads what one role sends and refuses whatever that role must not send.
#[derive(Clone, Debug, Hash)]
pub struct Wire {
    sender: Role,
    keeps_data: bool,
    in_head: bool,
    /// The bytes of an HTTP head, a header, or a payload that is kept.
    held: Vec<u8>,
    current: Option<Frame>,
    /// Payload bytes of the current frame still to come.
    missing: u64,
    message: Option<u8>,
    closed: bool,
}

impl Wire {
    /// Reads frames that `sender` sends.
    #[must_use]
    pub fn frames(sender: Role) -> Self {
        Self {
            sender,
            keeps_data: false,
            in_head: false,
            held: Vec::new(),
            current: None,
            missing: 0,
            message: None,
            closed: false,
        }
    }

    /// Passes over an HTTP head first.
    #[must_use]
    pub fn after_head(sender: Role) -> Self {
        Self {
            in_head: true,
            ..Self::frames(sender)
        }
    }

    /// Keeps the payload of data frames too.
    #[must_use]
    pub fn keeping_data(self) -> Self {
        Self {
            keeps_data: true,
            ..self
        }
    }

    /// Tells whether the bytes so far end between two frames.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.current.is_none() && self.held.is_empty() && !self.in_head
    }

    /// Tells whether a message in several frames is under way.
    #[must_use]
    pub const fn is_inside_message(&self) -> bool {
        self.message.is_some()
    }

    /// Reads on, and returns the frames that are whole now.
    ///
    /// # Errors
    /// Says what the sender must not send.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<Frame>, String> {
        let mut frames = Vec::new();
        loop {
            if self.in_head {
                let Some((&byte, rest)) = bytes.split_first() else {
                    return Ok(frames);
                };
                bytes = rest;
                self.held.push(byte);
                if self.held.ends_with(b"\r\n\r\n") {
                    self.held.clear();
                    self.in_head = false;
                }
                continue;
            }
            let Some(current) = &mut self.current else {
                let Some((&byte, rest)) = bytes.split_first() else {
                    return Ok(frames);
                };
                bytes = rest;
                self.held.push(byte);
                self.begin()?;
                if self.current.is_some() && self.missing == 0 {
                    frames.extend(self.finish()?);
                }
                continue;
            };
            if bytes.is_empty() {
                return Ok(frames);
            }
            let take = usize::try_from(self.missing)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            if self.keeps_data || current.opcode >= CLOSE {
                current.payload.extend_from_slice(&bytes[..take]);
            }
            self.missing -= take as u64;
            bytes = &bytes[take..];
            if self.missing == 0 {
                frames.extend(self.finish()?);
            }
        }
    }

    /// Judges the header once it is whole.
    fn begin(&mut self) -> Result<(), String> {
        let [first, second, rest @ ..] = &self.held[..] else {
            return Ok(());
        };
        let extra = [0, 2, 8][usize::from((second & 0x7f).saturating_sub(125))];
        let masked = second & 0x80 != 0;
        if rest.len() < extra + if masked { 4 } else { 0 } {
            return Ok(());
        }
        let len = match extra {
            0 => u64::from(second & 0x7f),
            _ => rest[..extra]
                .iter()
                .fold(0, |len, &byte| len << 8 | u64::from(byte)),
        };
        let (fin, rsv, opcode) = (first & 0x80 != 0, first >> 4 & 7, first & 0xf);
        let mask = masked.then(|| rest[extra..].try_into().expect("four bytes"));
        let fault = if self.closed {
            Some("a frame after the Close frame (§5.5.1)")
        } else if rsv != 0 {
            Some("a reserved bit (§5.2)")
        } else if masked != (self.sender == Role::Client) {
            Some("wrongly masked (§5.1)")
        } else if (extra == 2 && len < 126) || (extra == 8 && len < 1 << 16) || len >> 63 == 1 {
            Some("a length not in its shortest form (§5.2)")
        } else if opcode >= CLOSE && (!fin || len > 125) {
            Some("a control frame in parts or too long (§5.5)")
        } else {
            match (opcode, self.message) {
                (CONTINUATION, None) => Some("a continuation of nothing (§5.4)"),
                (TEXT | BINARY, Some(_)) => Some("a message inside another (§5.4)"),
                (CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG, _) => None,
                _ => Some("an unknown opcode (§5.2)"),
            }
        };
        if let Some(fault) = fault {
            return Err(format!(
                "{:?} sent {fault}: {:02x?}",
                self.sender, self.held
            ));
        }
        self.held.clear();
        self.missing = len;
        self.current = Some(Frame {
            fin,
            rsv,
            opcode,
            mask,
            payload: Vec::new(),
            len,
        });
        Ok(())
    }

    fn finish(&mut self) -> Result<Option<Frame>, String> {
        let Some(mut frame) = self.current.take() else {
            return Ok(None);
        };
        if let Some(mask) = frame.mask {
            apply(&mut frame.payload, mask);
        }
        match frame.opcode {
            CLOSE => {
                self.closed = true;
                let code = frame.close_code();
                let legal = match code {
                    None => frame.payload.is_empty(),
                    Some(code) => {
                        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
                            && std::str::from_utf8(&frame.payload[2..]).is_ok()
                    }
                };
                if !legal {
                    return Err(format!(
                        "an illegal Close frame (§5.5.1): {:?}",
                        frame.payload
                    ));
                }
            }
            PING | PONG => {}
            opcode => self.message = (!frame.fin).then_some(self.message.unwrap_or(opcode)),
        }
        Ok(Some(frame))
    }
}
