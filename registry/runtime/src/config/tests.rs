//! Tests of reading pages: the order of layers, and what is said about mistakes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::*;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    region: String,
    listen: SocketAddr,
    limits: Limits,
    mode: Option<Mode>,
    #[serde(default)]
    peers: BTreeMap<String, Peer>,
    #[serde(default)]
    routes: Vec<Peer>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    clients_max: u32,
    drain_ms: u64,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Near,
    Far,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Peer {
    address: String,
}

const DEFAULTS: &str =
    "region = 'east'\nlisten = '127.0.0.1:8848'\n[limits]\nclients_max = 10\ndrain_ms = 100\n";

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("page.toml");
    std::fs::write(&path, text).unwrap();
    (directory, path)
}

fn read(
    defaults: &str,
    text: &str,
    environment: &[(&str, &str)],
    sets: &[&str],
) -> Result<Page, Vec<String>> {
    let (_directory, path) = file(text);
    let environment: Vec<_> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
    load(&Layers { defaults, file: Some(&path), environment: &environment, sets: &sets })
}

#[test]
fn each_layer_covers_the_one_below_key_by_key() {
    let file = "region = 'west'\n[limits]\nclients_max = 20\n";
    let environment = [("LANDBRIDGE_LIMITS__CLIENTS_MAX", "30"), ("LANDBRIDGE_LISTEN", "127.0.0.1:1")];

    let page = read(DEFAULTS, file, &environment, &["listen=127.0.0.1:2"]).unwrap();

    assert_eq!(page.region, "west");
    assert_eq!(page.listen, "127.0.0.1:2".parse().unwrap());
    assert_eq!(page.limits, Limits { clients_max: 30, drain_ms: 100 });
}

#[test]
fn text_that_looks_like_a_number_stays_text_where_text_is_wanted() {
    let page = read(DEFAULTS, "", &[("LANDBRIDGE_REGION", "007")], &["peers.west.address=true"]).unwrap();

    assert_eq!(page.region, "007");
    assert_eq!(page.peers["west"].address, "true");
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    let file = "regoin = 'west'\nlisten = 'here'\nmode = 'middle'\n[limits]\nclients_max = 'many'\ndrain = 5\n\
                [peers.north]\nadress = 'x'\n[[routes]]\naddress = 1\n";

    let mistakes = read(
        "",
        file,
        &[("LANDBRIDGE_LIMITS__DRAIN_MS", "soon"), ("LANDBRIDGE_COLOUR", "red")],
        &["nothing=1"],
    )
    .unwrap_err();

    let told = mistakes.join("\n");
    for expected in [
        "`regoin` is unknown (file ",
        "page.toml, line 1): write `region`",
        "`region` is missing: write it in the file, set LANDBRIDGE_REGION or give --set region=…",
        "`listen`",
        "line 2)",
        "`mode` is \"middle\" (file ",
        "write one of near, far",
        "`limits.clients_max` is the text \"many\" (file ",
        "line 5): write a whole number from 0 to 4294967295",
        "`limits.drain` is unknown",
        "`limits.drain_ms` is the text \"soon\" (environment variable LANDBRIDGE_LIMITS__DRAIN_MS): write a whole number, 0 or more",
        "`peers.north.adress` is unknown",
        "`peers.north.address` is missing",
        "`routes.0.address` is the number 1 (file ",
        "line 9): write text in quotes",
        "`colour` is unknown (environment variable LANDBRIDGE_COLOUR): remove it, or write one of region,",
        "`nothing` is unknown (--set nothing=1)",
    ] {
        assert!(told.contains(expected), "{expected:?} is not told in:\n{told}");
    }
    assert_eq!(mistakes.len(), 12, "{told}");
}

#[test]
fn a_file_that_is_not_toml_is_told_with_line_and_column() {
    let mistakes = read("", "region = east\n", &[], &[]).unwrap_err();

    assert_eq!(mistakes.len(), 1);
    assert!(mistakes[0].contains("page.toml is not TOML") && mistakes[0].contains("line 1"), "{mistakes:?}");
}

#[test]
fn a_file_that_is_not_there_is_a_mistake() {
    let missing = Path::new("/nowhere/page.toml");

    let mistakes =
        load::<Page>(&Layers { defaults: DEFAULTS, file: Some(missing), environment: &[], sets: &[] })
            .unwrap_err();

    assert!(mistakes[0].contains("/nowhere/page.toml cannot be read"), "{mistakes:?}");
}

#[test]
fn sets_without_a_key_or_a_value_are_mistakes() {
    let mistakes = read(DEFAULTS, "", &[], &["listen", "=1", "limits..x=1"]).unwrap_err();

    assert_eq!(mistakes.len(), 3, "{mistakes:?}");
    assert!(mistakes[0].contains("--set listen has no value"), "{mistakes:?}");
}

#[test]
fn variables_made_by_kubernetes_set_nothing() {
    for (name, value) in [
        ("LANDBRIDGE_SERVICE_HOST", "10.0.0.1"),
        ("LANDBRIDGE_REGISTRY_SERVICE_PORT_HTTP", "8848"),
        ("LANDBRIDGE_PORT", "tcp://10.0.0.1:8848"),
        ("LANDBRIDGE_PORT_8848_TCP_ADDR", "10.0.0.1"),
        ("LANDBRIDGE_PORT_8848_TCP", "tcp://10.0.0.1:8848"),
    ] {
        assert!(is_service_link(name, value), "{name}");
    }
    assert!(!is_service_link("LANDBRIDGE_HTTP__PORT", "8848"));
    assert!(!is_service_link("LANDBRIDGE_REGION", "east"));
}
