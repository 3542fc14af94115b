//! A member's part in its region: its Raft store, the calls between members, and who else is there.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ecow::EcoString;
use landbridge_carrier::Carrier;
use landbridge_model::{Era, MemberId};
use landbridge_runtime::{clock::Clock, dice, shutdown::Shutdown, tls::Identity};
use landbridge_store::{
    Applied, GroupId, NoPeers, Restored, Source, Store, StoreConfig, StoreLimits, Transport, Work,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::info;

use crate::{
    config::{CompanyConfig, Config, ListedIn},
    member::{Failure, Shared},
    peers::{self, Addresses, Calls, Hails, over_tcp},
};

/// A leader that ends waits so long for another one to take over; then the others find out by themselves.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(2);

/// The other members, as this one knows them.
#[derive(Clone)]
pub(crate) struct Company {
    /// Where each is found, this one too; empty for a member alone.
    pub(crate) addresses: Addresses,
    /// How each other one is.
    pub(crate) hails: Hails,
    /// How they are called; none for a member alone.
    pub(crate) calls: Option<Calls>,
}

impl Company {
    /// The company that the configuration names.
    pub(crate) fn new(config: &Config, identity: Option<Identity>) -> Self {
        let addresses = Addresses::new(config.company.places.clone());
        let calls = identity
            .filter(|_| config.company.several())
            .map(|identity| Calls::new(addresses.clone(), config.region.clone(), Some(identity), over_tcp()));
        Self { addresses, hails: Hails::default(), calls }
    }
}

/// Opens the Raft store; alone it leads when this returns, among several the group goes on in the background.
pub(crate) async fn open_store(
    config: &Config,
    company: &Company,
    clock: Clock,
) -> Result<(Store, mpsc::Receiver<Applied>), Failure> {
    let store = store_config(config, clock);
    let transport: Arc<dyn Transport> = match &company.calls {
        Some(calls) => Arc::new(calls.clone()),
        None => Arc::new(NoPeers),
    };
    Store::open(store, transport).await.map_err(|error| Failure::Start(error.to_string()))
}

/// Starts the configured region anew at this member, which must not run; blocks.
pub fn restore(config: &Config, source: &Source) -> Result<Restored, Failure> {
    let store = store_config(config, Clock::start());
    landbridge_store::restore(&store, source).map_err(|error| Failure::Start(error.to_string()))
}

fn store_config(config: &Config, clock: Clock) -> StoreConfig {
    let mut voters: BTreeMap<_, _> =
        config.company.numbers.iter().map(|member| (*member, EcoString::new())).collect();
    voters.insert(config.member, EcoString::new());
    StoreConfig {
        dir: config.data_dir.join("raft"),
        member: config.member,
        group: GroupId { deployment: config.deployment.as_str().into(), region: config.region.clone() },
        voters,
        era: Era(clock.unix_ms()),
        disk: dice::seed(),
        limits: StoreLimits { reserve_bytes: config.reserve_bytes, ..StoreLimits::ORDINARY },
        timing: config.timing,
        work: Work::Threads,
    }
}

/// Answers the other members, follows them and asks how they are.
pub(crate) fn join(
    shared: &Arc<Shared>,
    (listener, identity): (TcpListener, Identity),
    carrier: Carrier,
    (ready, listed): (watch::Sender<bool>, CompanyConfig),
    asked: &Shutdown,
    shutdown: &Shutdown,
) {
    let whose = (shared.region.clone(), Arc::clone(&shared.state), Arc::clone(&shared.sessions));
    shutdown.spawn(peers::serve(listener, identity, shared.store.clone(), whose, shutdown.clone()));
    let Company { addresses, hails, calls } = shared.company.clone();
    let me = (shared.member, shared.region.clone());
    carrier.dial(peers::targets(&addresses.all(), me.0, &me.1));
    // The wish to look again comes with the process's own shutdown; these tasks end with it, and need no more.
    match (listed.listed_in, &calls) {
        (ListedIn::File(file), _) => {
            asked.spawn(peers::keep_read(file, addresses.clone(), me, carrier, asked.clone()));
        }
        (ListedIn::Name(name), Some(calls)) => {
            let (whom, by) = ((name, listed.numbers), (calls.clone(), carrier, shared.store.clone()));
            asked.spawn(peers::keep_found(whom, addresses.clone(), me, by, asked.clone()));
        }
        (ListedIn::Page | ListedIn::Name(_), _) => {}
    }
    if let Some(calls) = calls {
        shutdown.spawn(peers::hail(calls, (addresses, shared.member), hails, ready, shutdown.clone()));
    }
}

/// Hands leadership to another voter before the process ends, so that writes stop for milliseconds only.
pub(crate) async fn hand_over(store: &Store, me: MemberId) {
    let mut standing = store.standing();
    let heirs = store.members().voters.into_iter().filter(|voter| *voter != me);
    for heir in heirs {
        if !standing.borrow_and_update().leading {
            return;
        }
        if store.transfer(heir).await.is_err() {
            return;
        }
        let moved = standing.wait_for(|standing| !standing.leading);
        if timeout(HAND_OVER_WITHIN, moved).await.is_ok_and(|moved| moved.is_ok()) {
            info!(event = "leadership_handed_over", %heir);
            return;
        }
    }
}
