//! What is said of a key or a table that the config file does not have: where it belongs, or which one was meant.

use super::forward::FORWARD_KEYS;
use super::host::HOST_KEYS;
use super::settings::Key;

/// The tables at the top of the file.
const TABLES: [&str; 3] = ["defaults", "hosts", "forwards"];

/// A less similar name was not meant (Jaro-Winkler; 1 is equal).
const MIN_SIMILARITY: f64 = 0.8;

/// Keywords of ssh_config(5) in lower case, with the key that has their meaning here.
const OF_SSH: [(&str, Option<&str>); 36] = [
    ("addkeystoagent", None),
    ("certificatefile", None),
    ("checkhostip", None),
    ("ciphers", None),
    ("compression", None),
    ("controlmaster", None),
    ("controlpath", None),
    ("controlpersist", None),
    ("dynamicforward", Some("`-D` of `fumidai forward`")),
    ("forwardagent", None),
    ("forwardx11", None),
    ("globalknownhostsfile", None),
    ("hostkeyalgorithms", None),
    ("hostkeyalias", None),
    ("hostname", Some("`target` or `address`")),
    ("identitiesonly", None),
    ("identityagent", None),
    ("identityfile", None),
    ("kexalgorithms", None),
    ("localforward", Some("a table `[forwards.NAME]`")),
    ("loglevel", None),
    ("macs", None),
    ("preferredauthentications", None),
    ("proxycommand", None),
    ("proxyjump", Some("`via`")),
    ("pubkeyacceptedalgorithms", None),
    ("pubkeyauthentication", None),
    ("remotecommand", None),
    ("remoteforward", None),
    ("requesttty", None),
    ("sendenv", None),
    ("serveralivecountmax", None),
    ("serveraliveinterval", None),
    ("setenv", None),
    ("stricthostkeychecking", None),
    ("userknownhostsfile", None),
];

/// The kinds of tables that hold keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// `[defaults]`
    Defaults,
    /// `[hosts.NAME]`
    Host,
    /// `[forwards.NAME]`
    Forward,
}

impl Place {
    const ALL: [Self; 3] = [Self::Defaults, Self::Host, Self::Forward];

    /// Returns its header in the file.
    fn header(self) -> &'static str {
        match self {
            Self::Defaults => "[defaults]",
            Self::Host => "[hosts.NAME]",
            Self::Forward => "[forwards.NAME]",
        }
    }

    fn keys(self) -> Vec<&'static str> {
        let settings = Key::ALL.iter().map(|key| key.row());
        let settings = settings.filter(|row| self == Self::Defaults || row.is_per_host).map(|row| row.name);
        match self {
            Self::Defaults => settings.collect(),
            Self::Host => HOST_KEYS.iter().map(|key| key.name).chain(settings).collect(),
            Self::Forward => FORWARD_KEYS.iter().map(|key| key.name).chain(settings).collect(),
        }
    }
}

/// Says what is wrong with the name of a table.
pub(super) fn unknown_table(name: &str) -> String {
    match Place::ALL.into_iter().find(|place| place.keys().contains(&name)) {
        Some(place) => format!("`{name}` belongs below `{}`", place.header()),
        None => format!("unknown table `{name}`, {}", nearest_or_all(name, &TABLES)),
    }
}

/// Says what is wrong with a key of a table.
pub(super) fn unknown_key(name: &str, place: Place) -> String {
    if let Some(right) = Place::ALL.into_iter().find(|place| place.keys().contains(&name)) {
        return format!("`{name}` belongs below `{}`, not `{}`", right.header(), place.header());
    }
    let plain = name.to_lowercase().replace(['_', '-'], "");
    match OF_SSH.iter().find(|(keyword, _)| *keyword == plain) {
        Some((_, None)) => format!("`{name}` belongs in ~/.ssh/config"),
        Some((_, Some(own))) => format!("`{name}` belongs in ~/.ssh/config; here it is {own}"),
        None => format!("unknown key `{name}`, {}", nearest_or_all(name, &place.keys())),
    }
}

fn nearest_or_all(name: &str, valid: &[&str]) -> String {
    let plain = name.to_lowercase();
    let scored = valid.iter().map(|known| (strsim::jaro_winkler(&plain, known), known));
    let nearest =
        scored.filter(|(score, _)| *score >= MIN_SIMILARITY).max_by(|one, other| one.0.total_cmp(&other.0));
    if let Some((_, known)) = nearest {
        return format!("the nearest valid one is `{known}`");
    }
    let all: Vec<String> = valid.iter().map(|known| format!("`{known}`")).collect();
    format!("the valid ones are {}", all.join(", "))
}
