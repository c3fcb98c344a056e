//! The differences between wspulse and another implementation that are allowed.
//!
//! Each class says exactly when it applies. Either it says what the other one must have made of
//! the stream, or it takes the rule that the other one lacks out of the way, by writing the stream
//! anew or by lifting a limit, and then both must agree.

use std::collections::BTreeSet;
use std::time::Duration;

use super::frames::{self, Frame};
use super::ours::{self, Exact, Options};
use super::{Case, End, Outcome, Theirs, lines, rfc};

/// An implementation that wspulse is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Peer {
    Tungstenite,
    Websockets,
}

/// A difference that is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// wspulse judges a frame by the first byte that breaks a rule, the peer once more of the
    /// frame is there; the stream ends between.
    ///
    /// RFC 6455 §5.2: "If an unknown opcode is received, the receiving endpoint MUST _Fail the
    /// WebSocket Connection_." No sentence says how soon.
    JudgedLater,
    /// The peer holds a length against its limit before the masking key is there; the stream ends
    /// between.
    ///
    /// RFC 6455 §7.4.1 has the code, 1009, and does not say how soon.
    JudgedBeforeKey,
    /// The peer takes a length in more bytes than it needs.
    ///
    /// RFC 6455 §5.2: "in all cases, the minimal number of bytes MUST be used to encode the
    /// length".
    PaddedLength,
    /// The peer calls a length with its top bit set too big (1009); to wspulse it is illegal
    /// (1002).
    ///
    /// RFC 6455 §5.2: "the most significant bit MUST be 0".
    LengthTopBit,
    /// A frame above the limit that also breaks a rule of its header: the peer looks at the length
    /// first.
    ///
    /// RFC 6455 §7.4.1 has a code for each; no sentence says which rule comes first.
    IllegalAndTooBig,
    /// A Close frame with an illegal code and a reason that is not UTF-8: the peer looks at the
    /// reason first.
    ///
    /// RFC 6455 §7.4.1 has a code for each; no sentence says which rule comes first.
    IllegalCodeAndReason,
    /// wspulse limits how many fragments a message has for its bytes (1008).
    ///
    /// RFC 6455 §10.4: "Implementations that have implementation- and/or platform-specific
    /// limitations regarding the frame size or total message size after reassembly from multiple
    /// frames MUST protect themselves against exceeding those limits."
    FragmentLimit,
    /// wspulse limits how many control frames come at once (1008).
    ///
    /// RFC 6455 §7.4.1: "1008 indicates that an endpoint is terminating the connection because it
    /// has received a message that violates its policy."
    ControlFlood,
    /// The peer refuses the code 1014.
    ///
    /// RFC 6455 §7.4.2: 1000-2999 are "reserved for definition by this protocol, its future
    /// revisions, and extensions"; the IANA registry, which §11.7 opens, has 1014.
    BadGateway,
    /// The peer does not look at the code of a Close frame that answers its own.
    ///
    /// RFC 6455 §7.4.1: 1005, 1006 and 1015 "MUST NOT be set as a status code in a Close control
    /// frame by an endpoint"; §7.4.2: 0-999 "are not used".
    AnswerNotChecked,
    /// The peer takes no Close frame inside a fragmented message.
    ///
    /// RFC 6455 §5.4: "Control frames (see Section 5.5) MAY be injected in the middle of a
    /// fragmented message."
    CloseInsideMessage,
    /// The peer counts a control frame against what is left of the message it stands in.
    ///
    /// RFC 6455 §5.4: control frames "MAY be injected in the middle of a fragmented message"; they
    /// are not part of it.
    ControlAgainstMessage,
    /// The peer, whose fragment ends after two bytes of a surrogate, waits for the third.
    ///
    /// RFC 6455 §8.1: a stream that is not UTF-8 fails the connection; RFC 3629 §4 has no surrogate
    /// (`%xED %x80-9F UTF8-tail`). No sentence says how soon.
    SurrogateHeldBack,
    /// The peer answers pings after its own Close frame, wspulse does not.
    ///
    /// RFC 6455 §1.4: "After sending a control frame indicating the connection should be closed, a
    /// peer does not send any further data". (§5.5.2 read alone asks for the pong until the
    /// *other* Close frame came: "unless it already received a Close frame".)
    PongAfterOurClose,
    /// More than 16 pings came in one piece, and wspulse leaves out all but some of the pongs.
    ///
    /// RFC 6455 §5.5.3: "the endpoint MAY elect to send a Pong frame for only the most recently
    /// processed Ping frame".
    PongsLeftOut,
    /// A ping and a failure came in one piece, and wspulse sends the Close frame only.
    ///
    /// RFC 6455 §7.1.7: "An endpoint MUST NOT continue to attempt to process data". The pong was
    /// owed before that (§5.5.2: "as soon as is practical"), and the peer does not get it.
    PongBeforeFailure,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 16] = [
        Self::JudgedLater,
        Self::JudgedBeforeKey,
        Self::PaddedLength,
        Self::LengthTopBit,
        Self::IllegalAndTooBig,
        Self::IllegalCodeAndReason,
        Self::FragmentLimit,
        Self::ControlFlood,
        Self::BadGateway,
        Self::AnswerNotChecked,
        Self::CloseInsideMessage,
        Self::ControlAgainstMessage,
        Self::SurrogateHeldBack,
        Self::PongAfterOurClose,
        Self::PongsLeftOut,
        Self::PongBeforeFailure,
    ];

    /// The classes of `peer`.
    pub fn of(peer: Peer) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |class| class.is_of(peer))
    }

    /// Tells whether `peer` shows this difference.
    #[must_use]
    pub const fn is_of(self, peer: Peer) -> bool {
        match self {
            Self::JudgedLater
            | Self::PaddedLength
            | Self::LengthTopBit
            | Self::IllegalAndTooBig
            | Self::IllegalCodeAndReason
            | Self::FragmentLimit
            | Self::ControlFlood => true,
            // Where each frame comes in a piece of its own, no pong is left out.
            Self::BadGateway
            | Self::AnswerNotChecked
            | Self::PongsLeftOut
            | Self::PongBeforeFailure => matches!(peer, Peer::Tungstenite),
            Self::JudgedBeforeKey
            | Self::CloseInsideMessage
            | Self::ControlAgainstMessage
            | Self::SurrogateHeldBack
            | Self::PongAfterOurClose => {
                matches!(peer, Peer::Websockets)
            }
        }
    }
}

