//! Who is let in and who is not, on both sides of a connection.

use landbridge_carrier::{Event, Parting};
use landbridge_feed::Message;
use landbridge_tests::authority::Authority;
use landbridge_wire::feeds::Hello;

use tokio::time::timeout;

use crate::end::{DEADLINE, End, hello};

/// Dials east's bridge as west's and tells the reason that the caller sees; nothing may open at either end.
async fn refused(mut near: End, mut far: End, near_region: &str) -> String {
    far.dial(&near, near_region);
    let why = far.failure().await;
    assert!(near.events.try_recv().is_err(), "the stream opened at the near end: {why}");
    assert!(far.events.try_recv().is_err(), "the stream opened at the far end: {why}");
    why
}

#[tokio::test]
async fn bridges_of_two_regions_exchange_messages_on_one_stream() {
    let authority = Authority::new();
    let mut east = End::start(authority.identity("demo/east/bridge/b1"), &["west"]).await;
    let mut west = End::start(authority.identity("demo/west/bridge/b1"), &["east"]).await;
    let beats = Message::Beats { unix_ms: 7, beats: Vec::new(), hears: Vec::new() };

    west.dial(&east, "east");
    let (Event::Opened { peer: at_east, stream }, Event::Opened { peer: at_west, .. }) =
        (east.next().await, west.next().await)
    else {
        panic!("something came before the stream was open");
    };

    assert_eq!((at_east.region.as_str(), at_west.region.as_str()), ("west", "east"));
    assert!(east.carrier.send(stream, beats.clone()));
    let drained = east.next().await;
    assert!(matches!(drained, Event::Drained { bytes, .. } if bytes == beats.weight_bytes()), "{drained:?}");
    let received = west.next().await;
    assert!(matches!(&received, Event::Received { message, .. } if *message == beats), "{received:?}");
}

#[tokio::test]
async fn two_that_dial_each_other_keep_one_stream() {
    let authority = Authority::new();
    let mut at_one = End::start(authority.identity("demo/east/registry/1"), &[]).await;
    let mut at_two = End::start(authority.identity("demo/east/registry/2"), &[]).await;

    at_one.dial(&at_two, "east");
    at_two.dial(&at_one, "east");
    let first = (at_one.next().await, at_two.next().await);

    assert!(matches!(first, (Event::Opened { .. }, Event::Opened { .. })), "{first:?}");
    let same = || {
        let (ours, theirs) = (at_one.carrier.streams(), at_two.carrier.streams());
        let alone = ours.len() == 1 && theirs.len() == 1;
        (alone && ours[0].dialled != theirs[0].dialled).then_some(())
    };
    landbridge_tests::wait::until_async("one stream", DEADLINE, async || same()).await;
}

#[tokio::test]
async fn an_address_that_is_dialled_no_longer_loses_its_stream_at_both_ends() {
    let authority = Authority::new();
    let mut east = End::start(authority.identity("demo/east/bridge/b1"), &["west"]).await;
    let mut west = End::start(authority.identity("demo/west/bridge/b1"), &["east"]).await;
    west.dial(&east, "east");
    let opened = (east.next().await, west.next().await);
    assert!(matches!(opened, (Event::Opened { .. }, Event::Opened { .. })), "{opened:?}");

    west.carrier.dial(Default::default());

    let (at_east, at_west) = (east.next().await, west.next().await);
    assert!(matches!(at_west, Event::Closed { why: Parting::Unwanted, .. }), "{at_west:?}");
    assert!(matches!(at_east, Event::Closed { .. }), "{at_east:?}");
}

/// A process that speaks TLS and HTTP/2 with a good certificate, and then something else than a holder.
#[tokio::test]
async fn garbage_on_the_port_neither_opens_nor_holds_anything() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let authority = Authority::new();
    let mut east = End::start(authority.identity("demo/east/bridge/b1"), &["west"]).await;
    let mut west = End::start(authority.identity("demo/west/bridge/b1"), &["east"]).await;

    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut plain = tokio::net::TcpStream::connect(east.address).await.expect("a listener");
        plain.write_all(garbage).await.expect("written");
        let mut answer = Vec::new();
        // A reset is as good an end as any.
        let _ = timeout(DEADLINE, plain.read_to_end(&mut answer)).await.expect("an end");
    }
    let plain = tokio::net::TcpStream::connect(east.address).await.expect("a listener");
    let identity = authority.identity("demo/west/bridge/b2");
    let (mut tls, _) = identity.connect(plain).await.expect("a good certificate");
    tls.write_all(&[0x5a; 4096]).await.expect("written");
    let _ = timeout(DEADLINE, tls.read_to_end(&mut Vec::new())).await.expect("an end");

    west.dial(&east, "east");
    let opened = (east.next().await, west.next().await);
    assert!(matches!(opened, (Event::Opened { .. }, Event::Opened { .. })), "{opened:?}");
}

#[tokio::test]
async fn an_authority_that_is_not_ours_is_refused() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let near = End::start(ours.identity("demo/east/bridge/b1"), &["west"]).await;
    let far = End::start(theirs.identity("demo/west/bridge/b1"), &["east"]).await;

    let why = refused(near, far, "east").await;

    assert!(why.contains("certificate"), "{why}");
}

#[tokio::test]
async fn another_deployment_is_refused() {
    let authority = Authority::new();
    let near = End::start(authority.identity("prod/east/bridge/b1"), &["west"]).await;
    let far = End::start(authority.identity("demo/west/bridge/b1"), &["east"]).await;

    let why = refused(near, far, "east").await;

    assert!(why.contains("deployment") || why.contains("prod"), "{why}");
}

#[tokio::test]
async fn a_region_that_is_no_neighbour_is_refused_and_told_so() {
    let authority = Authority::new();
    let near = End::start(authority.identity("demo/east/bridge/b1"), &["west"]).await;
    let far = End::start(authority.identity("demo/north/bridge/b1"), &["east"]).await;

    let why = refused(near, far, "east").await;

    assert!(why.contains("the peer says") && why.contains("does not exchange with"), "{why}");
}

#[tokio::test]
async fn another_region_at_the_dialled_address_is_refused_by_the_caller() {
    let authority = Authority::new();
    let near = End::start(authority.identity("demo/east/bridge/b1"), &["west"]).await;
    let far = End::start(authority.identity("demo/west/bridge/b1"), &["east", "north"]).await;

    let why = refused(near, far, "north").await;

    assert!(why.contains("where region north was dialled"), "{why}");
}

#[tokio::test]
async fn a_hello_that_the_certificate_does_not_bear_out_is_refused() {
    let authority = Authority::new();
    let near = End::start(authority.identity("demo/east/bridge/b1"), &["west"]).await;
    let mut lie = hello(&authority.identity("demo/east/bridge/b2"));
    lie.peer.id = "b9".into();
    let far = End::start_as(authority.identity("demo/west/bridge/b1"), &["east"], lie).await;

    let why = refused(near, far, "east").await;

    assert!(why.contains("calls itself"), "{why}");
}

#[tokio::test]
async fn protocols_that_do_not_meet_are_refused_with_both_ranges() {
    let authority = Authority::new();
    let near = End::start(authority.identity("demo/east/bridge/b1"), &["west"]).await;
    let identity = authority.identity("demo/west/bridge/b1");
    let newer = Hello { protocol_min: 90, protocol_max: 91, ..hello(&identity) };
    let far = End::start_as(identity, &["east"], newer).await;

    let why = refused(near, far, "east").await;

    assert!(why.contains("(90, 91)") && why.contains("(1, 2)"), "{why}");
}
