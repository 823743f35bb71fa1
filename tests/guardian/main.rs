//! The guardian's definition on moto's interpreter, and its templates: runs the Python tests of this folder.
//!
//! Needs `moto`, `jsonata-python`, `python-hcl2` and `cfn-lint` in `target/test-venv` (`FUMIDAI_TEST_VENV` names another
//! folder). If they are not installed, nothing runs; if `FUMIDAI_TEST_VENV` is set, they must be there.

use std::path::PathBuf;
use std::process::Command;

#[expect(clippy::disallowed_methods, reason = "a test's own setting")]
fn python() -> Option<PathBuf> {
    let named = std::env::var_os("FUMIDAI_TEST_VENV").map(PathBuf::from);
    let venv =
        named.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/test-venv"));
    let python = venv.join("bin/python");
    let imports = "import hcl2, jsonata, moto, cfnlint";
    let ready = Command::new(&python).args(["-c", imports]).output().is_ok_and(|done| done.status.success());
    assert!(ready || named.is_none(), "{}: cannot `{imports}`", python.display());
    ready.then_some(python)
}

fn passes(module: &str) {
    let Some(python) = python() else { return };
    let mut command = Command::new(python);
    command
        .args(["-m", "unittest", module])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guardian"));
    command.envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]);
    command.envs([("PYTHONDONTWRITEBYTECODE", "1")]);
    let done = command.output().expect("python starts");
    assert!(done.status.success(), "{module}:\n{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn lives_start_watch_and_stop_what_they_should() {
    passes("test_lives.Lives");
}

#[test]
fn every_failing_call_leaves_nothing_behind() {
    passes("test_lives.Faults");
}

#[test]
fn tasks_live_as_instances_do() {
    passes("test_lives.Tasks");
}

#[test]
fn groups_are_lent_while_a_target_is_watched() {
    passes("test_watching");
}

#[test]
fn successors_go_on_after_the_limit() {
    passes("test_successors");
}

#[test]
fn the_server_for_clients_lives_in_real_time() {
    passes("test_cloud");
}

#[test]
fn random_lives_keep_the_invariants() {
    passes("test_model");
}

#[test]
fn templates_are_well_formed_and_have_the_one_definition() {
    passes("test_templates");
}
