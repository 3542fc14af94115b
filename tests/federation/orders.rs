//! Operators' orders about a link and policies about imports, as whole members, bridges and gateways obey them.

use http::Method;
use landbridge_client::{Admin, AdminError, Follower};
use landbridge_runtime::shutdown::Shutdown;
use landbridge_tests::{authority::Authority, wait::until_async};
use serde_json::{Value, json};

use crate::processes::{PATIENCE, Place, Running, of_east, until_table};

/// Two regions with a gateway in west that sees five instances of east.
struct Federation {
    east: Place,
    west: Place,
    running: Vec<Running>,
    gateway: Shutdown,
    follower: Follower,
}

impl Federation {
    async fn new() -> Self {
        let authority = Authority::new();
        let (east, west) = (Place::new("east"), Place::new("west"));
        let running = vec![
            east.member(&authority),
            west.member(&authority),
            east.bridge(&authority, &west),
            west.bridge(&authority, &east),
        ];
        let gateway = Shutdown::new();
        let keepsake = west.folder.path().join("keepsake");
        let follower = west.follower(&authority, &keepsake, &gateway).await;
        east.let_leave(&west).await;
        for host in 0..5 {
            east.register(&east.admin(), host).await;
        }
        let federation = Self { east, west, running, gateway, follower };
        federation.until_west_sees(5).await;
        federation
    }

    async fn until_west_sees(&self, count: usize) {
        let what = format!("west's gateway sees {count}");
        until_table(&what, &self.follower, |table| of_east(table).len() == count).await;
    }

    async fn order(&self, order: &str, confirm: &str) -> Result<Value, AdminError> {
        let page = json!({ "order": order, "confirm": confirm });
        self.west.admin().write(Method::PUT, "/landbridge/v1/links/east", &page).await
    }

    /// Says what of east shows in west, or only asks what that would change.
    async fn import(&self, page: &Value, dry_run: bool) -> Value {
        let path = format!("/landbridge/v1/policies/import/east?dry_run={dry_run}");
        self.west.admin().write(Method::PUT, &path, page).await.expect("taken")
    }

    async fn resume(&self) {
        let said: Result<Value, _> =
            self.west.admin().write(Method::DELETE, "/landbridge/v1/links/east", &json!({})).await;
        assert_eq!(said.expect("taken back")["order"], "open");
    }

    async fn ask_bridge(&self, verb: &str) -> Value {
        let bridge = Admin::new(&format!("127.0.0.1:{}", self.west.bridge_admin), None, 20_000);
        let path = format!("/landbridge/v1/links/east/{verb}");
        bridge.write(Method::POST, &path, &json!({})).await.expect("an answer")
    }

    /// Waits until west's bridge tells this order of its link.
    async fn until_ordered(&self, order: &str) -> Value {
        until_async(&format!("the bridge tells {order}"), PATIENCE, async || {
            self.west.bridge_shows("links").await.filter(|links| links[0]["order"] == order)
        })
        .await
    }

