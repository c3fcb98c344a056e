//! The decoder: any bytes, any rules, any cut.

use wspulse_core::frame::{FrameDecoder, FrameError, FrameEvent, FrameHeader, FrameRules, mask};

use super::{Cuts, Reader, naive};
use crate::alloc::without_heap;

/// Decodes one stream in three ways, and holds them against each other and against the naive
/// reader. The decoder has no heap.
///
/// The input is a byte of rules (bit 0: masked, bits 4 to 6: the reserved bits allowed), the
/// sizes of pieces behind their count, and the stream.
pub fn frame_decoder(data: &[u8]) {
    let mut reader = Reader::new(data);
    let rules = reader.byte();
    let cuts = Cuts::new(reader.counted());
    let stream = reader.rest();
    let rules = FrameRules {
        masked: rules & 1 != 0,
        rsv: rules & 0x70,
    };

    let whole = decode(stream, rules, Cuts::new(&[u8::MAX]));
    assert_eq!(whole, decode_at_once(stream, rules), "at once");
    assert_eq!(whole, decode(stream, rules, cuts), "cut");
    assert_eq!(whole, decode(stream, rules, Cuts::new(&[])), "byte by byte");
    agrees_with_naive(&whole, stream, rules);
    encodes_to(&whole, stream);
}

/// What was decoded, with the payload of each frame in one piece.
#[derive(Debug, Default, PartialEq, Eq)]
struct Decoded {
    frames: Vec<Frame>,
    error: Option<FrameError>,
    is_between_frames: bool,
    remaining: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Frame {
    header: FrameHeader,
    /// As it came, and unmasked.
    raw: Vec<u8>,
    payload: Vec<u8>,
    is_whole: bool,
}

fn decode_at_once(stream: &[u8], rules: FrameRules) -> Decoded {
    let mut decoder = without_heap(|| FrameDecoder::new(rules));
    let mut decoded = Decoded::default();
    feed(&mut decoder, stream, &mut decoded);
    finish(&decoder, decoded)
}

fn decode(mut stream: &[u8], rules: FrameRules, mut cuts: Cuts<'_>) -> Decoded {
    let mut decoder = without_heap(|| FrameDecoder::new(rules));
    let mut decoded = Decoded::default();
    while decoded.error.is_none()
        && let Some(piece) = cuts.split(&mut stream)
    {
        feed(&mut decoder, piece, &mut decoded);
        feed(&mut decoder, &[], &mut decoded);
    }
    finish(&decoder, decoded)
}

fn finish(decoder: &FrameDecoder, mut decoded: Decoded) -> Decoded {
    // After an error the place in the stream has no meaning.
    if decoded.error.is_none() {
        decoded.is_between_frames = decoder.is_between_frames();
        decoded.remaining = decoder.remaining();
    }
    decoded
}

fn feed(decoder: &mut FrameDecoder, piece: &[u8], decoded: &mut Decoded) {
    let mut input = piece;
    loop {
        let before = input.len();
        match without_heap(|| decoder.decode(&mut input)) {
            Ok(None) => return assert!(input.is_empty(), "stopped before the end"),
            Ok(Some(FrameEvent::Header(header))) => {
                assert!(decoded.frames.last().is_none_or(|frame| frame.is_whole));
                decoded.frames.push(Frame {
                    header,
                    raw: Vec::new(),
                    payload: Vec::new(),
                    is_whole: false,
                });
            }
            Ok(Some(FrameEvent::Payload(part))) => {
                let frame = decoded.frames.last_mut().expect("a header comes first");
                assert!(!frame.is_whole, "payload behind the end");
                let is_empty_frame = frame.header.payload_len() == 0;
                assert_eq!(part.data.is_empty(), is_empty_frame, "an empty part");
                assert_eq!(before - input.len(), part.data.len());
                frame.raw.extend_from_slice(part.data);
                mask::extend(&mut frame.payload, part.data, part.mask.unwrap_or_default());
                frame.is_whole = part.end;
            }
            Err(error) => {
                decoded.error = Some(error);
                // An error is final and takes nothing.
                let left = input.len();
                assert_eq!(decoder.decode(&mut input), Err(error));
                assert_eq!(input.len(), left);
                return;
            }
        }
    }
}

fn agrees_with_naive(decoded: &Decoded, stream: &[u8], rules: FrameRules) {
    let naive = naive::read(stream, rules.masked, rules.rsv);
    assert_eq!(decoded.error, naive.fault.map(|fault| fault.error));
    assert_eq!(decoded.frames.len(), naive.frames.len());
    for (ours, naive) in decoded.frames.iter().zip(&naive.frames) {
        let header = ours.header;
        assert_eq!(header.fin(), naive.fin);
        assert_eq!(header.rsv(), naive.rsv);
        assert_eq!(header.opcode().nibble(), naive.opcode);
        assert_eq!(header.mask(), naive.mask);
        assert_eq!(header.payload_len(), naive.len);
        assert_eq!(ours.payload, naive.payload);
        assert_eq!(ours.is_whole, naive.is_whole);
    }
    if let Some(fault) = naive.fault {
        // Refused at the byte that breaks the rule: without it there is nothing to say.
        let until = &stream[..fault.seen_at];
        assert_eq!(decode_at_once(until, rules).error, Some(fault.error));
        let before = &stream[..fault.seen_at - 1];
        assert_eq!(decode_at_once(before, rules).error, None, "too early");
    } else {
        assert_eq!(
            decoded.is_between_frames,
            naive.end == stream.len() && naive.frames.last().is_none_or(|frame| frame.is_whole)
        );
    }
}

/// A header has one spelling: what was decoded encodes to what came.
fn encodes_to(decoded: &Decoded, stream: &[u8]) {
    let mut encoded = Vec::new();
    for frame in &decoded.frames {
        let begin = encoded.len();
        frame.header.encode_into(&mut encoded);
        assert_eq!(encoded.len() - begin, frame.header.encoded_len());
        let mut payload = frame.payload.clone();
        mask::apply(&mut payload, frame.header.mask().unwrap_or_default());
        assert_eq!(payload, frame.raw);
        encoded.extend_from_slice(&payload);
    }
    assert!(stream.starts_with(&encoded));
}
