//! The pages as a book: every page is in it, mdBook builds it without a warning, and its links hold.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{read, ready, root, run, venv};

/// The files below a folder whose names end so, by their paths from there.
pub fn below(top: &Path, ending: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => drop(found.insert(path.strip_prefix(top).unwrap().to_string_lossy().into_owned())),
            }
        }
    }
    found.retain(|path| path.ends_with(ending));
    found
}

#[test]
fn every_page_is_in_the_summary() {
    let summary = read("docs/SUMMARY.md");
    let listed = summary.split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(str::to_owned);
    let mut pages = below(&root().join("docs"), ".md");
    pages.remove("SUMMARY.md");
    assert_eq!(listed.collect::<BTreeSet<_>>(), pages);
}

/// The values of an attribute in a page.
fn values<'page>(page: &'page str, attribute: &str) -> impl Iterator<Item = &'page str> {
    let start = format!(" {attribute}=\"");
    page.split(&start).skip(1).filter_map(|rest| rest.split('"').next()).collect::<Vec<_>>().into_iter()
}

/// The links of a page within the book: the file, and the id in it.
fn links(folder: &Path, name: &str) -> Vec<(PathBuf, String)> {
    let file = folder.join(name);
    let page = fs::read_to_string(&file).unwrap();
    let inside = values(&page, "href").chain(values(&page, "src")).filter(|link| !link.contains(':'));
    let parts = inside.map(|link| link.split_once('#').unwrap_or((link, "")));
    let target = |path: &str| if path.is_empty() { file.clone() } else { file.with_file_name("").join(path) };
    parts.map(|(path, id)| (target(path), id.to_owned())).collect()
}

#[test]
fn the_book_is_built_without_a_warning_and_its_links_hold() {
    let venv = venv().unwrap_or_else(|| root().join("target/test-venv"));
    let mdbook = venv.join("bin/mdbook");
    if !ready("mdbook", mdbook.is_file()) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let built = run(Command::new(mdbook).args(["build", "docs", "--dest-dir"]).arg(folder.path()));
    let words = String::from_utf8_lossy(&built.stderr);
    assert!(!words.contains("WARN") && !words.contains("ERROR"), "{words}");
    let mut pages = below(folder.path(), ".html");
    // The list of pages is a part of each page. The page of all pages has links as they are in the folders of each, and
    // the page for what is missing has its links from the top of a server.
    for page in ["toc.html", "print.html", "404.html"] {
        assert!(pages.remove(page), "{page}");
    }
    assert!(pages.len() > 30, "{pages:?}");
    let mut seen = 0;
    for page in pages {
        for (file, id) in links(folder.path(), &page) {
            assert!(file.is_file(), "{page}: {}", file.display());
            let has_id = || values(&fs::read_to_string(&file).unwrap(), "id").any(|known| known == id);
            assert!(id.is_empty() || has_id(), "{page}: {}#{id}", file.display());
            seen += 1;
        }
    }
    assert!(seen > 500, "{seen}");
    let index = below(folder.path(), ".js").into_iter().find(|name| name.starts_with("searchindex"));
    let index = fs::read_to_string(folder.path().join(index.expect("a search index"))).unwrap();
    assert!(index.contains("with/ansible.html") && index.contains("ControlPersist"));
}
