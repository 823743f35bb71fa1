//! What `init` adds to the config file: text behind what is there. Pure.

use crate::config::{Forward, Host, LocalEnd, RemoteEnd};

/// What the user wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Keys of `[defaults]`, or of the host if that table is there already.
    pub defaults: Vec<(&'static str, String)>,
    /// The name of the host.
    pub host: String,
    /// Its target.
    pub target: String,
    /// The user to log in as.
    pub user: Option<String>,
    /// The forward.
    pub forward: Option<WantedForward>,
}

/// A forward that the user wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WantedForward {
    pub name: String,
    pub local: LocalEnd,
    pub remote: RemoteEnd,
}

/// What the config file has already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present<'a> {
    pub has_defaults: bool,
    pub host: Option<&'a Host>,
    pub forward: Option<&'a Forward>,
}

/// A name that the config file has, for something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// `hosts` or `forwards`.
    pub table: &'static str,
    pub name: String,
}

/// Returns the text to add; nothing if all is there.
///
/// # Errors
/// [`Taken`]
pub(super) fn addition(wanted: &Wanted, present: &Present<'_>) -> Result<String, Taken> {
    let mut text = String::new();
    let in_defaults = !present.has_defaults && !wanted.defaults.is_empty();
    if in_defaults {
        text += "\n# What holds for every host and forward that says nothing else.\n[defaults]\n";
        text.extend(wanted.defaults.iter().map(|(key, value)| line(key, value)));
    }
    match present.host {
        Some(host) if host.target.as_deref() == Some(&wanted.target) => {}
        Some(_) => return Err(Taken { table: "hosts", name: wanted.host.clone() }),
        None => text += &host(wanted, in_defaults),
    }
    let Some(forward) = &wanted.forward else { return Ok(text) };
    match present.forward {
        Some(known)
            if known.remote == forward.remote && local_text(&known.local) == local_text(&forward.local) => {}
        Some(_) => return Err(Taken { table: "forwards", name: forward.name.clone() }),
        None => text += &self::forward(forward, &wanted.host),
    }
    Ok(text)
}

fn host(wanted: &Wanted, in_defaults: bool) -> String {
    let Wanted { host, target, user, defaults, .. } = wanted;
    let mut text = format!("\n# `ssh {host}`, and a target of every command.\n[hosts.{}]\n", key(host));
    text += &line("target", target);
    text.extend(user.iter().map(|user| line("user", user)));
    if !in_defaults {
        text.extend(defaults.iter().map(|(key, value)| line(key, value)));
    }
    text
}

fn forward(forward: &WantedForward, host: &str) -> String {
    let WantedForward { name, local, remote } = forward;
    let mut text = format!(
        "\n# `fumidai forward {name}`; `fumidai up {name}` keeps it, also after a reboot.\n[forwards.{}]\n",
        key(name)
    );
    text += &line("target", host);
    text += &line("local", &local_text(local));
    text + &line("remote", &remote_text(remote))
}

/// Returns where a forward listens, as the config file has it.
pub(super) fn local_text(local: &LocalEnd) -> String {
    match local {
        LocalEnd::Socket(path) => path.display().to_string(),
        LocalEnd::Tcp { bind: None, port } => format!("127.0.0.1:{port}"),
        LocalEnd::Tcp { bind: Some(bind), port } if bind.contains(':') => format!("[{bind}]:{port}"),
        LocalEnd::Tcp { bind: Some(bind), port } => format!("{bind}:{port}"),
    }
}

fn remote_text(remote: &RemoteEnd) -> String {
    match &remote.host {
        Some(host) if host.contains(':') => format!("[{host}]:{}", remote.port),
        Some(host) => format!("{host}:{}", remote.port),
        None => remote.port.to_string(),
    }
}

fn line(key: &str, value: &str) -> String {
    format!("{key} = {}\n", toml::Value::from(value))
}

/// Quotes a key that TOML does not take bare.
fn key(name: &str) -> String {
    let is_bare = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if is_bare { name.to_owned() } else { toml::Value::from(name).to_string() }
}

/// Puts an addition behind a text; a new file gets a first line.
pub(super) fn joined(text: Option<&str>, addition: &str) -> String {
    match text {
        Some(text) if text.trim().is_empty() => addition.trim_start().to_owned(),
        Some(text) if text.ends_with('\n') => format!("{text}{addition}"),
        Some(text) => format!("{text}\n{addition}"),
        None => {
            format!("# Written by `fumidai init`; every key is in docs/config.md of fumidai.\n{addition}")
        }
    }
}

