//! What crosses from region to region through two bridges, and what survives breaks.

use landbridge_carrier::Shelf;
use landbridge_feed::{Limits, Standing};
use landbridge_tests::authority::Authority;

use crate::{
    end::region,
    keeper::{Keeper, until, until_ticking},
};

/// A member and a bridge in east, a bridge in west, all connected.
struct Path {
    member: Keeper,
    exporter: Keeper,
    importer: Keeper,
}

impl Path {
    async fn new(authority: &Authority, exporter_limits: Limits) -> Self {
        let member = Keeper::member(authority, "east", &["west"]).await;
        let exporter = Keeper::bridge_with(authority, "east", &["west"], exporter_limits).await;
        let importer = Keeper::bridge(authority, "west", &["east"]).await;
        exporter.dial(&[&member]);
        importer.dial(&[&exporter]);
        Self { member, exporter, importer }
    }

    fn all(&mut self) -> [&mut Keeper; 3] {
        [&mut self.member, &mut self.exporter, &mut self.importer]
    }

    /// Registers while the importer is away, and lets it come back.
    async fn register_during_a_break(&mut self, hosts: std::ops::Range<u32>) {
        let count = usize::try_from(hosts.end).expect("a small number");
        self.importer.dial(&[]);
        until("the line is cut", &mut self.all(), |k| k[1].end.carrier.streams().len() == 1).await;
        self.member.register("orders", hosts);
        let mut near = [&mut self.member, &mut self.exporter];
        until_ticking("the exporter has them", &mut near, |k| k[1].shows("east", "orders") == count).await;
        assert!(self.importer.shows("east", "orders") < count, "there was no break");
        self.importer.dial(&[&self.exporter]);
    }

    async fn until_west_shows(&mut self, count: usize) {
        let what = format!("west shows {count} instances of east");
        until_ticking(&what, &mut self.all(), |keepers| keepers[2].shows("east", "orders") == count).await;
    }
}

#[tokio::test]
async fn a_registration_crosses_two_bridges_and_keeps_its_origin() {
    let authority = Authority::new();
    let mut path = Path::new(&authority, Limits::STANDARD).await;
    let mut far_member = Keeper::member(&authority, "west", &[]).await;
    path.importer.dial(&[&path.exporter, &far_member]);

    path.member.register("orders", 0..20);
    let mut all = [&mut path.member, &mut path.exporter, &mut path.importer, &mut far_member];
    until_ticking("the far member shows them", &mut all, |k| k[3].shows("east", "orders") == 20).await;

    assert_eq!(far_member.shows("west", "orders"), 0);
    let feed = path.member.own_feed();
    let view = far_member.holder.copy(&feed).expect("a copy").view().clone();
    assert_eq!(view.peer, Some(region("west")));
}

#[tokio::test]
async fn after_a_break_only_what_was_missed_travels() {
    let authority = Authority::new();
    let mut path = Path::new(&authority, Limits::STANDARD).await;
    path.member.register("orders", 0..200);
    path.until_west_shows(200).await;
    let feed = path.member.own_feed();
    let swaps = path.importer.swaps(&feed);

    path.register_during_a_break(200..210).await;
    path.until_west_shows(210).await;

    assert_eq!(path.importer.swaps(&feed), swaps, "the copy was rebuilt though the ring reached back");
}

#[tokio::test]
async fn a_break_longer_than_the_ring_is_mended_by_a_reconcile() {
    let authority = Authority::new();
    let short = Limits { ring_changes_max: 4, ..Limits::STANDARD };
    let mut path = Path::new(&authority, short).await;
    path.member.register("orders", 0..200);
    path.until_west_shows(200).await;
    let feed = path.member.own_feed();
    let swaps = path.importer.swaps(&feed);

    path.register_during_a_break(200..250).await;
    path.until_west_shows(250).await;

    assert!(path.importer.swaps(&feed) > swaps, "the ring cannot have reached back");
}

