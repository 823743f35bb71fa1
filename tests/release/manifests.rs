//! Workflows, manifests of package managers and settings of tools: they parse, and agree with Cargo.toml.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::{TARGETS, VERSION, folder, manifest, read, ready, root, run, venv};

const YAML: &str =
    "import json, sys, yaml\nprint(json.dumps([yaml.safe_load(open(p)) for p in sys.argv[1:]]))";

/// YAML files as JSON; `None` if PyYAML is not installed.
fn yaml(paths: &[PathBuf]) -> Option<Vec<Value>> {
    let python = venv().unwrap_or_else(|| root().join("target/test-venv")).join("bin/python");
    let has_yaml = Command::new(&python).args(["-c", "import yaml"]).output();
    if !ready("PyYAML", has_yaml.is_ok_and(|output| output.status.success())) {
        return None;
    }
    let output = run(Command::new(python).args(["-c", YAML]).args(paths));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn archive(target: &str) -> String {
    let ending = if target.contains("windows") { "zip" } else { "tar.gz" };
    format!("fumidai-{VERSION}-{target}.{ending}")
}

/// A hash that tells its target.
fn hash(target: &str) -> String {
    let place = TARGETS.iter().position(|known| *known == target).unwrap();
    format!("{place:064x}")
}

/// The manifests of package managers, filled.
fn filled() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let sums: String =
        TARGETS.iter().map(|target| format!("{}  {}\n", hash(target), archive(target))).collect();
    fs::write(folder.path().join("SHA256SUMS"), sums).unwrap();
    run(Command::new("contrib/packages/fill").arg(folder.path().join("SHA256SUMS")).arg(folder.path()));
    folder
}

/// Asserts that a URL and the hash beside it are those of one archive, and returns its target.
fn target_of(url: &str, sum: &str) -> String {
    let named = |target: &&str| {
        url == format!("https://github.com/fumidai/fumidai/releases/download/v{VERSION}/{}", archive(target))
    };
    let target = TARGETS.iter().copied().find(named).unwrap_or_else(|| panic!("{url} is of no target"));
    assert_eq!(sum, hash(target), "{url}");
    target.to_owned()
}

fn targets_with(part: &str) -> BTreeSet<String> {
    TARGETS.iter().filter(|target| target.contains(part)).map(|target| (*target).to_owned()).collect()
}

#[test]
fn the_formula_has_every_archive_of_macos_and_linux() {
    let folder = filled();
    let formula = fs::read_to_string(folder.path().join("homebrew/fumidai.rb")).unwrap();
    let words = |word: &str| {
        let quoted = formula.lines().filter_map(|line| line.trim().strip_prefix(word)?.strip_prefix(" \""));
        quoted.map(|rest| rest.trim_end_matches('"').to_owned()).collect::<Vec<_>>()
    };
    let archives = words("url").into_iter().zip(words("sha256"));
    let targets: BTreeSet<String> = archives.map(|(url, sum)| target_of(&url, &sum)).collect();
    assert_eq!(targets, &targets_with("apple") | &targets_with("linux"));
    assert_eq!(words("version"), [VERSION]);
    let opens = |line: &&str| line.ends_with(" do") || line.starts_with("class ") || line.starts_with("def ");
    let lines: Vec<&str> = formula.lines().map(str::trim).collect();
    let opened = lines.iter().copied().filter(|line| opens(line)).count();
    assert_eq!(opened, lines.iter().filter(|line| **line == "end").count());
    assert!(!formula.contains('@'));
}

