//! The page in Japanese has the commands, settings and exit codes of the pages in English.

use fumidai::cli::report::ExitKind;

use crate::{fenced, read};

const PAGE: &str = "docs/ja/README.md";

#[test]
fn its_commands_and_messages_are_those_of_the_readme() {
    let (page, readme) = (read(PAGE), read("README.md"));
    for language in ["sh", "console", "text"] {
        let known = fenced(&readme, language);
        for line in fenced(&page, language) {
            assert!(known.contains(&line), "README.md does not have `{line}`");
        }
    }
    for command in fenced(&readme, "sh") {
        let is_for_developers = command.starts_with("tests/");
        assert!(is_for_developers || page.contains(&command), "{PAGE} does not have `{command}`");
    }
}

#[test]
fn its_ssh_config_is_that_of_the_pages_in_english() {
    let known =
        [fenced(&read("README.md"), "sshconfig"), fenced(&read("docs/hops.md"), "sshconfig")].concat();
    for line in fenced(&read(PAGE), "sshconfig") {
        assert!(known.contains(&line), "neither README.md nor docs/hops.md has `{line}`");
    }
    assert!(read(PAGE).contains(&format!("```sshconfig\n{}```", read("contrib/ssh_config"))));
}

#[test]
fn its_commands_in_tables_exist() {
    let known = read("docs/bastion.md").replace("NAME", "bastion");
    for command in read(PAGE).split('`').filter(|word| word.starts_with("fumidai bastion ")) {
        let words: Vec<&str> = command.split(' ').take(3).collect();
        assert!(known.contains(&words.join(" ")), "docs/bastion.md does not have `{command}`");
    }
}

#[test]
fn it_has_every_exit_code_once() {
    let page = read(PAGE);
    for kind in ExitKind::ALL {
        assert_eq!(page.matches(&format!("\n| {} | ", kind.code())).count(), 1, "exit code {}", kind.code());
    }
}

#[test]
fn it_and_the_readme_lead_to_each_other() {
    assert!(read("README.md").contains("[日本語](docs/ja/README.md)"));
    assert!(read(PAGE).contains("[English](../../README.md)"));
}
