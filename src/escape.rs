//! Makes text that others wrote fit for one line of a terminal or a log.
//!
//! A tag value, an agent's message or an AWS error may hold escape sequences, characters that reverse the line, or none
//! that can be seen. They are shown as what they are; ordinary text of any language stays as it is.

use std::borrow::Cow;
use std::fmt::Write;

/// Escapes what a terminal would act upon; line breaks and tabs become one space, so the result is one line.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| is_space(c) || is_unsafe(c)) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    let mut after_space = false;
    for c in text.chars() {
        if is_space(c) && !after_space {
            escaped.push(' ');
        } else if is_unsafe(c) {
            push_escape(&mut escaped, c);
        } else if !is_space(c) {
            escaped.push(c);
        }
        after_space = is_space(c);
    }
    Cow::Owned(escaped)
}

/// Escapes the same characters in a JSON document, as `\uXXXX`: a program reads the same values, and a terminal that shows
/// the document does not act on them.
pub fn escape_json(document: &str) -> Cow<'_, str> {
    if !document.chars().any(is_unsafe) {
        return Cow::Borrowed(document);
    }
    let mut escaped = String::with_capacity(document.len() + 16);
    for c in document.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(escaped, "\\u{unit:04x}").expect("a String takes every write");
            }
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Cuts a text after so many characters, and shows that it was cut.
pub fn cut(text: &str, longest: usize) -> Cow<'_, str> {
    match text.char_indices().nth(longest) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

fn is_space(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\t')
}

fn is_unsafe(c: char) -> bool {
    (c.is_control() && !is_space(c)) || is_invisible(c)
}

/// Bidirectional controls, zero-width characters, fillers, line separators, tags: what makes a text read as another one.
/// These are Unicode's `Default_Ignorable_Code_Point`s without the selectors of emoji, and the separators of lines.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

fn push_escape(out: &mut String, c: char) {
    let code = u32::from(c);
    let written = if code < 0x100 { write!(out, "\\x{code:02x}") } else { write!(out, "\\u{{{code:x}}}") };
    written.expect("a String takes every write");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_text_is_left_alone() {
        for text in ["", "plain", "踏み台 – Müller, naïve €", "😀", r"C:\path\x1b"] {
            assert!(matches!(escape(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn what_a_terminal_acts_upon_is_shown() {
        for (text, shown) in [
            ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
            ("nul\0del\x7f", r"nul\x00del\x7f"),
            ("c1\u{9b}31m", r"c1\x9b31m"),
            ("bidi\u{202e}txt.exe\u{2066}", r"bidi\u{202e}txt.exe\u{2066}"),
            ("zero\u{200b}width\u{feff}", r"zero\u{200b}width\u{feff}"),
            ("line\u{2028}\u{e0041}", r"line\u{2028}\u{e0041}"),
        ] {
            assert_eq!(escape(text), shown);
        }
    }

    #[test]
    fn a_json_document_keeps_its_values_and_shows_nothing_raw() {
        let texts = [
            "c1\u{9b}2J",
            "del\u{7f}",
            "bidi\u{202e}",
            "tag\u{e0041}",
            "filler\u{3164}",
            "踏み台 😀 \\u \" \n\t\0",
        ];
        let document = serde_json::to_string_pretty(&texts).unwrap();
        let escaped = escape_json(&document);
        assert_eq!(serde_json::from_str::<[String; 6]>(&escaped).unwrap(), texts);
        assert!(!escaped.chars().any(is_unsafe), "{escaped}");
        for shown in [r"c1\u009b2J", r"del\u007f", r"bidi\u202e", r"tag\udb40\udc41", "踏み台 😀"] {
            assert!(escaped.contains(shown), "{shown} in {escaped}");
        }
        assert!(matches!(escape_json("{\n  \"a\": 1\n}\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn line_breaks_become_one_space() {
        assert_eq!(escape("a\r\n\tb\nc\n"), "a b c ");
        assert_eq!(escape("fumidai: x\nfumidai: y"), "fumidai: x fumidai: y");
    }

    #[test]
    fn a_cut_falls_between_characters() {
        assert_eq!(cut("héé", 2), "hé…");
        assert_eq!(cut("héé", 3), "héé");
    }
}
