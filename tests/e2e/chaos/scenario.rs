//! A scenario: what happens when. The files are in `contrib/chaos`; its README describes the keys.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

/// A file of `contrib/chaos`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is about, for the report.
    pub about: String,
    /// Whether open sessions are lost for good: the loads must be given a cause, and go on with new sessions.
    #[serde(default)]
    pub lost: bool,
    /// What happens, in the order of time.
    #[serde(rename = "step")]
    pub steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Debug, Deserialize)]
pub struct Step {
    /// When, in seconds since every load has done something.
    at: f64,
    #[serde(flatten)]
    pub act: Act,
}

/// What happens.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Act {
    /// The service closes every websocket, as it does about once an hour.
    Close,
    /// Every websocket's connection is reset.
    Reset,
    /// Every websocket is open, and nothing comes through.
    BlackHole,
    /// The service refuses to resume sessions.
    RefuseResume { times: u32, code: String },
    /// The client's link is down: no address is usable, no route exists.
    LinkDown,
    /// The link is up again.
    LinkUp,
    /// The link is up again with another address.
    NewAddress,
    /// The proxy ends, and with it all connections.
    ProxyStop,
    /// The proxy runs again.
    ProxyStart,
    /// No name server answers.
    NamesOff,
    /// The name server answers again.
    NamesOn,
    /// The credentials are replaced; the old ones have expired.
    RotateCredentials,
    /// The credentials have expired, and there are no others.
    ExpireCredentials,
    /// There are valid credentials again.
    RenewCredentials,
    /// The agent is restarted; the service closes its sessions.
    RestartAgent,
    /// The client's processes are stopped, as by a laptop that sleeps.
    Sleep,
    /// They go on.
    Wake,
    /// This share of the messages is lost, in both directions.
    Loss { share: f64 },
}

impl Scenario {
    /// Reads a file by its name without the ending.
    pub fn read(name: &str) -> Self {
        let text = fs::read_to_string(folder().join(name).with_extension("toml")).expect("a file");
        let scenario: Self = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let times: Vec<f64> = scenario.steps.iter().map(|step| step.at).collect();
        assert!(times.is_sorted() && !times.is_empty(), "{name}: {times:?}");
        scenario
    }

    /// Returns the names of all files.
    pub fn all() -> Vec<String> {
        let names = fs::read_dir(folder()).expect("a folder").map(|entry| entry.expect("an entry").path());
        let names = names.filter(|path| path.extension().is_some_and(|ending| ending == "toml"));
        names.map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect()
    }
}

impl Step {
    pub fn at(&self) -> Duration {
        Duration::from_secs_f64(self.at)
    }
}

impl Act {
    /// Returns true if it needs a network namespace.
    pub fn is_of_network(&self) -> bool {
        let begins = matches!(self, Self::LinkDown | Self::ProxyStop | Self::NamesOff);
        begins || matches!(self, Self::LinkUp | Self::NewAddress | Self::ProxyStart | Self::NamesOn)
    }

    /// Returns true if no new connection can be made from here on. A restarted agent does that for a moment.
    pub fn is_storm(&self) -> bool {
        let is_moment = *self == Self::RestartAgent;
        is_moment
            || matches!(self, Self::LinkDown | Self::ProxyStop | Self::NamesOff | Self::ExpireCredentials)
    }

    /// Returns true if new connections can be made again.
    pub fn is_end_of_storm(&self) -> bool {
        let is_moment = *self == Self::RestartAgent || *self == Self::RenewCredentials;
        is_moment || matches!(self, Self::LinkUp | Self::NewAddress | Self::ProxyStart | Self::NamesOn)
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/chaos")
}
