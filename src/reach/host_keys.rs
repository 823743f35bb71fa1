//! The host keys of a machine from the source that its host names, in place of known_hosts.
//!
//! The keys are kept for each target id, so that the source is asked at the first login only. A key that is not the kept
//! one is refused, whether the machine offers it or the source has it now.

use russh::keys::PublicKey;

use crate::aws::{Access, ApiError, ConsoleTime};
use crate::clock;
use crate::config::HostKeySource;
use crate::jump::{self, Allowed, HopSettings, JumpError, TrustedKeys};
use crate::names::{Target, TargetKind};
use crate::route::Machine;

use super::entry::find_target;
use super::fall_back::Attempt;
use super::host_key_cache::HostKeyCache;
use super::{HostKeysError, Reach, ReachError};

/// How the host keys of the goal are asked for.
#[derive(Clone, Debug)]
pub struct HostKeyQuery {
    /// The source; `None` is that of the host, else the session.
    pub source: Option<HostKeySource>,
    /// Asks the source even if keys are kept, and replaces these.
    pub renew: bool,
    /// The name in known_hosts.
    pub name: String,
    /// The key that the machine has offered.
    pub offered: Option<PublicKey>,
}

/// One question about a machine.
struct Question<'a> {
    number: usize,
    source: &'a HostKeySource,
    /// What is known as the machine; `None` is a task.
    target: Option<Target>,
    /// A session can be opened to the target at once.
    is_ready: bool,
    /// The port of its sshd.
    port: u16,
    /// The types of keys of which one is needed.
    allowed: Allowed,
    renew: bool,
    /// The name in known_hosts.
    name: &'a str,
}

impl Reach {
    /// Returns the host keys of the goal: the kept ones, else those of the source.
    ///
    /// # Errors
    /// [`ReachError`]; an offered key that is another one is [`JumpError::HostKeyOfSource`].
    pub async fn host_keys(&self, query: &HostKeyQuery) -> Result<TrustedKeys, ReachError> {
        let number = self.route().hops.len();
        let machine = self.route().machine(number);
        let of_host = machine.host().and_then(|host| host.host_keys.as_ref());
        let question = Question {
            number,
            source: query.source.as_ref().or(of_host).unwrap_or(&HostKeySource::Session),
            target: self.target_of(number).await?,
            is_ready: false,
            port: machine.port,
            allowed: query.offered.as_ref().map(jump::same_type).unwrap_or_default(),
            renew: query.renew,
            name: &query.name,
        };
        let keys = self.located(self.answer(&question).await).await?;
        if let Some(offered) = &query.offered {
            keys.check(offered, machine.label(), &query.name)?;
        }
        Ok(keys)
    }

    /// Adds the host keys of a machine to how to log in to it, if its host names their source. `entry` is the target of the
    /// session that is open.
    pub(super) async fn trusting(
        &self,
        number: usize,
        mut login: HopSettings,
        entry: &Target,
    ) -> Result<HopSettings, ReachError> {
        let machine = self.route().machine(number);
        let Some(source) = machine.host().and_then(|host| host.host_keys.as_ref()) else { return Ok(login) };
        let target = if number == 0 { Some(entry.clone()) } else { self.target_of(number).await? };
        let question = Question {
            number,
            source,
            target,
            is_ready: number == 0,
            port: login.port,
            allowed: login.host_key_algorithms.clone(),
            renew: false,
            name: &login.known_as(),
        };
        login.trusted = Some(self.answer(&question).await?);
        Ok(login)
    }

    /// Finds what a machine is, stopped or not. A task has no target here.
    async fn target_of(&self, number: usize) -> Result<Option<Target>, ReachError> {
        let machine = self.route().machine(number);
        if machine.host().is_some_and(|host| host.task.is_some()) {
            return Ok(None);
        }
        let destination = match number {
            0 => self.route().entry.clone(),
            _ => machine.destination().map_err(HostKeysError::Target)?,
        };
        match find_target(self.aws(), self.route(), &destination, clock::now()).await {
            Err(ReachError::Stopped(stopped)) => Ok(Some(stopped.target)),
            found => found.map(Some),
        }
    }

    async fn answer(&self, question: &Question<'_>) -> Result<TrustedKeys, ReachError> {
        self.refuse_behind_hop(question)?;
        let cache = HostKeyCache::new(self.route().config.cache_dir.clone(), question.place());
        let kept = cache.load();
        let source = question.source_in_words();
        let is_enough = |kept: &&TrustedKeys| kept.source == source && kept.has_allowed(&question.allowed);
        if let Some(kept) = kept.as_ref().filter(is_enough).filter(|_| !question.renew) {
            return Ok(kept.clone());
        }
        let fresh = TrustedKeys { source, keys: self.ask(question).await? };
        let keys = match kept.filter(|_| !question.renew) {
            Some(kept) => {
                let fresh = self.with_kept_type(question, &kept, fresh).await?;
                combined(&kept, fresh, self.route().machine(question.number), question.name)?
            }
            None => fresh,
        };
        cache.store(&keys);
        Ok(keys)
    }

