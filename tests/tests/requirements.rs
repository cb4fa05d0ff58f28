//! Keeps `REQUIREMENTS.md` true. The tests of a requirement are those whose comment names it after `covers:`, the tests of a scenario those
//! whose comment says "Scenario" and its number. `REWRITE=1 cargo test -p quoring-tests --test requirements` writes the columns of tests anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every id there is: the letter of a chapter, and how many rows it has.
const CHAPTERS: [(char, u32); 10] =
    [('P', 15), ('E', 10), ('L', 15), ('S', 8), ('M', 5), ('C', 12), ('D', 9), ('T', 5), ('F', 6), ('R', 15)];
/// Scenarios 1 to this.
const SCENARIOS: u32 = 65;
/// Folders in which tests are looked for.
const FOLDERS: [&str; 11] = [
    "ring/src",
    "ring/tests",
    "core/src",
    "drivers/src",
    "drivers/tests",
    "host-sim/src",
    "host-sim/tests",
    "tests/tests",
    "tests/boards/tests",
    "tests/scenarios",
    "benches/constant/tests",
];
const OPEN: &str = "open";

/// Where a requirement or a scenario is tested: names of tests, by id or number.
#[derive(Default)]
struct Covered {
    requirements: BTreeMap<String, BTreeSet<String>>,
    scenarios: BTreeMap<String, BTreeSet<String>>,
    tests: BTreeSet<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn ids() -> Vec<String> {
    CHAPTERS.iter().flat_map(|&(chapter, rows)| (1..=rows).map(move |row| format!("{chapter}{row}"))).collect()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("a readable folder").path()) {
        match path.extension().and_then(|extension| extension.to_str()) {
            _ if path.is_dir() => files(&path, found),
            Some("rs" | "txt") if !path.ends_with("tests/requirements.rs") => found.push(path),
            _ => {}
        }
    }
}

impl Covered {
    fn collect() -> Self {
        let (mut covered, mut found) = (Self::default(), Vec::new());
        FOLDERS.iter().for_each(|folder| files(&root().join(folder), &mut found));
        for path in found {
            let name = path.strip_prefix(root()).expect("below the root").display().to_string().replace('\\', "/");
            let text = fs::read_to_string(&path).expect("a source of this repository");
            match name.strip_suffix(".txt") {
                Some(script) => covered.script(script, &text),
                None => covered.source(&name, &text),
            }
        }
        covered
    }

    /// The comments at the head of a script.
    fn script(&mut self, name: &str, text: &str) {
        self.tests.insert(name.into());
        text.lines().take_while(|line| line.starts_with('#')).for_each(|line| self.comment(name, line));
    }

    /// A comment belongs to the test below it; inside of one, to that; at the head of a file, to all tests in it.
    fn source(&mut self, file: &str, text: &str) {
        let (mut waiting, mut head, mut inside) = (Vec::new(), Vec::new(), None);
        let (mut tests, mut is_test) = (Vec::new(), false);
        for line in text.lines().map(str::trim) {
            if line.starts_with("//!") {
                head.push(line);
            } else if line.starts_with("///") || line.starts_with("//") && inside.is_none() {
                waiting.push(line);
            } else if line.starts_with("//") {
                self.comment(inside.as_deref().unwrap_or(file), line);
            } else if line.starts_with("#[test") || line.starts_with("#[cfg") {
                is_test |= line.starts_with("#[test");
                inside = None;
            } else if let Some(name) = function(line) {
                let name = format!("{file}::{name}");
                if is_test {
                    self.tests.insert(name.clone());
                    waiting.drain(..).for_each(|comment| self.comment(&name, comment));
                    tests.push(name.clone());
                }
                inside = is_test.then_some(name);
                (waiting, is_test) = (Vec::new(), false);
            } else if line == "}" || !line.starts_with('#') && inside.is_none() && !line.is_empty() {
                waiting.clear();
            }
        }
        for (name, comment) in tests.iter().flat_map(|name| head.iter().map(move |comment| (name, comment))) {
            self.comment(name, comment);
        }
    }