/// Finds the classes that explain everything in which `theirs` differs.
///
/// # Errors
/// Tells what is not explained.
pub fn explain(case: &Case, peer: Peer, theirs: &Theirs) -> Result<BTreeSet<Class>, String> {
    let ordinary = ours::exact(case, Options::default());
    rfc::check(case, &ordinary)?;
    let mut classes = explain_pieces(case, &ordinary.outcome)?;
    let mut look = Look {
        case: case.clone(),
        options: Options::default(),
        ours: ordinary,
        theirs: &theirs.outcome,
    };
    // Written anew, the stream has other places.
    while look.ours.outcome != theirs.outcome
        || look.case.bytes == case.bytes && !look.ends_at_the_same_frame(theirs.piece)
    {
        let mut candidates = Class::of(peer);
        let found = candidates.find_map(|class| {
            let explained = look.explained_by(class)?;
            look.is_changed_by(&explained).then_some((class, explained))
        });
        match found {
            Some((class, Explained::Wholly)) => {
                classes.insert(class);
                return Ok(classes);
            }
            Some((class, Explained::If(case, options))) => {
                classes.insert(class);
                look.ours = ours::exact(&case, options);
                look.case = case;
                look.options = options;
            }
            None => return Err(look.difference(&classes)),
        }
    }
    Ok(classes)
}

/// How a class explains a difference.
enum Explained {
    /// Nothing is left.
    Wholly,
    /// The outcome of this case with these options must be that of the peer. The case has fewer
    /// rules to break, or the options are wider.
    If(Case, Options),
}

/// One difference.
struct Look<'a> {
    case: Case,
    options: Options,
    ours: Exact,
    theirs: &'a Outcome,
}

