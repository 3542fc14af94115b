//! Holds the one table of metrics against the names in the sources, both ways, and alerts and dashboard against the table.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    complains, hold,
    house::{Page, page, pages},
};

const TABLE: &str = "deploy/prometheus/METRICS.md";

/// Labels whose values are bounded by configuration or by a closed list.
const LABELS: &[&str] = &[
    "blocked_by",
    "class",
    "code",
    "code_class",
    "criticality",
    "direction",
    "feed",
    "from",
    "kind",
    "level",
    "listener",
    "locality",
    "method",
    "operation",
    "origin",
    "outcome",
    "peer",
    "protocol",
    "reason",
    "result",
    "role",
    "route",
    "rung",
    "service",
    "state",
    "status",
    "to",
    "type",
    "version",
];

/// A row of the table.
struct Metric {
    kind: String,
    labels: Vec<String>,
    room: String,
}

/// The rows of the table by metric name.
fn table(document: &str) -> BTreeMap<String, Metric> {
    let rows = document.lines().filter(|line| line.starts_with("| `landbridge_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 5, "a row has five columns: {row}");
        let labels = cells[2].split([',', ' ', '`']).filter(|label| !label.is_empty() && *label != "–");
        let metric = Metric {
            kind: cells[1].to_owned(),
            labels: labels.map(str::to_owned).collect(),
            room: cells[4].to_owned(),
        };
        (cells[0].trim_matches('`').to_owned(), metric)
    })
    .collect()
}

/// The metric names that production code writes as whole string literals.
fn written(pages: &[Page]) -> BTreeSet<String> {
    let sources = pages.iter().filter(|page| page.is(&[".rs"]) && page.path.contains("/src/"));
    let sources = sources.filter(|page| !page.path.starts_with("tests/"));
    sources.flat_map(|page| names(page.parts().0, '"', '"')).collect()
}

/// Every `landbridge_…` between the two marks.
fn names(text: &str, before: char, after: char) -> BTreeSet<String> {
    let starts = text.match_indices("landbridge_").map(|(at, _)| at);
    starts
        .filter(|at| text[..*at].ends_with(before))
        .filter_map(|at| {
            let end =
                text[at..].find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))?;
            text[at + end..].starts_with(after).then(|| text[at..at + end].to_owned())
        })
        .collect()
}

/// Complains where the names in the sources and the names in the table are not the same.
fn apart(table: &BTreeMap<String, Metric>, written: &BTreeSet<String>) -> Vec<String> {
    let unlisted = written.iter().filter(|name| !table.contains_key(*name));
    let unwritten = table.keys().filter(|name| !written.contains(*name));
    unlisted
        .map(|name| format!("{TABLE} does not list {name}"))
        .chain(unwritten.map(|name| format!("no source writes {name}")))
        .collect()
}

/// Complains about names, types and labels that break the conventions.
fn ill_named(table: &BTreeMap<String, Metric>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, metric) in table {
        let counts = name.ends_with("_total");
        if !matches!(metric.kind.as_str(), "counter" | "gauge" | "histogram") {
            complaints.push(format!("{name} has the unknown type {}", metric.kind));
        }
        if counts != (metric.kind == "counter") {
            complaints.push(format!("{name} is a {}: counters, and only they, end in _total", metric.kind));
        }
        if metric.kind == "histogram" && !name.ends_with("_seconds") && !name.ends_with("_bytes") {
            complaints.push(format!("{name} measures, but does not end in its base unit"));
        }
        if metric.room.is_empty() {
            complaints.push(format!("{name} belongs to no room"));
        }
        let free = metric.labels.iter().filter(|label| !LABELS.contains(&label.as_str()));
        complaints.extend(free.map(|label| format!("{name} has the unbounded or unknown label {label}")));
    }
    complaints
}

/// Complains about metrics that a rule or a panel asks for and no source writes.
fn asked_in_vain(asked: &Page, table: &BTreeMap<String, Metric>) -> Vec<String> {
    let mut words: Vec<&str> = asked
        .text
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .filter(|word| word.starts_with("landbridge_"))
        .collect();
    words.sort_unstable();
    words.dedup();
    let known = |word: &str| {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
        let is_histogram = |name| table.get(name).is_some_and(|metric| metric.kind == "histogram");
        table.contains_key(word) || base.is_some_and(is_histogram)
    };
    let vain = words.into_iter().filter(|word| !known(word));
    vain.map(|word| format!("{} asks for {word}, which no source writes", asked.path)).collect()
}

#[test]
fn the_table_lists_exactly_the_metrics_that_the_sources_write() {
    hold(&apart(&table(&page(TABLE)), &written(&pages())));
}

#[test]
fn metric_names_types_and_labels_follow_the_conventions() {
    hold(&ill_named(&table(&page(TABLE))));
}

#[test]
fn alerts_and_dashboard_ask_only_for_metrics_that_exist() {
    let table = table(&page(TABLE));

    for path in ["deploy/prometheus/alerts.yml", "deploy/grafana/landbridge.json"] {
        hold(&asked_in_vain(&Page::new(path, &page(path)), &table));
    }
}

const ROW: &str = "| `landbridge_feed_lag_seconds` | gauge | `origin` | how far behind | carrier |";

#[test]
fn a_metric_missing_on_either_side_is_named() {
    let source = "gauge!(\"landbridge_feed_age_seconds\");\n#[cfg(test)]\nmod tests {\n\"landbridge_runtime_test_total\" }";
    let written = written(&[Page::new("registry/carrier/src/metrics.rs", source)]);

    assert_eq!(
        apart(&table(ROW), &written),
        [
            format!("{TABLE} does not list landbridge_feed_age_seconds"),
            "no source writes landbridge_feed_lag_seconds".to_owned(),
        ]
    );
}

#[test]
fn a_metric_that_breaks_the_conventions_is_named() {
    hold(&ill_named(&table(ROW)));
    complains(
        &ill_named(&table(&ROW.replace("gauge", "counter"))),
        "landbridge_feed_lag_seconds is a counter: counters, and only they, end in _total",
    );
    complains(
        &ill_named(&table(&ROW.replace("`origin`", "`origin`, `instance`"))),
        "landbridge_feed_lag_seconds has the unbounded or unknown label instance",
    );
}

#[test]
fn a_query_for_a_metric_that_is_not_written_is_named() {
    let rule = Page::new(
        "alerts.yml",
        "expr: landbridge_feed_lag_seconds > rate(landbridge_feed_lag_seconds_bucket[5m])",
    );

    complains(
        &asked_in_vain(&rule, &table(ROW)),
        "alerts.yml asks for landbridge_feed_lag_seconds_bucket, which no source writes",
    );
}
