//! Asks running processes, and shows what they say.

mod backup;
mod explained;
mod guest;
mod holds;
mod instance;
mod link;
mod policy;
mod raft;

use std::fs;

use landbridge_client::Admin;
use serde_json::Value;

use crate::arguments::{AdminVerb, LinkVerb, Output, ServiceName, Target};
use crate::call::Caller;
use crate::ending::{Ending, Trouble};
use crate::output::{self, Shape};

/// Where the admin door of every role begins.
const DOOR: &str = "/landbridge/v1";

/// What a process is.
const STATUS: Shape = Shape { columns: &["role", "region", "phase"], name: "region" };

/// The regions a process knows.
const REGIONS: Shape = Shape {
    columns: &["region", "own", "standing", "age_ms", "lag_seqs", "lag_ms", "feeds", "records"],
    name: "region",
};

/// The members of a region.
const MEMBERS: Shape = Shape {
    columns: &["member", "address", "state", "phase", "raft", "lag", "disk", "feed", "silent", "version"],
    name: "member",
};

/// The links of a bridge.
const LINKS: Shape = Shape {
    columns: &[
        "peer",
        "direction",
        "state",
        "order",
        "imports",
        "lag_seqs",
        "lag_ms",
        "records",
        "age_ms",
        "streams",
        "failures",
    ],
    name: "peer",
};

/// What operators did.
const AUDIT: Shape = Shape { columns: &["unix_ms", "who", "verb", "target", "outcome"], name: "verb" };

/// Services.
const SERVICES: Shape = Shape {
    columns: &["namespace", "group", "service", "instances", "healthy", "of_other_regions"],
    name: "service",
};

/// The instances of a service.
const INSTANCES: Shape = Shape {
    columns: &[
        "ip",
        "port",
        "cluster",
        "origin",
        "zone",
        "weight",
        "healthy",
        "enabled",
        "unverified",
        "stale",
        "metadata",
    ],
    name: "ip",
};

/// Everything needed to ask one process.
struct Desk {
    admin: Admin,
    caller: Caller,
    output: Output,
}

/// Asks what the verb says.
pub(crate) fn run(verb: AdminVerb, target: &Target, output: Output) -> Result<(), Trouble> {
    let token = token(target)?;
    let at = target.at.as_deref().unwrap_or_else(|| who_knows(&verb));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Trouble::failed(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let desk = Desk {
            admin: Admin::new(at, token.clone(), target.timeout_ms),
            caller: Caller::new(at, token, target.timeout_ms),
            output,
        };
        desk.ask(verb).await
    })
}

/// Where the role that knows listens by default.
fn who_knows(verb: &AdminVerb) -> &'static str {
    match verb {
        AdminVerb::Links
        | AdminVerb::Guest(_)
        | AdminVerb::Link(LinkVerb::Resync { .. } | LinkVerb::Diff { .. }) => "127.0.0.1:8948",
        AdminVerb::Explain { .. } | AdminVerb::Route(_) => "127.0.0.1:8949",
        AdminVerb::Check
        | AdminVerb::Status
        | AdminVerb::Regions
        | AdminVerb::Members
        | AdminVerb::Services { .. }
        | AdminVerb::Instances(_)
        | AdminVerb::Register(_)
        | AdminVerb::Deregister(_)
        | AdminVerb::Policy(_)
        | AdminVerb::Audit
        | AdminVerb::Raft(_)
        | AdminVerb::Holds(_)
        | AdminVerb::Backup { .. }
        | AdminVerb::Link(
            LinkVerb::Orders
            | LinkVerb::Pause { .. }
            | LinkVerb::Freeze { .. }
            | LinkVerb::Evict { .. }
            | LinkVerb::Resume { .. },
        )
        | AdminVerb::Events { .. } => "127.0.0.1:8848",
    }
}

/// The token from the command line, its variable or its file.
fn token(target: &Target) -> Result<Option<String>, Trouble> {
    let Some(path) = &target.token_file else { return Ok(target.token.clone()) };
    let text = fs::read_to_string(path)
        .map_err(|error| Trouble::failed(format!("token file {} cannot be read: {error}", path.display())))?;
    Ok(Some(text.trim().to_owned()))
}

impl Desk {
    async fn ask(&self, verb: AdminVerb) -> Result<(), Trouble> {
        match verb {
            AdminVerb::Check => self.check().await,
            AdminVerb::Status => self.show("/status", STATUS).await,
            AdminVerb::Regions => self.show("/regions", REGIONS).await,
            AdminVerb::Members => self.members().await,
            AdminVerb::Links => self.show("/links", LINKS).await,
            AdminVerb::Services { namespace } => {
                self.show(&format!("/services?{}", query(&[("namespace", &namespace)])), SERVICES).await
            }
            AdminVerb::Instances(service) => {
                self.show(&format!("/instances?{}", of_service(&service)), INSTANCES).await
            }
            AdminVerb::Explain { service, from } => {
                let name = format!("{}@@{}@@{}", service.namespace, service.group, service.service);
                let from = from.unwrap_or_default();
                let mut pairs = vec![("service", name.as_str())];
                pairs.extend((!from.is_empty()).then_some(("from", from.as_str())));
                let told: Value = self.admin.read(&format!("{DOOR}/explain?{}", query(&pairs))).await?;
                explained::print(&told, self.output)
            }
            AdminVerb::Route(call) => {
                let pairs = explained::asked(&call);
                let pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let told: Value = self.admin.read(&format!("{DOOR}/explain?{}", query(&pairs))).await?;
                explained::print(&told, self.output)
            }
            AdminVerb::Register(wish) => instance::register(&self.caller, &wish).await,
            AdminVerb::Deregister(wish) => instance::deregister(&self.caller, &wish).await,
            AdminVerb::Link(verb) => link::run(&self.admin, verb, self.output).await,
            AdminVerb::Guest(verb) => guest::run(&self.admin, verb, self.output).await,
            AdminVerb::Backup { file, stale } => backup::run(&self.caller, &file, stale, self.output).await,
            AdminVerb::Raft(verb) => raft::run(&self.admin, verb, self.output).await,
            AdminVerb::Holds(verb) => holds::run(&self.admin, verb, self.output).await,
            AdminVerb::Audit => self.show("/audit", AUDIT).await,
            AdminVerb::Policy(verb) => policy::run(&self.admin, verb, self.output).await,
            AdminVerb::Events { follow } => self.events(follow).await,
        }
    }

