//! The name of a region.

use std::fmt;

/// The name of an AWS region, such as `eu-central-1` or `us-gov-west-1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region(String);

impl Region {
    /// Parses a region; returns `None` if the text does not have a region's form.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('-').collect();
        let [area, middle @ .., number] = parts.as_slice() else { return None };
        let is_word = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
        let is_number = (1..=2).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
        let is_region = (2..=4).contains(&area.len())
            && is_word(area)
            && !middle.is_empty()
            && middle.iter().all(is_word)
            && is_number;
        is_region.then(|| Self(text.to_owned()))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
