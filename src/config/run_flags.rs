//! The flags that are no settings, and the variables that stand for them.

use super::environment::Environment;
use super::error::ConfigError;
use super::value::{self, Raw, ValueError};
use super::{Flags, Verbosity};

impl Flags {
    /// Fills in what was not typed from `FUMIDAI_*` variables.
    ///
    /// # Errors
    /// [`ConfigError::Variable`]
    pub(super) fn with_variables(mut self, environment: &Environment) -> Result<Self, ConfigError> {
        if self.via.is_empty() {
            self.via = hops(environment)?;
        }
        self.start =
            self.start.or(environment.raw("FUMIDAI_START").map(|_| environment.flag("FUMIDAI_START")));
        self.ephemeral_key |= environment.flag("FUMIDAI_EPHEMERAL_KEY");
        self.key_file = self.key_file.or_else(|| environment.path("FUMIDAI_KEY_FILE"));
        if self.verbosity == Verbosity::Normal {
            self.verbosity = verbosity(environment);
        }
        Ok(self)
    }
}

/// Reads hops with commas between them, the nearest first.
fn hops(environment: &Environment) -> Result<Vec<String>, ConfigError> {
    const NAME: &str = "FUMIDAI_VIA";
    let invalid = |source: ValueError| ConfigError::Variable { name: NAME, source };
    let Some(text) = environment.text(NAME).map_err(invalid)? else { return Ok(Vec::new()) };
    text.split(',').map(|hop| value::hop(Raw::String(hop.trim())).map_err(invalid)).collect()
}

/// Reads how much is logged: `FUMIDAI_QUIET`, or a number of `v` in `FUMIDAI_VERBOSE`.
fn verbosity(environment: &Environment) -> Verbosity {
    if environment.flag("FUMIDAI_QUIET") {
        return Verbosity::Quiet;
    }
    match environment.text("FUMIDAI_VERBOSE").ok().flatten() {
        None | Some("0" | "false") => Verbosity::Normal,
        Some("2") => Verbosity::Debug,
        Some("3") => Verbosity::Trace,
        Some(_) => Verbosity::Info,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&'static str, &str)], flags: Flags) -> Flags {
        let environment = Environment::of(variables.iter().copied());
        flags.with_variables(&environment).expect("valid")
    }

    #[test]
    fn a_variable_stands_for_its_flag() {
        let found = of(
            &[
                ("FUMIDAI_VIA", "a, me@b"),
                ("FUMIDAI_START", "false"),
                ("FUMIDAI_EPHEMERAL_KEY", "1"),
                ("FUMIDAI_KEY_FILE", "k"),
                ("FUMIDAI_VERBOSE", "2"),
            ],
            Flags::default(),
        );
        assert_eq!(
            (found.via.as_slice(), found.start),
            (["a".to_owned(), "me@b".into()].as_slice(), Some(false))
        );
        assert_eq!((found.ephemeral_key, found.key_file), (true, Some("k".into())));
        assert_eq!(found.verbosity, Verbosity::Debug);
        assert_eq!(of(&[("FUMIDAI_QUIET", "true")], Flags::default()).verbosity, Verbosity::Quiet);
    }

    #[test]
    fn a_flag_overrides_its_variable() {
        let typed = Flags {
            via: vec!["c".into()],
            start: Some(true),
            verbosity: Verbosity::Trace,
            ..Flags::default()
        };
        let found = of(&[("FUMIDAI_VIA", "a"), ("FUMIDAI_START", "0"), ("FUMIDAI_QUIET", "1")], typed);
        assert_eq!((found.via.as_slice(), found.start), (["c".to_owned()].as_slice(), Some(true)));
        assert_eq!(found.verbosity, Verbosity::Trace);
    }

    #[test]
    fn a_bad_hop_is_named() {
        let environment = Environment::of([("FUMIDAI_VIA", "a,,b")]);
        let error = Flags::default().with_variables(&environment).err().expect("an empty hop");
        assert!(error.to_string().starts_with("`FUMIDAI_VIA` in the environment"), "{error}");
    }
}
