//! The list of a region's members: numbers and where each is found, as configuration, environment and files write it.

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use landbridge_model::MemberId;

/// The most members of a region; more would slow every Raft commit and protect from nothing.
pub(crate) const MEMBERS_MAX: usize = 9;

/// How far below the HTTP port a member's Raft port is, unless the list says otherwise (Nacos: the same).
pub(crate) const RAFT_BELOW: u16 = 1000;

/// How far above the HTTP port feeds are served, unless the list says otherwise.
pub(crate) const FEEDS_ABOVE: u16 = 1001;

/// Where a member is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// A name or an address; an IPv6 address stands in brackets.
    pub host: String,
    /// Nacos HTTP, admin, metrics and health.
    pub http_port: u16,
    /// The Raft group and the members' own talk.
    pub raft_port: u16,
    /// Feeds.
    pub feeds_port: u16,
}

impl Place {
    /// `host:port` of its HTTP port, by which Nacos and people name it.
    pub fn http(&self) -> String {
        format!("{}:{}", self.host, self.http_port)
    }

    /// `host:port` of its Raft port.
    pub fn raft(&self) -> String {
        format!("{}:{}", self.host, self.raft_port)
    }

    /// The same ports at an address.
    pub(crate) fn at(&self, ip: IpAddr) -> Self {
        let host = match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        Self { host, ..self.clone() }
    }

    /// `host:port` of its feeds.
    pub fn feeds(&self) -> String {
        format!("{}:{}", self.host, self.feeds_port)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.http())
    }
}

/// The members as last read; copies see the same list.
#[derive(Clone, Debug)]
pub struct Addresses(Arc<ArcSwap<BTreeMap<MemberId, Place>>>);

impl Addresses {
    /// This list.
    pub fn new(places: BTreeMap<MemberId, Place>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(places)))
    }

    /// Where a member is found; none if it is not listed.
    pub fn of(&self, member: MemberId) -> Option<Place> {
        self.0.load().get(&member).cloned()
    }

    /// Every listed member.
    pub fn all(&self) -> Arc<BTreeMap<MemberId, Place>> {
        self.0.load_full()
    }

    /// The list was read again; says whether it differs.
    pub(crate) fn read(&self, places: BTreeMap<MemberId, Place>) -> bool {
        let differs = *self.all() != places;
        if differs {
            self.0.store(Arc::new(places));
        }
        differs
    }
}

/// Reads a list: `ID@HOST:PORT`, apart by commas, blanks or lines; `#` begins a comment. Without `ID@` the place in the
/// list is the number. `?raft_port=N&feeds_port=N` names ports that are not computed from the HTTP port.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<MemberId, Place>, Vec<String>> {
    let (mut places, mut wrong) = (BTreeMap::new(), Vec::new());
    let lines = text.lines().map(|line| line.split_once('#').map_or(line, |(before, _)| before));
    let words = lines.flat_map(|line| line.split([',', ' ', '\t', ';'])).filter(|word| !word.is_empty());
    for (word, number) in words.zip(1_u16..) {
        match one(word, number) {
            Ok((member, place)) => {
                if let Some(other) = places.insert(member, place) {
                    wrong.push(format!("member {member} is listed twice, once at {other}"));
                }
            }
            Err(why) => wrong.push(format!("\"{word}\": {why}")),
        }
    }
    if places.len() > MEMBERS_MAX {
        wrong.push(format!("{} members are listed, at most {MEMBERS_MAX} make a region", places.len()));
    }
    if wrong.is_empty() { Ok(places) } else { Err(wrong) }
}

/// Reads a name that stands for all members: `HOST:PORT`, with ports as in a list.
pub(crate) fn parse_name(text: &str) -> Result<Place, String> {
    if text.contains('@') || text.contains([',', ' ', ';']) {
        return Err(format!("{text:?} is no single HOST:PORT; who is there is asked, so it has no number"));
    }
    one(text, 0).map(|(_, place)| place)
}

