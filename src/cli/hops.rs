//! The command `connect` to a goal that is behind hops.

use std::process::ExitCode;

use super::chain::Chain;
use super::report::{ExitKind, Report};

/// Joins stdin and stdout to the goal of a chain that has hops.
pub(super) fn connect(chain: &Chain) -> ExitCode {
    let hop = chain.hops.last().map_or("", |hop| hop.place.label());
    let text =
        format!("`{}` is behind `{hop}`, and this version cannot go through hops yet", chain.goal.label());
    Report::new(ExitKind::Failure, text).print()
}
