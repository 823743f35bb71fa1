//! The grammar of AWS's files: that of Python's `configparser.RawConfigParser`, with which the AWS CLI reads them.
//!
//! A line that the grammar does not allow is a [`LineProblem`] and the rest of the file is read. configparser refuses the
//! whole file. A section or an option that occurs twice is merged, the later value holds.

use std::collections::BTreeMap;

use thiserror::Error;

/// The section whose options are those of every other section too.
const DEFAULTS: &str = "DEFAULT";

/// The value of an option.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// A text; of several lines, the later ones indented more than the option.
    Text(String),
    /// Indented lines `name = value` below an option without a text of its own.
    Nested(BTreeMap<String, String>),
}

/// The options of a section by name, in lower case.
pub type SectionOptions = BTreeMap<String, Value>;

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineProblem {
    /// The line, from 1.
    pub line: usize,
    /// The section that it is in.
    pub section: Option<String>,
    /// What is wrong with it.
    pub cause: LineError,
}

/// Why a line cannot be read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum LineError {
    /// Bytes of another encoding.
    #[error("not valid UTF-8")]
    NotUtf8,
    /// An option before the first section.
    #[error("there is no `[section]` above it")]
    NoSection,
    /// A header whose bracket is not closed.
    #[error("the section header has no `]`")]
    OpenHeader,
    /// An option without a value.
    #[error("expected `name = value`")]
    NoDelimiter,
    /// A value without an option.
    #[error("there is no name before the `=`")]
    NoName,
}

/// A file that has been read: its sections in the order of their first header, and the lines that could not be read.
#[derive(Clone, Default)]
pub struct Ini {
    /// The sections with their names as they stand between the brackets.
    pub sections: Vec<(String, SectionOptions)>,
    /// The lines that could not be read.
    pub problems: Vec<LineProblem>,
}

impl Ini {
    /// Reads a file's bytes.
    pub fn parse(bytes: &[u8]) -> Self {
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut parser = Parser::default();
        for (number, line) in lines(text).enumerate() {
            parser.read(number + 1, line);
        }
        parser.finish()
    }
}

/// Splits at `\n`, `\r\n` and `\r`, as Python's text files do.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').flat_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        line.split(|byte| *byte == b'\r')
    })
}

#[derive(Default)]
struct Parser {
    sections: Vec<(String, BTreeMap<String, Lines>)>,
    problems: Vec<LineProblem>,
    /// The section that is being read, by its place.
    section: Option<usize>,
    /// The option that more indented lines continue.
    option: Option<String>,
    indent: usize,
}

/// The lines of an option's value, and where the option stands.
#[derive(Default)]
struct Lines {
    first: usize,
    lines: Vec<String>,
}

impl Parser {
    fn read(&mut self, number: usize, bytes: &[u8]) {
        let line = String::from_utf8_lossy(bytes);
        let text = line.trim_matches(is_space);
        if text.is_empty() {
            return self.blank();
        }
        if text.starts_with(['#', ';']) {
            return;
        }
        let indent = line.chars().take_while(|c| is_space(*c)).count();
        let is_deeper = indent > self.indent;
        match self.value().filter(|_| is_deeper) {
            Some(value) => value.lines.push(text.to_owned()),
            None => {
                self.indent = indent;
                self.header_or_option(number, text);
            }
        }
        if matches!(line, std::borrow::Cow::Owned(_)) {
            self.problem(number, LineError::NotUtf8);
        }
    }

    /// A blank line is a part of a value that goes on after it.
    fn blank(&mut self) {
        if let Some(value) = self.value() {
            value.lines.push(String::new());
        }
    }

    fn header_or_option(&mut self, number: usize, text: &str) {
        if let Some(name) = header(text) {
            return self.open(name);
        }
        let option = text.split_once(['=', ':']);
        match option {
            None if text.starts_with('[') => self.broken_header(number, text),
            _ if self.section.is_none() => self.problem(number, LineError::NoSection),
            None => self.problem(number, LineError::NoDelimiter),
            Some((name, value)) => self.option(number, name, value),
        }
    }

    fn open(&mut self, name: &str) {
        self.option = None;
        let known = self.sections.iter().position(|(known, _)| known == name);
        self.section = Some(known.unwrap_or_else(|| {
            self.sections.push((name.to_owned(), BTreeMap::new()));
            self.sections.len() - 1
        }));
    }

    /// What follows a header that cannot be read must not become a part of the section before.
    fn broken_header(&mut self, number: usize, text: &str) {
        self.problems.push(LineProblem { line: number, section: None, cause: LineError::OpenHeader });
        self.open(text);
    }

    fn option(&mut self, number: usize, name: &str, value: &str) {
        let name = name.trim_end_matches(is_space).to_lowercase();
        if name.is_empty() {
            self.option = None;
            return self.problem(number, LineError::NoName);
        }
        let lines = vec![value.trim_matches(is_space).to_owned()];
        let Some((_, options)) = self.section.and_then(|at| self.sections.get_mut(at)) else { return };
        options.insert(name.clone(), Lines { first: number, lines });
        self.option = Some(name);
    }

