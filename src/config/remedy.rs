//! What to write instead of a line that is not TOML: text without quotes, names with spaces or with letters that TOML wants
//! in quotes.

/// Quotation marks that an editor may have put in the place of `"`.
const TYPOGRAPHIC: [char; 7] = ['“', '”', '„', '«', '»', '‘', '’'];

/// Returns what to write, as the end of a message, if the fault of the line is a usual one.
pub(super) fn remedy(line: &str) -> Option<String> {
    let line = line.trim();
    if let Some(header) = line.strip_prefix('[') {
        return of_header(header.trim_start_matches('[').split(']').next()?.trim());
    }
    let Some((key, value)) = line.split_once('=') else {
        let (key, _) = line.split_once(':')?;
        return is_bare(key.trim()).then(|| format!("write `{} = …`, with `=` and not `:`", key.trim()));
    };
    let (key, value) = (key.trim(), value.split(" #").next().unwrap_or(value).trim());
    if key.contains(char::is_whitespace) {
        return Some("a key has no spaces".to_owned());
    }
    of_value(key, value).filter(|_| is_bare(key))
}

/// `hosts.my server` and `hosts.踏み台`.
fn of_header(header: &str) -> Option<String> {
    let (kind, name) = header.split_once('.')?;
    if name.contains(['"', '\'']) {
        return None;
    }
    let words: Vec<&str> = name.split_whitespace().collect();
    let name = words.join("-");
    let written = if is_bare(&name) { name } else { format!("\"{name}\"") };
    let why =
        if words.len() > 1 { "a name has no spaces" } else { "put a name with other letters in quotes" };
    let is_wrong = words.len() > 1 || written.starts_with('"');
    is_wrong.then(|| format!("{why}, write `[{kind}.{written}]`"))
}

fn of_value(key: &str, value: &str) -> Option<String> {
    let first = value.chars().next()?;
    if matches!(first, '"' | '\'' | '{') {
        return None;
    }
    if first == '[' {
        return (!value.contains(['"', '\'']))
            .then(|| "put each text of a list in quotes, `[\"a\", \"b\"]`".to_owned());
    }
    if ["true", "yes", "on"].iter().any(|word| value.eq_ignore_ascii_case(word)) {
        return Some(format!("write `{key} = true`, in lower case and without quotes"));
    }
    if ["false", "no", "off"].iter().any(|word| value.eq_ignore_ascii_case(word)) {
        return Some(format!("write `{key} = false`, in lower case and without quotes"));
    }
    // A URL may hold a password.
    let shown = if value.contains('@') { "…" } else { value.trim_matches(TYPOGRAPHIC) };
    Some(format!("put text in quotes, `{key} = \"{shown}\"`"))
}

fn is_bare(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_fault_has_its_remedy() {
        for (line, expected) in [
            ("region = eu-west-1", Some("put text in quotes, `region = \"eu-west-1\"`")),
            ("  target = tag:Name=web # mine", Some("put text in quotes, `target = \"tag:Name=web\"`")),
            ("target = 踏み台", Some("put text in quotes, `target = \"踏み台\"`")),
            ("target = “i-0123”", Some("put text in quotes, `target = \"i-0123\"`")),
            ("address = 10.0.0.1", Some("put text in quotes, `address = \"10.0.0.1\"`")),
            ("stop_after = 2h", Some("put text in quotes, `stop_after = \"2h\"`")),
            ("endpoint_url = http://me:s3cret@host", Some("put text in quotes, `endpoint_url = \"…\"`")),
            ("via = [a, b]", Some("put each text of a list in quotes, `[\"a\", \"b\"]`")),
            ("start = Yes", Some("write `start = true`, in lower case and without quotes")),
            ("start = False", Some("write `start = false`, in lower case and without quotes")),
            ("[hosts.my server]", Some("a name has no spaces, write `[hosts.my-server]`")),
            ("[hosts.踏み台]", Some("put a name with other letters in quotes, write `[hosts.\"踏み台\"]`")),
            ("[hosts.東京 web]", Some("a name has no spaces, write `[hosts.\"東京-web\"]`")),
            ("target: \"x\"", Some("write `target = …`, with `=` and not `:`")),
            ("user name = \"x\"", Some("a key has no spaces")),
            ("[hosts.a", None),
            ("[hosts.\"a b\"]", None),
            ("target = \"x", None),
            ("", None),
            ("nonsense", None),
        ] {
            assert_eq!(remedy(line).as_deref(), expected, "{line}");
        }
    }
}
