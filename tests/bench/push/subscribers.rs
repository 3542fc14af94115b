//! Many connections that subscribe to one service, acknowledge what they are told and say when; and who changes it.

use std::{
    fs,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use landbridge_model::Namespace;
use landbridge_tests::{
    sdk::{dial, enrolment, service},
    wait::within,
};
use landbridge_wire::nacos::{
    ClusterFilter,
    grpc::{BiRequestStreamClient, Payload, RequestClient, ask},
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use super::servers::done;

/// Instances of the service, each registered by a connection of its own: a list of about 3 KB.
const HOSTS: u32 = 8;

/// Connections that are made at once.
const AT_ONCE: usize = 32;

/// Descriptors that a process needs besides those of its connections.
const OTHER_FILES: usize = 256;

/// A new connection is taken within this.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);

/// Everybody is told within this.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// Changes are so far apart that none waits in a server's window to be merged (Nacos 500 ms, here 50 ms).
const APART: Duration = Duration::from_millis(700);

/// The weight of an instance that nobody changed.
const PLAIN_WEIGHT: f64 = 1.0;

/// Words of one connection that wait to be sent.
const WORDS_MAX: usize = 8;

/// The service that all of them look at.
const SERVICE: &str = "pushed";

/// Who told when about which change, and how many bytes that took.
struct Heard {
    change: u32,
    at: Instant,
    bytes: usize,
}

/// A connection that was set up.
struct Connection {
    requests: RequestClient<Channel>,
    words: mpsc::Sender<Payload>,
    heard: Streaming<Payload>,
}

/// Sets a connection up without a word about abilities, so that every server takes it alike, and asks once.
async fn connect(address: SocketAddr, first: Payload) -> Result<Connection> {
    let channel = dial(address).await?;
    let (words, said) = mpsc::channel(WORDS_MAX);
    words.send(ask::setup("Landbridge-Tests:v1", &Namespace::parse("")?, false)).await?;
    let mut streams = BiRequestStreamClient::new(channel.clone());
    let heard = streams.request_bi_stream(ReceiverStream::new(said)).await?.into_inner();
    let mut requests = RequestClient::new(channel);
    let taken = async {
        // Calls may overtake the set-up, and are refused then.
        while done(&mut requests, first.clone()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TAKEN_WITHIN, taken).await.context("a connection is not taken")?;
    Ok(Connection { requests, words, heard })
}

/// Who registers the instances and changes one of them; each says that it lives when it is asked.
pub struct Publisher {
    requests: RequestClient<Channel>,
    _living: JoinSet<()>,
}

impl Publisher {
    /// Registers all instances.
    pub async fn start(address: SocketAddr) -> Result<Self> {
        let mut living = JoinSet::new();
        let mut first = None;
        for place in 0..HOSTS {
            let connection = connect(address, registration(place, 0)).await?;
            first.get_or_insert_with(|| connection.requests.clone());
            let (told, _) = mpsc::channel(1);
            living.spawn(listen(connection, told));
        }
        Ok(Self { requests: first.context("there is an instance")?, _living: living })
    }

    /// Begins a change; says when it was asked for.
    async fn change(&self, change: u32) -> Result<Instant> {
        let mut requests = self.requests.clone();
        let asked = Instant::now();
        done(&mut requests, registration(0, change)).await?;
        Ok(asked)
    }
}

/// One instance as of a change, told by its weight: r-nacos keeps the metadata that an instance first came with.
fn registration(place: u32, change: u32) -> Payload {
    let mut enrolment = enrolment(place);
    enrolment.instance.weight = PLAIN_WEIGHT + f64::from(change);
    ask::register(&service(SERVICE), &enrolment)
}

/// Which change a list shows: the weight of the one instance whose weight is not plain.
fn shown(list: &str) -> Option<u32> {
    let mut weights = list.split(r#""weight":"#).skip(1).filter_map(|rest| {
        let end = rest.find([',', '}'])?;
        rest[..end].parse::<f64>().ok()
    });
    let changed = weights.find(|weight| *weight > PLAIN_WEIGHT)?;
    Some((changed - PLAIN_WEIGHT) as u32)
}

/// The connections that subscribe.
pub struct Subscribers {
    address: SocketAddr,
    told: mpsc::Sender<Heard>,
    news: mpsc::Receiver<Heard>,
    listeners: JoinSet<()>,
    change: u32,
    /// The length of the newest push.
    pub push_bytes: usize,
}

impl Subscribers {
    /// None yet, and never more than `most`.
    pub fn new(address: SocketAddr, most: usize) -> Self {
        let (told, news) = mpsc::channel(most.max(1));
        Self { address, told, news, listeners: JoinSet::new(), change: 0, push_bytes: 0 }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.listeners.len()
    }

    /// Adds connections until there are so many.
    pub async fn grow(&mut self, count: usize) -> Result<()> {
        let files = files_max()?;
        ensure!(files >= count + OTHER_FILES, "{count} connections want more than {files} files (ulimit -n)");
        let seats = Arc::new(Semaphore::new(AT_ONCE));
        let mut dialling = JoinSet::new();
        for _ in self.count()..count {
            let (address, seats) = (self.address, Arc::clone(&seats));
            dialling.spawn(async move {
                let _seat = seats.acquire_owned().await?;
                connect(address, ask::subscribe(&service(SERVICE), &ClusterFilter::default(), true)).await
            });
        }
        while let Some(connection) = dialling.join_next().await {
            self.listeners.spawn(listen(connection??, self.told.clone()));
        }
        Ok(())
    }

    /// Makes a change and waits until everybody was told of it; says how long it took for each.
    pub async fn all_told(&mut self, publisher: &Publisher) -> Result<Vec<Duration>> {
        self.change += 1;
        let asked = publisher.change(self.change).await?;
        let mut took = Vec::with_capacity(self.count());
        let hearing = async {
            while took.len() < self.count() {
                let heard = self.news.recv().await.context("somebody listens")?;
                if heard.change == self.change {
                    took.push(heard.at.saturating_duration_since(asked));
                    self.push_bytes = heard.bytes;
                }
            }
            Ok::<(), anyhow::Error>(())
        };
        let everybody = tokio::time::timeout(TOLD_WITHIN, hearing).await;
        let count = self.listeners.len();
        everybody
            .map_err(|_| anyhow::anyhow!("{} of {count} were told within {TOLD_WITHIN:?}", took.len()))??;
        // Nothing is asked for: this only lets time pass.
        let _ = within(APART, async || None::<()>).await;
        Ok(took)
    }
}

/// Takes pushes of one connection and acknowledges them, until the connection ends.
async fn listen(mut connection: Connection, told: mpsc::Sender<Heard>) {
    while let Ok(Some(payload)) = connection.heard.message().await {
        let at = Instant::now();
        let text = String::from_utf8_lossy(payload.json());
        let id = text.split_once(r#""requestId":""#).and_then(|(_, rest)| rest.split_once('"'));
        let id = id.map_or("", |(id, _)| id);
        let answer = match payload.type_name() {
            "NotifySubscriberRequest" => ask::notified(id),
            "ClientDetectionRequest" => ask::detected(id),
            _ => continue,
        };
        if connection.words.send(answer).await.is_err() {
            return;
        }
        if let Some(change) = shown(&text)
            && told.send(Heard { change, at, bytes: payload.json().len() }).await.is_err()
        {
            return;
        }
    }
}

/// How many files this process may have open.
fn files_max() -> Result<usize> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()).context("there is a limit of files")?;
    Ok(soft.parse().unwrap_or(usize::MAX))
}