    async fn stop(self) {
        self.gateway.finish(40_000).await.expect("the follower ended");
        for running in self.running.into_iter().rev() {
            running.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_link_takes_nothing_in_and_a_comparison_tells_what() {
    let federation = Federation::new().await;
    let nothing = federation.ask_bridge("diff").await;
    assert_eq!(nothing["rows"], json!([]), "{nothing}");

    federation.order("frozen", "").await.expect("taken");
    federation.until_ordered("frozen").await;
    federation.east.register(&federation.east.admin(), 5).await;
    let report = until_async("the far side tells the sixth", PATIENCE, async || {
        let report = federation.ask_bridge("diff").await;
        (report["rows"].as_array().is_some_and(|rows| !rows.is_empty())).then_some(report)
    })
    .await;

    let rows = report["rows"].as_array().expect("a list");
    let row = (&rows[0]["differs"], &rows[0]["service"], &rows[0]["key"]);
    assert_eq!(
        row,
        (&json!("missing"), &json!("public/DEFAULT_GROUP/orders"), &json!("instance 10.0.0.5:80"))
    );
    assert_eq!(of_east(&federation.follower.table()).len(), 5, "a comparison took something in");
    federation.resume().await;
    federation.until_west_sees(6).await;
    let again = federation.ask_bridge("resync").await;
    assert_eq!(again["region"], "east");
    let audit = federation.west.bridge_shows("audit").await.expect("a list");
    let verbs: Vec<_> = audit.as_array().expect("a list").iter().map(|row| row["verb"].clone()).collect();
    assert_eq!((&verbs[0], verbs.last()), (&json!("link diff"), Some(&json!("link resync"))));
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_evicted_region_is_gone_from_gateways_until_it_is_let_in_again() {
    let federation = Federation::new().await;
    until_async("what would be deleted is told", PATIENCE, async || {
        let held: Value = federation.west.admin().read("/landbridge/v1/links/east/held").await.ok()?;
        held["records"].as_u64().filter(|records| *records >= 5)
    })
    .await;
    let unconfirmed = federation.order("evicted", "").await;
    assert!(
        matches!(&unconfirmed, Err(AdminError::Refused(why)) if why.contains("confirm")),
        "{unconfirmed:?}"
    );
    assert_eq!(of_east(&federation.follower.table()).len(), 5, "an unconfirmed eviction deleted");

    federation.order("evicted", "east").await.expect("taken");
    federation.until_west_sees(0).await;
    federation.until_ordered("evicted").await;
    let regions = federation.west.bridge_shows("regions").await.expect("a list");
    assert!(regions.as_array().expect("a list").iter().all(|row| row["region"] != "east"), "{regions}");

    federation.resume().await;
    federation.until_west_sees(5).await;
    let audit: Value = federation.west.admin().read("/landbridge/v1/audit").await.expect("told");
    let verbs: Vec<_> = audit.as_array().expect("a list").iter().map(|row| row["verb"].clone()).collect();
    assert_eq!(verbs, ["link evict", "link resume"]);
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_link_has_no_stream_on_either_side_and_keeps_what_it_had() {
    let federation = Federation::new().await;

    federation.order("paused", "").await.expect("taken");
    until_async("both sides are without a stream", PATIENCE, async || {
        let west = federation.until_ordered("paused").await;
        let east = federation.east.bridge_shows("links").await?;
        [west, east].iter().all(|links| links[1]["state"] == "down").then_some(())
    })
    .await;
    federation.east.register(&federation.east.admin(), 5).await;
    assert_eq!(of_east(&federation.follower.table()).len(), 5);

    federation.resume().await;
    federation.until_west_sees(6).await;
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_import_policy_denies_is_foreseen_and_then_hidden_from_gateways_and_kept() {
    let federation = Federation::new().await;
    let denied = json!({ "allow": ["*/*/*"], "deny": ["public/*/orders"] });
    let member = federation.west.admin();
    until_async("west's member shows them too", PATIENCE, async || {
        let foreseen = federation.import(&denied, true).await;
        (foreseen["rows"][0]["before"] == 5).then_some(())
    })
    .await;
    assert_eq!(of_east(&federation.follower.table()).len(), 5, "a dry run changed something");

    let decided = federation.import(&denied, false).await;
    assert!(decided["seq"].is_u64(), "{decided}");
    federation.until_west_sees(0).await;
    let stand: Value = member.read("/landbridge/v1/policies/import").await.expect("told");
    assert_eq!(stand["east"]["deny"], denied["deny"]);
    let held: Value = member.read("/landbridge/v1/links/east/held").await.expect("told");
    assert!(held["records"].as_u64().is_some_and(|records| records >= 5), "{held}");

    let said: Value = member
        .write(Method::DELETE, "/landbridge/v1/policies/import/east", &json!({}))
        .await
        .expect("taken back");
    assert!(said["seq"].is_u64());
    federation.until_west_sees(5).await;
    let audit: Value = member.read("/landbridge/v1/audit").await.expect("told");
    let verbs: Vec<_> = audit.as_array().expect("a list").iter().map(|row| row["verb"].clone()).collect();
    assert_eq!(verbs, ["policy import", "policy import-all"]);
    federation.stop().await;
}
