//! The command `forward`: local listeners, forwarded to ports that a target can reach, until a signal.

mod json_lines;
mod live_terminal;
mod ready;
mod reporter;

use std::fs::File;
use std::process::ExitCode;
use std::rc::Rc;

use crate::config::{Config, Environment};
use crate::forward::plan::{ForwardRequest, PlannedForward, plan};
use crate::forward::registry::{Registry, RegistryOptions};
use crate::forward::{Listener, Upstream};
use crate::session::Interrupts;

use super::args::ForwardArgs;
use super::prompt::ask_code;
use super::report::{ExitKind, Report, notes};
use super::runtime::{self, Context};

pub(super) use self::ready::take as take_descriptor;

use self::ready::Ready;
use self::reporter::{Listening, Reporter};

/// Runs the command.
pub(super) fn forward(
    args: &ForwardArgs,
    config: &Config,
    environment: &Environment,
    descriptor: Option<(i32, File)>,
) -> ExitCode {
    let plan = match plan(&request(args), config) {
        Ok(plan) => plan,
        Err(error) => return Report::from(error).print(),
    };
    let reporter = Reporter::new(config.log.verbosity, args);
    let run = async |context: &Context| {
        let command = Command { args, plan, descriptor, reporter: reporter.clone() };
        command.run(environment, context).await
    };
    let result = runtime::run(Interrupts::signals, run);
    if let Err(report) = &result {
        reporter.ended(report);
    }
    reporter.finish();
    runtime::finish(result)
}

fn request(args: &ForwardArgs) -> ForwardRequest<'_> {
    ForwardRequest {
        words: &args.words,
        local: &args.local,
        dynamic: &args.dynamic,
        all: args.all,
        hold: args.hold,
    }
}

struct Command<'a> {
    args: &'a ForwardArgs,
    plan: Vec<PlannedForward>,
    descriptor: Option<(i32, File)>,
    reporter: Rc<Reporter>,
}

impl Command<'_> {
    async fn run(mut self, environment: &Environment, context: &Context) -> Result<ExitCode, Report> {
        let registry = Registry::new(self.options(environment, context), &self.plan);
        let listeners = self.bind(&registry).await?;
        let ready = self.ready(&listeners);
        ready.listening.iter().for_each(|one| self.reporter.listening(one));
        for (listener, upstream) in listeners {
            registry.serve(listener, upstream);
        }
        tokio::select! {
            failure = registry.fatal_failure() => Err(failure.into()),
            exit = self.stay(&registry, ready, context) => exit,
            () = self.reporter.show(registry.traffic()) => Ok(ExitKind::Done.into()),
        }
    }

    fn options(&self, environment: &Environment, context: &Context) -> RegistryOptions {
        let reporter = self.reporter.clone();
        RegistryOptions {
            sessions: usize::from(self.args.sessions),
            max_destinations: usize::from(self.args.max_sessions),
            observer: Rc::new(move |planned, event| reporter.event(planned, event)),
            ask_code: Box::new(ask_code),
            environment: environment.clone(),
            leave: context.leave.clone(),
            tasks: context.tasks.clone(),
        }
    }

    async fn bind(&self, registry: &Registry) -> Result<Vec<(Listener, Upstream)>, Report> {
        let mut listeners = Vec::new();
        for planned in &self.plan {
            let listener = Listener::bind(&planned.bind).await?;
            if listener.is_wide() {
                let text = notes::of_wide_listener(listener.name());
                tracing::warn!("{text}");
                self.reporter.say(&text);
            }
            listeners.push((listener, registry.upstream(planned).await?));
        }
        Ok(listeners)
    }

    fn ready(&mut self, listeners: &[(Listener, Upstream)]) -> Ready {
        let listening = |(planned, (listener, _)): (&PlannedForward, &(Listener, Upstream))| Listening {
            local: listener.name().to_owned(),
            remote: planned.remote(),
            target: planned.target().to_owned(),
        };
        Ready {
            listening: self.plan.iter().zip(listeners).map(listening).collect(),
            ports: listeners.iter().map(|(listener, _)| listener.port()).collect(),
            descriptor: self.descriptor.take(),
            exec: self.args.exec.clone(),
        }
    }

    /// Announces that the forwards are ready, and stays until the command of `--exec` ends.
    async fn stay(&self, registry: &Registry, ready: Ready, context: &Context) -> Result<ExitCode, Report> {
        if self.args.eager {
            registry.open_all().await.map_err(|error| Report::from(&*error))?;
        } else {
            let checks = registry.check_names(&self.plan);
            if ready.exec.is_some() {
                registry.checked(checks).await;
            }
        }
        ready::announce(ready, context).await
    }
}
