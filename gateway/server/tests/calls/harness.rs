//! A gateway, endpoints that behave as they are told, and callers.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use landbridge_client::{Endpoint as Listed, Table};
use landbridge_gateway::{Config, Gateway, Surroundings};
use landbridge_model::{Address, Cluster, Metadata, Region, Zone};
use landbridge_runtime::{
    shutdown::Shutdown,
    telemetry::{self, BuildInfo, MetricsPage},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// No test waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) type Body = BoxBody<Bytes, Infallible>;

pub(crate) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed()
}

/// A body of ready frames.
pub(crate) struct Frames(pub(crate) VecDeque<Frame<Bytes>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

/// What an endpoint was asked, without its body.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) uri: http::Uri,
    pub(crate) version: http::Version,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<http::HeaderMap>,
}

/// An endpoint of a service.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Endpoint {
    /// An endpoint that answers every request, once it has read it, with what `answer` says.
    pub(crate) async fn start<F>(answer: impl Fn(Asked) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, connections) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::<AtomicUsize>::default());
        let (log, count, answer) = (Arc::clone(&asked), connections.clone(), Arc::new(answer));
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, SeqCst);
                let (log, answer) = (Arc::clone(&log), answer.clone());
                let service = service_fn(move |request| {
                    let (log, answer) = (Arc::clone(&log), answer.clone());
                    async move {
                        let asked = read(request).await?;
                        log.lock().unwrap().push(asked.clone());
                        Ok::<_, hyper::Error>(answer(asked).await)
                    }
                });
                open.spawn(async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    builder.serve_connection(TokioIo::new(stream), service).await
                });
            }
        });
        Self { address, connections, asked, task }
    }

    /// An endpoint that answers with its own name.
    pub(crate) async fn named(name: &'static str) -> Self {
        Self::start(move |_| async move { Response::new(full(name)) }).await
    }

    /// An endpoint that answers with a status.
    pub(crate) async fn failing(status: u16) -> Self {
        let answer = move |_| async move { Response::builder().status(status).body(full("no")).unwrap() };
        Self::start(answer).await
    }

    /// An endpoint that accepts and reads, and never answers.
    pub(crate) async fn silent() -> Self {
        Self::start(|_| std::future::pending()).await
    }

    /// A port on which nobody listens.
    pub(crate) async fn nobody() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    /// An endpoint that reads the begin of a request and closes the connection without a word.
    pub(crate) async fn rude() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let count = connections.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, SeqCst);
                tokio::spawn(async move {
                    let mut some = [0; 1_024];
                    let _ = stream.read(&mut some).await;
                });
            }
        });
        Self { address, connections, asked: Arc::default(), task }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// Ends it, with all its connections.
    pub(crate) async fn kill(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(request: Request<Incoming>) -> Result<Asked, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned();
    Ok(Asked { uri: head.uri, version: head.version, headers: head.headers, body: body.to_bytes(), trailers })
}

/// One line of `endpoints` in a static service.
pub(crate) fn at(address: SocketAddr, region: &str, zone: &str) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!("{{ address = \"{ip}\", port = {port}, region = \"{region}\", zone = \"{zone}\" }}")
}

/// A page with one listener that sends everything to one static service of these endpoints.
pub(crate) fn page(endpoints: &[String], more: &str) -> String {
    format!(
        "region = \"east\"\nzone = \"a\"\nthreads = 1\nadmin.listen = \"127.0.0.1:0\"\n\
         [[statics]]\nname = \"web\"\nendpoints = [{}]\n\
         [[listeners]]\nname = \"calls\"\nlisten = \"127.0.0.1:0\"\nby_path = true\nby_header = true\n\
         host_suffix = \"svc.test\"\n\
         [[listeners.routes]]\nid = \"all\"\nhosts = [\"web.test\"]\nstatic = \"web\"\n{more}",
        endpoints.join(", ")
    )
}

pub(crate) fn metrics() -> MetricsPage {
    telemetry::install(BuildInfo { version: "test", role: "gateway" }).unwrap()
}