impl Look<'_> {
    fn explained_by(&self, class: Class) -> Option<Explained> {
        let is_so = match class {
            Class::JudgedLater => self.is_judged_later(),
            Class::LengthTopBit => self.is_told_too_big(|frame| frame.length >> 63 == 1),
            Class::IllegalAndTooBig => self.is_told_too_big(|frame| frame.length >> 63 == 0),
            Class::IllegalCodeAndReason => self.is_illegal_code_and_reason(),
            Class::BadGateway => self.is_bad_gateway(),
            Class::AnswerNotChecked => self.is_answer_not_checked(),
            Class::CloseInsideMessage => self.is_close_inside_message(),
            Class::ControlAgainstMessage => self.is_control_against_message(),
            Class::JudgedBeforeKey => return self.with_masking_key(),
            Class::SurrogateHeldBack => return self.without_surrogate(),
            Class::PaddedLength => return self.without_padding(),
            Class::FragmentLimit => return self.without_fragment_limit(),
            Class::ControlFlood => return self.without_flood(),
            Class::PongAfterOurClose => return self.with_pongs_after_our_close(),
            Class::PongsLeftOut | Class::PongBeforeFailure => false,
        };
        is_so.then_some(Explained::Wholly)
    }

    fn difference(&self, classes: &BTreeSet<Class>) -> String {
        let [ours, theirs] = [&self.ours.outcome, self.theirs].map(lines::outcome);
        let at = self.ours.ended_at;
        format!("beside {classes:?}\nours   {ours} (at byte {at:?})\ntheirs {theirs}")
    }

    /// Whether an explanation takes something out of the way.
    fn is_changed_by(&self, explained: &Explained) -> bool {
        match explained {
            Explained::Wholly => true,
            Explained::If(case, options) => {
                (&case.bytes, *options) != (&self.case.bytes, self.options)
            }
        }
    }

    /// Whether the peer, whose end came in this piece, ended at the frame at which wspulse did, as
    /// far as the pieces show it.
    fn ends_at_the_same_frame(&self, piece: usize) -> bool {
        let Some(frame) = self.last_frame() else {
            return true;
        };
        let cuts = &self.case.cuts;
        let begin: usize = cuts[..piece].iter().sum();
        frame.start < begin + cuts[piece] && (begin as u64) < frame.end
    }

    /// The frame in which wspulse came to its end. Of the header so much is there that the length
    /// can be read.
    fn last_frame(&self) -> Option<Frame> {
        let at = self.ours.ended_at?;
        let (mut frames, _) = frames::read(&self.case.bytes);
        if let Some(whole) = self.with_whole_key() {
            let last = frames::read(&whole).0.pop()?;
            frames.push(Frame {
                is_whole: false,
                ..last
            });
        }
        let mut frames = frames.into_iter();
        frames.find(|frame| frame.start < at && at as u64 <= frame.end)
    }

    /// The stream with what is missing of a masking key at its end.
    fn with_whole_key(&self) -> Option<Vec<u8>> {
        let (_, cut) = frames::read(&self.case.bytes);
        let second = *cut.get(1)?;
        let length_size = match second & 0x7F {
            126 => 3,
            127 => 9,
            _ => 1,
        };
        let missing = (1 + length_size + 4_usize).checked_sub(cut.len())?;
        if second & 0x80 == 0 || !(1..=4).contains(&missing) {
            return None;
        }
        let mut bytes = self.case.bytes.clone();
        bytes.resize(bytes.len() + missing, 0);
        Some(bytes)
    }

    /// Everything but the end is the same.
    fn agrees_before_the_end(&self) -> bool {
        let ours = &self.ours.outcome;
        ours.items == self.theirs.items && ours.pongs == self.theirs.pongs
    }

    fn is_failed(&self, ours: u16, theirs: u16) -> bool {
        let ends = (&self.ours.outcome.end, &self.theirs.end);
        ends == (&End::Failed(ours), &End::Failed(theirs)) && self.agrees_before_the_end()
    }

    /// The frame that wspulse fails at is not whole, so that the peer sees the stream end in it.
    fn is_judged_later(&self) -> bool {
        let is_whole = self.last_frame().is_some_and(|frame| frame.is_whole);
        matches!(self.ours.outcome.end, End::Failed(_))
            && self.theirs.end == End::Eof
            && !is_whole
            && self.agrees_before_the_end()
    }

    fn is_told_too_big(&self, is_meant: impl Fn(&Frame) -> bool) -> bool {
        let is_too_big = |frame: Frame| frame.length > self.frame_limit(&frame) && is_meant(&frame);
        self.is_failed(1002, 1009) && self.last_frame().is_some_and(is_too_big)
    }

    /// The longest payload that a peer takes at `frame`, whose limit may count what the message
    /// before it holds.
    fn frame_limit(&self, frame: &Frame) -> u64 {
        let held = self.message_before(frame).map_or(0, |(_, bytes)| bytes);
        let left = (self.case.limits.message as u64).saturating_sub(held);
        left.min(self.case.limits.frame as u64)
    }

    /// How many fragments and bytes of a message that is not at its end stand before `frame`.
    fn message_before(&self, frame: &Frame) -> Option<(u64, u64)> {
        let (frames, _) = frames::read(&self.case.bytes);
        let before = frames.iter().take_while(|other| other.start < frame.start);
        before
            .filter(|other| !other.is_control())
            .fold(None, |message, other| {
                let (fragments, bytes) = message.unwrap_or((0, 0));
                (!other.is_final()).then_some((fragments + 1, bytes + other.length))
            })
    }

    fn is_illegal_code_and_reason(&self) -> bool {
        let is_both = |frame: Frame| {
            frame.close_code().is_some_and(|code| !is_legal(code))
                && str::from_utf8(&frame.payload[2..]).is_err()
        };
        self.is_failed(1002, 1007) && self.last_frame().is_some_and(is_both)
    }

    fn is_bad_gateway(&self) -> bool {
        matches!(self.ours.outcome.end, End::Closed { code: 1014, .. })
            && self.theirs.end == End::Failed(1002)
            && !self.case.closes_first
            && self.agrees_before_the_end()
    }

    fn is_answer_not_checked(&self) -> bool {
        let Some(frame) = self.last_frame() else {
            return false;
        };
        let Some(told) = frame.close_code().filter(|code| !is_legal(*code)) else {
            return false;
        };
        let end = End::Closed {
            code: told,
            reason: String::from_utf8_lossy(&frame.payload[2..]).into_owned(),
            answer: None,
        };
        self.case.closes_first
            && self.ours.outcome.end == End::Failed(1002)
            && self.theirs.end == end
            && self.agrees_before_the_end()
    }

    fn is_close_inside_message(&self) -> bool {
        let is_inside = |frame: Frame| self.message_before(&frame).is_some();
        matches!(self.ours.outcome.end, End::Closed { .. })
            && self.theirs.end == End::Failed(1002)
            && self.agrees_before_the_end()
            && self.last_frame().is_some_and(is_inside)
    }

    /// The peer stops at a control frame that is longer than what is left of the message, and
    /// has delivered what stands before it.
    fn is_control_against_message(&self) -> bool {
        let (frames, _) = frames::read(&self.case.bytes);
        let is_met = |frame: &&Frame| {
            let held = self.message_before(frame).map_or(0, |(_, bytes)| bytes);
            let left = (self.case.limits.message as u64).saturating_sub(held);
            frame.is_control() && frame.length > left
        };
        let Some(frame) = frames.iter().find(is_met) else {
            return false;
        };
        let mut before = self.case.clone();
        before.bytes.truncate(frame.start);
        let before = ours::exact(&before, self.options).outcome;
        self.theirs.end == End::Failed(1009)
            && before.end == End::Eof
            && (&before.items, &before.pongs) == (&self.theirs.items, &self.theirs.pongs)
    }

    /// Answers the pings that came, if the peer answered some.
    fn with_pongs_after_our_close(&self) -> Option<Explained> {
        let is_silent = self.ours.outcome.pongs.is_empty() && !self.theirs.pongs.is_empty();
        if !self.case.closes_first || !is_silent {
            return None;
        }
        let options = Options {
            answers_when_closing: true,
            ..self.options
        };
        Some(Explained::If(self.case.clone(), options))
    }

    /// Writes what is missing of the masking key.
    fn with_masking_key(&self) -> Option<Explained> {
        let ends = (&self.ours.outcome.end, &self.theirs.end);
        if ends != (&End::Eof, &End::Failed(1009)) {
            return None;
        }
        let case = Case {
            bytes: self.with_whole_key()?,
            ..self.case.clone()
        };
        Some(Explained::If(case, self.options))
    }

    /// Makes the two bytes of a surrogate the begin of another character, and lets the third be
    /// one that ends none.
    fn without_surrogate(&self) -> Option<Explained> {
        let last = self.last_frame()?;
        let (mut frames, rest) = frames::read(&self.case.bytes);
        let index = frames.iter().position(|frame| frame.start == last.start)?;
        let data = frames[..=index].iter().filter(|frame| !frame.is_control());
        let text: Vec<u8> = data
            .flat_map(|frame| frame.payload.iter().copied())
            .collect();
        let is_surrogate = matches!(text[..], [.., 0xED, 0xA0..=0xBF]);
        if self.ours.outcome.end != End::Failed(1007) || !is_surrogate || last.is_final() {
            return None;
        }
        *frames[index].payload.last_mut()? = 0x9F;
        let mut following = frames[index + 1..].iter_mut();
        let is_next = |frame: &&mut Frame| !frame.is_control() && !frame.payload.is_empty();
        if let Some(next) = following.find(is_next) {
            next.payload[0] = 0xFF;
        }
        Some(Explained::If(self.write(&frames, rest), self.options))
    }

    /// Writes each length in as few bytes as it needs.
    fn without_padding(&self) -> Option<Explained> {
        let is_padded = self.last_frame().is_some_and(|frame| frame.is_padded());
        if self.ours.outcome.end != End::Failed(1002) || !is_padded {
            return None;
        }
        let (mut frames, rest) = frames::read(&self.case.bytes);
        for frame in &mut frames {
            frame.length_size = Frame::shortest_length_size(frame.length);
        }
        Some(Explained::If(self.write(&frames, rest), self.options))
    }

    fn write(&self, frames: &[Frame], rest: &[u8]) -> Case {
        let mut bytes = Vec::new();
        frames
            .iter()
            .for_each(|frame| frame.encode_into(&mut bytes));
        bytes.extend_from_slice(rest);
        Case {
            bytes,
            ..self.case.clone()
        }
    }

    /// Lifts the limit, if the last fragment is one too many.
    fn without_fragment_limit(&self) -> Option<Explained> {
        let (fragments, bytes) = self.message_before(&self.last_frame()?)?;
        let is_met = fragments >= self.options.fragments.saturating_add(bytes >> 6);
        if self.ours.outcome.end != End::Failed(1008) || !is_met {
            return None;
        }
        let options = Options {
            fragments: u64::MAX,
            ..self.options
        };
        Some(Explained::If(self.case.clone(), options))
    }

    /// Lets time pass, if there were as many control frames as a burst may hold twice.
    fn without_flood(&self) -> Option<Explained> {
        let at = self.ours.ended_at?;
        let (frames, _) = frames::read(&self.case.bytes[..at]);
        let controls = frames.iter().filter(|frame| frame.is_control()).count();
        if self.ours.outcome.end != End::Failed(1008) || controls <= 2_000 {
            return None;
        }
        let options = Options {
            pace: Duration::from_millis(10),
            ..self.options
        };
        Some(Explained::If(self.case.clone(), options))
    }
}

