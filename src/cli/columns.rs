//! Tables for people: columns, two spaces apart.

use std::io::{IsTerminal, stdout};

use unicode_width::UnicodeWidthStr;

use crate::escape::{cut, escape};

/// A longer text makes a table on a terminal unreadable.
const WIDEST: usize = 60;

/// Escapes a text for a cell. On a terminal it is cut; a program gets the whole.
pub(super) fn cell(text: &str) -> String {
    let whole = escape(text);
    let shown = if stdout().is_terminal() { cut(&whole, WIDEST) } else { whole.as_ref().into() };
    if shown.trim().is_empty() { "-".to_owned() } else { shown.trim().to_owned() }
}

/// Lays out lines of equally many cells; the last cell of a line is not padded.
pub(super) fn columns(lines: &[Vec<String>]) -> String {
    let mut widths = vec![0; lines.iter().map(Vec::len).max().unwrap_or_default()];
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.width());
        }
    }
    let mut text = String::new();
    for line in lines {
        let padded = line.iter().zip(&widths).map(|(cell, width)| pad(cell, *width));
        text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Fills a cell up to a number of columns: letters of East Asian scripts take two.
fn pad(cell: &str, width: usize) -> String {
    format!("{cell}{}", " ".repeat(width.saturating_sub(cell.width())))
}
