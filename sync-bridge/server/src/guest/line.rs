//! What every foreign registry offers, and the task that keeps a connection with one: lists, watches, and puts what is wanted.
//!
//! ```text
//! down ──connect──▶ up: list and watch what is wanted, pass on what is heard ──any failure──▶ down (waits, longer and longer)
//! ```
//!
//! Invariant: nothing here decides about instances; each answer is passed on as it came, and a failure as a failure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    sync::Arc,
    time::Duration,
};

use landbridge_bridge_core::guest::{Input, Native, Place};
use landbridge_model::ServiceKey;
use landbridge_runtime::shutdown::Shutdown;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};

/// What a guest said by itself and nobody has read yet; when more comes, its connection is read no further.
const NEWS_MAX: usize = 1024;

/// Calls under way with a guest at once; further ones wait.
const CALLS_MAX: usize = 16;

/// How often an idle connection is asked for a sign of life, as Nacos's own clients do.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// The shortest wait between two attempts to connect; it doubles up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_millis(200);

/// The longest such wait.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Why a guest gave no answer, named by who can mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Nobody answers, or not in time.
    Unreachable(String),
    /// It does not let this user in.
    Forbidden(String),
    /// It answers, and says no: the connection is well.
    Refused(String),
}

impl Broken {
    /// As a bounded label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Forbidden(_) => "forbidden",
            Self::Refused(_) => "refused",
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "unreachable: {why}"),
            Self::Forbidden(why) => write!(f, "forbidden: {why}"),
            Self::Refused(why) => write!(f, "refused: {why}"),
        }
    }
}

/// What is heard of a service.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub service: ServiceKey,
    /// When the guest made it, by its own clock.
    pub made_ms: u64,
    pub instances: Vec<Native>,
}

/// What a guest says by itself.
#[derive(Debug)]
pub(crate) enum News {
    /// A service differs.
    Answer(Answer),
    /// The connection is over, and why.
    Over(String),
}

/// The names of a place's services.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub services: BTreeSet<ServiceKey>,
    /// Whether none is lacking for sure.
    pub whole: bool,
}

/// How a kind of registry is reached.
pub(crate) trait Dialler: Send + 'static {
    /// A connection with it.
    type Line: Line;

    /// Connects; what the guest says by itself goes to `news`. With `anew` it asks for a new token, for the old one was refused.
    fn connect(
        &mut self,
        anew: bool,
        news: mpsc::Sender<News>,
    ) -> impl Future<Output = Result<Self::Line, Broken>> + Send;
}

/// A connection with a registry; copies are the same. It ends when the last copy goes.
pub(crate) trait Line: Clone + Send + Sync + 'static {
    /// Lists the services of a place.
    fn list(&self, place: &Place) -> impl Future<Output = Result<Names, Broken>> + Send;

    /// Asks for a service, and for its news from here on where the registry tells any.
    fn watch(&self, service: &ServiceKey) -> impl Future<Output = Result<Answer, Broken>> + Send;

    /// Wants no more news of a service.
    fn unwatch(&self, service: &ServiceKey) -> impl Future<Output = Result<(), Broken>> + Send;

    /// Registers exactly these instances of a service, in place of those put before on this connection.
    fn put(
        &self,
        service: &ServiceKey,
        instances: &[Native],
        before: &[Native],
    ) -> impl Future<Output = Result<(), Broken>> + Send;

    /// Asks for a sign of life, and keeps alive what was put.
    fn check(&self) -> impl Future<Output = Result<(), Broken>> + Send;
}

/// What is wanted of a guest.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wants {
    pub places: BTreeSet<Place>,
    pub watched: Arc<BTreeSet<ServiceKey>>,
    /// What is to be registered there; services without instances are not named.
    pub puts: BTreeMap<ServiceKey, Arc<[Native]>>,
}

/// What the loop is told.
#[derive(Debug)]
pub(crate) enum Said {
    /// For the core.
    Input(Input),
    /// There is no connection, and why.
    Down(Broken),
    /// A service's instances were registered, or why not.
    Put(ServiceKey, Result<usize, Broken>),
}