/// Explains in what wspulse itself differs when the stream comes in pieces: pongs only.
fn explain_pieces(case: &Case, exact: &Outcome) -> Result<BTreeSet<Class>, String> {
    let pieces = ours::in_pieces(case);
    if pieces == *exact {
        return Ok(BTreeSet::new());
    }
    let differs = || {
        let [pieces, exact] = [&pieces, exact].map(lines::outcome);
        format!("wspulse itself\nin pieces    {pieces}\nby the byte  {exact}")
    };
    if (&pieces.items, &pieces.end) != (&exact.items, &exact.end) {
        return Err(differs());
    }
    let mut classes = BTreeSet::new();
    let mut expected = Vec::new();
    let (mut start, mut seen) = (0, 0);
    for &length in &case.cuts {
        start += length;
        let mut until = case.clone();
        until.bytes.truncate(start);
        let until = ours::exact(&until, Options::default()).outcome;
        let owed = &until.pongs[seen..];
        seen = until.pongs.len();
        if matches!(until.end, End::Failed(_)) {
            if !owed.is_empty() {
                classes.insert(Class::PongBeforeFailure);
            }
            break;
        }
        match owed {
            [] => {}
            _ => {
                let left_out = (owed.len() - 1) / MOST_PONGS * MOST_PONGS;
                if left_out > 0 {
                    classes.insert(Class::PongsLeftOut);
                }
                expected.extend_from_slice(&owed[left_out..]);
            }
        }
    }
    if pieces.pongs == expected {
        return Ok(classes);
    }
    Err(differs())
}

/// How many pongs wait at most; the next one takes the place of all of them.
const MOST_PONGS: usize = 16;

/// RFC 6455 §7.4 and the IANA registry.
const fn is_legal(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