#[tokio::test]
async fn a_dead_exporter_takes_nothing_away_and_is_marked() {
    let authority = Authority::new();
    let Path { mut member, exporter, mut importer } = Path::new(&authority, Limits::STANDARD).await;
    let mut exporter = Some(exporter);
    member.register("orders", 0..30);
    let mut all = [&mut member, exporter.as_mut().expect("alive"), &mut importer];
    until_ticking("west shows them", &mut all, |k| k[2].shows("east", "orders") == 30).await;

    drop(exporter);
    for _ in 0..15 {
        importer.drain();
        importer.tick();
    }

    assert_eq!(importer.shows("east", "orders"), 30);
    let status = importer.holder.status(&region("east")).expect("still held");
    assert_eq!((status.standing, status.age_ms >= 10_000), (Standing::Frozen, true));
    assert!(importer.standings.ends_with(&[Standing::Suspect, Standing::Frozen]), "{:?}", importer.standings);
    let shown = importer.holder.shown(&region("east"), &crate::keeper::service("orders"));
    assert!(shown.iter().all(|shown| shown.unverified), "a silent writer's records must be marked");
}

#[tokio::test]
async fn what_a_policy_does_not_select_stays_at_home() {
    let authority = Authority::new();
    let mut path = Path::new(&authority, Limits::STANDARD).await;
    path.member.register("orders", 0..5);
    path.member.register("secrets", 0..5);
    path.until_west_shows(5).await;
    assert_eq!(path.importer.shows("east", "secrets"), 5);

    path.member.allow("west", &["*/*/orders"]);
    until_ticking("the new view has arrived", &mut path.all(), |k| k[2].shows("east", "secrets") == 0).await;

    assert_eq!(path.importer.shows("east", "orders"), 5);
}

#[tokio::test]
async fn a_region_offers_only_its_own_feeds() {
    let authority = Authority::new();
    let mut path = Path::new(&authority, Limits::STANDARD).await;
    let mut north_member = Keeper::member(&authority, "north", &["west", "east"]).await;
    let mut north = Keeper::bridge(&authority, "north", &["west"]).await;
    north.dial(&[&north_member]);
    path.importer = Keeper::bridge(&authority, "west", &["east", "north"]).await;
    path.importer.dial(&[&path.exporter, &north]);

    path.member.register("orders", 0..3);
    north_member.register("orders", 0..4);
    let mut all = [&mut path.member, &mut path.exporter, &mut path.importer, &mut north_member, &mut north];
    until_ticking("west has both", &mut all, |k| {
        k[2].shows("east", "orders") == 3 && k[2].shows("north", "orders") == 4
    })
    .await;
    let mut turns = 0;
    until_ticking("five more seconds", &mut all, |_| {
        turns += 1;
        turns > 5
    })
    .await;

    let regions = |keeper: &Keeper| keeper.holder.regions().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(regions(&path.exporter), ["east"], "what west imported went on to east");
    assert_eq!(regions(&north), ["north"], "what west imported went on to north");
}

#[tokio::test]
async fn a_restarted_bridge_serves_its_shelf_and_resumes() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("copies");
    let mut path = Path::new(&authority, Limits::STANDARD).await;
    let (shelf, loaded) = Shelf::open(&place).expect("an empty shelf");
    path.importer.resume(shelf, loaded);
    path.member.register("orders", 0..50);
    path.until_west_shows(50).await;
    path.importer.shelve();

    let (shelf, loaded) = Shelf::open(&place).expect("a full shelf");
    path.importer = Keeper::bridge(&authority, "west", &["east"]).await;
    path.importer.resume(shelf, loaded);
    assert_eq!(path.importer.shows("east", "orders"), 50, "before anybody was asked");
    path.importer.dial(&[&path.exporter]);
    path.member.register("orders", 50..55);
    path.until_west_shows(55).await;

    let feed = path.member.own_feed();
    assert_eq!(path.importer.swaps(&feed), landbridge_feed::Copy::SWAPS_AT_FIRST, "it was asked for all");
}

#[tokio::test]
async fn a_large_feed_crosses_within_the_credit_of_its_streams() {
    let authority = Authority::new();
    let mut path = Path::new(&authority, Limits::STANDARD).await;

    path.member.register("orders", 0..20_000);
    path.until_west_shows(20_000).await;

    let feed = path.member.own_feed();
    let (there, here) = (path.member.holder.copy(&feed), path.importer.holder.copy(&feed));
    assert_eq!(there.expect("its own").digests(), here.expect("a copy").digests());
}
