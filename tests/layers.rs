//! The shape of `src/`: folders are layers, arrows point downwards only, and no circle is left inside a layer.
//!
//! Reads `use` lines and paths, with re-exports resolved to the file that defines the item. A `mod.rs` and its own children
//! do not count, and neither do tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The folders and files of `src/` that carry the program, from the top down.
const LAYERS: [&str; 23] = [
    "cli",
    "doctor",
    "audit",
    "running",
    "forward",
    "reach",
    "keys",
    "bastion",
    "route",
    "config",
    "names",
    "session",
    "jump",
    "aws",
    "transport",
    "channel",
    "mux",
    "cache",
    "clock",
    "escape",
    "private_file",
    "region",
    "whole_file",
];

/// Layers that import less than what is below them.
const NARROW: [(&str, &[&str]); 12] = [
    ("running", &["running", "clock", "escape", "whole_file"]),
    ("audit", &["audit", "bastion", "session", "aws", "clock", "escape", "private_file"]),
    ("keys", &["keys", "names", "jump", "aws", "clock"]),
    ("bastion", &["bastion", "route", "config", "names", "aws", "clock"]),
    ("route", &["route", "config", "names", "aws"]),
    ("config", &["config", "names", "clock", "region"]),
    ("jump", &["jump", "clock", "escape"]),
    ("names", &["names", "aws", "cache", "clock"]),
    ("channel", &["channel"]),
    ("mux", &["mux"]),
    ("cache", &["cache", "private_file"]),
    ("clock", &["clock"]),
];

type Module = Vec<String>;

/// The modules of the crate with their code, and what each re-exports.
struct Tree {
    code: BTreeMap<Module, String>,
    reexports: BTreeMap<Module, Module>,
}

impl Tree {
    fn read() -> Self {
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut code = BTreeMap::new();
        for file in files(&source) {
            let path = file.strip_prefix(&source).expect("a file below src");
            if let Some(module) = module_of(path) {
                code.insert(module, code_of(&fs::read_to_string(&file).expect("a source file")));
            }
        }
        let mut tree = Self { code, reexports: BTreeMap::new() };
        for (module, code) in &tree.code {
            for path in uses(code, true) {
                let path = absolute(module, &path).unwrap_or_else(|| [module.as_slice(), &path].concat());
                let name = path.last().expect("a path has a last segment").clone();
                tree.reexports.insert([module.as_slice(), &[name]].concat(), path);
            }
        }
        tree
    }

    /// Finds the module that defines what a path names; `None` is another crate.
    fn resolve(&self, path: &[String], depth: usize) -> Option<Module> {
        if depth > 8 {
            return None;
        }
        if let Some(target) = self.reexports.get(path).filter(|_| !self.code.contains_key(path)) {
            return self.resolve(target, depth + 1);
        }
        let end = (1..=path.len()).rev().find(|&end| self.code.contains_key(&path[..end]))?;
        match path.get(..=end).and_then(|item| self.reexports.get(item)) {
            Some(target) => self.resolve(&[target.as_slice(), &path[end + 1..]].concat(), depth + 1),
            None => Some(path[..end].to_vec()),
        }
    }

    /// Returns the modules that a module imports or names.
    fn imports(&self, module: &Module) -> BTreeSet<Module> {
        let code = &self.code[module];
        let paths = uses(code, false).into_iter().chain(inline_paths(code));
        let found = paths.filter_map(|path| self.resolve(&absolute(module, &path)?, 0));
        found.filter(|other| other != module).collect()
    }

