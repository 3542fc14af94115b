//! Reads scenarios: lines that start with `>` are deeds and questions, the others are told back or are answers.
//!
//! Places are `e1` (a member), `eb1` (a bridge), `eg1` (a gateway), `east`, `east members`, `east bridges`, `east gateways`,
//! `east leader` and `all`.

use crate::sim::names::{KEYS, REGIONS_MAX};

/// The regions of a scenario.
pub const REGIONS: [&str; 2] = ["east", "west"];

/// One or several processes, as a scenario names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    All,
    Region(usize),
    /// The group inside a region, and the number of one in it, from 1.
    Group(usize, Group, Option<usize>),
    Leader(usize),
}

/// What processes of a region have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Members,
    Bridges,
    Gateways,
}

/// What a scenario does or asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// So many seconds pass.
    Wait(i64),
    /// A client registers a service at a member: by a connection, or as one that beats.
    Register {
        service: usize,
        at: Place,
        beats: bool,
    },
    Deregister {
        service: usize,
        at: Place,
    },
    /// A connection ends at once, and its client registers elsewhere.
    Move {
        service: usize,
        to: Place,
    },
    /// A client's process ends without a word.
    Vanish {
        service: usize,
        of: usize,
    },
    Persist {
        service: usize,
        at: Place,
    },
    Crash {
        who: Place,
        disk: bool,
    },
    Start(Place),
    Drain(Place),
    /// Everything that is held is on disk.
    Save,
    Corrupt {
        service: usize,
        of: usize,
        at: Place,
    },
    Cut(Place, Place),
    Heal,
    Policy {
        from: usize,
        to: usize,
        services: Vec<usize>,
    },
    Evacuate {
        region: usize,
        at: Place,
    },
    Show {
        service: usize,
        of: usize,
    },
    ShowPersistent {
        service: usize,
        of: usize,
    },
    Status(usize),
    Call {
        service: usize,
        at: Place,
    },
}

/// What each line may say; the words in capitals stand for names.
const WORDS: &str = "wait N s | register S at MEMBER | beat S at MEMBER | deregister S at MEMBER | move S to MEMBER | \
    vanish S of REGION | persist P at MEMBER | crash PLACE [and disk] | start PLACE | drain MEMBER | save | \
    corrupt S of REGION at PLACE | cut PLACE from PLACE | heal | policy REGION to REGION: all|none|S… | \
    evacuate REGION at GATEWAY | show S of REGION | show P of REGION | status REGION | call S at GATEWAY";

/// Reads the words behind a `>`.
///
/// # Errors
/// What is not understood, and what would be.
pub fn deed(line: &str) -> Result<Deed, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    Ok(match words.as_slice() {
        ["wait", seconds, "s"] => {
            Deed::Wait(seconds.parse().map_err(|_| format!("{seconds} is no number of seconds"))?)
        }
        ["register", name, "at", at @ ..] => {
            Deed::Register { service: service(name)?, at: place(at)?, beats: false }
        }
        ["beat", name, "at", at @ ..] => {
            Deed::Register { service: service(name)?, at: place(at)?, beats: true }
        }
        ["deregister", name, "at", at @ ..] => Deed::Deregister { service: service(name)?, at: place(at)? },
        ["move", name, "to", to @ ..] => Deed::Move { service: service(name)?, to: place(to)? },
        ["vanish", name, "of", of] => Deed::Vanish { service: service(name)?, of: region(of)? },
        ["persist", name, "at", at @ ..] => Deed::Persist { service: persistent(name)?, at: place(at)? },
        ["crash", who @ .., "and", "disk"] => Deed::Crash { who: place(who)?, disk: false },
        ["crash", who @ ..] => Deed::Crash { who: place(who)?, disk: true },
        ["start", who @ ..] => Deed::Start(place(who)?),
        ["drain", who @ ..] => Deed::Drain(place(who)?),
        ["save"] => Deed::Save,
        ["corrupt", name, "of", of, "at", at @ ..] => {
            Deed::Corrupt { service: service(name)?, of: region(of)?, at: place(at)? }
        }
        ["heal"] => Deed::Heal,
        ["cut", rest @ ..] => {
            let from = rest.iter().position(|word| *word == "from");
            let from = from.ok_or_else(|| "cut PLACE from PLACE".to_owned())?;
            Deed::Cut(place(&rest[..from])?, place(&rest[from + 1..])?)
        }
        ["policy", from, "to", to, chosen @ ..] => {
            let to = region(to.strip_suffix(':').ok_or("a policy ends its regions with a colon")?)?;
            Deed::Policy { from: region(from)?, to, services: services(chosen)? }
        }
        ["evacuate", gone, "at", at @ ..] => Deed::Evacuate { region: region(gone)?, at: place(at)? },
        ["show", name, "of", of] if name.starts_with('p') => {
            Deed::ShowPersistent { service: persistent(name)?, of: region(of)? }
        }
        ["show", name, "of", of] => Deed::Show { service: service(name)?, of: region(of)? },
        ["status", of] => Deed::Status(region(of)?),
        ["call", name, "at", at @ ..] => Deed::Call { service: service(name)?, at: place(at)? },
        _ => return Err(format!("`{line}` is none of: {WORDS}")),
    })
}

fn service(name: &str) -> Result<usize, String> {
    let at = name.strip_prefix('s').and_then(|at| at.parse().ok()).filter(|at| *at < KEYS);
    at.ok_or_else(|| format!("{name} is no service: they are s0 to s{}", KEYS - 1))
}

fn persistent(name: &str) -> Result<usize, String> {
    ["p0", "p1"]
        .iter()
        .position(|known| *known == name)
        .ok_or_else(|| format!("{name} is no persistent service: they are p0 and p1"))
}

fn services(words: &[&str]) -> Result<Vec<usize>, String> {
    match words {
        ["all"] => Ok((0..KEYS).collect()),
        ["none"] => Ok(Vec::new()),
        some => some.iter().map(|name| service(name)).collect(),
    }
}

fn region(name: &str) -> Result<usize, String> {
    const { assert!(REGIONS.len() <= REGIONS_MAX) };
    REGIONS.iter().position(|known| *known == name).ok_or_else(|| format!("{name} is no region: {REGIONS:?}"))
}

fn place(words: &[&str]) -> Result<Place, String> {
    let unknown = || format!("{} is no place: say e1, eb1, eg1, east, east leader, all", words.join(" "));
    match words {
        ["all"] => Ok(Place::All),
        [name] if REGIONS.contains(name) => Ok(Place::Region(region(name)?)),
        [name] => {
            let at =
                REGIONS.iter().position(|known| name.get(..1) == Some(&known[..1])).ok_or_else(unknown)?;
            let (group, number) = match name[1..].chars().next() {
                Some('b') => (Group::Bridges, &name[2..]),
                Some('g') => (Group::Gateways, &name[2..]),
                _ => (Group::Members, &name[1..]),
            };
            Ok(Place::Group(at, group, Some(number.parse().map_err(|_| unknown())?)))
        }
        [near, "members"] => Ok(Place::Group(region(near)?, Group::Members, None)),
        [near, "bridges"] => Ok(Place::Group(region(near)?, Group::Bridges, None)),
        [near, "gateways"] => Ok(Place::Group(region(near)?, Group::Gateways, None)),
        [near, "leader"] => Ok(Place::Leader(region(near)?)),
        _ => Err(unknown()),
    }
}
