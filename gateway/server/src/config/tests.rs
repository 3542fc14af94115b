//! Tests of reading the config: the shipped page, one good page, and every mistake at once.

use super::*;

const SMALL: &str = r#"
region = "east"
zone = "a"
[[listeners]]
name = "calls"
listen = "127.0.0.1:0"
by_path = true
[[listeners.routes]]
id = "shop"
hosts = ["shop.example"]
static = "web"
[[statics]]
name = "web"
endpoints = [{ address = "127.0.0.1", port = 81, region = "east" }]
"#;

#[test]
fn a_small_page_takes_the_rest_from_the_defaults() {
    let config = Config::read(SMALL).unwrap();

    assert_eq!(config.name, "landbridge-east-a");
    assert_eq!(config.live.settings.retries.tries_max, 4);
    assert_eq!(config.live.statics[0].1[0].weight, 1.0);
    assert!(config.threads > 0);
}

#[test]
fn every_mistake_is_told_at_once() {
    let page =
        SMALL.replace("\"east\"\nzone", "\"East\"\nzone").replace("static = \"web\"", "static = \"wob\"")
            + "[admission]\ntrusted_cidrs = [\"10.0.0.0/99\"]\n[ladder]\nover_provision = 0.5\n";

    let mistakes = Config::read(&page).unwrap_err();

    for part in ["region", "no static endpoints are called \"wob\"", "10.0.0.0/99", "over_provision"] {
        assert!(mistakes.iter().any(|mistake| mistake.contains(part)), "{part} is not in {mistakes:?}");
    }
}

#[test]
fn an_unknown_key_is_refused() {
    let mistakes = Config::read(&format!("{SMALL}\n[timeouts]\ntry_seconds = 3\n")).unwrap_err();

    assert!(mistakes.iter().any(|mistake| mistake.contains("try_seconds")), "{mistakes:?}");
}

#[test]
fn a_page_without_a_listener_is_refused() {
    let mistakes = Config::read("region = \"east\"\nzone = \"a\"\n").unwrap_err();

    assert!(mistakes.iter().any(|mistake| mistake.contains("listeners")), "{mistakes:?}");
}