    /// Returns the imports of each module of a layer within that layer.
    fn graph(&self, layer: &str) -> BTreeMap<&Module, BTreeSet<Module>> {
        let modules = self.code.keys().filter(|module| module[0] == layer);
        let within = |module: &Module| {
            let all = self.imports(module).into_iter();
            all.filter(|other| other[0] == layer && !is_parent(module, other) && !is_parent(other, module))
                .collect()
        };
        modules.map(|module| (module, within(module))).collect()
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Returns the module of a file, unless it is a test or a root.
fn module_of(path: &Path) -> Option<Module> {
    let mut parts: Module =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let is_root = ["lib", "main", "bin"].contains(&parts[0].as_str());
    let is_rust = path.extension().is_some_and(|extension| extension == "rs");
    if is_root || !is_rust || parts.iter().any(|part| part == "tests") {
        return None;
    }
    if parts.last().is_some_and(|part| part == "mod") {
        parts.pop();
    }
    Some(parts)
}

/// Returns the lines before the tests, without comments.
fn code_of(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = text.lines();
    lines.filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// Returns the paths of all `use` items, or of the re-exporting ones.
fn uses(code: &str, reexports: bool) -> Vec<Module> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let before = code[..at].rsplit(['\n', ';', '{', '}']).next().unwrap_or_default().trim();
        let is_use =
            before.is_empty() || before == "pub" || (before.starts_with("pub(") && before.ends_with(')'));
        if !is_use || (reexports && before.is_empty()) {
            continue;
        }
        let item: String = code[at + 4..].split(';').next().unwrap_or_default().split_whitespace().collect();
        found.extend(expand(&item));
    }
    found
}

/// Splits `a::{b, c::{d}}` into `a::b` and `a::c::d`.
fn expand(item: &str) -> Vec<Module> {
    let Some((prefix, inner)) = item.strip_suffix('}').and_then(|item| item.split_once('{')) else {
        return vec![item.split("::").map(str::to_owned).collect()];
    };
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, character) in inner.char_indices().chain([(inner.len(), ',')]) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if at > start {
                    found.extend(expand(&format!("{prefix}{}", &inner[start..at])));
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

/// Returns the paths in code that start at the crate or at a parent.
fn inline_paths(code: &str) -> Vec<Module> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = code.split(|c| !is_part(c));
    let roots = ["crate::", "super::", "self::"];
    let paths = words.filter(|word| roots.iter().any(|root| word.starts_with(root)));
    paths.map(|path| path.trim_end_matches(':').split("::").map(str::to_owned).collect()).collect()
}

fn absolute(module: &[String], path: &[String]) -> Option<Module> {
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([module, &path[1..]].concat()),
        "super" => {
            let up = path.iter().take_while(|part| *part == "super").count();
            Some([module.get(..module.len().checked_sub(up)?)?, &path[up..]].concat())
        }
        _ => None,
    }
}

fn is_parent(parent: &Module, child: &Module) -> bool {
    child.len() > parent.len() && child.starts_with(parent)
}

fn shown(module: &Module) -> String {
    module.join("/")
}

/// Follows imports until a module comes again.
fn circle_from<'a>(
    start: &'a Module,
    graph: &'a BTreeMap<&Module, BTreeSet<Module>>,
    path: &mut Vec<&'a Module>,
    done: &mut BTreeSet<&'a Module>,
) -> Option<Vec<String>> {
    if let Some(at) = path.iter().position(|module| *module == start) {
        return Some(path[at..].iter().chain([&start]).map(|module| shown(module)).collect());
    }
    if !done.insert(start) {
        return None;
    }
    path.push(start);
    let found = graph.get(start).into_iter().flatten().find_map(|next| circle_from(next, graph, path, done));
    path.pop();
    found
}

#[test]
fn arrows_only_point_down() {
    let tree = Tree::read();
    let mut wrong = Vec::new();
    for module in tree.code.keys() {
        let Some(place) = LAYERS.iter().position(|layer| *layer == module[0]) else { continue };
        let narrow = NARROW.iter().find(|(layer, _)| *layer == module[0]);
        let allowed = narrow.map_or(&LAYERS[place..], |(_, allowed)| allowed);
        let others = tree.imports(module).into_iter().filter(|other| !allowed.contains(&other[0].as_str()));
        wrong.extend(others.map(|other| format!("{} -> {}", shown(module), shown(&other))));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_circle_is_left_inside_a_layer() {
    let tree = Tree::read();
    for layer in LAYERS.into_iter().chain(["sim"]) {
        let graph = tree.graph(layer);
        let mut done = BTreeSet::new();
        for module in graph.keys() {
            let circle = circle_from(module, &graph, &mut Vec::new(), &mut done);
            assert!(circle.is_none(), "{}", circle.unwrap_or_default().join(" -> "));
        }
    }
}

/// A route is found without asking AWS: it uses AWS's types only.
#[test]
fn a_route_asks_nothing() {
    let tree = Tree::read();
    let asks = |module: &Module| {
        tree.imports(module)
            .into_iter()
            .find(|other| other.join("/") == "names/lookup" || *other == ["names", "cache"])
    };
    for module in tree.code.keys().filter(|module| ["route", "config"].contains(&module[0].as_str())) {
        assert_eq!(asks(module), None, "{}", shown(module));
    }
}

#[test]
fn every_layer_is_listed() {
    let tree = Tree::read();
    let found: BTreeSet<&str> = tree.code.keys().map(|module| module[0].as_str()).collect();
    assert_eq!(found, LAYERS.into_iter().chain(["fuzz", "sim"]).collect());
}

#[test]
fn the_simulator_shares_nothing_with_the_protocol() {
    let tree = Tree::read();
    for module in tree.code.keys().filter(|module| module[0] == "sim") {
        let shared =
            tree.imports(module).into_iter().find(|other| ["channel", "mux"].contains(&other[0].as_str()));
        assert_eq!(shared, None, "{}", shown(module));
    }
}
