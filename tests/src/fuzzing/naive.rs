//! RFC 6455 §5.2 once more, as plainly as it can be said: whole input, one byte after the other,
//! no state. What the engine does fast must agree with this.

use wspulse_core::frame::FrameError;

/// A frame, whole or cut by the end of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Whether it ends its message.
    pub fin: bool,
    /// The three reserved bits, in their place on the wire.
    pub rsv: u8,
    /// The number on the wire.
    pub opcode: u8,
    /// The masking key.
    pub mask: Option<[u8; 4]>,
    /// The announced length.
    pub len: u64,
    /// The payload that is there, unmasked.
    pub payload: Vec<u8>,
    /// Whether all of it is there.
    pub is_whole: bool,
}

/// A broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How many bytes of the input show it: it is the last of them that breaks the rule.
    pub seen_at: usize,
    /// The rule.
    pub error: FrameError,
}

/// What a stream of bytes says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The frames whose header is whole.
    pub frames: Vec<Frame>,
    /// What ends the stream before its end.
    pub fault: Option<Fault>,
    /// Where the last header that is whole, or its payload, ends.
    pub end: usize,
}

/// Reads a stream of frames that must all be masked, or not, with these reserved bits allowed on
/// Text and Binary.
#[must_use]
pub fn read(input: &[u8], masked: bool, rsv: u8) -> Stream {
    let mut stream = Stream {
        frames: Vec::new(),
        fault: None,
        end: 0,
    };
    while stream.end < input.len() {
        let mut at = stream.end;
        match frame(input, &mut at, masked, rsv) {
            Ok(Some(frame)) => {
                stream.frames.push(frame);
                stream.end = at;
            }
            Ok(None) => break,
            Err(error) => {
                stream.fault = Some(Fault { seen_at: at, error });
                break;
            }
        }
    }
    stream
}

/// Reads the frame at `at`, which moves behind each byte that was looked at.
fn frame(
    input: &[u8],
    at: &mut usize,
    masked: bool,
    allowed_rsv: u8,
) -> Result<Option<Frame>, FrameError> {
    let mut next = || {
        let byte = input.get(*at).copied();
        *at += usize::from(byte.is_some());
        byte
    };
    macro_rules! next {
        () => {
            match next() {
                Some(byte) => byte,
                None => return Ok(None),
            }
        };
    }

    let first = next!();
    let (fin, rsv, opcode) = (first & 0x80 != 0, first & 0x70, first & 0x0F);
    if !matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10) {
        return Err(FrameError::ReservedOpcode);
    }
    let is_control = opcode >= 8;
    let begins_message = opcode == 1 || opcode == 2;
    if rsv != 0 && (!begins_message || rsv & !allowed_rsv != 0) {
        return Err(FrameError::ReservedBits);
    }
    if is_control && !fin {
        return Err(FrameError::FragmentedControl);
    }

    let second = next!();
    match (second & 0x80 != 0, masked) {
        (true, false) => return Err(FrameError::Masked),
        (false, true) => return Err(FrameError::NotMasked),
        _ => {}
    }
    let mut len = u64::from(second & 0x7F);
    if is_control && len > 125 {
        return Err(FrameError::ControlTooLong);
    }
    if len == 126 {
        len = u64::from(next!()) << 8;
        len |= u64::from(next!());
        if len < 126 {
            return Err(FrameError::LengthNotMinimal);
        }
    } else if len == 127 {
        len = 0;
        for place in 0..8 {
            len = len << 8 | u64::from(next!());
            if place == 0 && len >= 0x80 {
                return Err(FrameError::LengthTopBit);
            }
            // Two bytes are left, and two bytes would have been enough.
            if place == 5 && len == 0 {
                return Err(FrameError::LengthNotMinimal);
            }
        }
    }
    let mask = if masked {
        Some([next!(), next!(), next!(), next!()])
    } else {
        None
    };

    let rest = &input[*at..];
    let there = usize::try_from(len).unwrap_or(usize::MAX).min(rest.len());
    let mut payload = rest[..there].to_vec();
    *at += there;
    if let Some(mask) = mask {
        let keys = mask.iter().cycle();
        payload
            .iter_mut()
            .zip(keys)
            .for_each(|(byte, key)| *byte ^= key);
    }
    let is_whole = payload.len() as u64 == len;
    Ok(Some(Frame {
        fin,
        rsv,
        opcode,
        mask,
        len,
        payload,
        is_whole,
    }))
}
