//! What the word after `connect` means: a host of the config file, or a target itself.
//!
//! The step before names are resolved: [`aim`] exchanges a host's name for its target, and lays the host's settings
//! over the configuration. A host's target is not looked up in the config file again.

use crate::config::{Config, Host, HostKey};
use crate::target::Region;

use super::report::{ExitKind, Report};

/// The port of sshd, unless somebody says otherwise.
const SSH_PORT: u16 = 22;

/// Where a session is to go.
#[derive(Debug)]
pub(super) struct Aim {
    /// The configuration that holds for it.
    pub config: Config,
    /// The target as it could have been typed, `[USER@]TARGET[--REGION]`.
    pub target: String,
    /// The port.
    pub port: u16,
}

/// Finds out what `word` means; a port that was typed goes before the host's.
pub(super) fn aim(word: &str, port: Option<u16>, config: Config) -> Result<Aim, Report> {
    let Some((name, host, own)) = config.for_host(word) else {
        return Ok(Aim { config, target: word.to_owned(), port: port.unwrap_or(SSH_PORT) });
    };
    if let Some(key) = host.lacking() {
        return Err(lacking(name, key));
    }
    let port = port.or(host.port).unwrap_or(SSH_PORT);
    let mut config = own;
    config.name_life = host.cache;
    Ok(Aim { target: target(word, name, host), config, port })
}

fn lacking(name: &str, key: HostKey) -> Report {
    let key = key.name();
    let text = format!("host `{name}` has `{key}` in the config file, which this version cannot do yet");
    Report::new(ExitKind::Configuration, text)
}

/// Puts the host's target in the place of its name; user and region that were typed stay.
fn target(word: &str, name: &str, host: &Host) -> String {
    let (user, rest) = match word.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, word),
    };
    let region = rest.strip_prefix(name).unwrap_or_default();
    let region = region.strip_prefix("--").and_then(Region::parse);
    let target = host.target.as_deref().or(host.address.as_deref()).unwrap_or(name);
    let user = user.or(host.user.as_deref()).map(|user| format!("{user}@")).unwrap_or_default();
    let region = region.map(|region| format!("--{region}")).unwrap_or_default();
    format!("{user}{target}{region}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Flags};

    fn config(text: &str) -> Config {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("config.toml");
        std::fs::write(&file, text).expect("a file");
        let flags = Flags { config_file: Some(file), ..Flags::default() };
        Config::resolve(flags, &Environment::default()).expect(text)
    }

    fn aimed(word: &str, port: Option<u16>, text: &str) -> (String, u16) {
        let aim = aim(word, port, config(text)).unwrap_or_else(|report| panic!("{}", report.cause()));
        (aim.target, aim.port)
    }

    #[test]
    fn a_word_that_is_no_host_stays_as_it_is() {
        assert_eq!(aimed("me@i-0123--eu-west-1", None, ""), ("me@i-0123--eu-west-1".into(), 22));
        assert_eq!(aimed("web", Some(1), "[hosts.web2]"), ("web".into(), 1));
    }

    #[test]
    fn a_hosts_name_stands_for_its_target() {
        let text = "[hosts.web]\ntarget = 'i-0123'\nuser = 'admin'\nport = 2222\nregion = 'eu-west-3'\n\
                    [hosts.plain]\n[hosts.by-address]\naddress = '10.0.0.1'";
        assert_eq!(aimed("web", None, text), ("admin@i-0123".into(), 2222));
        assert_eq!(aimed("me@web--eu-west-1", Some(22), text), ("me@i-0123--eu-west-1".into(), 22));
        assert_eq!(aimed("plain", None, text), ("plain".into(), 22));
        assert_eq!(aimed("by-address", None, text).0, "10.0.0.1");
        let aim = aim("web", None, config(text));
        assert_eq!(aim.expect("a host").config.aws.region.as_deref(), Some("eu-west-3"));
    }

    #[test]
    fn a_host_may_have_a_name_like_a_region() {
        let text = "[hosts.web--eu-west-1]\ntarget = 'i-0123'";
        assert_eq!(aimed("web--eu-west-1", None, text).0, "i-0123");
        assert_eq!(aimed("web--eu-west-1--eu-west-2", None, text).0, "i-0123--eu-west-2");
    }

    #[test]
    fn a_feature_that_is_not_there_yet_is_named() {
        for (line, key) in [
            ("via = 'b'", "via"),
            ("start = true", "start"),
            ("stop_after = '1h'", "stop_after"),
            ("security_group = 'g'", "security_group"),
            ("route = 'ssh'", "route"),
        ] {
            let report = aim("web", None, config(&format!("[hosts.web]\n{line}"))).expect_err(line);
            assert_eq!(report.exit(), ExitKind::Configuration);
            let text = format!("host `web` has `{key}` in the config file, which this version cannot do yet");
            assert_eq!(report.cause(), text);
        }
    }
}
