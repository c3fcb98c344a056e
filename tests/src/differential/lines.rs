//! Streams and outcomes as lines of text: what goes to an implementation in another process, and
//! what comes back.

use wspulse_core::Role;

use super::{Case, End, Item, Kind, Outcome, Theirs};

/// Writes a case as one line: role, whether it closes first, the two limits, the lengths of the
/// pieces, the bytes in hex.
#[must_use]
pub fn case(case: &Case) -> String {
    let role = match case.role {
        Role::Server => "server",
        Role::Client => "client",
    };
    let cuts: Vec<_> = case.cuts.iter().map(ToString::to_string).collect();
    format!(
        "{role} {} {} {} {} {}",
        u8::from(case.closes_first),
        case.limits.message,
        case.limits.frame,
        field(&cuts.join(",")),
        field(&hex(&case.bytes)),
    )
}

/// Reads what another implementation made of a case from one line: items, pongs, the end, and the
/// index of the piece in which it came, separated by spaces.
///
/// An item is the letter of its kind and its payload in hex. The end is `eof`, `failed:CODE`, or
/// `closed:CODE:REASON:ANSWER` with the reason in hex and an empty answer if there was none.
/// Where a list is empty stands `-`.
///
/// # Errors
/// Returns the part that makes no sense.
pub fn theirs(line: &str) -> Result<Theirs, String> {
    let fields: Vec<_> = line.split(' ').collect();
    let [items, pongs, end, piece] = fields[..] else {
        return Err(line.to_owned());
    };
    Ok(Theirs {
        outcome: Outcome {
            items: list(items).map(item).collect::<Result<_, _>>()?,
            pongs: list(pongs).map(unhex).collect::<Result<_, _>>()?,
            end: parse_end(end)?,
        },
        piece: piece.parse().map_err(|_| piece)?,
    })
}

/// Writes an outcome as [`theirs`] reads it.
#[must_use]
pub fn outcome(outcome: &Outcome) -> String {
    let items = outcome.items.iter().map(|item| {
        let kind = match item.kind {
            Kind::Text => 'T',
            Kind::Binary => 'B',
            Kind::Ping => 'P',
            Kind::Pong => 'O',
        };
        format!("{kind}{}", hex(&item.payload))
    });
    let pongs = outcome.pongs.iter().map(|pong| hex(pong));
    let end = match &outcome.end {
        End::Eof => "eof".to_owned(),
        End::Failed(code) => format!("failed:{code}"),
        End::Closed {
            code,
            reason,
            answer,
        } => {
            let answer = answer.map_or(String::new(), |code| code.to_string());
            format!("closed:{code}:{}:{answer}", hex(reason.as_bytes()))
        }
    };
    format!("{} {} {end}", write_list(items), write_list(pongs))
}

/// Writes bytes in hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn field(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

fn write_list(list: impl Iterator<Item = String>) -> String {
    let list: Vec<_> = list.collect();
    if list.is_empty() {
        "-".to_owned()
    } else {
        list.join(",")
    }
}

fn list(field: &str) -> impl Iterator<Item = &str> {
    field.split(',').filter(move |_| field != "-")
}

fn item(text: &str) -> Result<Item, String> {
    let (kind, payload) = text.split_at_checked(1).ok_or(text)?;
    let kind = match kind {
        "T" => Kind::Text,
        "B" => Kind::Binary,
        "P" => Kind::Ping,
        "O" => Kind::Pong,
        _ => return Err(text.to_owned()),
    };
    Ok(Item {
        kind,
        payload: unhex(payload)?,
    })
}

fn parse_end(text: &str) -> Result<End, String> {
    let number = |text: &str| text.parse::<u16>().map_err(|_| text.to_owned());
    let parts: Vec<_> = text.split(':').collect();
    Ok(match parts[..] {
        ["eof"] => End::Eof,
        ["failed", code] => End::Failed(number(code)?),
        ["closed", code, reason, answer] => End::Closed {
            code: number(code)?,
            reason: String::from_utf8(unhex(reason)?).map_err(|_| reason.to_owned())?,
            answer: match answer {
                "" => None,
                code => Some(number(code)?),
            },
        },
        _ => return Err(text.to_owned()),
    })
}

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let pair = str::from_utf8(pair).map_err(|_| text)?;
            Ok(u8::from_str_radix(pair, 16).map_err(|_| text)?)
        })
        .collect()
}
