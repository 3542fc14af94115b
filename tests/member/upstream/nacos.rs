//! A small stand-in for a Nacos that keeps configs: HTTP, and gRPC 1000 above, with one store behind both.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use landbridge_tests::process::free_base;
use landbridge_wire::nacos::grpc::{
    BiRequestStream, BiRequestStreamServer, Payload, RequestServer, RequestService,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify, task::JoinSet};
use tokio_stream::{
    Stream, StreamExt,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tonic::{Status, Streaming, transport::Server};

type Words = tokio::sync::mpsc::Sender<Result<Payload, Status>>;

#[derive(Default)]
struct Store {
    configs: parking::Mutex<BTreeMap<String, String>>,
    changed: Notify,
    streams: parking::Mutex<Vec<Words>>,
    set_ups: AtomicUsize,
    acked: AtomicUsize,
    hanging: AtomicUsize,
    tokens: AtomicUsize,
}

/// The lock of the standard library, whose poison no test wants.
mod parking {
    #[derive(Default)]
    pub struct Mutex<T>(std::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub fn lock(&self) -> std::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }
}

/// The stand-in; it ends when it is dropped.
pub struct Nacos {
    port: u16,
    store: Arc<Store>,
    tasks: JoinSet<()>,
}

impl Nacos {
    /// Starts one, at this port or at any free one.
    pub async fn start(port: Option<u16>) -> Self {
        let port = port.unwrap_or_else(|| free_base().expect("free ports"));
        let store = Arc::new(Store::default());
        let bind = async |port| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            TcpListener::bind(address).await.expect("the port is free")
        };
        let (http, grpc) = (bind(port).await, bind(port + 1000).await);
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(http, Arc::clone(&store)));
        let door = Door(Arc::clone(&store));
        tasks.spawn(async move {
            let server = Server::builder()
                .add_service(RequestServer::new(door.clone()))
                .add_service(BiRequestStreamServer::new(door));
            server.serve_with_incoming(TcpListenerStream::new(grpc)).await.expect("served");
        });
        Self { port, store, tasks }
    }

    /// What a member is told of it.
    pub fn setting(&self) -> String {
        format!("config.upstream=127.0.0.1:{}", self.port)
    }

    /// Ends it at once, and says where it was.
    pub async fn end(mut self) -> u16 {
        self.tasks.shutdown().await;
        self.store.streams.lock().clear();
        self.port
    }

    pub fn configs(&self) -> usize {
        self.store.configs.lock().len()
    }

    pub fn set_ups(&self) -> usize {
        self.store.set_ups.load(Ordering::Relaxed)
    }

    pub fn acked(&self) -> usize {
        self.store.acked.load(Ordering::Relaxed)
    }

    /// Questions for changes that hang.
    pub fn hanging(&self) -> usize {
        self.store.hanging.load(Ordering::Relaxed)
    }

    /// Calls that showed a token.
    pub fn tokens(&self) -> usize {
        self.store.tokens.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, store: Arc<Store>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let store = Arc::clone(&store);
        let answer = service_fn(move |request| answer(Arc::clone(&store), request));
        let serving =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
        connections.spawn(async move {
            // A caller that hangs up is no failure.
            let _ = serving.await;
        });
    }
}

/// A form's or a query's value, undone of the little that these tests write in it.
fn value(text: &str, name: &str) -> String {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let mut found = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.replace("%3D", "="));
    found.next().unwrap_or_default()
}