    fn value(&mut self) -> Option<&mut Lines> {
        let (_, options) = self.sections.get_mut(self.section?)?;
        options.get_mut(self.option.as_ref()?)
    }

    fn problem(&mut self, line: usize, cause: LineError) {
        let section = self.section.and_then(|at| self.sections.get(at)).map(|(name, _)| name.clone());
        self.problems.push(LineProblem { line, section, cause });
    }

    fn finish(self) -> Ini {
        let mut ini = Ini { sections: Vec::new(), problems: self.problems };
        let mut defaults = SectionOptions::new();
        for (name, options) in self.sections {
            let options = options.into_iter().map(|(option, lines)| {
                let value = ini_value(&name, lines, &mut ini.problems);
                (option, value)
            });
            let options: SectionOptions = options.collect();
            if name == DEFAULTS { defaults = options } else { ini.sections.push((name, options)) }
        }
        for (_, options) in &mut ini.sections {
            for (option, value) in &defaults {
                options.entry(option.clone()).or_insert_with(|| value.clone());
            }
        }
        ini.problems.sort_by_key(|problem| problem.line);
        ini
    }
}

/// Returns the name between the first `[` and the last `]`; what follows the bracket is ignored.
fn header(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('[')?.rsplit_once(']')?;
    Some(name).filter(|name| !name.is_empty())
}

fn ini_value(section: &str, value: Lines, problems: &mut Vec<LineProblem>) -> Value {
    let text = value.lines.join("\n").trim_end_matches(is_space).to_owned();
    if !text.starts_with('\n') {
        return Value::Text(text);
    }
    let mut nested = BTreeMap::new();
    for line in text.split('\n').map(|line| line.trim_matches(is_space)).filter(|line| !line.is_empty()) {
        match line.split_once('=') {
            Some((name, value)) => {
                let trimmed = [name, value].map(|text| text.trim_matches(is_space).to_owned());
                let [name, value] = trimmed;
                nested.insert(name, value);
            }
            None => problems.push(LineProblem {
                line: value.first,
                section: Some(section.to_owned()),
                cause: LineError::NoDelimiter,
            }),
        }
    }
    Value::Nested(nested)
}

/// Returns true for what Python's `str.strip` removes.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ini: &Ini, section: &str, option: &str) -> Option<String> {
        let (_, options) = ini.sections.iter().find(|(name, _)| name == section)?;
        match options.get(option)? {
            Value::Text(text) => Some(text.clone()),
            Value::Nested(nested) => Some(format!("{nested:?}")),
        }
    }

    #[test]
    fn indentation_comments_and_colons_are_read_as_by_configparser() {
        for (file, expected) in [
            ("[p]\n  region = a\n  output = b\n", "a"),
            ("\t[p]\n\tregion = a\n\t# no\n\toutput = b\n", "a"),
            ("[p] more words\nregion: a\n", "a"),
            ("[p]\r\nREGION =a ; no comment\r\n", "a ; no comment"),
            ("[p]\nregion = a\n  b\n", "a\nb"),
            ("\u{feff}[p]\nregion = a # b", "a # b"),
            ("[p]\nregion =\n  x = 1\n\n  # no\n  y=2\n", r#"{"x": "1", "y": "2"}"#),
            ("[DEFAULT]\nregion = a\n[p]\n", "a"),
            ("[p]\nregion = a\n[q]\n[p]\nregion = b\n", "b"),
        ] {
            let ini = Ini::parse(file.as_bytes());
            assert_eq!(text(&ini, "p", "region").as_deref(), Some(expected), "{file:?}");
            assert_eq!(ini.problems, [], "{file:?}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named_and_the_rest_is_read() {
        let problem = |line, section: Option<&str>, cause| {
            vec![LineProblem { line, section: section.map(str::to_owned), cause }]
        };
        for (file, expected) in [
            (&b"region = x\n[p]\na = b"[..], problem(1, None, LineError::NoSection)),
            (b"[q]\nregion x\n[p]\na = b", problem(2, Some("q"), LineError::NoDelimiter)),
            (b"[q]\n= x\n[p]\na = b", problem(2, Some("q"), LineError::NoName)),
            (b"[q\nc = d\n[p]\na = b", problem(1, None, LineError::OpenHeader)),
            (b"[q]\nc = \xe9\n[p]\na = b", problem(2, Some("q"), LineError::NotUtf8)),
            (b"[q]\nc =\n d\n[p]\na = b", problem(2, Some("q"), LineError::NoDelimiter)),
        ] {
            let ini = Ini::parse(file);
            assert_eq!(ini.problems, expected, "{}", String::from_utf8_lossy(file));
            assert_eq!(text(&ini, "p", "a").as_deref(), Some("b"));
        }
        assert_eq!(Ini::parse(b"# \xe9\n[p]\n").problems, []);
    }

    #[test]
    fn options_below_a_broken_header_are_not_those_of_the_section_before() {
        let ini = Ini::parse(b"[p]\na = b\n[q\na = c\n");
        assert_eq!(text(&ini, "p", "a").as_deref(), Some("b"));
    }
}
