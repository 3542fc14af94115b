//! Plain clients of one region call services of another through their own region's gateway (visibility `gateway`).

use std::{net::SocketAddr, path::Path};

use landbridge_gateway::Config;
use landbridge_runtime::shutdown::Shutdown;
use landbridge_tests::{authority::Authority, http::ask, process::free_port, wait::until_async};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::processes::{PATIENCE, Place};

/// The gateway of a region, registered there.
fn gateway(place: &Place, authority: &Authority, keepsake: &Path) -> (Shutdown, JoinHandle<()>) {
    let files = authority.files(&format!("demo/{}/gateway/1", place.name));
    let page = format!(
        "region = {:?}\nzone = \"a\"\nthreads = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [[listeners]]\nname = \"calls\"\nlisten = \"127.0.0.1:0\"\nby_path = true\n\
         [presence]\naddress = \"127.0.0.1\"\nregistries = [{:?}]\nlisten = \"127.0.0.1\"\n\
         [registry]\naddresses = [{:?}]\nkeepsake = {keepsake:?}\n\
         tls = {{ certificate = {:?}, key = {:?}, authority = {:?} }}\n",
        place.name,
        place.http(),
        place.members(),
        files.certificate,
        files.key,
        files.authority
    );
    let config = Config::read(&page).expect("a good page");
    let shutdown = Shutdown::new();
    let ending = shutdown.clone();
    let running = tokio::spawn(async move {
        if let Err(why) = landbridge_gateway::run(config, ending).await {
            panic!("the gateway failed: {why}");
        }
    });
    (shutdown, running)
}

/// A range of ports of which the first are free.
fn free_range() -> String {
    let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut first = (0..64).filter_map(|_| free_port().ok());
    let first = first.find(|first| (1..4).all(|more| first.checked_add(more).is_some_and(is_free)));
    let first = first.expect("four free ports in a row");
    format!("{first}-{}", first + 3)
}

/// Serves every connection so; who leaves, leaves.
async fn serving<Served>(serve: fn(TcpStream) -> Served) -> SocketAddr
where
    Served: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Speaks before it has heard anything, and stays until the other side leaves.
async fn greet(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(b"greetings").await?;
    stream.read(&mut [0; 16]).await.map(drop)
}

/// Answers one request with a word.
async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    if stream.read(&mut [0; 4_096]).await? > 0 {
        stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello").await?;
    }
    Ok(())
}

/// Registers an address as a plain client does, to stay without beats.
async fn register(place: &Place, service: &str, address: SocketAddr) {
    let path = format!(
        "/nacos/v1/ns/instance?serviceName={service}&ip=127.0.0.1&port={}&ephemeral=false",
        address.port()
    );
    let http = place.http().parse().expect("an address");
    until_async("the registration is taken", PATIENCE, async || {
        ask(http, "POST", &path).await.filter(|(status, _)| *status == 200)
    })
    .await;
}

/// The addresses that a plain client of the place is answered.
async fn listed(place: &Place, service: &str) -> Vec<SocketAddr> {
    let http = place.http().parse().expect("an address");
    let path = format!("/nacos/v1/ns/instance/list?serviceName={service}");
    let Some((200, text)) = ask(http, "GET", &path).await else { return Vec::new() };
    let page: Value = serde_json::from_str(&text).expect("a list is JSON");
    let hosts = page["hosts"].as_array().into_iter().flatten();
    hosts.filter_map(|host| format!("{}:{}", host["ip"].as_str()?, host["port"]).parse().ok()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_client_calls_far_services_through_its_own_gateway() {
    let authority = Authority::new();
    let ports = format!("service_ports = \"{}\"\n", free_range());
    let (east, west) = (Place::new("east"), Place::new("west"));
    let naming = format!("[naming]\nvisibility = \"gateway\"\n{ports}");
    let members = (east.member(&authority), west.member_with(&authority, &naming));
    let bridges = (east.bridge(&authority, &west), west.bridge(&authority, &east));
    let (gateway, gateway_ends) = gateway(&west, &authority, &west.folder.path().join("keepsake"));
    east.let_leave(&west).await;
    let (web, db) = (serving(answer).await, serving(greet).await);
    register(&east, "web", web).await;
    register(&east, "db", db).await;

    let at = async |service: &str| {
        let what = format!("west's clients are shown {service} at their gateway");
        until_async(&what, PATIENCE, async || {
            let hosts = listed(&west, service).await;
            (hosts.len() == 1 && ![web, db].contains(&hosts[0])).then(|| hosts[0])
        })
        .await
    };
    let (web_port, db_port) = (at("web").await, at("db").await);
    assert_ne!(web_port, db_port);
    until_async("a call is answered from east", PATIENCE, async || {
        ask(web_port, "GET", "/").await.filter(|said| *said == (200, "hello".to_owned()))
    })
    .await;
    until_async("a connection is greeted from east", PATIENCE, async || {
        let mut stream = TcpStream::connect(db_port).await.ok()?;
        let mut said = [0; 9];
        stream.read_exact(&mut said).await.ok().filter(|_| said == *b"greetings")
    })
    .await;

    gateway.begin();
    gateway_ends.await.expect("the gateway ended in order");
    until_async("the gateway took itself out", PATIENCE, async || {
        listed(&west, "web").await.is_empty().then_some(())
    })
    .await;
    for running in [bridges.0, bridges.1, members.0, members.1] {
        running.stop().await;
    }
}
