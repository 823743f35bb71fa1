//! How the tables of settings and keys are written: one row has all that parsing, help and documentation need.
//!
//! [`settings!`](settings) makes the types from the rows in `settings`; a [`TableKey`] is a row of the tables in `host`
//! and `forward`.

use super::value::{Raw, ValueError};

/// The facts of a setting that do not depend on its type.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The key in the config file; the flag has dashes for underscores.
    pub name: &'static str,
    /// The help of the flag.
    pub help: &'static str,
    /// The default as a value of the config file.
    pub default: Option<&'static str>,
    /// What holds without a value, where that depends on something else than this table.
    pub otherwise: Option<&'static str>,
    /// The variables that give the value; the first that is set counts.
    pub variables: &'static [&'static str],
    /// The name of the value in the help.
    pub value_name: &'static str,
    /// The values, if there are only these.
    pub choices: &'static [&'static str],
    /// The values that are valid, for docs/config.md.
    pub values: &'static str,
    /// The heading of the flag in the help.
    pub heading: Heading,
    /// A host or a forward may have its own value.
    pub is_per_host: bool,
    /// In a session to a hop, the hop's own value counts and the goal's does not.
    pub is_first_hops: bool,
}

/// The two groups of flags in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heading {
    /// For every command.
    Global,
    /// For the commands that open sessions.
    Session,
}

impl Row {
    /// Where most rows agree.
    pub(super) const USUAL: Self = Self {
        name: "",
        help: "",
        default: None,
        otherwise: None,
        variables: &[],
        value_name: "",
        choices: &[],
        values: "",
        heading: Heading::Session,
        is_per_host: true,
        is_first_hops: false,
    };

    /// Returns the name of the flag without its dashes.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }
}

/// A key of `[hosts.NAME]` or `[forwards.NAME]` that is not a setting; `T` is what the table becomes.
#[derive(Debug)]
pub struct TableKey<T: 'static> {
    /// The key.
    pub name: &'static str,
    /// Stores a value.
    pub(super) set: fn(&mut T, Raw<'_>) -> Result<(), ValueError>,
    /// The key takes a list too; each element is stored in turn.
    pub(super) takes_list: bool,
    /// The values that are valid, for docs/config.md.
    pub values: &'static str,
    /// What holds without the key, for docs/config.md.
    pub default: &'static str,
}

/// Makes types from the table of settings.
///
/// A row is `Variant name: Type = reader { fields of Row }`, with `, default "…"` where the setting always has a value.
/// From all rows come the enum `Key` and the struct `Settings`, where every field is optional; from those of `session`
/// comes the struct `SessionSettings`.
macro_rules! settings {
    (general { $($general:tt)+ } session { $($session:tt)+ }) => {
        settings!(@source $($general)+ $($session)+);
        settings!(@session $($session)+);
    };

    (@source $(
        $(#[doc = $help:literal])+
        $key:ident $name:ident: $type:ty = $read:path $(, default $default:literal)? { $($row:tt)* }
    )+) => {
        /// The name of a setting.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Key {
            $($(#[doc = $help])+ $key,)+
        }

        impl Key {
            /// Every setting.
            pub const ALL: &[Self] = &[$(Self::$key),+];

            /// Returns the setting's row.
            pub fn row(self) -> &'static Row {
                match self {
                    $(Self::$key => const {
                        &Row {
                            name: stringify!($name),
                            help: concat!($($help),+),
                            $(default: Some($default),)?
                            $($row)*
                            ..Row::USUAL
                        }
                    },)+
                }
            }
        }

        /// The settings of one source; `None` is "not given here", never a default.
        #[derive(Clone, Default, PartialEq, Eq)]
        pub struct Settings {
            $($(#[doc = $help])+ pub $name: Option<$type>,)+
        }

        impl Settings {
            /// Fills what is not given here from a source of lower rank.
            #[must_use]
            pub fn or(self, lower: &Self) -> Self {
                Self { $($name: self.$name.or_else(|| lower.$name.clone()),)+ }
            }

            /// Keeps the settings that `keeps` chooses.
            #[must_use]
            pub(super) fn only(mut self, keeps: impl Fn(Key) -> bool) -> Self {
                $(if !keeps(Key::$key) { self.$name = None; })+
                self
            }

            /// Stores one value.
            ///
            /// # Errors
            ///
            /// What the value must be; nothing is changed then.
            pub fn set(&mut self, key: Key, raw: Raw<'_>) -> Result<(), ValueError> {
                match key {
                    $(Key::$key => self.$name = Some($read(raw)?),)+
                }
                Ok(())
            }

            /// Returns true if the setting is given here.
            pub fn has(&self, key: Key) -> bool {
                match key {
                    $(Key::$key => self.$name.is_some(),)+
                }
            }

            /// Returns a value as a word of the command line, with what may be secret in it.
            pub(super) fn word(&self, key: Key) -> Option<String> {
                match key {
                    $(Key::$key => self.$name.as_ref().map(Shown::word),)+
                }
            }

            fn text(&self, key: Key) -> Option<String> {
                match key {
                    $(Key::$key => self.$name.as_ref().map(Shown::shown),)+
                }
            }
        }
    };

    (@session $(
        $(#[doc = $help:literal])+
        $key:ident $name:ident: $type:ty = $read:path $(, default $default:literal)? { $($row:tt)* }
    )+) => {
        /// How a session is opened and kept.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct SessionSettings {
            $($(#[doc = $help])+ pub $name: settings!(@type $type $(, $default)?),)+
        }

        impl SessionSettings {
            /// Takes the settings with the defaults among them.
            pub(super) fn new(settings: &Settings) -> Self {
                let settings = settings.clone();
                Self { $($name: settings!(@value settings.$name $(, $default)?),)+ }
            }
        }
    };

    (@type $type:ty) => { Option<$type> };
    (@type $type:ty, $default:literal) => { $type };
    (@value $value:expr) => { $value };
    (@value $value:expr, $default:literal) => { $value.expect("the table's defaults are among the settings") };
}

pub(super) use settings;
