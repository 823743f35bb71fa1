//! The driver on paused time: the service, the agent and the local end are played in memory.
//!
//! One assertion is in all of them, see [`progress`]: the loop never wakes up twice without progress.

mod agent;
mod bench;
mod closing;
mod floods;
mod leaving;
mod local;
mod outages;
mod progress;
mod service;
mod start;
mod transfers;
