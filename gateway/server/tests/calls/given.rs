//! Ports that the registry gives to services: what comes in by them, and when they open and close.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use http::Request;
use http_body_util::BodyExt;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use landbridge_client::{Endpoint as Listed, Table};
use landbridge_model::ServiceKey;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::harness::{Endpoint, House, full, listed, page, until};

/// A gateway that shows itself; nobody answers at its registry.
const SHOWN: &str = "[presence]\naddress = \"127.0.0.1\"\nregistries = [\"127.0.0.1:1\"]\nlisten = \"127.0.0.1\"\n\
                     [registry]\naddresses = [\"127.0.0.1:1\"]\nkeepsake = \"none\"\n\
                     tls = { certificate = \"none\", key = \"none\", authority = \"none\" }\n";

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// A table with one service of these instances, at a port or none.
fn table(instances: &[Listed], port: Option<u16>) -> Arc<Table> {
    let key = ServiceKey::parse("", "", "orders").unwrap();
    let ports = port.map(|port| (key.clone(), port)).into_iter().collect();
    Arc::new(Table { services: [(key, instances.into())].into(), regions: BTreeMap::new(), ports })
}

async fn is_open(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}

#[tokio::test]
async fn calls_by_a_given_port_are_tried_elsewhere_one_by_one() {
    let (failing, well) = (Endpoint::failing(503).await, Endpoint::named("well").await);
    let house = House::open(&page(&[], SHOWN)).await;
    let port = free_port().await;
    let instances = [&failing, &well].map(|one| listed(one.address, &[]));
    house.tables.send(table(&instances, Some(port))).unwrap();
    until("the port is open", async || is_open(port).await).await;
    let caller = Client::builder(TokioExecutor::new()).build_http();

    for _ in 0..20 {
        let request = Request::get(format!("http://127.0.0.1:{port}/a?b")).body(full("")).unwrap();
        let answer = caller.request(request).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "well");
    }

    assert!(well.asked().iter().all(|asked| asked.uri.path() == "/a"));
}

#[tokio::test]
async fn what_is_not_http_passes_a_given_port_unread_whoever_speaks_first() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server: SocketAddr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(b"hello").await.unwrap();
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    let house = House::open(&page(&[], SHOWN)).await;
    let port = free_port().await;
    house.tables.send(table(&[listed(server, &[])], Some(port))).unwrap();
    until("the port is open", async || is_open(port).await).await;

    for said in [&b""[..], b"*1\r\n$4\r\nPING\r\n"] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut back = vec![0; 5 + said.len()];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, [b"hello", said].concat());
    }
}

#[tokio::test]
async fn a_port_closes_when_it_is_taken_back_and_one_that_is_not_free_is_tried_again() {
    let well = Endpoint::named("well").await;
    let house = House::open(&page(&[], SHOWN)).await;
    let occupied = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = occupied.local_addr().unwrap().port();
    let missing = async |count: u32| {
        house.ask("/metrics").await.contains(&format!("landbridge_gateway_given_ports_missing {count}"))
    };
    house.tables.send(table(&[listed(well.address, &[])], Some(port))).unwrap();
    until("it is told that the port is not open", async || missing(1).await).await;

    drop(occupied);
    until("the port is open after all", async || missing(0).await && is_open(port).await).await;
    house.tables.send(table(&[listed(well.address, &[])], None)).unwrap();

    until("the port is closed", async || !is_open(port).await).await;
    assert_eq!(house.by_path("/svc/orders/").await.1, "well", "calls by name go on");
}
