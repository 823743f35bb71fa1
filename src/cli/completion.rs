//! The scripts that shells load for completion, and the answers to them.
//!
//! A script asks this program, so that it fits the installed version. `completers` has the values that are completed.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::CompleteEnv;
use clap_complete::env::Shells;

use super::args::{CommandLine, Shell};
use super::report::ExitKind;
use super::stdout;

/// Set by the scripts, to the name of their shell.
const VARIABLE: &str = "FUMIDAI_COMPLETE";

/// clap's own script for bash completes neither `user@name` nor `ecs:…`.
const BASH: &str = include_str!("completion.bash");

/// zsh loads a file of its `fpath` at the first Tab and calls what it takes for a function's body: that must complete,
/// and not only register who does.
const ZSH_AUTOLOAD: &str = r#"
if [ "$funcstack[1]" = "_fumidai" ]; then
    _clap_dynamic_completer_fumidai "$@"
fi
"#;

/// Prints the script of a shell.
pub(super) fn print_script(shell: Shell) -> ExitCode {
    if shell == Shell::Bash {
        return stdout::print(BASH);
    }
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let writer = shells.completer(shell.name()).expect("clap_complete knows these shells");
    let written = writer.write_registration(VARIABLE, "fumidai", "fumidai", "fumidai", &mut script);
    written.expect("a Vec takes every write");
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Zsh {
        script.push_str(ZSH_AUTOLOAD);
    }
    stdout::print(&script)
}

/// Answers a script, if it is one that calls.
pub(super) fn answer(args: &[OsString]) -> Option<ExitCode> {
    let current = std::env::current_dir().ok();
    let completion = CompleteEnv::with_factory(CommandLine::command).var(VARIABLE);
    match completion.try_complete(args.iter().cloned(), current.as_deref()) {
        Ok(true) => Some(ExitKind::Done.into()),
        Ok(false) => None,
        Err(_) => Some(ExitKind::Usage.into()),
    }
}
