//! The arguments of `audit`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use clap::{Args, Subcommand};

/// The arguments of `audit`.
#[derive(Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    pub(in crate::cli) command: AuditCommand,
}

/// The commands of `audit`.
#[derive(Subcommand)]
pub enum AuditCommand {
    /// Show which sessions were opened: by whom, to where, when and why
    Show(ShowArgs),
    /// Check that no line of the record was touched, and name the first that was
    Verify(VerifyArgs),
    /// Write the record as one HTML page
    Report(ReportArgs),
}

impl AuditCommand {
    /// Returns whether the output is for programs.
    pub(in crate::cli) fn is_json(&self) -> bool {
        match self {
            Self::Show(args) => args.json,
            Self::Verify(args) => args.json,
            Self::Report(_) => false,
        }
    }
}

/// The arguments of `audit verify`.
#[derive(Args)]
pub struct VerifyArgs {
    /// Print one JSON object with the verdict
    #[arg(long)]
    pub(super) json: bool,
}

/// The arguments of `audit show`.
#[derive(Args)]
pub struct ShowArgs {
    #[command(flatten)]
    pub(super) selection: Selection,
    /// Print one JSON array with all that is known
    #[arg(long)]
    pub(super) json: bool,
}

/// The arguments of `audit report`.
#[derive(Args)]
pub struct ReportArgs {
    #[command(flatten)]
    pub(super) selection: Selection,
    /// Write the page to this file
    #[arg(long, value_name = "FILE")]
    pub(super) html: PathBuf,
}

/// Which rows are wanted.
#[derive(Args)]
pub struct Selection {
    /// Only rows with this text in a column, ignoring case; all of several
    #[arg(value_name = "FILTER")]
    pub(super) filters: Vec<String>,
    /// Only rows since then: `90m`, `24h` or `7d` ago, a date, or a time such as `2026-11-02T10:00:00Z`
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub(super) since: Option<Since>,
    /// Only sessions that failed, were not started, or have no recorded end
    #[arg(long)]
    pub(super) failed: bool,
    /// Add the sessions of all users in this region, with their addresses, as CloudTrail has them
    #[arg(long)]
    pub(super) cloudtrail: bool,
}

/// The start of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// So long ago.
    Ago(Duration),
    /// Then.
    At(SystemTime),
}

impl Since {
    /// Returns the time.
    pub(super) fn time(self, now: SystemTime) -> SystemTime {
        match self {
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(UNIX_EPOCH),
            Self::At(time) => time,
        }
    }
}

fn since(word: &str) -> Result<Since, String> {
    let ago = || {
        let (number, unit) = word.split_at_checked(word.len().checked_sub(1)?)?;
        let seconds = match unit {
            "m" => 60,
            "h" => 60 * 60,
            "d" => 24 * 60 * 60,
            _ => return None,
        };
        let number: u64 = number.parse().ok()?;
        Some(Since::Ago(Duration::from_secs(number.checked_mul(seconds)?)))
    };
    let at = |text: &str| {
        let time = DateTime::from_str(text, Format::DateTime).ok()?;
        Some(Since::At(UNIX_EPOCH + Duration::from_secs(time.secs().try_into().ok()?)))
    };
    let found = ago().or_else(|| at(word)).or_else(|| at(&format!("{word}T00:00:00Z")));
    found.ok_or_else(|| "the form is `7d`, `24h`, `90m`, `2026-11-02` or `2026-11-02T10:00:00Z`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_starts_some_time_ago_or_at_a_date() {
        let seconds = Duration::from_secs;
        for (word, expected) in [
            ("90m", Some(Since::Ago(seconds(5400)))),
            ("7d", Some(Since::Ago(seconds(604_800)))),
            ("1970-01-02", Some(Since::At(UNIX_EPOCH + seconds(86_400)))),
            ("1970-01-01T00:01:00Z", Some(Since::At(UNIX_EPOCH + seconds(60)))),
            ("", None),
            ("d", None),
            ("7w", None),
            ("-1d", None),
            ("é", None),
            ("yesterday", None),
            ("99999999999999999999d", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(since(word).ok(), expected, "{word}");
        }
    }
}
