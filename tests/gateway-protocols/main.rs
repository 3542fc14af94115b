//! gRPC through a gateway, by tonic on both sides: trailers, errors, streams both ways, and calls that are given up.

#![allow(clippy::unwrap_used, reason = "a test may stop at its first surprise, helpers included")]

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use landbridge_client::Table;
use landbridge_gateway::{Config, Gateway, Surroundings};
use landbridge_model::ServiceKey;
use landbridge_runtime::{
    shutdown::Shutdown,
    telemetry::{self, BuildInfo},
};
use landbridge_tests::{listed::listed, wait::until_async};
use landbridge_wire::nacos::grpc::{
    BiRequestStream, BiRequestStreamClient, BiRequestStreamServer, Payload, RequestClient, RequestServer,
    RequestService,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{
    Code, Request, Response, Status, Streaming,
    metadata::MetadataValue,
    transport::{Channel, server::TcpIncoming},
};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that says what it gets, and counts streams that are open.
#[derive(Clone, Default)]
struct Echo {
    streams: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl RequestService for Echo {
    async fn request(&self, request: Request<Payload>) -> Result<Response<Payload>, Status> {
        let caller = request.metadata().get("x-caller").cloned();
        let payload = request.into_inner();
        if payload.type_name() == "Fail" {
            let mut status = Status::with_details(
                Code::FailedPrecondition,
                "not while it rains",
                Bytes::from_static(b"why"),
            );
            status.metadata_mut().insert("x-reason", MetadataValue::from_static("rain"));
            return Err(status);
        }
        let mut response = Response::new(payload);
        if let Some(caller) = caller {
            response.metadata_mut().insert("x-seen", caller);
        }
        Ok(response)
    }
}

struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[tonic::async_trait]
impl BiRequestStream for Echo {
    type requestBiStreamStream = Pin<Box<dyn Stream<Item = Result<Payload, Status>> + Send>>;

    async fn request_bi_stream(
        &self,
        request: Request<Streaming<Payload>>,
    ) -> Result<Response<Self::requestBiStreamStream>, Status> {
        self.streams.fetch_add(1, SeqCst);
        let open = Open(self.streams.clone());
        let answers = request.into_inner().map(move |payload| {
            let _held = &open;
            match payload {
                Ok(payload) if payload.type_name() == "Fail" => Err(Status::aborted("as asked")),
                other => other,
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// A tonic server behind a gateway.
struct House {
    address: SocketAddr,
    echo: Echo,
    shutdown: Shutdown,
    _gateway: Gateway,
    _tables: watch::Sender<Arc<Table>>,
}

impl House {
    async fn open() -> Self {
        Self::routed(|port| {
            let page = format!(
                "[[statics]]\nname = \"echo\"\n\
                 endpoints = [{{ address = \"127.0.0.1\", port = {port}, region = \"east\" }}]\n\
                 [[listeners]]\nname = \"calls\"\nlisten = \"127.0.0.1:0\"\n\
                 [[listeners.routes]]\nid = \"all\"\nstatic = \"echo\"\n"
            );
            (page, Table::default())
        })
        .await
    }

    /// The server is registered as `echo`, and only its streams have a route there.
    async fn by_service() -> Self {
        Self::routed(|port| {
            let route = |id: &str, service: &str| {
                format!(
                    "[[listeners.routes]]\nid = \"{id}\"\npath_prefix = \"/{id}\"\nservice = \"{service}\"\n"
                )
            };
            let page = format!(
                "[[listeners]]\nname = \"calls\"\nlisten = \"127.0.0.1:0\"\n{}{}",
                route("BiRequestStream", "echo"),
                route("Request", "nobody"),
            );
            let endpoint = listed("east", "127.0.0.1", port, &[]);
            let services = [(ServiceKey::parse("", "", "echo").unwrap(), [endpoint].into())].into();
            (page, Table { services, ..Table::default() })
        })
        .await
    }

    /// The gateway's listeners and table are made for the server's port.
    async fn routed(made: impl FnOnce(u16) -> (String, Table)) -> Self {
        let echo = Echo::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tonic::transport::Server::builder()
            .add_service(RequestServer::new(echo.clone()))
            .add_service(BiRequestStreamServer::new(echo.clone()));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))));
        let (page, table) = made(port);
        let page =
            format!("region = \"east\"\nzone = \"a\"\nthreads = 1\nadmin.listen = \"127.0.0.1:0\"\n{page}");
        let (tables, news) = watch::channel(Arc::new(table));
        let shutdown = Shutdown::new();
        let metrics = telemetry::install(BuildInfo { version: "test", role: "gateway" }).unwrap();
        let surroundings = Surroundings { tables: news, shutdown: shutdown.clone(), metrics };
        let gateway = Gateway::start(Config::read(&page).unwrap(), surroundings).await.unwrap();
        let address = gateway.addresses()[0];
        Self { address, echo, shutdown, _gateway: gateway, _tables: tables }
    }

    async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

fn payload(kind: &str, bytes: usize) -> Payload {
    Payload::new(kind, vec![b'x'; bytes])
}

#[tokio::test]
async fn a_unary_call_passes_with_its_metadata_and_a_body_of_megabytes() {
    let house = House::open().await;
    let mut client = RequestClient::new(house.channel().await);
    let mut request = Request::new(payload("Plain", 3_000_000));
    request.metadata_mut().insert("x-caller", MetadataValue::from_static("me"));

    let answer = timeout(PATIENCE, client.request(request)).await.unwrap().unwrap();

    assert_eq!(answer.metadata().get("x-seen").unwrap(), "me");
    assert_eq!(answer.into_inner().json().len(), 3_000_000);
}

#[tokio::test]
async fn an_error_arrives_with_its_code_its_words_its_details_and_its_trailers() {
    let house = House::open().await;
    let mut client = RequestClient::new(house.channel().await);

    let status = client.request(payload("Fail", 1)).await.unwrap_err();

    assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "not while it rains"));
    assert_eq!(status.details(), b"why");
    assert_eq!(status.metadata().get("x-reason").unwrap(), "rain");
}

#[tokio::test]
async fn every_message_of_a_stream_is_answered_before_the_next_one_is_sent() {
    let house = House::open().await;
    let mut client = BiRequestStreamClient::new(house.channel().await);
    let (asking, asked) = mpsc::channel(1);
    asking.send(payload("First", 1)).await.unwrap();
    let stream = timeout(PATIENCE, client.request_bi_stream(ReceiverStream::new(asked)));
    let mut answers = stream.await.unwrap().unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().type_name(), "First");

    for bytes in (0..200).map(|n| n * 500) {
        asking.send(payload("Next", bytes)).await.unwrap();
        let answer = timeout(PATIENCE, answers.message()).await.expect("nothing waits for more").unwrap();
        assert_eq!(answer.unwrap().json().len(), bytes);
    }
    drop(asking);

    assert_eq!(answers.message().await.unwrap(), None, "the end of one side lets the other one end well");
    assert!(answers.trailers().await.unwrap().is_some(), "the trailers say that it ended well");
}

#[tokio::test]
async fn a_stream_that_fails_in_the_middle_tells_why_in_its_trailers() {
    let house = House::open().await;
    let mut client = BiRequestStreamClient::new(house.channel().await);
    let messages = [payload("Plain", 1), payload("Plain", 2), payload("Fail", 3), payload("Plain", 4)];

    let answers = client.request_bi_stream(tokio_stream::iter(messages)).await.unwrap();
    let answers: Vec<_> = timeout(PATIENCE, answers.into_inner().collect()).await.unwrap();

    assert_eq!(answers.len(), 3);
    assert!(answers[..2].iter().all(Result::is_ok));
    let status = answers[2].as_ref().unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Aborted, "as asked"));
}