    /// An sshd shows one key for each connection. If that is one of another type than the kept ones, it is asked for those
    /// too: a machine that no longer has them is another one.
    async fn with_kept_type(
        &self,
        question: &Question<'_>,
        kept: &TrustedKeys,
        mut fresh: TrustedKeys,
    ) -> Result<TrustedKeys, ReachError> {
        if *question.source != HostKeySource::Session || kept.shares_type(&fresh) {
            return Ok(fresh);
        }
        match self.ask_sshd(question, &kept.types()).await {
            Ok(key) => fresh.keys.push(key),
            Err(ReachError::Hop(error)) if error.is_no_common_host_key() => {}
            Err(error) => return Err(error),
        }
        Ok(fresh)
    }

    /// A path through a hop does not prove which machine is at its end.
    fn refuse_behind_hop(&self, question: &Question<'_>) -> Result<(), HostKeysError> {
        let hop = question.number.checked_sub(1).map(|before| self.route().machine(before));
        match (question.source, hop) {
            (HostKeySource::Session, Some(hop)) => Err(HostKeysError::BehindHop {
                host: self.route().machine(question.number).label().to_owned(),
                hop: hop.label().to_owned(),
            }),
            _ => Ok(()),
        }
    }

    async fn ask(&self, question: &Question<'_>) -> Result<Vec<PublicKey>, ReachError> {
        tracing::info!(source = %question.source, host = question.name, "asking for host keys");
        match question.source {
            HostKeySource::Session => Ok(vec![self.ask_sshd(question, &question.allowed).await?]),
            HostKeySource::Console => {
                let access = self.aws().access().await?;
                keys_of_console(&access, question.target.as_ref(), self.label_of(question)).await
            }
            HostKeySource::Parameter(name) => {
                let access = self.aws().access().await?;
                keys_of_parameter(&access, name, self.label_of(question)).await
            }
        }
    }

    fn label_of(&self, question: &Question<'_>) -> &str {
        self.route().machine(question.number).label()
    }

    async fn ask_sshd(&self, question: &Question<'_>, allowed: &Allowed) -> Result<PublicKey, ReachError> {
        match question.target.as_ref().filter(|_| question.is_ready) {
            Some(target) => {
                // ssh may ask for these keys while another process waits for an approval: no second request is filed.
                let (target, began) = (target.clone(), clock::now());
                let attempt = Attempt { machine: 0, target, began, is_last: false };
                self.scan(attempt, allowed).await
            }
            None => {
                let ask = async |attempt| self.scan(question.of_same_target(attempt), allowed).await;
                self.with_fall_back(ask).await
            }
        }
    }

    /// Opens a session to the sshd of the entry, and asks it for its host key.
    async fn scan(&self, attempt: Attempt, allowed: &Allowed) -> Result<PublicKey, ReachError> {
        let (stream, session) = self.open_session(attempt).await?;
        let limit = self.route().config.session.connect_timeout;
        match jump::scan(stream, self.route().machine(0).label(), allowed, limit).await {
            Ok(key) => {
                // The key is known, whatever happens to the session.
                let _ = session.close().await;
                Ok(key)
            }
            Err(error) => Err(session.cause_of(error.into()).await),
        }
    }
}

impl Question<'_> {
    /// Returns the key in the cache: `None` for a task, which has new keys each time.
    fn place(&self) -> Option<String> {
        let id = self.target.as_ref()?.id();
        let is_of_port = *self.source == HostKeySource::Session && self.port != 22;
        Some(if is_of_port { format!("[{id}]:{}", self.port) } else { id.to_owned() })
    }

    /// A name may mean another machine meanwhile: the key is that of the machine that it is kept for.
    fn of_same_target(&self, attempt: Attempt) -> Attempt {
        let target = self.target.clone().unwrap_or(attempt.target);
        Attempt { target, ..attempt }
    }

    fn source_in_words(&self) -> String {
        let id = self.target.as_ref().map_or("the task", Target::id);
        match self.source {
            HostKeySource::Console => format!("the console output of {id}"),
            HostKeySource::Session => format!("the sshd of {id}, asked over a session,"),
            HostKeySource::Parameter(name) => format!("parameter {name}"),
        }
    }
}