#[test]
fn scoop_has_every_archive_of_windows() {
    let folder = filled();
    let text = fs::read_to_string(folder.path().join("scoop/fumidai.json")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(file["version"], VERSION);
    let architectures = file["architecture"].as_object().unwrap();
    let targets: BTreeSet<String> = architectures
        .values()
        .map(|one| {
            let target = target_of(one["url"].as_str().unwrap(), one["hash"].as_str().unwrap());
            assert_eq!(one["extract_dir"], format!("fumidai-{VERSION}-{target}"));
            target
        })
        .collect();
    assert_eq!(targets, targets_with("windows"));
    let updated: BTreeSet<&String> = file["autoupdate"]["architecture"].as_object().unwrap().keys().collect();
    assert_eq!(updated, architectures.keys().collect());
}

#[test]
fn winget_has_every_archive_of_windows() {
    let folder = filled();
    let names = ["", ".locale.en-US", ".installer"];
    let paths: Vec<PathBuf> =
        names.iter().map(|name| folder.path().join(format!("winget/fumidai.fumidai{name}.yaml"))).collect();
    assert_eq!(fs::read_dir(folder.path().join("winget")).unwrap().count(), paths.len());
    let Some(files) = yaml(&paths) else { return };
    for file in &files {
        assert_eq!(
            (&file["PackageIdentifier"], &file["PackageVersion"]),
            (&"fumidai.fumidai".into(), &VERSION.into())
        );
        assert_eq!(file["ManifestVersion"], files[0]["ManifestVersion"]);
    }
    let installers = files[2]["Installers"].as_array().unwrap();
    let targets: BTreeSet<String> = installers
        .iter()
        .map(|one| {
            let url = one["InstallerUrl"].as_str().unwrap();
            let target = target_of(url, one["InstallerSha256"].as_str().unwrap());
            let file = format!("fumidai-{VERSION}-{target}\\fumidai.exe");
            assert_eq!(one["NestedInstallerFiles"][0]["RelativeFilePath"], file);
            target
        })
        .collect();
    assert_eq!(targets, targets_with("windows"));
}

#[test]
fn a_missing_hash_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let sums = folder.path().join("SHA256SUMS");
    fs::write(&sums, "").unwrap();
    let output =
        Command::new(root().join("contrib/packages/fill")).arg(&sums).arg(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("has no hash of fumidai-"), "{words}");
}

#[test]
fn the_version_is_written_in_cargo_toml_only() {
    let files = [folder("contrib/packages/homebrew"), folder("contrib/packages/scoop")].concat();
    let files = [files, folder("contrib/packages/winget"), folder(".github/workflows")].concat();
    let single = ["flake.nix", "action.yml", "contrib/release-check", "contrib/container/Containerfile"];
    for path in files.into_iter().chain(single.iter().map(|path| root().join(path))) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&format!("\"{VERSION}\"")), "{}", path.display());
    }
    let lock: toml::Table = read("Cargo.lock").parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let own = packages.iter().find(|package| package["name"].as_str() == Some("fumidai")).unwrap();
    assert_eq!(own["version"].as_str(), Some(VERSION));
}

#[test]
fn workflows_and_the_action_are_well_formed() {
    let paths = [folder(".github/workflows"), vec![root().join("action.yml")]].concat();
    let Some(files) = yaml(&paths) else { return };
    for (path, file) in paths.iter().zip(&files) {
        let jobs = match file["jobs"].as_object() {
            Some(jobs) => jobs.values().collect(),
            None => vec![&file["runs"]],
        };
        for job in jobs {
            let steps = job["steps"].as_array().unwrap_or_else(|| panic!("{}: no steps", path.display()));
            for step in steps {
                assert!(step["run"].is_string() != step["uses"].is_string(), "{}: {step}", path.display());
                let is_secret = step["run"].as_str().is_some_and(|run| run.contains("${{"));
                assert!(!is_secret, "{}: an expression in a script: {step}", path.display());
            }
        }
    }
}

