//! A real Nacos as referee: what it answered to a list of calls, recorded once, is held against what a member answers.
//!
//! `clients/referee` starts that Nacos and records it. Where we answer otherwise on purpose, `differences.txt` says what and
//! why; a difference that is not listed, and a listed one that is none any more, fail.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::one::One;

/// Calls, each followed by an indented line with status and answer.
const RECORDED: &str = include_str!("../clients/referee/nacos-2.2.4.txt");

/// The same of ours, with the reason in a third line.
const DIFFERENCES: &str = include_str!("../clients/referee/differences.txt");

/// Members of answers that tell times.
const VOLATILE: [&str; 3] = ["lastRefTime", "timestamp", "lastUpdatedTime"];

/// An answer without times, and with lists in an order: Nacos lists as its hashes fall.
fn plain(status: &str, text: &str) -> String {
    let text = text.trim().trim_end_matches("\\n").trim_end();
    let text = match serde_json::from_str::<Value>(text) {
        Ok(mut value) if value.is_object() || value.is_array() => {
            settle(&mut value);
            value.to_string()
        }
        Ok(_) | Err(_) => text.to_owned(),
    };
    format!("{status} {text}")
}

fn settle(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !VOLATILE.contains(&name.as_str()));
            members.values_mut().for_each(settle);
        }
        Value::Array(list) => {
            list.iter_mut().for_each(settle);
            list.sort_by_cached_key(Value::to_string);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Calls with their indented lines.
fn blocks(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut blocks: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("  ") {
            Some(said) => blocks.last_mut().expect("a call comes before its answer").1.push(said),
            None => blocks.push((line, Vec::new())),
        }
    }
    blocks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_answers_as_a_real_nacos_does_but_where_it_says_why() {
    let one = One::start().await;
    let listed: BTreeMap<_, _> = blocks(DIFFERENCES).into_iter().collect();
    let (mut same, mut other, mut strange) = (0, 0, Vec::new());

    for (call, recorded) in blocks(RECORDED) {
        let (method, path) = call.split_once(' ').expect("a method and a path");
        let (status, text) = one.ask(method, &format!("/nacos{path}")).await;
        let ours = plain(&status.to_string(), &text.replace('\n', "\\n"));
        let (status, text) = recorded[0].split_once(' ').expect("a status and an answer");
        let theirs = plain(status, text);
        let known = listed.get(call).map(|lines| {
            let (status, text) = lines[0].split_once(' ').expect("a status and an answer");
            plain(status, text)
        });
        match known {
            None if ours == theirs => same += 1,
            Some(known) if known == ours && ours != theirs => other += 1,
            None | Some(_) => strange.push(format!("{call}\n  {ours}\n  theirs: {theirs}")),
        }
    }

    assert!(strange.is_empty(), "{} strange answers:\n{}", strange.len(), strange.join("\n"));
    assert_eq!(other, listed.len(), "a difference is listed for a call that nobody makes");
    assert!(blocks(DIFFERENCES).iter().all(|(_, lines)| lines.len() == 2), "each difference has its reason");
    println!("{same} answers as Nacos 2.2.4, {other} otherwise on purpose");
    one.end().await.expect("ends in order");
}
