//! One member in the simulation: the store and the members' calls as they run in production, over a simulated network,
//! and clients of its own.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use landbridge_model::{Era, MemberId, Region};
use landbridge_registry::peers::{Addresses, Calls, Connect, Door, Io, Place};
use landbridge_registry_core::{Command, Reply};
use landbridge_store::{GroupId, Store, StoreConfig, StoreLimits, Timing, Work};
use landbridge_tests::{history::Asked, sim::dice::Dice};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep},
};
use tonic::transport::server::Connected;
use turmoil::net::{TcpListener, TcpStream};

use crate::witness::{Asking, Held, Witness, name_of, value_of};

/// The members' port.
const PORT: u16 = 7848;

/// How long a connection may be silent, and how long a sign of life may take.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// Questions about one key, before clients go on to the next two.
const OPS_PER_KEY: usize = 30;

/// How reads are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// As in production: after everything that was answered before.
    Linearizable,
    /// A planted bug: from what this member happens to hold.
    Stale,
}

/// One member, as it is started again and again.
#[derive(Clone)]
pub struct Seat {
    pub member: u16,
    pub members: u16,
    pub dir: PathBuf,
    pub reads: Reads,
    pub seed: u64,
    pub witness: Arc<Witness>,
}

impl Seat {
    /// Its host in the simulated network.
    pub fn host(member: u16) -> String {
        format!("member-{member}")
    }

    /// Lives until it is crashed.
    pub async fn live(self) -> turmoil::Result {
        let place =
            |member| Place { host: Self::host(member), http_port: 8848, raft_port: PORT, feeds_port: 9849 };
        let places = (1..=self.members).map(|member| (MemberId(member), place(member))).collect();
        let region = Region::parse("east")?;
        let calls = Calls::new(Addresses::new(places), region.clone(), None, over_turmoil());
        let (store, mut applied) = Store::open(self.config(region)?, Arc::new(calls)).await?;
        let held = Arc::new(Mutex::new(Held::default()));
        let (shown, witness, member) = (Arc::clone(&held), Arc::clone(&self.witness), self.member);
        tokio::spawn(async move {
            while let Some(news) = applied.recv().await {
                let mut held = shown.lock().expect("nobody panics holding it");
                held.take(news);
                witness.seen().stands(member, &held);
            }
        });
        tokio::spawn(watch(self.member, store.clone(), Arc::clone(&self.witness)));
        for client in 0..2 {
            tokio::spawn(self.clone().ask(store.clone(), Dice::new(self.seed ^ client << 32)));
        }
        tokio::spawn(self.clone().tell_last(store.clone(), held));
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
        let incoming = tokio_stream::StreamExt::map(accepted(listener), |io| io.map(Pipe));
        tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .add_service(Door::trusting(store))
            .serve_with_incoming(incoming)
            .await?;
        Ok(())
    }

    fn config(&self, region: Region) -> Result<StoreConfig, Box<dyn std::error::Error>> {
        let voters =
            (1..=self.members).map(|member| (MemberId(member), "".into())).collect::<BTreeMap<_, _>>();
        Ok(StoreConfig {
            dir: self.dir.join(self.member.to_string()),
            member: MemberId(self.member),
            group: GroupId { deployment: "simulated".into(), region },
            voters,
            era: Era(1_000 + u64::from(self.member)),
            disk: self.seed,
            // Small, so that members fall behind what is kept and are given snapshots.
            limits: StoreLimits {
                snapshot_entries: 60,
                kept_entries: 10,
                tail_bytes_max: 2_000,
                snapshot_part_bytes: 2_000,
                ..StoreLimits::ORDINARY
            },
            timing: Timing { answer_ms: 2_000, ..Timing::ORDINARY },
            work: Work::Inline { write_ms: 1 + self.seed % 20 },
        })
    }

    /// Writes, reads, opens feeds and moves leadership, until trouble is over.
    async fn ask(self, store: Store, mut dice: Dice) {
        let _asking = Asking::begin(&self.witness);
        while !self.witness.seen().ending() {
            sleep(Duration::from_millis(10 + dice.roll() % 60)).await;
            match dice.roll() % 20 {
                0 => {
                    let heir = MemberId(1 + (dice.roll() % u64::from(self.members)) as u16);
                    if store.standing().borrow().leading && heir != MemberId(self.member) {
                        // Leadership that stays where it is harms nobody.
                        let _ = store.transfer(heir).await;
                    }
                }
                1..4 => {
                    let nonce = self.witness.seen().history.value();
                    let open = Command::Open { member: MemberId(self.member), address: "".into(), nonce };
                    if let Ok((_, Reply::Opened(feed))) = store.propose(&open).await {
                        self.witness.seen().opened(feed);
                    }
                }
                4..12 => self.write(&store, &mut dice).await,
                _ => self.read(&store, &mut dice).await,
            }
        }
    }

    /// Two keys at a time, so that many ask for the same.
    fn key(&self, dice: &mut Dice) -> u64 {
        let (asked, _) = self.witness.seen().history.counts();
        (asked / (2 * OPS_PER_KEY)) as u64 * 2 + dice.roll() % 2
    }

    async fn write(&self, store: &Store, dice: &mut Dice) {
        let key = self.key(dice);
        let (value, place) = {
            let mut seen = self.witness.seen();
            let value = seen.history.value();
            (value, seen.history.ask(key, Asked::Write(value)))
        };
        let note = Command::Note { name: name_of(key).into(), text: Some(value.to_string().into()) };
        if store.propose(&note).await.is_ok() {
            self.witness.seen().history.answer(place, None);
        }
    }

    async fn read(&self, store: &Store, dice: &mut Dice) {
        let key = self.key(dice);
        let place = self.witness.seen().history.ask(key, Asked::Read(0));
        let known = match self.reads {
            Reads::Linearizable => store.read_index().await.is_ok(),
            Reads::Stale => true,
        };
        if known {
            let value = value_of(&store.notes(), key);
            self.witness.seen().history.answer(place, Some(value));
        }
    }

    /// Once trouble is over and every client has its last answer, tells again and again what it holds.
    async fn tell_last(self, store: Store, held: Arc<Mutex<Held>>) {
        loop {
            sleep(Duration::from_millis(100)).await;
            if self.witness.seen().ended() && store.read_index().await.is_ok() {
                let held = held.lock().expect("nobody panics holding it").clone();
                self.witness.seen().last(self.member, held, store.notes());
            }
        }
    }
}

/// Tells in which terms the member leads.
async fn watch(member: u16, store: Store, witness: Arc<Witness>) {
    let mut standing = store.standing();
    loop {
        let now = *standing.borrow_and_update();
        if now.leading {
            witness.seen().leads(member, now.term);
        }
        if standing.changed().await.is_err() {
            return;
        }
    }
}

fn over_turmoil() -> Connect {
    Arc::new(|address| {
        Box::pin(async move { Ok(Box::new(TcpStream::connect(address).await?) as Box<dyn Io>) })
    })
}

fn accepted(listener: TcpListener) -> impl tokio_stream::Stream<Item = std::io::Result<TcpStream>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        loop {
            let accepted = listener.accept().await.map(|(io, _)| io);
            if sender.send(accepted).await.is_err() {
                return;
            }
        }
    });
    tokio_stream::wrappers::ReceiverStream::new(receiver)
}

/// A simulated connection, as tonic wants it.
struct Pipe(TcpStream);

impl Connected for Pipe {
    type ConnectInfo = Option<Instant>;

    fn connect_info(&self) -> Self::ConnectInfo {
        None
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
