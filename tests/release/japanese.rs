//! The pages in Japanese have the commands, settings, links and exit codes of the pages in English.

use std::collections::BTreeSet;
use std::path::Path;

use fumidai::cli::report::ExitKind;

use crate::{fenced, folder, read, root};

/// Each page in Japanese, and the page in English that it is about.
const PAGES: [(&str, &str); 5] = [
    ("README.ja.md", "README.md"),
    ("docs/ja/start.md", "README.md"),
    ("docs/ja/bastion.md", "docs/bastion.md"),
    ("docs/ja/databases.md", "docs/databases.md"),
    ("docs/ja/errors.md", "docs/errors.md"),
];

/// The lines of the blocks of that language on all pages in English.
fn known(language: &str) -> BTreeSet<String> {
    let docs = folder("docs").into_iter().filter(|path| path.extension().is_some_and(|end| end == "md"));
    let pages = docs.chain([root().join("README.md")]);
    pages.flat_map(|path| fenced(&read(path), language)).collect()
}

/// The files and addresses that a page links to, in the form that they have from the top.
fn links(page: &str) -> BTreeSet<String> {
    let folder = Path::new(page).parent().unwrap();
    let text = read(page);
    let prose: String = text.split("```").step_by(2).collect();
    let found = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = found.map(|link| link.split('#').next().unwrap_or_default()).filter(|link| !link.is_empty());
    files
        .map(|link| if link.starts_with("https://") { link.to_owned() } else { from_top(folder, link) })
        .collect()
}

fn from_top(folder: &Path, link: &str) -> String {
    let mut parts: Vec<&str> = folder.iter().filter_map(|part| part.to_str()).collect();
    for part in link.split('/') {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[test]
fn every_page_in_japanese_is_compared() {
    let in_folder =
        folder("docs/ja").into_iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
    let compared = PAGES.iter().filter_map(|(page, _)| page.strip_prefix("docs/ja/")).map(str::to_owned);
    assert_eq!(in_folder.collect::<BTreeSet<_>>(), compared.collect());
}

#[test]
fn their_commands_settings_and_messages_are_those_of_the_pages_in_english() {
    for language in ["sh", "console", "text", "sshconfig", "toml"] {
        let known = known(language);
        for (page, _) in PAGES {
            for line in fenced(&read(page), language) {
                let is_known = known.contains(&line);
                assert!(is_known, "no page in English has `{line}` of {page}");
            }
        }
    }
}

#[test]
fn the_readme_in_japanese_has_every_command_and_setting_of_the_readme() {
    for language in ["sh", "console", "text", "sshconfig", "toml"] {
        assert_eq!(
            fenced(&read("README.ja.md"), language),
            fenced(&read("README.md"), language),
            "{language}"
        );
    }
}

#[test]
fn the_readme_in_japanese_links_to_what_the_readme_links_to() {
    let about = |page: &str| {
        let english = PAGES.iter().find(|(japanese, _)| *japanese == page).map(|(_, english)| *english);
        english.unwrap_or(page).to_owned()
    };
    let japanese: BTreeSet<String> = links("README.ja.md").iter().map(|link| about(link)).collect();
    let english: BTreeSet<String> = links("README.md").iter().map(|link| about(link)).collect();
    assert_eq!(japanese, english);
}

#[test]
fn pages_lead_to_each_other() {
    for (page, english) in PAGES {
        assert!(links(page).contains(english), "{page} does not link to {english}");
        let leads_here = links(english).contains(page) || links("README.ja.md").contains(page);
        assert!(leads_here, "{page} cannot be found");
    }
    for page in ["docs/bastion.md", "docs/databases.md", "docs/errors.md"] {
        assert!(read(page).contains("[日本語](ja/"), "{page}");
    }
}

#[test]
fn their_commands_in_tables_exist() {
    let known = read("docs/bastion.md").replace("NAME", "bastion");
    for (page, _) in PAGES {
        for command in read(page).split('`').filter(|word| word.starts_with("fumidai bastion ")) {
            let words: Vec<&str> = command.split(' ').take(3).collect();
            assert!(known.contains(&words.join(" ")), "docs/bastion.md does not have `{command}` of {page}");
        }
    }
}

#[test]
fn every_exit_code_has_one_row() {
    let page = read("docs/ja/errors.md");
    let (_, table) = page.split_once("| コード | 意味 |").unwrap();
    let (table, causes) = table.split_once("\n\n").unwrap();
    for kind in ExitKind::ALL {
        assert_eq!(table.matches(&format!("\n| {} | ", kind.code())).count(), 1, "exit code {}", kind.code());
    }
    let codes: BTreeSet<String> = ExitKind::ALL.iter().map(|kind| kind.code().to_string()).collect();
    let rows = causes.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
    let numbers = rows.filter(|cell| cell.starts_with(|c: char| c.is_ascii_digit()));
    assert!(numbers.clone().count() > 5 && numbers.into_iter().all(|code| codes.contains(code)));
}
