//! The table of the README, and how a measurement compares with it.

use std::fmt;

use anyhow::{Context as _, Result, bail, ensure};

const BEGIN: &str = "<!-- budget -->\n";
const END: &str = "<!-- /budget -->";

/// One number, the smaller the better.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Row {
    name: String,
    value: u64,
    limit: Option<u64>,
}

/// Numbers in the order of the page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Table(Vec<Row>);

impl Row {
    pub(crate) fn new(name: impl Into<String>, value: u64) -> Self {
        Self { name: name.into(), value, limit: None }
    }

    /// It should not be above this; once it is not, it must not be again.
    pub(crate) fn limit(self, limit: u64) -> Self {
        Self { limit: Some(limit), ..self }
    }
}

impl Table {
    pub(crate) fn new(rows: Vec<Row>) -> Self {
        Self(rows)
    }

    /// The table that a page has between its two comments.
    pub(crate) fn of(page: &str) -> Result<Self> {
        let (_, table, _) = split(page)?;
        table.lines().skip(2).map(row).collect::<Result<_>>().map(Self)
    }

    /// The page with this table in the place of its own.
    pub(crate) fn put_into(&self, page: &str) -> Result<String> {
        let (before, _, behind) = split(page)?;
        Ok(format!("{before}{self}{behind}"))
    }

    /// Compares with what is `expected`.
    ///
    /// # Errors
    /// A number is more than 2 % above what is expected, above a limit that was kept, or expected and not there, or the other way round.
    pub(crate) fn check(&self, expected: &Self) -> Result<()> {
        let mut faults = Vec::new();
        for Row { name, value, limit } in &self.0 {
            match expected.0.iter().find(|row| row.name == *name) {
                Some(row) if limit.is_some_and(|limit| row.value <= limit && limit < *value) => {
                    faults.push(format!("{name}: {value}, above the limit, which {} of README.md is not", row.value));
                }
                Some(row) if value * 100 > row.value * 102 => {
                    faults.push(format!("{name}: {value}, more than 2 % above the {} of README.md", row.value));
                }
                Some(_) => {}
                None => faults.push(format!("{name}: not in README.md")),
            }
        }
        let gone = |row: &&Row| self.0.iter().all(|other| other.name != row.name);
        faults.extend(expected.0.iter().filter(gone).map(|row| format!("{}: in README.md only", row.name)));
        ensure!(
            faults.is_empty(),
            "{}\nUpdate the table with `budget --write` and say why in the commit.",
            faults.join("\n")
        );
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | | goal |\n|---|--:|--:|")?;
        for Row { name, value, limit } in &self.0 {
            let limit = limit.map(grouped).unwrap_or_default();
            writeln!(f, "| {name} | {} | {limit} |", grouped(*value))?;
        }
        Ok(())
    }
}

/// A page before the table, the table, and what is behind it.
fn split(page: &str) -> Result<(&str, &str, &str)> {
    let begin = page.find(BEGIN).context("no `<!-- budget -->` in the page")? + BEGIN.len();
    let length = page[begin..].find(END).context("no `<!-- /budget -->` in the page")?;
    Ok((&page[..begin], &page[begin..begin + length], &page[begin + length..]))
}

fn row(line: &str) -> Result<Row> {
    let number = |text: &str| text.replace(',', "").parse();
    let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
    match cells[..] {
        [name, value, ""] => Ok(Row::new(name, number(value)?)),
        [name, value, limit] => Ok(Row::new(name, number(value)?).limit(number(limit)?)),
        _ => bail!("`{line}` is no row of the table"),
    }
}

/// With a comma before each three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(values: &[(&str, u64)]) -> Table {
        Table::new(values.iter().map(|(name, value)| Row::new(*name, *value)).collect())
    }

    #[test]
    fn a_table_goes_into_a_page_and_is_read_from_it() {
        let table = Table::new(vec![Row::new("code", 1_234_567), Row::new("stack", 0).limit(8_192)]);
        let page = "Before\n<!-- budget -->\nold\n<!-- /budget -->\nBehind\n";
        let page = table.put_into(page).unwrap();
        assert_eq!(Table::of(&page).unwrap(), table);
        assert!(page.starts_with("Before\n<!-- budget -->\n| | | goal |\n"), "{page}");
        assert!(page.ends_with("| code | 1,234,567 |  |\n| stack | 0 | 8,192 |\n<!-- /budget -->\nBehind\n"), "{page}");
        assert!(Table::of("no table").is_err());
    }

    #[test]
    fn two_percent_more_than_the_page_says_are_too_much() {
        let page = table(&[("code", 1000), ("stack", 500)]);
        assert!(table(&[("code", 1020), ("stack", 1)]).check(&page).is_ok());
        let told = table(&[("code", 1021), ("stack", 500)]).check(&page).unwrap_err().to_string();
        assert!(told.starts_with("code: 1021, more than 2 % above the 1000 of README.md\nUpdate the table"), "{told}");
    }

    #[test]
    fn a_limit_that_was_kept_must_be_kept() {
        let code = |value| Table::new(vec![Row::new("code", value).limit(1000)]);
        assert!(code(1001).check(&code(1000)).is_err());
        assert!(code(1000).check(&code(1000)).is_ok());
        assert!(code(1001).check(&code(1002)).is_ok(), "it was not");
        assert!(code(1000).check(&code(1002)).is_ok());
    }

    #[test]
    fn a_row_that_one_of_both_does_not_have_is_told() {
        let (one, two) = (table(&[("code", 1)]), table(&[("code", 1), ("stack", 1)]));
        assert!(one.check(&two).is_err() && two.check(&one).is_err());
    }
}
