//! Writes data to stdout: a table for people, JSON for programs, names for shell loops.
//!
//! Invariant: what a tenant wrote cannot steer the terminal: control characters are escaped in tables and names.

use std::io::{self, Write};

use serde_json::Value;

use crate::arguments::Output;
use crate::ending::Trouble;

/// What stands in a cell without a value.
const NOTHING: &str = "-";

/// How a list or an object is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// The fields that become columns, in order.
    pub(crate) columns: &'static [&'static str],
    /// The field that names a row.
    pub(crate) name: &'static str,
}

/// Writes a value to stdout.
pub(crate) fn print(value: &Value, shape: Shape, output: Output) -> Result<(), Trouble> {
    write_out(&render(value, shape, output))
}

/// Writes text to stdout; a reader that has gone is no trouble.
pub(crate) fn write_out(text: &str) -> Result<(), Trouble> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Trouble::failed(format!("cannot write to stdout: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn render(value: &Value, shape: Shape, output: Output) -> String {
    match (output, value) {
        (Output::Json, _) => format!("{value:#}\n"),
        (Output::Name, Value::Array(rows)) => rows.iter().map(|row| line(&cell(row, shape.name))).collect(),
        (Output::Name, other) => line(&cell(other, shape.name)),
        (Output::Table, Value::Array(rows)) => columns(rows, shape.columns),
        (Output::Table, Value::Object(fields)) => {
            let first = shape.columns.iter().filter_map(|column| fields.get_key_value(*column));
            let rest = fields.iter().filter(|(key, _)| !shape.columns.contains(&key.as_str()));
            let width = fields.keys().map(|key| key.chars().count()).max().unwrap_or_default();
            first.chain(rest).map(|(key, value)| line(&format!("{key:width$}  {}", text(value)))).collect()
        }
        (Output::Table, other) => line(&text(other)),
    }
}

fn line(text: &str) -> String {
    format!("{}\n", text.trim_end())
}

fn columns(rows: &[Value], known: &[&str]) -> String {
    // Another role may answer the same question with other fields.
    let own =
        rows.first().and_then(Value::as_object).into_iter().flat_map(|row| row.keys().map(String::as_str));
    let is_strange =
        !rows.is_empty() && rows.iter().all(|row| known.iter().all(|column| row.get(column).is_none()));
    let columns: Vec<&str> = if is_strange { own.collect() } else { known.to_vec() };
    let heads = columns.iter().map(|column| column.to_uppercase().replace('_', " ")).collect();
    let cells = rows.iter().map(|row| columns.iter().map(|column| cell(row, column)).collect());
    let lines: Vec<Vec<String>> = std::iter::once(heads).chain(cells).collect();
    let width =
        |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let padded = |cells: &Vec<String>| -> String {
        let cells: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width)).collect();
        line(&cells.join("  "))
    };
    lines.iter().map(padded).collect()
}

fn cell(row: &Value, column: &str) -> String {
    row.get(column).map_or_else(|| NOTHING.to_owned(), text)
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => NOTHING.to_owned(),
        Value::String(text) if text.is_empty() => NOTHING.to_owned(),
        Value::String(text) => escaped(text),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let pairs = fields.iter().map(|(key, value)| format!("{}={}", escaped(key), text(value)));
            pairs.collect::<Vec<_>>().join(" ")
        }
    }
}

/// Spells out what a terminal would obey: control characters and marks that turn the writing around.
pub(crate) fn escaped(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .flat_map(|c| if steers(c) { c.escape_unicode().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SHAPE: Shape = Shape { columns: &["region", "lag_ms"], name: "region" };

    #[test]
    fn a_list_becomes_columns_as_wide_as_their_longest_cell() {
        let rows = json!([{"region": "east", "lag_ms": 12}, {"region": "far-west", "lag_ms": null}]);

        let table = render(&rows, SHAPE, Output::Table);

        assert_eq!(table, "REGION    LAG MS\neast      12\nfar-west  -\n");
    }

    #[test]
    fn a_list_of_other_things_shows_their_own_fields() {
        let table = render(&json!([{"name": "orders", "endpoints": 2}]), SHAPE, Output::Table);

        assert_eq!(table, "ENDPOINTS  NAME\n2          orders\n");
    }

    #[test]
    fn an_object_becomes_one_line_a_field_with_the_known_ones_first() {
        let table = render(&json!({"alone": true, "region": "east"}), SHAPE, Output::Table);

        assert_eq!(table, "region  east\nalone   yes\n");
    }

    #[test]
    fn names_are_one_a_line() {
        assert_eq!(
            render(&json!([{"region": "east"}, {"region": "west"}]), SHAPE, Output::Name),
            "east\nwest\n"
        );
    }

    #[test]
    fn what_a_tenant_wrote_cannot_steer_the_terminal() {
        let rows = json!([{"region": "a\u{1b}[2Jb\nc\u{202e}", "lag_ms": 1}]);

        let table = render(&rows, SHAPE, Output::Table);

        assert_eq!(table.lines().count(), 2);
        assert!(table.contains("a\\u{1b}[2Jb\\u{a}c\\u{202e}"), "{table}");
    }
}