/// A gateway that runs, and a caller with its own connections.
pub(crate) struct House {
    pub(crate) gateway: Option<Gateway>,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) shutdown: Shutdown,
    pub(crate) tables: watch::Sender<Arc<Table>>,
    caller: Client<HttpConnector, Body>,
}

impl House {
    pub(crate) async fn open(page: &str) -> Self {
        Self::with(Config::read(page).unwrap()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let (tables, news) = watch::channel(Arc::default());
        let shutdown = Shutdown::new();
        let surroundings = Surroundings { tables: news, shutdown: shutdown.clone(), metrics: metrics() };
        let gateway = Gateway::start(config, surroundings).await.unwrap();
        let (address, admin) = (gateway.addresses()[0], gateway.admin());
        let caller = Client::builder(TokioExecutor::new()).build_http();
        Self { gateway: Some(gateway), address, admin, shutdown, tables, caller }
    }

    /// A gateway in front of these endpoints, all in its own zone.
    pub(crate) async fn before(endpoints: &[&Endpoint], more: &str) -> Self {
        let list: Vec<_> = endpoints.iter().map(|endpoint| at(endpoint.address, "east", "a")).collect();
        Self::open(&page(&list, more)).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Response<Incoming> {
        tokio::time::timeout(PATIENCE, self.caller.request(request)).await.unwrap().unwrap()
    }

    /// Sends a request for `web.test` and reads the answer.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &'static str) -> (u16, String) {
        let request = self.request(method, path).body(full(body)).unwrap();
        let (head, body) = self.send(request).await.into_parts();
        let body = tokio::time::timeout(PATIENCE, body.collect()).await.unwrap().unwrap().to_bytes();
        (head.status.as_u16(), String::from_utf8_lossy(&body).into_owned())
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.call("GET", path, "").await
    }

    /// Asks for a registered service by its path.
    pub(crate) async fn by_path(&self, path: &str) -> (u16, String) {
        let request = Request::get(format!("http://{}{path}", self.address)).body(full("")).unwrap();
        let (head, body) = self.send(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), String::from_utf8_lossy(&body).into_owned())
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("host", "web.test")
    }

    /// Sends bytes as they are and reads until the gateway closes or the answer is complete.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let mut some = [0; 4_096];
        loop {
            match tokio::time::timeout(Duration::from_millis(400), stream.read(&mut some)).await {
                Ok(Ok(read)) if read > 0 => answer.extend_from_slice(&some[..read]),
                Ok(_) | Err(_) => return String::from_utf8_lossy(&answer).into_owned(),
            }
        }
    }

    /// Tells the admin page something in JSON.
    pub(crate) async fn tell(&self, method: &str, path: &str, body: &'static str) -> String {
        let uri = format!("http://{}{path}", self.admin);
        let request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
        let answer = self.send(request.body(full(body)).unwrap()).await;
        String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
    }

    /// Asks the admin page.
    pub(crate) async fn ask(&self, path: &str) -> String {
        let uri = format!("http://{}{path}", self.admin);
        let answer = self.send(Request::get(uri).body(full("")).unwrap()).await;
        String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

/// An instance as the registry lists it: well, in zone a of the east, on loopback.
pub(crate) fn listed(address: SocketAddr, metadata: &[(&str, &str)]) -> Listed {
    let pairs = metadata.iter().map(|(key, value)| ((*key).into(), (*value).into()));
    Listed {
        ip: Address::parse("127.0.0.1").unwrap(),
        port: address.port(),
        cluster: Cluster::parse("").unwrap(),
        origin: Region::parse("east").unwrap(),
        zone: Zone::parse("a").unwrap(),
        weight: 1.0,
        healthy: true,
        enabled: true,
        unverified: false,
        stale: false,
        metadata: Metadata::new(pairs).unwrap(),
    }
}

/// Waits until something holds, and says what it waited for if it never does.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < deadline && !holds().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(tokio::time::Instant::now() < deadline, "waited in vain until {what}");
}
