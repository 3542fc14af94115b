//! Reads the members file again when it changes: a member that has moved is found at its new address.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use landbridge_carrier::{Carrier, Target};
use landbridge_model::{MemberId, Region};
use landbridge_runtime::shutdown::Shutdown;
use tracing::{info, warn};

use super::list::{Addresses, Place, parse};

/// How often the file is looked at; SIGHUP looks at once.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Where the feeds of the other members are followed.
pub(crate) fn targets(places: &BTreeMap<MemberId, Place>, me: MemberId, region: &Region) -> BTreeSet<Target> {
    let others = places.iter().filter(|(member, _)| **member != me);
    others.map(|(_, place)| Target { address: place.feeds(), region: region.clone() }).collect()
}

/// Keeps the list and the dialled feeds as the file says, until the process ends. A file that is wrong changes nothing.
pub(crate) async fn keep_read(
    file: PathBuf,
    addresses: Addresses,
    (me, region): (MemberId, Region),
    carrier: Carrier,
    shutdown: Shutdown,
) {
    let mut reloads = shutdown.reloads();
    let mut complained: Option<String> = None;
    loop {
        tokio::select! {
            () = shutdown.wait() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
            Ok(()) = reloads.changed() => complained = None,
        }
        let read = tokio::fs::read_to_string(&file).await.map_err(|error| error.to_string());
        match read.and_then(|text| parse(&text).map_err(|wrong| wrong.join("; "))) {
            Ok(places) if places.is_empty() => {}
            Ok(places) => {
                complained = None;
                if addresses.read(places) {
                    let places = addresses.all();
                    info!(event = "members_read", members = places.len(), "the list of members differs");
                    carrier.dial(targets(&places, me, &region));
                }
            }
            Err(why) if complained.as_ref() == Some(&why) => {}
            Err(why) => {
                warn!(event = "members_unreadable", file = %file.display(), why, "the list stays as it was");
                complained = Some(why);
            }
        }
    }
}
