//! The command `forward`: local listeners, forwarded to ports that a target can reach, until a signal.

mod exec;
mod json_lines;
mod live_terminal;
mod ready;
mod reporter;
mod status;

use std::fs::File;
use std::process::ExitCode;
use std::rc::Rc;

use crate::config::{Config, Environment, Verbosity};
use crate::forward::plan::{ForwardRequest, PlannedForward, plan};
use crate::forward::registry::{Registry, RegistryOptions};
use crate::forward::{ForwardEvent, Listener, Upstream};
use crate::running::ends_quietly;
use crate::session::Interrupts;

use super::args::ForwardArgs;
use super::prompt::prompts_of;
use super::reason;
use super::recording::{Recording, Way};
use super::report::{ExitKind, Report, notes};
use super::runtime::{self, Context};

pub(super) use self::ready::take as take_descriptor;

use self::exec::Exec;
use self::ready::Ready;
use self::reporter::{Listening, Reporter};
use self::status::Status;

/// Runs the command.
pub(super) fn forward(
    args: &ForwardArgs,
    config: &Config,
    environment: &Environment,
    descriptor: Option<(i32, File)>,
) -> ExitCode {
    if let Some(error) = exec::before_name(args, config) {
        return give_up(args, &Report::from(error));
    }
    let plan = match plan(&request(args), config) {
        Ok(plan) => plan,
        Err(error) => return give_up(args, &Report::from(error)),
    };
    let exec = match exec::find(args.exec.as_ref(), &plan) {
        Ok(exec) => exec,
        Err(error) => return Report::from(error).print(),
    };
    let reporter = Reporter::new(config.log.verbosity, args);
    let recording = Recording::start(environment, config.log.verbosity != Verbosity::Quiet);
    let run = async |context: &Context| {
        let command = Command {
            args,
            config,
            plan,
            exec,
            descriptor,
            reporter: reporter.clone(),
            recording: recording.clone(),
            verbosity: config.log.verbosity,
        };
        command.run(environment, context).await
    };
    let result = runtime::run(Interrupts::signals, run);
    recording.finish();
    if let Err(report) = &result {
        reporter.ended(report);
    }
    reporter.finish();
    result.unwrap_or_else(|report| give_up(args, &report))
}

/// Prints why it ends. Supervisors that restart whatever fails get no failure if a restart does not help.
pub(super) fn give_up(args: &ForwardArgs, report: &Report) -> ExitCode {
    let exit = report.print();
    let is_of = |supervisor: &String| ends_quietly(supervisor, report.exit().code());
    if args.supervisor.as_ref().is_some_and(is_of) { ExitKind::Done.into() } else { exit }
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
    config: &'a Config,
    plan: Vec<PlannedForward>,
    exec: Option<Exec>,
    descriptor: Option<(i32, File)>,
    reporter: Rc<Reporter>,
    recording: Rc<Recording>,
    verbosity: Verbosity,
}

impl Command<'_> {
    async fn run(mut self, environment: &Environment, context: &Context) -> Result<ExitCode, Report> {
        reason::require(self.plan.iter_mut().map(|planned| &mut planned.route.config)).await?;
        let status = Status::new(self.args);
        let registry = Registry::new(self.options(environment, context, &status), &self.plan);
        let listeners = self.bind(&registry).await?;
        let ready = self.ready(&listeners);
        ready.listening.iter().for_each(|one| self.reporter.listening(one));
        status.listens(&ready.listening);
        for (listener, upstream) in listeners {
            registry.serve(listener, upstream);
        }
        let exec = self.exec.take();
        tokio::select! {
            failure = registry.fatal_failure() => Err(failure.into()),
            exit = self.stay(&registry, ready, exec, context) => exit,
            () = self.reporter.show(registry.traffic()) => Ok(ExitKind::Done.into()),
            () = status.serve(self.config.runtime_dir.as_deref(), registry.traffic()) => Ok(ExitKind::Done.into()),
        }
    }

    fn options(&self, environment: &Environment, context: &Context, status: &Rc<Status>) -> RegistryOptions {
        let verbosity = self.verbosity;
        let (reporter, recording) = (self.reporter.clone(), self.recording.clone());
        let status = status.clone();
        RegistryOptions {
            sessions: usize::from(self.args.sessions),
            max_destinations: usize::from(self.args.max_sessions),
            observer: Rc::new(move |planned, event| {
                record(&recording, planned, event);
                status.event(planned, event);
                reporter.event(planned, event);
            }),
            prompts: Box::new(move || prompts_of(verbosity)),
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
            name: planned.name.clone(),
            local: listener.name().to_owned(),
            remote: planned.remote(),
            target: planned.target().to_owned(),
        };
        Ready {
            listening: self.plan.iter().zip(listeners).map(listening).collect(),
            ports: listeners.iter().map(|(listener, _)| listener.port()).collect(),
            descriptor: self.descriptor.take(),
            exec: None,
        }
    }

    /// Announces that the forwards are ready, and stays until the command of `--exec` ends.
    async fn stay(
        &self,
        registry: &Registry,
        mut ready: Ready,
        exec: Option<Exec>,
        context: &Context,
    ) -> Result<ExitCode, Report> {
        if self.args.eager {
            registry.open_all().await.map_err(|error| Report::from(&*error))?;
        } else {
            let checks = registry.check_names(&self.plan);
            if exec.is_some() {
                registry.checked(checks).await;
            }
        }
        if let Some(exec) = exec {
            ready.exec = Some(exec.command(registry, ready.listening.first()).await?);
        }
        ready::announce(ready, context).await
    }
}

fn record(recording: &Recording, planned: &PlannedForward, event: &ForwardEvent) {
    match event {
        ForwardEvent::Session(notice) => recording.session(&Way::of_forward(planned), notice),
        ForwardEvent::Life(event) => recording.life(event),
        ForwardEvent::Refused { .. }
        | ForwardEvent::TimedOut { .. }
        | ForwardEvent::SessionFailed { .. }
        | ForwardEvent::DialFailed { .. }
        | ForwardEvent::NameFailed { .. } => {}
    }
}
