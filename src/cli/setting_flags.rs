//! The flags of the settings, made from the table of [`Key`]s: name, help, variables and default are the row's.

use std::ffi::OsString;

use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser, ValueParser};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{Heading, Key, Raw, Row, Settings};

use super::completers;

/// The settings that were given as flags.
pub(super) struct SettingFlags(pub Settings);

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        command.args(Key::ALL.iter().map(|key| flag(*key)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = Key::ALL.iter().filter_map(|key| matches.get_one::<Settings>(key.name()));
        Ok(Self(given.fold(Settings::default(), Settings::or)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0 = Self::from_arg_matches(matches)?.0.or(&self.0);
        Ok(())
    }
}

/// Returns the settings of sessions.
pub(super) fn of_sessions() -> impl Iterator<Item = Key> {
    Key::ALL.iter().copied().filter(|key| key.row().heading == Heading::Session)
}

/// Returns the flag of a setting as every command accepts it; those of sessions are not shown.
fn flag(key: Key) -> Arg {
    let is_hidden = key.row().heading == Heading::Session;
    shown(key).hide(is_hidden)
}

/// Returns the flag of a setting for the help of a command.
pub(super) fn shown(key: Key) -> Arg {
    let row = key.row();
    let flag = Arg::new(row.name)
        .long(row.flag())
        .global(true)
        .value_name(row.value_name)
        .value_parser(parser(key))
        .help(help(row))
        .help_heading(match row.heading {
            Heading::Global => "Global options",
            Heading::Session => "Session options",
        });
    if key == Key::Profile {
        return flag.add(completers::profiles());
    }
    if key == Key::Region { flag.add(completers::regions()) } else { flag }
}

/// Parses a word into settings that have only this one.
fn parser(key: Key) -> ValueParser {
    let read = move |word: OsString| Settings::of(key, Raw::Word(&word));
    match key.row().choices {
        [] => OsStringValueParser::new().try_map(read).into(),
        choices => PossibleValuesParser::new(choices).map(OsString::from).try_map(read).into(),
    }
}

fn help(row: &Row) -> String {
    let mut help = row.help.trim_start().to_owned();
    if !row.variables.is_empty() {
        help += &format!(" [env: {}]", row.variables.join(", then "));
    }
    if let Some(default) = row.default.or(row.otherwise) {
        help += &format!(" [default: {default}]");
    }
    help
}
