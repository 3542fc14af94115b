//! `/nacos/actuator/prometheus`: this member's page, and the same figures under Nacos's own names, for dashboards made for it.
//!
//! Invariant: a name is here only with a figure that is measured; what has none is absent, not 0.

use std::{fmt::Write as _, time::Duration};

use axum::{
    http::header,
    response::{IntoResponse, Response},
};

use super::operator;
use crate::member::Shared;

/// How long ago this member may last have been heard as leader to count as one.
const LEADING_WITHIN: Duration = Duration::from_secs(1);

/// What Nacos's monitor writes as the cost of pushes while there was none.
const NO_COST: f64 = -1.0;

/// The scrape answer.
pub(super) fn scrape(shared: &Shared) -> Response {
    let text = shared.page.render() + &nacos(shared);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// The names of Nacos's monitor (2.5; `domCount` is 1.x's word for `serviceCount`).
fn nacos(shared: &Shared) -> String {
    let counts = operator::count(shared);
    let mut listening = 0;
    shared.window.each_udp(|pane| listening += pane.udp.count());
    let waiting: usize = shared.sessions.all().iter().map(|session| session.outbox().waiting()).sum();
    let (acked, waited_ms, waited_max_ms) = shared.sessions.push_waits();
    let (average, longest) = match acked {
        0 => (NO_COST, NO_COST),
        _ => (waited_ms as f64 / acked as f64, waited_max_ms as f64),
    };
    let (pushes, retried) = shared.sessions.pushes();
    let (datagrams, second) = shared.udp.counts();
    let leads = shared.store.leading(LEADING_WITHIN).is_some();
    let connected = counts.own_instances.saturating_sub(counts.beating + counts.persistent);
    let monitor = [
        ("naming", "serviceCount", counts.services as f64),
        ("naming", "domCount", counts.services as f64),
        ("naming", "ipCount", counts.instances as f64),
        ("naming", "subscriberCount", (counts.subscriptions + listening as u64) as f64),
        ("naming", "maxPushCost", longest),
        ("naming", "avgPushCost", average),
        ("naming", "totalPush", (pushes + datagrams) as f64),
        ("naming", "failedPush", (retried + second) as f64),
        ("naming", "totalPushCountForAvg", acked as f64),
        ("naming", "totalPushCostForAvg", waited_ms as f64),
        ("naming", "pushPendingTaskCount", waiting as f64),
        ("naming", "leaderStatus", f64::from(u8::from(leads))),
        ("core", "longConnection", counts.connections as f64),
        // Dashboards count the members that are up by this name; this registry keeps no configs.
        ("config", "configCount", 0.0),
    ];
    let mut page = String::from("# TYPE nacos_monitor gauge\n");
    for (module, name, value) in monitor {
        line(&mut page, &format!(r#"nacos_monitor{{module="{module}",name="{name}"}}"#), value);
    }
    for (metric, by_http, by_grpc) in [
        ("nacos_naming_publisher", counts.beating, connected),
        ("nacos_naming_subscriber", listening as u64, counts.subscriptions),
    ] {
        page.push_str(&format!("# TYPE {metric} gauge\n"));
        line(&mut page, &format!(r#"{metric}{{module="naming",version="v1"}}"#), by_http as f64);
        line(&mut page, &format!(r#"{metric}{{module="naming",version="v2"}}"#), by_grpc as f64);
    }
    page
}

fn line(page: &mut String, name: &str, value: f64) {
    writeln!(page, "{name} {value}").expect("writing to a string cannot fail");
}
