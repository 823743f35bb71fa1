//! The command `forward`: local listeners that lead to ports behind a target, until somebody ends it.

mod lines;
mod plan;
mod ready;
mod sinks;
mod tell;
mod tower;

use std::fs::File;
use std::io::ErrorKind;
use std::process::ExitCode;
use std::rc::Rc;

use tokio::task::LocalSet;

use crate::config::{Config, Environment};
use crate::forward::{BindError, Listener};
use crate::session::{Interrupt, Interrupts};

use super::args::ForwardArgs;
use super::report::{ExitKind, Report};

use self::plan::{Planned, plan};
use self::ready::Ready;
use self::sinks::Sinks;
use self::tell::{Listening, Teller};

/// Runs the command.
pub(super) fn forward(args: &ForwardArgs, config: &Config, environment: &Environment) -> ExitCode {
    let plan = match plan(args, config) {
        Ok(plan) => plan,
        Err(report) => return report.print(),
    };
    let descriptor = match args.ready_fd.map(ready::take).transpose() {
        Ok(descriptor) => descriptor,
        Err(report) => return report.print(),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Report::new(ExitKind::Failure, format!("cannot start: {error}")).print(),
    };
    let teller = Teller::new(config.log.verbosity, args);
    let result = LocalSet::new().block_on(&runtime, run(args, plan, descriptor, teller.clone(), environment));
    runtime.shutdown_background();
    if let Err(report) = &result {
        teller.ended(report);
    }
    teller.finish();
    match result {
        Ok(exit) => exit,
        Err(report) => report.print(),
    }
}

async fn run(
    args: &ForwardArgs,
    plan: Vec<Planned>,
    descriptor: Option<File>,
    teller: Rc<Teller>,
    environment: &Environment,
) -> Result<ExitCode, Report> {
    let cannot_listen = |error| Report::new(ExitKind::Failure, format!("cannot listen to signals: {error}"));
    let mut interrupts = Interrupts::signals().map_err(cannot_listen)?;
    let sinks = Sinks::new(args, &plan, teller.clone());
    let mut listening = Vec::new();
    let mut listeners = Vec::new();
    for planned in &plan {
        let listener = Listener::bind(&planned.bind).await.map_err(|error| of_bind(&error))?;
        let told = Listening {
            local: listener.name().to_owned(),
            remote: planned.remote(),
            target: planned.chain.goal.label().to_owned(),
        };
        if listener.is_wide() {
            warn_of_width(&told, &teller);
        }
        listeners.push((listener, sinks.sink(planned, environment).await?));
        listening.push(told);
    }
    listening.iter().for_each(|one| teller.listening(one));
    let ports: Vec<Option<u16>> = listeners.iter().map(|(listener, _)| listener.port()).collect();
    for (listener, sink) in listeners {
        sinks.serve(listener, sink);
    }
    let ready = Ready { listening, ports, descriptor, exec: args.exec.clone() };
    let exit = tokio::select! {
        interrupt = interrupts.next() => Ok(of_interrupt(interrupt)),
        report = sinks.hopeless() => Err(report),
        exit = stay(&sinks, &plan, args.eager, ready) => exit,
        () = teller.show(sinks.traffic()) => Ok(ExitKind::Done.into()),
    };
    sinks.end().await;
    exit
}

/// Gets ready, and then stays until what is to be run has ended.
async fn stay(sinks: &Sinks, plan: &[Planned], eager: bool, ready: Ready) -> Result<ExitCode, Report> {
    if eager {
        sinks.open_all().await?;
    } else {
        let checks = sinks.check_names(plan);
        if ready.exec.is_some() {
            // Nothing is run in vain.
            sinks.checked(checks).await;
        }
    }
    ready::announce(ready, sinks.leave(), sinks.tasks()).await
}

fn of_interrupt(interrupt: Interrupt) -> ExitCode {
    match interrupt {
        Interrupt::Signal(number) => ExitKind::Signal(number).into(),
        Interrupt::ReaderGone => ExitKind::READER_GONE.into(),
    }
}

fn of_bind(error: &BindError) -> Report {
    let report = Report::new(ExitKind::Failure, error.to_string());
    let kind = error.source.kind();
    if kind == ErrorKind::AddrInUse {
        return report.hint("another program listens there; port 0 takes a free one");
    }
    if kind == ErrorKind::PermissionDenied {
        return report.hint("ports below 1024 are for root: take a higher one");
    }
    report
}

fn warn_of_width(listening: &Listening, teller: &Teller) {
    let Listening { local, remote, .. } = listening;
    let text = format!("whoever reaches {local} reaches {remote}: it is not bound to loopback");
    tracing::warn!("{text}");
    teller.say(&text);
}
