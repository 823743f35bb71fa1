//! The form of a region's name.

/// Returns true if a text can be a region's name: it becomes part of a host name. It has several parts, also one that only an
/// emulator knows; `local` is the only other one. The name of an availability zone, such as `us-east-1a`, is not one.
pub fn is_region(text: &str) -> bool {
    let is_label = (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
        && (text.contains('-') || text == "local");
    is_label && !is_zone(text)
}

/// Returns true for `us-east-1a` and `us-west-2-lax-1a`: the last part is a number and a letter.
fn is_zone(text: &str) -> bool {
    let (head, last) = text.rsplit_once('-').unwrap_or(("", text));
    let number = last.strip_suffix(|c: char| c.is_ascii_alphabetic());
    let is_numbered = number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    is_numbered && head.split('-').count() >= 2 && head.split('-').next().is_some_and(|part| part.len() == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_and_lists_are_not_regions() {
        for text in ["us-east-1", "us-gov-west-1", "eusc-de-east-1", "local", "test-1", "my-emulator"] {
            assert!(is_region(text), "{text}");
        }
        let long = "a".repeat(64);
        for text in [
            "",
            "foo",
            "us-east-1a",
            "us-west-2-lax-1a",
            "us-east-1,eu-west-1",
            "\"us-east-1\"",
            "-a",
            "a.b",
            &long,
        ] {
            assert!(!is_region(text), "{text}");
        }
    }
}