fn one(word: &str, number: u16) -> Result<(MemberId, Place), String> {
    let (member, rest) = match word.split_once('@') {
        Some((id, rest)) => (id.parse().map_err(|_| format!("{id} is no member's number"))?, rest),
        None => (number, word),
    };
    let (address, ports) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, port) = address.rsplit_once(':').ok_or("write ID@HOST:PORT with the HTTP port")?;
    let http_port = port_of(port)?;
    if host.is_empty() || host.contains('@') || (host.contains(':') && !host.starts_with('[')) {
        return Err("write ID@HOST:PORT, an IPv6 address in brackets".to_owned());
    }
    let mut place = Place {
        host: host.to_owned(),
        http_port,
        raft_port: http_port.saturating_sub(RAFT_BELOW),
        feeds_port: http_port.saturating_add(FEEDS_ABOVE),
    };
    for pair in ports.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("raft_port", port)) => place.raft_port = port_of(port)?,
            Some(("feeds_port", port)) => place.feeds_port = port_of(port)?,
            Some(_) | None => {
                return Err(format!("{pair} is unknown: raft_port and feeds_port can be named"));
            }
        }
    }
    if place.raft_port == 0 {
        return Err(format!(
            "an HTTP port below {RAFT_BELOW} leaves no Raft port: name it with ?raft_port=N"
        ));
    }
    Ok((MemberId(member), place))
}

fn port_of(text: &str) -> Result<u16, String> {
    text.parse().ok().filter(|port| *port > 0).ok_or_else(|| format!("{text} is no port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_who_is_where() {
        let list = parse(
            "2@nacos-1.nacos:8848, 1@10.0.0.1:8848\n# a comment\n7@[::1]:9000?raft_port=1&feeds_port=2",
        );

        let list = list.expect("a good list");
        assert_eq!(list[&MemberId(1)].raft(), "10.0.0.1:7848");
        assert_eq!(list[&MemberId(2)].feeds(), "nacos-1.nacos:9849");
        assert_eq!((list[&MemberId(7)].raft_port, list[&MemberId(7)].feeds_port), (1, 2));
        assert_eq!(list[&MemberId(7)].http(), "[::1]:9000");
    }

    #[test]
    fn without_numbers_the_order_counts_as_in_nacos_servers() {
        let list = parse("nacos-0:8848 nacos-1:8848 nacos-2:8848").expect("a good list");

        let hosts: Vec<_> = list.iter().map(|(member, place)| (member.0, place.host.as_str())).collect();
        assert_eq!(hosts, [(1, "nacos-0"), (2, "nacos-1"), (3, "nacos-2")]);
    }

    #[test]
    fn every_mistake_of_a_list_is_told_at_once() {
        let wrong = parse("x@a:1 1@b 1@c:0 2@d:9000 2@e:9000 ::1:9000 f:9000?color=red").expect_err("bad");

        assert_eq!(wrong.len(), 6, "{wrong:#?}");
    }

    #[test]
    fn a_name_has_ports_and_no_number() {
        let name = parse_name("registry.east.svc:8848?feeds_port=9000").expect("a good name");

        assert_eq!(name.at([10, 0, 0, 7].into()).feeds(), "10.0.0.7:9000");
        assert_eq!(name.at(std::net::Ipv6Addr::LOCALHOST.into()).raft(), "[::1]:7848");
        assert!(parse_name("1@registry:8848").is_err() && parse_name("a:1,b:2").is_err());
        assert!(parse_name("registry").is_err_and(|why| why.contains("PORT")));
    }

    #[test]
    fn a_list_is_bounded() {
        let text: Vec<String> = (1..=10).map(|n| format!("{n}@host:8848")).collect();

        assert!(parse(&text.join(",")).is_err_and(|wrong| wrong[0].contains("at most 9")));
    }
}
