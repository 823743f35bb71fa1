//! Which setting wins: the sources by rank, and what each of them gives.

use super::Color;
use super::environment::Environment;
use super::error::ConfigError;
use super::settings::{Key, Settings};
use super::value::Raw;

/// Where a setting comes from, the highest rank first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The target as it was typed, `TARGET--REGION`.
    Target,
    /// The flag.
    Flag,
    /// The variable of that name. `FUMIDAI_*` overrides forwards and hosts, every other variable is ambient and does not.
    Variable(&'static str),
    /// `[forwards.NAME]` of the config file.
    Forward(String),
    /// `[hosts.NAME]` of the config file.
    Host(String),
    /// `[defaults]` of the config file.
    Defaults,
    /// The profile in the AWS config files.
    AwsProfile,
    /// Nothing sets it.
    Default,
}

/// A setting, its value as text and its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedSetting {
    /// The key in the config file.
    pub name: &'static str,
    /// The value; an endpoint without what may be secret in it. `None` depends on something else than the settings.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: Source,
}

impl Source {
    fn rank(&self) -> u8 {
        match self {
            Self::Target => 0,
            Self::Flag => 1,
            Self::Variable(name) if name.starts_with("FUMIDAI_") => 2,
            Self::Forward(_) => 3,
            Self::Host(_) => 4,
            Self::Variable(_) => 5,
            Self::Defaults => 6,
            Self::AwsProfile => 7,
            Self::Default => 8,
        }
    }

    /// Returns true if the user set it for this run: in the target, by a flag or by a `FUMIDAI_*` variable.
    pub fn is_of_this_run(&self) -> bool {
        self.rank() < Self::Forward(String::new()).rank()
    }

    /// Returns true if it overrides `AWS_*` variables.
    pub fn overrides_ambient(&self) -> bool {
        self.rank() < Self::Variable("").rank()
    }
}

/// The settings of every source, the highest rank first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layers {
    layers: Vec<(Source, Settings)>,
    /// `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS`: only an endpoint of this run counts.
    ignores_endpoints: bool,
}

impl Layers {
    /// Takes the sources that hold for all hosts and forwards.
    ///
    /// # Errors
    /// The first variable whose value is not valid.
    pub fn new(flags: Settings, environment: &Environment, defaults: Settings) -> Result<Self, ConfigError> {
        let ignores_endpoints = environment.switch("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") == Some(true);
        let mut layers = Self { layers: Vec::new(), ignores_endpoints };
        layers.add(Source::Flag, flags);
        for (name, settings) in variables(environment)? {
            layers.add(Source::Variable(name), settings);
        }
        layers.add(Source::Defaults, defaults);
        layers.add(Source::Default, Settings::defaults());
        Ok(layers)
    }

    /// Adds a source; it comes after those of the same rank.
    pub fn add(&mut self, source: Source, settings: Settings) {
        let is_ignored = self.ignores_endpoints && !source.is_of_this_run();
        let settings = settings.only(|key| !(is_ignored && key == Key::EndpointUrl));
        let place = self.layers.partition_point(|(other, _)| other.rank() <= source.rank());
        self.layers.insert(place, (source, settings));
    }

    /// Removes the sources that `is_removed` chooses.
    pub fn remove(&mut self, is_removed: impl Fn(&Source) -> bool) {
        self.layers.retain(|(source, _)| !is_removed(source));
    }

    /// Returns the settings that hold.
    pub fn settings(&self) -> Settings {
        self.settings_of(|_| true)
    }

    /// Returns the settings that would hold if there were only the sources that `is_one` chooses.
    pub fn settings_of(&self, is_one: impl Fn(&Source) -> bool) -> Settings {
        self.of(is_one).into_iter().fold(Settings::default(), Settings::or)
    }

    /// Returns the settings of each source that `is_one` chooses, by rank.
    pub fn of(&self, is_one: impl Fn(&Source) -> bool) -> Vec<&Settings> {
        let chosen = self.layers.iter().filter(|(source, _)| is_one(source));
        chosen.map(|(_, settings)| settings).collect()
    }

    /// Returns the source of a setting.
    pub fn source(&self, key: Key) -> &Source {
        self.layers
            .iter()
            .find(|(_, settings)| settings.has(key))
            .map_or(&Source::Default, |(source, _)| source)
    }

    /// Returns every setting with its source.
    pub fn resolved(&self) -> Vec<ResolvedSetting> {
        let settings = self.settings();
        let resolved = |key: &Key| ResolvedSetting {
            name: key.name(),
            value: settings.shown(*key),
            source: self.source(*key).clone(),
        };
        Key::ALL.iter().map(resolved).collect()
    }
}

/// Reads the variables of the settings: for each setting the first that is set.
fn variables(environment: &Environment) -> Result<Vec<(&'static str, Settings)>, ConfigError> {
    let mut found = Vec::new();
    for key in Key::ALL {
        let set = key.row().variables.iter().find_map(|name| Some((*name, environment.raw(name)?)));
        let Some((name, value)) = set else { continue };
        let settings = Settings::of(*key, Raw::Word(value));
        found.push((name, settings.map_err(|source| ConfigError::Variable { name, source })?));
    }
    if environment.is_set("NO_COLOR") {
        found.push(("NO_COLOR", Settings { color: Some(Color::Never), ..Settings::default() }));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_not_set() {
        let environment = Environment::of([
            ("FUMIDAI_REGION", ""),
            ("AWS_REGION", ""),
            ("AWS_DEFAULT_REGION", "eu-west-2"),
            ("NO_COLOR", ""),
        ]);
        let found = variables(&environment).expect("valid");
        let [(name, settings)] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((*name, settings.region.as_deref()), ("AWS_DEFAULT_REGION", Some("eu-west-2")));
    }

    #[test]
    fn a_bad_variable_is_named() {
        let environment = Environment::of([("FUMIDAI_KEEPALIVE", "0")]);
        let error = variables(&environment).expect_err("zero is refused");
        assert_eq!(error.to_string(), "`FUMIDAI_KEEPALIVE` in the environment must be at least 1 second");
    }

    #[test]
    fn only_an_endpoint_of_this_run_counts_if_configured_ones_are_ignored() {
        let environment = Environment::of([
            ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"),
            ("AWS_ENDPOINT_URL", "http://ambient"),
        ]);
        let endpoint = |url: &str| Settings { endpoint_url: Some(url.into()), ..Settings::default() };
        let layers = |flags| {
            let mut layers = Layers::new(flags, &environment, endpoint("http://defaults")).expect("valid");
            layers.add(Source::Host("web".into()), endpoint("http://host"));
            layers.settings().endpoint_url
        };
        assert_eq!(layers(Settings::default()), None);
        assert_eq!(layers(endpoint("http://flag")).as_deref(), Some("http://flag"));
    }
}
