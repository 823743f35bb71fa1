//! Splits a text into words as a POSIX shell and Python's `shlex.split` do.

/// Returns the words, or `None` if a quote is not closed or the text ends with a backslash.
pub fn split(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\'' => quoted(&mut chars, word.get_or_insert_default())?,
            '"' => double_quoted(&mut chars, word.get_or_insert_default())?,
            '\\' => word.get_or_insert_default().push(chars.next()?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

/// Quotes a word for a POSIX shell.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Option<()> {
    loop {
        match chars.next()? {
            '\'' => return Some(()),
            c => word.push(c),
        }
    }
}

fn double_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Option<()> {
    loop {
        match chars.next()? {
            '"' => return Some(()),
            '\\' => match chars.next()? {
                c @ ('"' | '\\') => word.push(c),
                c => word.extend(['\\', c]),
            },
            c => word.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_by_shlex() {
        for (text, words) in [
            ("a  b\tc", Some(vec!["a", "b", "c"])),
            ("profile 'Foo Bar'", Some(vec!["profile", "Foo Bar"])),
            (r#"a"b \" \x"c ''"#, Some(vec![r#"ab " \xc"#, ""])),
            (r"a\ b # c", Some(vec!["a b", "#", "c"])),
            ("'a", None),
            ("\"a", None),
            ("a\\", None),
        ] {
            let words = words.map(|words| words.into_iter().map(str::to_owned).collect());
            assert_eq!(split(text), words, "{text}");
        }
        assert_eq!(split(&quote("it's # a")), Some(vec!["it's # a".to_owned()]));
    }
}