async fn answer(store: Arc<Store>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let form = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let form = String::from_utf8_lossy(&form).into_owned();
    let query = head.uri.query().unwrap_or_default();
    if head.headers.contains_key("accesstoken") || format!("{query}&{form}").contains("accessToken") {
        store.tokens.fetch_add(1, Ordering::Relaxed);
    }
    let all = format!("{query}&{form}");
    let key = format!("{}+{}", value(&all, "dataId"), value(&all, "group"));
    let said = match (&head.method, head.uri.path()) {
        (&Method::GET, "/nacos/v1/cs/configs") => match store.configs.lock().get(&key) {
            Some(content) => (StatusCode::OK, content.clone()),
            None => (StatusCode::NOT_FOUND, "config data not exist\n".to_owned()),
        },
        (&Method::POST, "/nacos/v1/cs/configs") => {
            store.configs.lock().insert(key, value(&all, "content"));
            store.changed.notify_waiters();
            (StatusCode::OK, "true".to_owned())
        }
        (&Method::DELETE, "/nacos/v1/cs/configs") => {
            store.configs.lock().remove(&key);
            (StatusCode::OK, "true".to_owned())
        }
        (&Method::POST, "/nacos/v1/cs/configs/listener") => {
            let changed = store.changed.notified();
            store.hanging.fetch_add(1, Ordering::Relaxed);
            let heard = tokio::time::timeout(Duration::from_secs(25), changed).await;
            (StatusCode::OK, heard.map_or_else(|_| String::new(), |()| "app%02g%01".to_owned()))
        }
        (method, _) => (StatusCode::OK, format!("{method} {} {form}", head.uri)),
    };
    Ok(Response::builder().status(said.0).body(Full::new(Bytes::from(said.1))).expect("a status and a text"))
}

/// gRPC.
#[derive(Clone)]
struct Door(Arc<Store>);

fn success(type_name: &str, more: Value) -> Payload {
    let mut said = json!({ "resultCode": 200, "errorCode": 0, "success": true });
    for (name, value) in more.as_object().into_iter().flatten() {
        said[name] = value.clone();
    }
    Payload::new(type_name, said.to_string())
}

#[tonic::async_trait]
impl RequestService for Door {
    async fn request(&self, request: tonic::Request<Payload>) -> Result<tonic::Response<Payload>, Status> {
        let payload = request.into_inner();
        let asked: Value = serde_json::from_slice(payload.json()).expect("questions are JSON");
        let text = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
        let key = format!("{}+{}", text("dataId"), text("group"));
        let answer = match payload.type_name() {
            "HealthCheckRequest" if self.0.set_ups.load(Ordering::Relaxed) == 0 => {
                let said = json!({ "resultCode": 500, "errorCode": 301, "success": false });
                Payload::new("ErrorResponse", said.to_string())
            }
            "HealthCheckRequest" => success("HealthCheckResponse", json!({})),
            "ConfigQueryRequest" => match self.0.configs.lock().get(&key) {
                Some(content) => success("ConfigQueryResponse", json!({ "content": content })),
                None => {
                    let said = json!({ "resultCode": 500, "errorCode": 300, "success": false });
                    Payload::new("ConfigQueryResponse", said.to_string())
                }
            },
            "ConfigPublishRequest" => {
                self.0.configs.lock().insert(key, text("content"));
                let told = json!({ "requestId": "7", "dataId": text("dataId"), "group": text("group") });
                let streams = self.0.streams.lock().clone();
                // Nacos tells who listens; here the first connection does.
                let word = Payload::new("ConfigChangeNotifyRequest", told.to_string());
                streams.first().expect("somebody is there").try_send(Ok(word)).expect("room");
                success("ConfigPublishResponse", json!({}))
            }
            "ConfigBatchListenRequest" => {
                success("ConfigChangeBatchListenResponse", json!({ "changedConfigs": [] }))
            }
            other => panic!("{other} is no question for a config service"),
        };
        Ok(tonic::Response::new(answer))
    }
}

#[tonic::async_trait]
impl BiRequestStream for Door {
    type requestBiStreamStream = Pin<Box<dyn Stream<Item = Result<Payload, Status>> + Send>>;

    async fn request_bi_stream(
        &self,
        request: tonic::Request<Streaming<Payload>>,
    ) -> Result<tonic::Response<Self::requestBiStreamStream>, Status> {
        let mut words = request.into_inner();
        let (tell, told) = tokio::sync::mpsc::channel(16);
        self.0.streams.lock().push(tell);
        let store = Arc::clone(&self.0);
        tokio::spawn(async move {
            while let Some(Ok(word)) = words.next().await {
                match word.type_name() {
                    "ConnectionSetupRequest" => store.set_ups.fetch_add(1, Ordering::Relaxed),
                    "ConfigChangeNotifyResponse" => store.acked.fetch_add(1, Ordering::Relaxed),
                    other => panic!("{other} is no word for a config service"),
                };
            }
        });
        Ok(tonic::Response::new(Box::pin(ReceiverStream::new(told))))
    }
}