    async fn show(&self, path: &str, shape: Shape) -> Result<(), Trouble> {
        let answer: Value = self.admin.read(&format!("{DOOR}{path}")).await?;
        if self.output == Output::Json {
            return output::print(&answer, shape, self.output);
        }
        output::print(rows(&answer), shape, self.output)
    }

    async fn members(&self) -> Result<(), Trouble> {
        let answer: Value = self.admin.read(&format!("{DOOR}/members")).await?;
        if headless(&answer) {
            eprintln!(
                "landbridge: no member leads as far as this one knows: nothing can be decided, persistent instances and their \
                 health are shown as they last were"
            );
        }
        output::print(rows(&answer), MEMBERS, self.output)
    }

    async fn check(&self) -> Result<(), Trouble> {
        let (status, report) = self.caller.text(http::Method::GET, "/readyz?verbose").await?;
        for line in report.lines() {
            output::write_out(&format!("{}\n", output::escaped(line)))?;
        }
        if status.is_success() { Ok(()) } else { Err(Trouble::failed("the process is not ready")) }
    }

    async fn events(&self, follow: bool) -> Result<(), Trouble> {
        if !follow {
            return Err(Trouble::usage("events are not stored: add -f to see them as they happen"));
        }
        let output = self.output;
        let shown = self
            .caller
            .lines(&format!("{DOOR}/events"), |line| output::write_out(&event(line, output)))
            .await?;
        shown?;
        Err(Trouble::new(Ending::Unreachable, "the process ended the stream"))
    }
}

/// The one list of an answer, where it stands among other fields: a gateway tells the version of its table too.
fn rows(answer: &Value) -> &Value {
    let fields = answer.as_object().into_iter().flat_map(|fields| fields.values());
    let mut lists =
        fields.filter(|value| value.as_array().is_some_and(|list| list.iter().all(Value::is_object)));
    match (lists.next(), lists.next()) {
        (Some(list), None) => list,
        (Some(_), Some(_)) | (None, _) => answer,
    }
}

/// Whether none of a region's members leads its Raft group.
fn headless(members: &Value) -> bool {
    let rows = members.as_array().map(Vec::as_slice).unwrap_or_default();
    !rows.is_empty() && rows.iter().all(|row| row["raft"].is_string() && row["raft"] != "leader")
}

/// One event as a line.
fn event(line: &str, output: Output) -> String {
    let fields = match serde_json::from_str(line) {
        Ok(Value::Object(fields)) if output == Output::Table => fields,
        Ok(Value::Object(fields)) if output == Output::Name => {
            let name = fields.get("event").and_then(Value::as_str).unwrap_or_default();
            return format!("{}\n", output::escaped(name));
        }
        _ => return format!("{}\n", output::escaped(line)),
    };
    let part = |name: &str| output::escaped(fields.get(name).and_then(Value::as_str).unwrap_or_default());
    let about = [part("origin"), part("service")].into_iter().filter(|part| !part.is_empty());
    let about = about.collect::<Vec<_>>().join(" ");
    format!("{:<18} {:<32} {}\n", part("event"), about, part("what"))
}

/// The names of a service as a query.
fn of_service(service: &ServiceName) -> String {
    query(&[("namespace", &service.namespace), ("group", &service.group), ("service", &service.service)])
}

/// Pairs as a query, escaped.
fn query(pairs: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| format!("{name}={}", percent(value));
    pairs.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// Escapes all but letters, digits and four marks that are safe everywhere in an address.
fn percent(text: &str) -> String {
    let spelled = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(spelled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_cannot_change_the_question() {
        let service = ServiceName {
            service: "a&group=b c/é".to_owned(),
            group: "G".to_owned(),
            namespace: String::new(),
        };

        assert_eq!(of_service(&service), "namespace=&group=G&service=a%26group%3Db%20c%2F%C3%A9");
    }

    #[test]
    fn the_one_list_of_an_answer_is_shown() {
        let listed = serde_json::json!({ "version": 2, "services": [{ "name": "orders" }] });
        let plain = serde_json::json!({ "role": "registry" });

        assert_eq!(rows(&listed), &listed["services"]);
        assert_eq!(rows(&plain), &plain);
    }

    #[test]
    fn an_event_is_one_line_whatever_it_says() {
        let line = r#"{"event":"service_changed","service":"a\u001b[2J","what":"2 instances\nmore"}"#;

        for output in [Output::Table, Output::Json, Output::Name] {
            let shown = event(line, output);
            assert_eq!(shown.matches('\n').count(), 1, "{shown}");
            assert!(shown.contains("service_changed") && !shown.contains('\u{1b}'), "{shown}");
        }
    }
}