#[test]
fn actions_of_others_are_pinned_to_commits_with_their_versions_beside() {
    let mut seen = 0;
    for path in [folder(".github/workflows"), vec![root().join("action.yml")]].concat() {
        let text = fs::read_to_string(&path).unwrap();
        let used = text.lines().filter_map(|line| line.split_once("uses: ")).map(|(_, action)| action);
        for action in used.filter(|action| *action != "./") {
            let (_, commit) = action.split_once('@').unwrap();
            let (commit, version) = commit.split_once(" # v").unwrap_or((commit, ""));
            let is_commit = commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
            assert!(is_commit && version.split('.').count() == 3, "{}: {action}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn the_forms_of_issues_have_what_github_asks_for() {
    let paths = folder(".github/ISSUE_TEMPLATE");
    let Some(files) = yaml(&paths) else { return };
    for (path, file) in paths.iter().zip(&files).filter(|(path, _)| !path.ends_with("config.yml")) {
        assert!(file["name"].is_string() && file["description"].is_string(), "{}", path.display());
        let parts = file["body"].as_array().unwrap_or_else(|| panic!("{}: no body", path.display()));
        for part in parts {
            assert!(part["attributes"]["label"].is_string(), "{}: {part}", path.display());
        }
    }
}

#[test]
fn the_release_is_built_for_every_target_and_published_from_tags_only() {
    let Some(files) = yaml(&[root().join(".github/workflows/release.yml")]) else { return };
    let jobs = files[0]["jobs"].as_object().unwrap();
    let matrix = jobs["build"]["strategy"]["matrix"]["include"].as_array().unwrap();
    let targets: BTreeSet<&str> = matrix.iter().map(|one| one["target"].as_str().unwrap()).collect();
    assert_eq!(targets, TARGETS.into_iter().collect());
    assert_eq!(files[0]["permissions"], serde_json::json!({"contents": "read"}));
    assert_eq!(jobs["draft"]["if"], "github.ref_type == 'tag'");
    assert_eq!(
        (&jobs["crate"]["needs"], &jobs["crate"]["environment"]),
        (&"draft".into(), &"release".into())
    );
    for (name, job) in jobs {
        let writes = job["permissions"]["contents"] == "write";
        assert_eq!(writes, name == "draft", "{name}");
    }
}

#[test]
fn the_settings_of_tools_parse_and_name_the_same_targets() {
    let deny: toml::Table = read("deny.toml").parse().unwrap();
    let targets: BTreeSet<&str> =
        deny["graph"]["targets"].as_array().unwrap().iter().filter_map(|target| target.as_str()).collect();
    assert_eq!(targets, TARGETS.into_iter().collect());
    for advisory in deny["advisories"]["ignore"].as_array().unwrap() {
        let id = advisory["id"].as_str().unwrap();
        assert!(read("docs/security.md").contains(id), "docs/security.md does not name {id}");
    }
    let _: toml::Table = read("contrib/packages/rpmlint.toml").parse().unwrap();
    let binstall = &manifest()["package"]["metadata"]["binstall"];
    let zipped = binstall["overrides"].as_table().unwrap();
    assert_eq!(zipped.keys().cloned().collect::<BTreeSet<_>>(), targets_with("windows"));
    for target in TARGETS {
        let format = zipped.get(target).map_or(&binstall["pkg-fmt"], |one| &one["pkg-fmt"]);
        let suffix = if format.as_str() == Some("zip") { ".zip" } else { ".tar.gz" };
        let url = binstall["pkg-url"].as_str().unwrap();
        let name =
            url.rsplit('/').next().unwrap().replace("{ name }", "fumidai").replace("{ version }", VERSION);
        assert_eq!(name.replace("{ target }", target).replace("{ archive-suffix }", suffix), archive(target));
    }
}

/// The words of a text that are paths below `contrib`.
fn contributed(text: &str) -> impl Iterator<Item = &str> {
    let is_of_path = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '@');
    let words =
        text.split(move |c| !is_of_path(c)).map(|word| word.trim_start_matches("./").trim_end_matches('.'));
    words.filter(|word| word.starts_with("contrib/"))
}

#[test]
fn every_script_and_folder_that_is_named_exists() {
    let pages = ["docs/releasing.md", "docs/verify.md", "docs/simulator.md", "flake.nix", "action.yml"];
    let scripts = ["contrib/release-check", "contrib/packages/linux", "contrib/packages/archive"];
    let workflows = [".github/workflows/ci.yml", ".github/workflows/release.yml"];
    for file in pages.iter().chain(&scripts).chain(&workflows) {
        for path in contributed(&read(file)) {
            assert!(Path::exists(&root().join(path)), "{file}: {path}");
        }
    }
}

#[test]
fn the_flake_is_balanced_and_takes_its_version_from_cargo_toml() {
    let flake = read("flake.nix");
    for (opening, closing) in [('{', '}'), ('[', ']'), ('(', ')')] {
        assert_eq!(flake.matches(opening).count(), flake.matches(closing).count(), "{opening}{closing}");
    }
    assert!(
        flake.contains("builtins.readFile ./Cargo.toml") && flake.contains("version = manifest.version;")
    );
}

#[test]
fn the_image_has_the_program_and_the_roots_only() {
    let file = read("contrib/container/Containerfile");
    let lines: Vec<&str> = file.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines[0], "FROM scratch");
    let copied: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("COPY ")).collect();
    assert_eq!(
        copied,
        ["ca-certificates.crt /etc/ssl/certs/ca-certificates.crt", "${TARGETARCH}/fumidai /usr/bin/fumidai"]
    );
    assert!(lines.contains(&"ENTRYPOINT [\"/usr/bin/fumidai\"]"));
    let words = ["FROM", "ARG", "COPY", "ENV", "USER", "ENTRYPOINT", "LABEL"];
    assert!(lines.iter().all(|line| words.contains(&line.split(' ').next().unwrap())));
}