/// How often to list, and how long a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// All places are listed, and all services asked again, so often.
    pub list: Duration,
    /// A call that takes longer has failed, and the connection with it.
    pub call: Duration,
}

/// Keeps a connection until the process ends.
pub(crate) async fn keep<D: Dialler>(
    mut dialler: D,
    pace: Pace,
    wants: watch::Receiver<Wants>,
    said: mpsc::Sender<Said>,
    shutdown: Shutdown,
) {
    let (mut wait, mut anew) = (WAIT_MIN, false);
    loop {
        let (news, heard) = mpsc::channel(NEWS_MAX);
        let connecting = timeout(pace.call * 3, dialler.connect(anew, news));
        let slow = |_| Broken::Unreachable("no connection in time".to_owned());
        let why = match tokio::select! {
            line = connecting => line.map_err(slow).and_then(|line| line),
            () = shutdown.wait() => return,
        } {
            Ok(line) => {
                let begun = Instant::now();
                let said = said.clone();
                let (asked, put) = (BTreeSet::new(), BTreeMap::new());
                let mut talk = Talk { line, news: heard, pace, said, asked, put };
                let over = tokio::select! {
                    over = talk.run(wants.clone()) => over,
                    () = shutdown.wait() => return,
                };
                let lost = Said::Input(Input::Lost);
                if talk.said.send(lost).await.is_err() {
                    return;
                }
                if begun.elapsed() > WAIT_MAX {
                    wait = WAIT_MIN;
                }
                over
            }
            Err(why) => why,
        };
        anew = matches!(why, Broken::Forbidden(_));
        if said.send(Said::Down(why)).await.is_err() {
            return;
        }
        tokio::select! {
            () = sleep(wait) => {}
            () = shutdown.wait() => return,
        }
        wait = (wait * 2).min(WAIT_MAX);
    }
}

/// One connection's conversation.
///
/// Invariant: what the guest says by itself is read while calls are under way, else its unread words would hold their answers up.
struct Talk<L> {
    line: L,
    news: mpsc::Receiver<News>,
    pace: Pace,
    said: mpsc::Sender<Said>,
    /// Services asked for on this connection.
    asked: BTreeSet<ServiceKey>,
    /// What was registered on it.
    put: BTreeMap<ServiceKey, Arc<[Native]>>,
}

