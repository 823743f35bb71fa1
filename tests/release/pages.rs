//! The settings of other programs on the pages: they parse.

use std::process::Command;

use crate::book::below;
use crate::{ready, root, run, venv};

/// Parses the blocks of each page that are files of other programs, and prints how many there are.
const PARSE: &str = r"
import configparser, io, json, re, sys, hcl2, yaml
parsers = {
    'ini': lambda text: configparser.ConfigParser(allow_no_value=True).read_string(text),
    'json': json.loads, 'yaml': yaml.safe_load, 'hcl': lambda text: hcl2.load(io.StringIO(text)),
}
count = 0
for page in sys.argv[1:]:
    for language, text in re.findall(r'```(\w+)\n(.*?)```', open(page, encoding='utf-8').read(), re.S):
        if language in parsers:
            try:
                parsers[language](text)
            except Exception as error:
                sys.exit(f'{page}: {language}: {error}')
            count += 1
print(count)
";

#[test]
fn the_files_of_other_programs_on_the_pages_parse() {
    let python = venv().unwrap_or_else(|| root().join("target/test-venv")).join("bin/python");
    let can_parse = Command::new(&python).args(["-c", "import hcl2, yaml"]).output();
    if !ready("python-hcl2", can_parse.is_ok_and(|output| output.status.success())) {
        return;
    }
    let pages = below(&root().join("docs"), ".md").into_iter().map(|page| root().join("docs").join(page));
    let output = run(Command::new(python).args(["-c", PARSE]).args(pages));
    let count: usize = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
    assert!(count >= 5, "{count}");
}
