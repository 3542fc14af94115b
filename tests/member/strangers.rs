//! What strangers do to a port: garbage, floods, halves of requests. The member answers everybody else all the while.

use landbridge_tests::{
    http::say,
    sdk::{ask_well, connect, dial, enrolment, service},
};
use landbridge_wire::nacos::grpc::{Payload, RequestClient, ask};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::one::One;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_any_port_leaves_the_member_answering() {
    let one = One::start().await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice();
    let frames = [preface, &[0xff; 64]].concat();
    let mut held = Vec::new();

    for port in [one.http(), one.grpc()] {
        for bytes in
            [b"\x16\x03\x01\x02\x00".as_slice(), &[0; 512], b"GET / HTTP/9.9\r\n\r\n", &frames, preface]
        {
            let mut stream = TcpStream::connect(port).await.expect("the port accepts");
            stream.write_all(bytes).await.expect("the socket takes it");
            held.push(stream);
        }
    }

    let mut client = connect(one.grpc()).await.expect("a connection");
    ask_well(&mut client.requests, ask::register(&service("still"), &enrolment(1)))
        .await
        .expect("registered");
    assert_eq!(one.get("/livez").await.0, 200);
    drop(held);
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_beyond_the_bound_is_refused_on_both_ports() {
    let one = One::start().await;
    let eleven_mib = vec![b'x'; 11 << 20];
    let head = format!(
        "POST /nacos/v1/ns/instance HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        eleven_mib.len()
    );

    let http = say(one.http(), head.as_bytes()).await.expect("answered before the body");
    let mut raw =
        RequestClient::new(dial(one.grpc()).await.expect("a channel")).max_encoding_message_size(32 << 20);
    let grpc = raw.request(Payload::new("InstanceRequest", eleven_mib)).await;

    assert!(http.starts_with("HTTP/1.1 413"), "{http}");
    assert_eq!(grpc.expect_err("too large").code(), tonic::Code::OutOfRange);
    assert_eq!(one.get("/livez").await.0, 200);
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_named_and_nothing_else_is_touched() {
    use landbridge_runtime::{config::Layers, shutdown::Shutdown, telemetry};
    let one = One::start().await;
    let data = tempfile::tempdir().expect("a folder");
    let sets = [
        format!("data_dir={}", data.path().join("unused").display()),
        format!("listen.http_port={}", one.http().port()),
    ];
    let layers = Layers { defaults: "", file: None, environment: &[], sets: &sets };
    let config = landbridge_registry::Config::read(&layers).expect("two keys are right");
    let page =
        telemetry::install(telemetry::BuildInfo { version: "0", role: "registry" }).expect("a recorder");

    let failure =
        landbridge_registry::run(config, page, Shutdown::new()).await.expect_err("the port is taken");

    let said = failure.to_string();
    assert!(said.contains(&one.http().port().to_string()) && said.contains("another process"), "{said}");
    assert!(!data.path().join("unused").exists());
    one.end().await.expect("ends in order");
}