/// Returns a name for the config file: letters of a Name tag, else the target.
pub(super) fn name_of(text: &str) -> String {
    let is_kept = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | ':');
    let name: String = text.chars().map(|c| if is_kept(c) { c } else { '-' }).collect();
    let name = name.trim_matches('-').to_owned();
    if name.is_empty() { "target".to_owned() } else { name }
}

/// Returns the usual place to listen on for a remote port: another one than a local database's.
pub(super) fn usual_local(remote: &RemoteEnd) -> LocalEnd {
    let port = remote.port.checked_add(10_000).unwrap_or(remote.port);
    LocalEnd::Tcp { bind: None, port }
}

/// Returns the usual name of a forward.
pub(super) fn usual_name(remote: &RemoteEnd) -> String {
    let host = remote.host.as_deref().unwrap_or("database");
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    name_of(if is_address { host } else { host.split('.').next().unwrap_or(host) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        let remote = RemoteEnd { host: Some("orders.cluster-abc.example".into()), port: 3306 };
        let (name, local) = (usual_name(&remote), usual_local(&remote));
        Wanted {
            defaults: vec![("profile", "prod".into()), ("region", "eu-west-1".into())],
            host: "web.prod".into(),
            target: "tag:Name=web \"prod\"".into(),
            user: Some("ec2-user".into()),
            forward: Some(WantedForward { name, local, remote }),
        }
    }

    const NOTHING: Present<'_> = Present { has_defaults: false, host: None, forward: None };

    #[test]
    fn a_new_file_has_what_was_asked_for_with_comments() {
        let text = joined(None, &addition(&wanted(), &NOTHING).expect("nothing is there"));
        let expected = "# Written by `fumidai init`; every key is in docs/config.md of fumidai.\n\n\
            # What holds for every host and forward that says nothing else.\n[defaults]\nprofile = \"prod\"\n\
            region = \"eu-west-1\"\n\n# `ssh web.prod`, and a target of every command.\n[hosts.\"web.prod\"]\n\
            target = 'tag:Name=web \"prod\"'\nuser = \"ec2-user\"\n\n\
            # `fumidai forward orders`; `fumidai up orders` keeps it, also after a reboot.\n[forwards.orders]\n\
            target = \"web.prod\"\nlocal = \"127.0.0.1:13306\"\nremote = \"orders.cluster-abc.example:3306\"\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_there_stays_and_gets_no_second_one() {
        let wanted = Wanted { forward: None, ..wanted() };
        let present = Present { has_defaults: true, ..NOTHING };
        let text = addition(&wanted, &present).expect("no such host");
        assert!(!text.contains("[defaults]") && text.ends_with("region = \"eu-west-1\"\n"), "{text}");
        let mut host =
            Host { name: "web.prod".into(), target: Some(wanted.target.clone()), ..Host::default() };
        let is_there = addition(&wanted, &Present { host: Some(&host), ..present });
        assert_eq!(is_there.as_deref(), Ok(""));
        host.target = Some("i-0123".into());
        let taken = Taken { table: "hosts", name: "web.prod".into() };
        assert_eq!(addition(&wanted, &Present { host: Some(&host), ..present }), Err(taken));
    }

    #[test]
    fn names_and_ports_are_usable() {
        for (text, name) in
            [("web prod", "web-prod"), ("-a/b-", "a-b"), ("踏み台", "target"), ("i-0123", "i-0123")]
        {
            assert_eq!(name_of(text), name);
        }
        let remote = |host: &str, port| RemoteEnd { host: Some(host.into()), port };
        assert_eq!(usual_name(&remote("10.0.0.9", 5432)), "10.0.0.9");
        assert_eq!(local_text(&usual_local(&remote("db", 5432))), "127.0.0.1:15432");
        assert_eq!(local_text(&usual_local(&remote("db", 60000))), "127.0.0.1:60000");
    }

    #[test]
    fn a_text_without_a_last_line_end_gets_one() {
        assert_eq!(joined(Some("a = 1"), "\nb"), "a = 1\n\nb");
        assert_eq!(joined(Some("\n"), "\nb"), "b");
    }
}