    fn comment(&mut self, test: &str, comment: &str) {
        if let Some((_, listed)) = comment.split_once("covers: ") {
            for id in listed.split(", ").map(|id| id.trim_end_matches('.')) {
                self.requirements.entry(id.into()).or_default().insert(test.into());
            }
        }
        let numbers =
            comment.split("Scenario ").nth(1).or_else(|| comment.split("Scenarios ").nth(1)).unwrap_or_default();
        let is_list = comment.contains("Scenarios ");
        for word in numbers.split([' ', ',']).take(if is_list { 3 } else { 1 }) {
            let number = word.trim_end_matches(['.', ':', ')']);
            if number.parse::<u32>().is_ok() {
                self.scenarios.entry(number.into()).or_default().insert(test.into());
            }
        }
    }
}

/// The name in `fn name(...)`, `async fn name(...)`.
fn function(line: &str) -> Option<&str> {
    let rest = line
        .trim_start_matches("pub ")
        .trim_start_matches("pub(crate) ")
        .trim_start_matches("const ")
        .trim_start_matches("async ");
    rest.strip_prefix("fn ")?.split(['(', '<']).next()
}

/// The rows of the page's tables: key, text, tests.
fn rows(page: &str) -> Vec<(String, String, String)> {
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect::<Vec<_>>();
    let tables = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| id") && !line.starts_with("| number"));
    tables
        .map(cells)
        .map(|cells| (cells[0].clone(), cells[1].clone(), cells.get(2).cloned().unwrap_or_default()))
        .collect()
}

fn tests_of(key: &str, covered: &Covered) -> String {
    let list = covered.requirements.get(key).or_else(|| covered.scenarios.get(key));
    list.map_or(OPEN.into(), |tests| tests.iter().map(|test| format!("`{test}`")).collect::<Vec<_>>().join("<br>"))
}

fn page() -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("REQUIREMENTS.md");
    let page = fs::read_to_string(&path).expect("the page of requirements");
    (path, page)
}

#[test]
fn every_requirement_and_scenario_is_listed_once() {
    let keys: Vec<_> = rows(&page().1).into_iter().map(|(key, ..)| key).collect();
    let expected: Vec<_> = ids().into_iter().chain((1..=SCENARIOS).map(|number| number.to_string())).collect();
    assert_eq!(keys, expected);
    assert!(rows(&page().1).iter().all(|(_, text, _)| !text.is_empty()), "each says what it is about");
}

#[test]
fn every_row_lists_exactly_the_tests_that_name_it() {
    let (covered, (path, page)) = (Covered::collect(), page());
    if std::env::var_os("REWRITE").is_some() {
        let rewritten = page.lines().map(|line| match rows(line).pop() {
            Some((key, text, _)) => format!("| {key} | {text} | {} |\n", tests_of(&key, &covered)),
            None => format!("{line}\n"),
        });
        fs::write(path, rewritten.collect::<String>()).expect("the page of requirements");
        return;
    }
    let wrong: Vec<_> = rows(&page)
        .into_iter()
        .filter(|(key, _, tests)| *tests != tests_of(key, &covered))
        .map(|(key, ..)| key)
        .collect();
    assert!(wrong.is_empty(), "rows {wrong:?} list other tests than name them; run with REWRITE=1");
}

#[test]
fn comments_name_requirements_and_scenarios_that_exist() {
    let (covered, ids) = (Covered::collect(), ids());
    let unknown: Vec<_> = covered.requirements.iter().filter(|(id, _)| !ids.contains(id)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let numbers = covered
        .scenarios
        .keys()
        .filter(|number| number.parse::<u32>().is_ok_and(|number| !(1..=SCENARIOS).contains(&number)));
    assert_eq!(numbers.count(), 0);
}

/// What is built so far: these rows may not become open again.
#[test]
fn what_is_built_is_tested() {
    let built = ["P1..15", "E1..10", "L1..15", "T2..3", "T5..5", "F3..3", "S1..8", "C1..12", "R1..13", "R15..15"];
    let ids =
        built.iter().filter_map(|range| range[1..].split_once("..").map(|(first, last)| (&range[..1], first, last)));
    let ids = ids.flat_map(|(chapter, first, last)| {
        (first.parse::<u32>().expect("a number")..=last.parse().expect("a number"))
            .map(move |row| format!("{chapter}{row}"))
    });
    let covered = Covered::collect();
    let open: Vec<_> = ids.filter(|id| !covered.requirements.contains_key(id)).collect();
    assert!(open.is_empty(), "{open:?}");
    let open: Vec<_> = (1..=33)
        .chain(38..=52)
        .chain(59..=65)
        .filter(|number: &u32| !covered.scenarios.contains_key(&number.to_string()))
        .collect();
    assert!(open.is_empty(), "scenarios {open:?}");
}
