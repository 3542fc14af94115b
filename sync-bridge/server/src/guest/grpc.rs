//! A Nacos of 2.x or 3.x, or whoever speaks as one, over gRPC as its SDKs do.
//!
//! Invariant: a push is acknowledged when it was taken in; one that cannot be read ends the connection, and all is asked anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use landbridge_bridge_core::guest::{Native, Place};
use landbridge_model::{Namespace, ServiceKey};
use landbridge_wire::nacos::{
    ClusterFilter, Enrolment, PAGE_SIZE_MAX, ServiceListQuery,
    grpc::{BiRequestStreamClient, MESSAGE_BYTES_MAX, Payload, RequestClient, Seen, Told, ask},
};
use tokio::{
    sync::{Mutex, mpsc},
    time::interval,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{
    Streaming,
    transport::{Channel, Endpoint},
};

use super::{
    line::{Answer, Broken, Dialler, Line, Names, News},
    login::{Login, innermost},
};

/// What the connector calls itself.
const CLIENT: &str = "Landbridge-Connector:v1";

/// SDKs speak gRPC so much above the port of HTTP.
const GRPC_ABOVE: u16 = 1000;

/// Acknowledgements that wait to be sent; the connection ends when more would.
const WORDS_MAX: usize = 256;

/// How often a new connection is tried until the server has taken its set-up.
const SETTLE_EVERY: Duration = Duration::from_millis(20);

/// Pages of names that are asked for; what is beyond is not listed, and the list is not whole.
const PAGES_MAX: u64 = 100;

/// Nacos's code for "no right".
const FORBIDDEN: i64 = 403;

/// Codes of a server that is not to be talked to (any more): starting, and "who are you?".
const NOT_WELL: [i64; 3] = [300, 301, -401];

/// How the refusal of a call before the set-up ends here.
const UNREGISTERED: &str = "(301)";

/// Reaches one of several servers, the next one after each failure.
pub(crate) struct Grpc {
    servers: Vec<String>,
    next: usize,
    login: Login,
    connect: Duration,
}

impl Grpc {
    /// `servers` are `host:port` of HTTP, at least one.
    pub fn new(servers: Vec<String>, login: Login, connect: Duration) -> Self {
        Self { servers, next: 0, login, connect }
    }
}

impl Dialler for Grpc {
    type Line = Nacos;

    async fn connect(&mut self, anew: bool, news: mpsc::Sender<News>) -> Result<Nacos, Broken> {
        let server = self.servers[self.next % self.servers.len()].clone();
        // A connection that ends leads to the next server, too.
        self.next += 1;
        let over = CancellationToken::new();
        let nacos = Nacos {
            server: Arc::from(server),
            login: self.login.clone(),
            connect: self.connect,
            lines: Arc::default(),
            news,
            over: over.clone(),
            _guard: Arc::new(over.drop_guard()),
        };
        nacos.login.renew(&nacos.server, anew).await?;
        nacos.at(&public()).await?;
        Ok(nacos)
    }
}

/// The namespace that every server has: a connection in its name tells that the server is there.
fn public() -> Namespace {
    Namespace::parse("").expect("empty text is the default namespace")
}

/// Connections with one server, one for each namespace: a push does not say of which namespace it is.
#[derive(Clone)]
pub(crate) struct Nacos {
    server: Arc<str>,
    login: Login,
    connect: Duration,
    /// As many as tasks name namespaces, and one.
    lines: Arc<Mutex<BTreeMap<Namespace, RequestClient<Channel>>>>,
    news: mpsc::Sender<News>,
    over: CancellationToken,
    /// Ends the streams with the last copy.
    _guard: Arc<DropGuard>,
}

impl Nacos {
    /// The connection of a namespace.
    async fn at(&self, namespace: &Namespace) -> Result<RequestClient<Channel>, Broken> {
        let mut lines = self.lines.lock().await;
        if let Some(line) = lines.get(namespace) {
            return Ok(line.clone());
        }
        let line = self.open(namespace).await?;
        lines.insert(namespace.clone(), line.clone());
        Ok(line)
    }

    async fn open(&self, namespace: &Namespace) -> Result<RequestClient<Channel>, Broken> {
        let (host, port) = self.server.rsplit_once(':').unwrap_or((&self.server, ""));
        let port: u16 = port.parse().map_err(|_| self.unreachable("no port"))?;
        let address = format!("http://{host}:{}", port.saturating_add(GRPC_ABOVE));
        let endpoint =
            Endpoint::from_shared(address).map_err(|error| self.unreachable(&innermost(&error)))?;
        let channel = endpoint.connect_timeout(self.connect).connect().await;
        let channel = channel.map_err(|error| self.unreachable(&innermost(&error)))?;
        let line = RequestClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        self.ask_on(&line, ask::server_check()).await?;
        let (words, to_say) = mpsc::channel(WORDS_MAX);
        let set_up = self.signed(ask::setup(CLIENT, namespace, false));
        words.try_send(set_up).map_err(|_| self.unreachable("no room for a word"))?;
        let mut streams = BiRequestStreamClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let heard = streams.request_bi_stream(ReceiverStream::new(to_say)).await;
        let heard = heard.map_err(|status| self.unreachable(status.message()))?.into_inner();
        // Nothing that every Nacos sends answers a set-up; one that was taken is known by what is answered after it.
        let mut pace = interval(SETTLE_EVERY);
        loop {
            pace.tick().await;
            match self.ask_on(&line, ask::health_check()).await {
                Ok(_) => break,
                Err(Broken::Unreachable(why)) if why.ends_with(UNREGISTERED) => {}
                Err(why) => return Err(why),
            }
        }
        let listening = listen(heard, words, self.news.clone(), namespace.clone());
        let (over, news) = (self.over.clone(), self.news.clone());
        tokio::spawn(async move {
            tokio::select! {
                // Whoever reads has the end of one stream for the end of all.
                why = listening => drop(news.send(News::Over(why)).await),
                () = over.cancelled() => {}
            }
        });
        Ok(line)
    }

    fn unreachable(&self, why: &str) -> Broken {
        Broken::Unreachable(format!("{}: {why}", self.server))
    }

    /// A message that shows who calls.
    fn signed(&self, mut payload: Payload) -> Payload {
        if let (Some(token), Some(metadata)) = (self.login.shown(), &mut payload.metadata) {
            metadata.headers.insert("accessToken".to_owned(), token);
        }
        payload
    }

    async fn ask(&self, namespace: &Namespace, payload: Payload) -> Result<Told, Broken> {
        let line = self.at(namespace).await?;
        self.ask_on(&line, payload).await
    }

    async fn ask_on(&self, line: &RequestClient<Channel>, payload: Payload) -> Result<Told, Broken> {
        let answer = line.clone().request(self.signed(payload)).await;
        let answer = answer.map_err(|status| self.unreachable(status.message()))?.into_inner();
        match Told::parse(&answer) {
            Ok(Told::Failed { code: FORBIDDEN, message }) => {
                Err(Broken::Forbidden(format!("{}: {message}", self.server)))
            }
            Ok(Told::Failed { code, message }) if NOT_WELL.contains(&code) => {
                Err(self.unreachable(&format!("{message} ({code})")))
            }
            Ok(Told::Failed { code, message }) => Err(Broken::Refused(format!("{message} ({code})"))),
            Ok(told) => Ok(told),
            Err(why) => Err(Broken::Refused(why.to_string())),
        }
    }

    fn nonsense(&self, told: &Told) -> Broken {
        Broken::Refused(format!("{} answers something else: {told:.80?}", self.server))
    }
}

impl Line for Nacos {
    async fn list(&self, place: &Place) -> Result<Names, Broken> {
        let mut names = Names { services: BTreeSet::new(), whole: true };
        let mut told = 0;
        for page in 1..=PAGES_MAX {
            let query =
                ServiceListQuery::new(place.namespace.clone(), place.group.clone(), page, PAGE_SIZE_MAX);
            let (count, page) = match self.ask(&place.namespace, ask::service_list(&query)).await? {
                Told::Services { count, names } => (count, names),
                other => return Err(self.nonsense(&other)),
            };
            let is_last = page.is_empty();
            told += page.len() as u64;
            for name in page {
                match ServiceKey::parse(place.namespace.as_str(), place.group.as_str(), &name) {
                    Ok(service) => drop(names.services.insert(service)),
                    Err(why) => tracing::debug!(event = "guest_name", %why, "a name that is not one here"),
                }
            }
            if told >= count {
                return Ok(names);
            }
            if is_last {
                break;
            }
        }
        // Fewer than there are: the order of a list may change between two pages.
        names.whole = false;
        Ok(names)
    }

    async fn watch(&self, service: &ServiceKey) -> Result<Answer, Broken> {
        match self.ask(service.namespace(), ask::subscribe(service, &ClusterFilter::default(), true)).await? {
            Told::Service(seen) => Ok(answer(service.clone(), seen)),
            other => Err(self.nonsense(&other)),
        }
    }

    async fn unwatch(&self, service: &ServiceKey) -> Result<(), Broken> {
        self.ask(service.namespace(), ask::subscribe(service, &ClusterFilter::default(), false))
            .await
            .map(drop)
    }

    async fn put(&self, service: &ServiceKey, instances: &[Native], before: &[Native]) -> Result<(), Broken> {
        let all: Vec<Enrolment> = instances.iter().map(enrolment).collect();
        let payload = match (all.as_slice(), before) {
            ([], [.., last]) => ask::deregister(service, &enrolment(last)),
            ([], []) => return Ok(()),
            ([one], [] | [_]) => ask::register(service, one),
            (many, _) => ask::register_batch(service, many),
        };
        self.ask(service.namespace(), payload).await.map(drop)
    }

    async fn check(&self) -> Result<(), Broken> {
        self.login.renew(&self.server, false).await?;
        let lines: Vec<_> = self.lines.lock().await.values().cloned().collect();
        for line in lines {
            self.ask_on(&line, ask::health_check()).await?;
        }
        Ok(())
    }
}

/// Hears the server until its end, told in words, and answers what wants an answer.
async fn listen(
    mut heard: Streaming<Payload>,
    words: mpsc::Sender<Payload>,
    news: mpsc::Sender<News>,
    namespace: Namespace,
) -> String {
    loop {
        let payload = match heard.message().await {
            Ok(Some(payload)) => payload,
            Ok(None) => return "the server ended the stream".to_owned(),
            Err(status) => return format!("the stream broke off: {}", status.message()),
        };
        let word = match Told::parse(&payload) {
            Ok(Told::Pushed { request_id, service: seen }) => {
                if let Ok(service) = ServiceKey::parse(namespace.as_str(), &seen.group, &seen.name)
                    && news.send(News::Answer(answer(service, seen))).await.is_err()
                {
                    return "nobody reads".to_owned();
                }
                ask::notified(&request_id)
            }
            Ok(Told::Detect { request_id }) => ask::detected(&request_id),
            // Its successor on another server asks for everything again.
            Ok(Told::Reset) => return "the server sends its clients away".to_owned(),
            Err(why) => return format!("a word that cannot be read: {why}"),
            Ok(
                Told::Server { .. }
                | Told::SetUp
                | Told::Done
                | Told::Service(_)
                | Told::Services { .. }
                | Told::Failed { .. }
                | Told::Unknown,
            ) => continue,
        };
        if words.try_send(word).is_err() {
            return "the server takes no words".to_owned();
        }
    }
}

fn enrolment(native: &Native) -> Enrolment {
    Enrolment { key: native.key.clone(), instance: native.instance.clone(), ephemeral: !native.persistent }
}

fn answer(service: ServiceKey, seen: Seen) -> Answer {
    let instances = seen.hosts.into_iter().map(|host| Native {
        key: host.key,
        instance: host.instance,
        persistent: !host.ephemeral,
    });
    Answer { service, made_ms: seen.last_ref_ms, instances: instances.collect() }
}
