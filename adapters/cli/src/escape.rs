//! What a peer says, made harmless for a terminal.
//!
//! A terminal obeys escape sequences: it moves the cursor, changes its title, and some terminals
//! type an answer. So no control character of a peer reaches one, and no character that changes the
//! direction of text, which would show other words than those that are there.

use std::borrow::Cow;

/// Escapes every such character, so that the text stays one line.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escape(text, is_harmful)
}

/// Escapes every such character but line ends and tabs.
pub(crate) fn block(text: &str) -> Cow<'_, str> {
    escape(text, |c| is_harmful(c) && !matches!(c, '\n' | '\t'))
}

/// Escapes what JSON lets stand in a string, and a terminal obeys. The JSON means the same.
pub(crate) fn json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_harmful) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_harmful(c) {
            // Each of them is one unit of UTF-16.
            escaped += &format!("\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

fn escape(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_escaped(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

fn is_harmful(c: char) -> bool {
    let turns_text = matches!(
        c,
        '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
    );
    let ends_line = matches!(c, '\u{2028}' | '\u{2029}');
    c.is_control() || turns_text || ends_line
}

#[cfg(test)]
mod tests {
    use super::{block, json, line};

    #[test]
    fn no_control_character_comes_through() {
        for c in '\0'..='\u{FFFF}' {
            let text = format!("a{c}b");
            let (line, block) = (line(&text), block(&text));
            assert!(!line.contains(char::is_control), "{line:?}");
            let may_stay = |c: char| matches!(c, '\n' | '\t');
            assert!(
                !block.contains(|c: char| c.is_control() && !may_stay(c)),
                "{block:?}"
            );
            let value = serde_json::json!({ "data": text });
            let shown = value.to_string();
            let shown = json(&shown);
            assert!(!shown.contains(char::is_control), "{shown:?}");
            let back: serde_json::Value = serde_json::from_str(&shown).unwrap();
            assert_eq!(back, value);
        }
    }

    #[test]
    fn what_is_harmless_stays_as_it_is() {
        for text in ["", "plain", "schön \\n \"quoted\" 日本語 🦀"] {
            assert_eq!(
                (&*line(text), &*block(text), &*json(text)),
                (text, text, text)
            );
        }
        assert_eq!(line("a\tb\nc\u{1b}[2J"), "a\\tb\\nc\\u{1b}[2J");
        assert_eq!(block("a\tb\nc\u{9b}2J\r"), "a\tb\nc\\u{9b}2J\\r");
        assert_eq!(line("\u{202e}txt.exe"), "\\u{202e}txt.exe");
    }
}
