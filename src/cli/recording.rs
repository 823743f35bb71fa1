//! What a command that opens sessions writes to the record.

use std::cell::RefCell;
use std::rc::Rc;

use crate::audit::{Entry, Recorder, Store, StoreError, stamp};
use crate::bastion::LifeEvent;
use crate::clock;
use crate::config::Environment;
use crate::forward::plan::{ForwardTo, PlannedForward};
use crate::route::Route;
use crate::session::{Notice, OnNotice};

use super::report::notes;
use super::stderr::print_note;

/// The record of one run.
pub(super) struct Recording {
    recorder: RefCell<Option<Recorder>>,
}

/// Where a session leads, as the user asked for it.
#[derive(Clone, Debug)]
pub(super) struct Way {
    word: String,
    /// The host and the port at the end of the route, if they are known before.
    address: Option<String>,
    via: Vec<String>,
}

impl Way {
    /// The way of `connect`.
    pub fn of_route(route: &Route) -> Self {
        let via: Vec<String> = route.hops.iter().map(|hop| hop.machine.label().to_owned()).collect();
        let goal = &route.goal;
        let address = (!via.is_empty()).then(|| format!("{}:{}", goal.address_or_word(), goal.port));
        Self { word: goal.label().to_owned(), address, via }
    }

    /// The way of a forward.
    pub fn of_forward(planned: &PlannedForward) -> Self {
        let way = Self::of_route(&planned.route);
        let remote = match &planned.to {
            ForwardTo::Port(_) => Some(planned.remote()),
            ForwardTo::Proxy => None,
        };
        Self { address: remote.filter(|_| !way.via.is_empty()), ..way }
    }
}

impl Recording {
    /// Starts the record, if there is a folder for it. A failure goes to the log, and to standard error if that is wanted.
    pub fn start(environment: &Environment, is_visible: bool) -> Rc<Self> {
        let on_failure = move |error: &StoreError| {
            let text = notes::of_unwritten_record(error);
            tracing::warn!("{text}");
            if is_visible {
                print_note(&text);
            }
        };
        let store = store(environment);
        let recorder = store.map(|store| Recorder::start(store, Box::new(on_failure)));
        Rc::new(Self { recorder: RefCell::new(recorder) })
    }

    /// Returns what records the events of a way; without one, there is no session.
    pub fn on_notice(self: &Rc<Self>, way: Option<Way>) -> OnNotice {
        let recording = self.clone();
        Rc::new(move |notice| {
            if let Some(way) = &way {
                recording.session(way, notice);
            }
        })
    }

    /// Records an event of a session, if it is a fact.
    pub fn session(&self, way: &Way, notice: &Notice) {
        let Notice::Recorded(fact) = notice else { return };
        let entry = Entry::of_fact(fact);
        if entry.target.is_none() {
            return self.record(entry);
        }
        let address = way.address.clone().or(entry.address);
        self.record(Entry { word: Some(way.word.clone()), via: way.via.clone(), address, ..entry });
    }

    /// Records an event of a bastion, if it is one to keep.
    pub fn life(&self, event: &LifeEvent) {
        if let Some(entry) = Entry::of_life(event) {
            self.record(entry);
        }
    }

    /// Waits a moment until everything is written.
    pub fn finish(&self) {
        if self.recorder.take().is_some_and(|recorder| !recorder.finish()) {
            tracing::warn!("the record may lack its last lines: the disk does not answer");
        }
    }

    fn record(&self, entry: Entry) {
        if let Some(recorder) = &*self.recorder.borrow() {
            recorder.record(Entry { time: stamp(clock::wall()), ..entry });
        }
    }
}

/// Returns the record of this user; `None` where the system has no folder for it.
pub(super) fn store(environment: &Environment) -> Option<Store> {
    environment.folders.state.as_ref().map(|state| Store::new(state.join("fumidai")))
}