impl<L: Line> Talk<L> {
    async fn run(&mut self, mut wants: watch::Receiver<Wants>) -> Broken {
        let mut lists = tokio::time::interval(self.pace.list);
        let mut checks = interval_at(Instant::now() + CHECK_EVERY, CHECK_EVERY);
        for interval in [&mut lists, &mut checks] {
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        if self.tell(Input::Connected).await.is_err() {
            return gone();
        }
        loop {
            let done = tokio::select! {
                told = self.news.recv() => self.pass(told).await,
                _ = lists.tick() => {
                    let wanted = wants.borrow_and_update().clone();
                    self.list(&wanted).await
                }
                changed = wants.changed() => match changed {
                    Ok(()) => {
                        let wanted = wants.borrow_and_update().clone();
                        self.follow(&wanted).await
                    }
                    Err(_) => Err(gone()),
                },
                _ = checks.tick() => {
                    let line = self.line.clone();
                    self.in_time(line.check()).await
                }
            };
            if let Err(why) = done {
                return why;
            }
        }
    }

    /// Lists everything, and asks for every service again: news that never came are found so.
    async fn list(&mut self, wanted: &Wants) -> Result<(), Broken> {
        let line = self.line.clone();
        for place in &wanted.places {
            let Names { services, whole } = self.in_time(line.list(place)).await?;
            self.tell(Input::Listed { place: place.clone(), services, whole }).await?;
        }
        self.ask(wanted.watched.iter().cloned().collect()).await?;
        self.follow(wanted).await
    }

    /// Brings what is asked for and registered to what is wanted.
    async fn follow(&mut self, wanted: &Wants) -> Result<(), Broken> {
        let fresh = wanted.watched.difference(&self.asked).cloned().collect();
        let over: Vec<ServiceKey> = self.asked.difference(&wanted.watched).cloned().collect();
        let line = self.line.clone();
        for service in over {
            self.asked.remove(&service);
            match self.in_time(line.unwatch(&service)).await {
                Ok(()) | Err(Broken::Refused(_)) => {}
                Err(why) => return Err(why),
            }
        }
        self.ask(fresh).await?;
        self.register(wanted).await
    }

    /// Asks for services, some at once.
    async fn ask(&mut self, services: Vec<ServiceKey>) -> Result<(), Broken> {
        let mut waiting = services.into_iter();
        let mut calls = JoinSet::new();
        loop {
            while let (true, Some(service)) = (calls.len() < CALLS_MAX, waiting.next()) {
                self.asked.insert(service.clone());
                let (line, call) = (self.line.clone(), self.pace.call);
                calls.spawn(async move {
                    let answer =
                        timeout(call, line.watch(&service)).await.unwrap_or_else(|_| Err(slow(call)));
                    (service, answer)
                });
            }
            if calls.is_empty() {
                return Ok(());
            }
            let done = tokio::select! {
                Some(done) = calls.join_next() => done,
                told = self.news.recv() => {
                    self.pass(told).await?;
                    continue;
                }
            };
            let (service, answer) = done.map_err(|panic| Broken::Unreachable(panic.to_string()))?;
            match answer {
                Ok(answer) => self.tell(heard(answer)).await?,
                Err(Broken::Refused(why)) => {
                    tracing::warn!(event = "guest_refused", %service, why, "the guest does not tell a service");
                    self.tell(Input::Refused { service }).await?;
                }
                Err(why) => return Err(why),
            }
        }
    }

    async fn register(&mut self, wanted: &Wants) -> Result<(), Broken> {
        let over: Vec<_> =
            self.put.keys().filter(|service| !wanted.puts.contains_key(*service)).cloned().collect();
        let none: Arc<[Native]> = Arc::from([]);
        let over = over.into_iter().map(|service| (service, Arc::clone(&none)));
        let changed = wanted.puts.iter().filter(|(service, set)| self.put.get(*service) != Some(set));
        let changed: Vec<_> =
            changed.map(|(service, set)| (service.clone(), Arc::clone(set))).chain(over).collect();
        let line = self.line.clone();
        for (service, set) in changed {
            let before = self.put.get(&service).cloned().unwrap_or_else(|| Arc::clone(&none));
            let outcome = match self.in_time(line.put(&service, &set, &before)).await {
                Ok(()) => {
                    let count = set.len();
                    if set.is_empty() {
                        self.put.remove(&service)
                    } else {
                        self.put.insert(service.clone(), set)
                    };
                    Ok(count)
                }
                Err(Broken::Refused(why)) => Err(Broken::Refused(why)),
                Err(why) => return Err(why),
            };
            self.said.send(Said::Put(service, outcome)).await.map_err(|_| gone())?;
        }
        Ok(())
    }

    async fn tell(&self, input: Input) -> Result<(), Broken> {
        self.said.send(Said::Input(input)).await.map_err(|_| gone())
    }

    /// Passes on what the guest said by itself.
    async fn pass(&self, told: Option<News>) -> Result<(), Broken> {
        match told {
            Some(News::Answer(answer)) => self.tell(heard(answer)).await,
            Some(News::Over(why)) => Err(Broken::Unreachable(why)),
            None => Err(Broken::Unreachable("the connection broke off".to_owned())),
        }
    }

    async fn in_time<T>(&mut self, call: impl Future<Output = Result<T, Broken>>) -> Result<T, Broken> {
        let call = timeout(self.pace.call, call);
        tokio::pin!(call);
        loop {
            tokio::select! {
                answer = &mut call => return answer.unwrap_or_else(|_| Err(slow(self.pace.call))),
                told = self.news.recv() => self.pass(told).await?,
            }
        }
    }
}

fn heard(answer: Answer) -> Input {
    let Answer { service, made_ms, instances } = answer;
    Input::Heard { service, made_ms, instances }
}

fn slow(call: Duration) -> Broken {
    Broken::Unreachable(format!("no answer in {} ms", call.as_millis()))
}

fn gone() -> Broken {
    Broken::Unreachable("this process is ending".to_owned())
}