#[tokio::test]
async fn many_streams_share_connections_and_none_holds_up_another() {
    let house = House::open().await;
    let channel = house.channel().await;
    let idle = {
        let (asking, asked) = mpsc::channel(1);
        asking.send(payload("Idle", 1)).await.unwrap();
        let mut client = BiRequestStreamClient::new(channel.clone());
        let mut answers = client.request_bi_stream(ReceiverStream::new(asked)).await.unwrap().into_inner();
        answers.message().await.unwrap();
        (asking, answers)
    };
    let mut streams = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let mut client = BiRequestStreamClient::new(channel.clone());
        streams.spawn(async move {
            let messages = (0..40).map(|n| payload("Plain", n * 100));
            let answers = client.request_bi_stream(tokio_stream::iter(messages)).await.unwrap();
            answers.into_inner().fold(0, |count, answer| count + usize::from(answer.is_ok())).await
        });
    }

    let counts = timeout(PATIENCE, streams.join_all()).await.unwrap();

    assert_eq!(counts, vec![40; 50]);
    drop(idle);
}

#[tokio::test]
async fn a_route_takes_the_streams_of_one_grpc_service_to_a_registered_one_with_their_trailers() {
    let house = House::by_service().await;
    let channel = house.channel().await;
    let mut client = BiRequestStreamClient::new(channel.clone());
    let (asking, asked) = mpsc::channel(1);
    asking.send(payload("First", 1)).await.unwrap();
    let stream = timeout(PATIENCE, client.request_bi_stream(ReceiverStream::new(asked)));
    let mut answers = stream.await.unwrap().unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().type_name(), "First");
    for bytes in 0..50 {
        asking.send(payload("Next", bytes)).await.unwrap();
        let answer = timeout(PATIENCE, answers.message()).await.expect("nothing waits for more").unwrap();
        assert_eq!(answer.unwrap().json().len(), bytes);
    }
    asking.send(payload("Fail", 1)).await.unwrap();

    let status = timeout(PATIENCE, answers.message()).await.expect("the end in time").unwrap_err();

    assert_eq!((status.code(), status.message()), (Code::Aborted, "as asked"));
    let other = RequestClient::new(channel).request(payload("Plain", 1)).await.unwrap_err();
    assert_eq!(other.code(), Code::Unavailable, "the other service's route leads to nobody: {other}");
}

#[tokio::test]
async fn a_stream_that_its_caller_gives_up_ends_at_the_server_too() {
    let house = House::open().await;
    let mut client = BiRequestStreamClient::new(house.channel().await);
    let (asking, asked) = mpsc::channel(1);
    asking.send(payload("First", 1)).await.unwrap();
    let mut answers = client.request_bi_stream(ReceiverStream::new(asked)).await.unwrap().into_inner();
    answers.message().await.unwrap();
    assert_eq!(house.echo.streams.load(SeqCst), 1);

    drop((answers, asking));

    let gone = async || (house.echo.streams.load(SeqCst) == 0).then_some(());
    until_async("the server knows that the caller left", PATIENCE, gone).await;
}