/// Adds the keys that the source had before. A key of the same type that differs from the kept one is refused, and so are
/// keys among which there is no kept one: the machine was replaced, with keys of other types.
fn combined(
    kept: &TrustedKeys,
    mut fresh: TrustedKeys,
    machine: &Machine,
    name: &str,
) -> Result<TrustedKeys, JumpError> {
    let changed = fresh.keys.iter().find(|key| kept.changed(key).is_some());
    let other = || fresh.keys.first().filter(|_| !kept.shares_key(&fresh));
    if let Some(changed) = changed.or_else(other) {
        kept.check(changed, machine.label(), name)?;
    }
    if kept.source == fresh.source {
        let more = kept.keys.iter().filter(|key| !fresh.keys.contains(key)).cloned();
        let more: Vec<PublicKey> = more.collect();
        fresh.keys.extend(more);
    }
    Ok(fresh)
}

/// Reads the latest output, and if that has no keys, the one from the last start.
async fn keys_of_console(
    access: &Access,
    target: Option<&Target>,
    host: &str,
) -> Result<Vec<PublicKey>, ReachError> {
    let Some(target) = target.filter(|target| target.kind() == TargetKind::Instance) else {
        return Err(HostKeysError::NotAnInstance { host: host.to_owned() }.into());
    };
    let id = target.id().to_owned();
    let failed = call_failed(host, "ec2:GetConsoleOutput");
    let mut has_output = false;
    for time in [ConsoleTime::Latest, ConsoleTime::Posted] {
        let Some(text) = access.console_output(&id, time).await.map_err(failed)? else { continue };
        has_output = true;
        let keys = jump::console_keys(&text);
        if !keys.is_empty() {
            return Ok(keys);
        }
    }
    Err(if has_output { HostKeysError::NoKeysOnConsole { id } } else { HostKeysError::NoConsole { id } }
        .into())
}

/// Returns what adds to an error of a call whom it was for.
fn call_failed(host: &str, action: &'static str) -> impl Fn(ApiError) -> HostKeysError + Copy {
    move |error| HostKeysError::Call { error: Box::new(error), host: host.to_owned(), action }
}

async fn keys_of_parameter(access: &Access, name: &str, host: &str) -> Result<Vec<PublicKey>, ReachError> {
    let name = || name.to_owned();
    let value = access.parameter(&name()).await.map_err(call_failed(host, "ssm:GetParameter"))?;
    let region = || access.region().to_owned();
    let value = value.ok_or_else(|| HostKeysError::NoParameter { name: name(), region: region() })?;
    match jump::listed_keys(&value) {
        keys if keys.is_empty() => Err(HostKeysError::NoKeysInParameter { name: name() }.into()),
        keys => Ok(keys),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment, Flags};

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const TWO: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    const CURVE: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHwf2HMM5TRXvo2SQJjsNkiDD5KqiiNjrGVv3UUh+mMT5RHxiRtOnlqvjhQtBq0VpmpCV/PwUdhOig4vkbqAcEc=";

    fn keys(source: &str, keys: &[&str]) -> TrustedKeys {
        let keys = keys.iter().map(|text| text.parse().expect(text)).collect();
        TrustedKeys { source: source.into(), keys }
    }

    fn combine(kept: &TrustedKeys, fresh: TrustedKeys) -> Result<TrustedKeys, JumpError> {
        let config = Config::resolve(Flags::default(), &Environment::default()).expect("valid");
        combined(kept, fresh, &Machine::new("web", None, &config).expect("valid"), "web")
    }

    #[test]
    fn keys_of_other_types_are_added_and_changed_keys_are_refused() {
        let kept = keys("a", &[ONE]);
        let more = combine(&kept, keys("a", &[CURVE, ONE])).expect("another type");
        assert_eq!(more, keys("a", &[CURVE, ONE]));
        let error = combine(&kept, keys("a", &[CURVE])).expect_err("the kept key is gone");
        assert!(matches!(error, JumpError::HostKeyOfSource { .. }), "{error}");
        let error = combine(&kept, keys("a", &[CURVE, TWO])).expect_err("changed");
        assert!(matches!(error, JumpError::HostKeyOfSource { .. }), "{error}");
    }

    #[test]
    fn another_source_replaces_the_keys_unless_they_have_changed() {
        let kept = keys("a", &[ONE, CURVE]);
        assert_eq!(combine(&kept, keys("b", &[ONE])).expect("the same"), keys("b", &[ONE]));
        assert!(combine(&kept, keys("b", &[TWO])).is_err());
    }
}
