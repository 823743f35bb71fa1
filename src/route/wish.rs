//! PURE: what the config file and the flags ask for beside the route.

use std::time::Duration;

use crate::config::{Config, Host, TaskSettings};

use super::{Machine, Route};

/// The default of `stop_grace`: two looks of the guardian.
const GRACE: Duration = Duration::from_secs(2 * 60);
/// The default of `stop_after`.
const LIMIT: Duration = Duration::from_secs(12 * 60 * 60);
/// The `guardian` that is no state machine.
const NO_GUARDIAN: &str = "none";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The machine that the session is opened to, as the user names it.
    pub host: String,
    /// Start it when it is stopped.
    pub start: bool,
    /// Watch and stop it even if it runs already.
    pub always: bool,
    /// The state machine; `None` starts and stops nothing by one.
    pub guardian: Option<String>,
    /// The time without a session after which it is stopped.
    pub grace: Duration,
    /// The time after its start when it is stopped in any case.
    pub limit: Duration,
    /// The time to wait for it.
    pub timeout: Duration,
    /// The reason that the user gave.
    pub reason: Option<String>,
    /// The task that it is.
    pub task: Option<TaskSettings>,
    /// The groups to lend, in the order of the route.
    pub loans: Vec<Loan>,
}

/// A group that a machine of the route has while a client is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loan {
    /// The machine, as the user names it.
    pub host: String,
    /// The group's id or name.
    pub group: String,
    /// Which interface gets it.
    pub place: LoanPlace,
}

/// How the interface of a machine is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoanPlace {
    /// It is the first interface of the target of the session.
    Target,
    /// It has the address, or the DNS name.
    Address(String),
}

impl Wish {
    /// Takes the wishes of a route. Its first machine can be started; each can have a group.
    pub fn of(route: &Route) -> Self {
        let entry = route.machine(0);
        let host = entry.host();
        let session = &route.config.session;
        let task = host.and_then(|host| host.task.clone());
        let asked = host.is_some_and(|host| host.start || host.task.is_some());
        Self {
            host: entry.label().to_owned(),
            start: route.config.start_by_flag.unwrap_or(asked),
            always: host.is_some_and(|host| host.stop_always),
            guardian: guardian(&route.config),
            grace: host.and_then(|host| host.stop_grace).unwrap_or(GRACE),
            limit: host.and_then(|host| host.stop_after).unwrap_or(LIMIT),
            timeout: session.start_timeout,
            reason: session.reason.clone(),
            task,
            loans: loans(route),
        }
    }

    /// The wishes without a machine: only the guardian is named.
    pub fn of_guardian(config: &Config) -> Self {
        Self {
            host: String::new(),
            start: false,
            always: false,
            guardian: guardian(config),
            grace: GRACE,
            limit: LIMIT,
            timeout: config.session.start_timeout,
            reason: None,
            task: None,
            loans: Vec::new(),
        }
    }

    /// Returns true if a life may be asked for.
    pub fn is_guarded(&self) -> bool {
        self.guardian.is_some() && !self.is_empty()
    }

    /// Returns true if nothing is asked for.
    pub fn is_empty(&self) -> bool {
        !self.start && !self.always && self.loans.is_empty()
    }
}

fn guardian(config: &Config) -> Option<String> {
    Some(config.session.guardian.clone()).filter(|name| name != NO_GUARDIAN)
}

fn loans(route: &Route) -> Vec<Loan> {
    let mut loans: Vec<Loan> = Vec::new();
    for loan in route.machines().enumerate().filter_map(|(number, machine)| loan(number, machine)) {
        // A forward through the goal has it as hop too.
        if loans.iter().all(|other| other.host != loan.host) {
            loans.push(loan);
        }
    }
    loans
}

fn loan(number: usize, machine: &Machine) -> Option<Loan> {
    let group = machine.host().and_then(|host: &Host| host.security_group.clone())?;
    let place = if number == 0 {
        LoanPlace::Target
    } else {
        LoanPlace::Address(machine.address_or_word().to_owned())
    };
    Some(Loan { host: machine.label().to_owned(), group, place })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Flags};

    fn wish(word: &str, text: &str, start: Option<bool>) -> Wish {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("config.toml");
        std::fs::write(&file, text).expect("a file");
        let flags = Flags { config_file: Some(file), start, ..Flags::default() };
        let config = Config::resolve(flags, &Environment::default()).expect(text);
        Wish::of(&Route::new(word, None, &config).expect(word))
    }

    const HOSTS: &str = "
        [defaults]
        guardian = 'mine'
        [hosts.bastion]
        target = 'i-0123'
        start = true
        stop_after = '2h'
        start_timeout = '10m'
        [hosts.app]
        address = '10.0.0.115'
        via = 'bastion'
        security_group = 'SG_Maintenance'
        [hosts.task]
        task = { cluster = 'ops', definition = 'bastion', subnets = 'subnet-1' }
        guardian = 'none'
    ";

    #[test]
    fn the_first_hop_is_started_and_the_goal_has_the_group() {
        let wish = wish("app", HOSTS, None);
        assert!(wish.start && !wish.always && wish.is_guarded());
        assert_eq!((wish.host.as_str(), wish.guardian.as_deref()), ("bastion", Some("mine")));
        assert_eq!((wish.grace, wish.limit), (GRACE, Duration::from_secs(7200)));
        assert_eq!(wish.timeout, Duration::from_secs(600));
        let place = LoanPlace::Address("10.0.0.115".into());
        assert_eq!(wish.loans, [Loan { host: "app".into(), group: "SG_Maintenance".into(), place }]);
    }

    #[test]
    fn a_flag_overrides_the_host() {
        assert!(!wish("app", HOSTS, Some(false)).start);
        let plain = wish("i-0777", HOSTS, Some(true));
        assert_eq!((plain.start, plain.host.as_str(), plain.limit), (true, "i-0777", LIMIT));
        assert!(!wish("i-0777", HOSTS, None).is_guarded());
    }

    #[test]
    fn a_task_is_started_without_being_asked() {
        let wish = wish("task", HOSTS, None);
        assert!(wish.start && wish.task.is_some());
        assert_eq!(wish.guardian, None, "`none` is no state machine");
    }
}
