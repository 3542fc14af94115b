//! Lines that break or fall silent, and come back by themselves.

use std::{net::SocketAddr, time::Duration};

use landbridge_carrier::{Event, Limits, Parting};
use landbridge_tests::{authority::Authority, wait::until_async};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::end::{DEADLINE, End, LIMITS, hello};

/// Gives a silent line up quickly.
const ALERT: Limits = Limits { keepalive_ms: 500, keepalive_answer_ms: 500, ..LIMITS };

async fn listener(address: &str) -> TcpListener {
    until_async("the port is free", DEADLINE, async || TcpListener::bind(address).await.ok()).await
}

/// A wire to an address that can be frozen: then nothing moves on it, and neither end is told.
struct Wire {
    address: SocketAddr,
    frozen: watch::Sender<bool>,
}

impl Wire {
    async fn to(target: SocketAddr) -> Self {
        let listener = listener("127.0.0.1:0").await;
        let address = listener.local_addr().expect("bound");
        let frozen = watch::Sender::new(false);
        let watched = frozen.subscribe();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut watched = watched.clone();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(target).await.expect("somebody is there");
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => return,
                        _ = watched.wait_for(|frozen| *frozen) => {}
                    }
                    // Both sockets stay open: whoever waits for an end waits in vain.
                    tokio::time::timeout(DEADLINE, std::future::pending::<()>()).await.ok();
                });
            }
        });
        Self { address, frozen }
    }
}

async fn closed(end: &mut End) -> Parting {
    loop {
        if let Event::Closed { why, .. } = end.next().await {
            return why;
        }
    }
}

async fn opened(end: &mut End) {
    while !matches!(end.next().await, Event::Opened { .. }) {}
}

#[tokio::test]
async fn a_peer_that_restarts_is_found_again() {
    let authority = Authority::new();
    let mut east = End::start(authority.identity("demo/east/bridge/b1"), &["west"]).await;
    let mut west = End::start(authority.identity("demo/west/bridge/b1"), &["east"]).await;
    west.dial(&east, "east");
    opened(&mut east).await;
    opened(&mut west).await;

    let address = east.address;
    drop(east);
    closed(&mut west).await;
    let identity = authority.identity("demo/east/bridge/b1");
    let said = hello(&identity);
    let listener = listener(&address.to_string()).await;
    let mut east = End::start_with(identity, &["west"], said, listener, LIMITS);

    opened(&mut west).await;
    opened(&mut east).await;
}

#[tokio::test]
async fn a_line_that_falls_silent_is_given_up_at_both_ends_and_dialled_again() {
    let authority = Authority::new();
    let [mut east, mut west] = [("east", "west"), ("west", "east")].map(|(own, other)| {
        let identity = authority.identity(&format!("demo/{own}/bridge/b1"));
        let said = hello(&identity);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("set");
        let listener = TcpListener::from_std(listener).expect("a listener");
        End::start_with(identity, &[other], said, listener, ALERT)
    });
    let wire = Wire::to(east.address).await;
    west.dial_at(wire.address, "east");
    opened(&mut east).await;
    opened(&mut west).await;

    let asked = std::time::Instant::now();
    wire.frozen.send_replace(true);
    let (at_east, at_west) = (closed(&mut east).await, closed(&mut west).await);

    assert!(matches!(at_west, Parting::Broken(_)), "{at_west:?}");
    assert!(matches!(at_east, Parting::Broken(_) | Parting::ByPeer(_)), "{at_east:?}");
    assert!(asked.elapsed() < Duration::from_secs(10), "no sooner than {:?}", asked.elapsed());
    wire.frozen.send_replace(false);
    opened(&mut west).await;
    opened(&mut east).await;
}
