//! Where everything of the demo lies: regions, ports, files and the configuration of each process.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// The names regions get, in order.
const NAMES: [&str; 5] = ["east", "west", "north", "south", "central"];

/// The most regions a demo may have.
pub(crate) const REGIONS_MAX: usize = NAMES.len();

/// What regions of the demo share.
pub(super) const DEPLOYMENT: &str = "demo";

/// The zones of each region; gateways and callers are in the first.
pub(super) const ZONES: [&str; 2] = ["a", "b"];

/// Instances of each service in each zone.
pub(super) const INSTANCES_PER_ZONE: u16 = 2;

/// The service of every region.
pub(super) const GREETER: &str = "greeter";

/// The service of the first region only.
pub(super) const REPORTS: &str = "reports";

/// Ports of a region lie within so many of its base, and its gRPC and feeds within so many of base + 1000.
const PORTS_PER_REGION: u16 = 100;

/// Where the search for free ports begins; it ends below 32768, where the kernel picks ports for outgoing connections.
const SEARCH_FROM: u16 = 15_000;

/// The distance between two attempts.
const SEARCH_STEP: u16 = 397;

/// How many attempts are made.
const SEARCH_TRIES: u16 = 40;

/// One region of the demo.
#[derive(Clone, Debug)]
pub(super) struct Region {
    pub(super) name: &'static str,
    base: u16,
}

impl Region {
    /// Nacos HTTP and admin of the registry.
    pub(super) fn registry(&self) -> SocketAddr {
        loopback(self.base)
    }

    /// Where bridges and gateways follow the registry.
    fn feeds(&self) -> SocketAddr {
        loopback(self.base + 1001)
    }

    /// Calls.
    pub(super) fn gateway(&self) -> SocketAddr {
        loopback(self.base + 20)
    }

    /// Admin of the gateway.
    pub(super) fn gateway_admin(&self) -> SocketAddr {
        loopback(self.base + 21)
    }

    /// Where other regions' bridges dial in.
    fn bridge(&self) -> SocketAddr {
        loopback(self.base + 22)
    }

    /// Admin of the bridge.
    pub(super) fn bridge_admin(&self) -> SocketAddr {
        loopback(self.base + 23)
    }

    /// The first port of a zone's sample instances; the others follow.
    pub(super) fn samples(&self, zone: usize) -> u16 {
        let beside = if zone == 0 { 0 } else { 10 };
        self.base + 40 + beside
    }

    /// Every port that something of the region listens on.
    fn ports(&self) -> impl Iterator<Item = u16> {
        let near = [0, 20, 21, 22, 23, 1000, 1001].map(|offset| self.base + offset);
        let samples = (0..ZONES.len()).map(|zone| self.samples(zone));
        near.into_iter().chain(samples.flat_map(|first| first..first + INSTANCES_PER_ZONE))
    }
}

/// The whole demo on disk and on ports.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) dir: PathBuf,
    pub(super) regions: Vec<Region>,
}

impl Layout {
    /// Chooses ports; says which one is taken if one is.
    pub(super) fn new(dir: &Path, regions: usize, base_port: u16) -> Result<Self, String> {
        let turn = u16::try_from(std::process::id() % u32::from(SEARCH_TRIES)).unwrap_or_default();
        let attempts = (0..SEARCH_TRIES).map(|attempt| (attempt + turn) % SEARCH_TRIES);
        let bases: Vec<u16> = match base_port {
            // Demos that start at the same time begin their search at different places.
            0 => attempts.map(|place| SEARCH_FROM + place * SEARCH_STEP).collect(),
            given => vec![given],
        };
        let mut taken = None;
        for base in bases {
            let regions: Vec<Region> = (0_u16..)
                .zip(NAMES)
                .take(regions)
                .map(|(place, name)| Region { name, base: base + place * PORTS_PER_REGION })
                .collect();
            taken = regions.iter().flat_map(Region::ports).find(|port| !is_free(*port));
            if taken.is_none() {
                return Ok(Self { dir: dir.to_owned(), regions });
            }
        }
        let port = taken.unwrap_or(base_port);
        Err(format!(
            "port {port} is taken: stop what listens there, or give another --base-port (0 finds one)"
        ))
    }

    /// The folder with certificates.
    pub(super) fn certificates(&self) -> PathBuf {
        self.dir.join("certs")
    }

    /// The log of a process.
    pub(super) fn log(&self, process: &str) -> PathBuf {
        self.dir.join(format!("{process}.log"))
    }

    /// Every region but this one, with its place.
    pub(super) fn others(&self, place: usize) -> impl Iterator<Item = (usize, &Region)> {
        self.regions.iter().enumerate().filter(move |(other, _)| *other != place)
    }

    /// Writes the configuration of a region's registry.
    pub(super) fn registry_page(&self, place: usize) -> io::Result<PathBuf> {
        let Region { name, base } = &self.regions[place];
        let data = quoted(&self.dir.join(format!("{name}-registry")));
        // Plain clients see all regions at once, so that lists and events show them.
        let page = format!(
            "region = \"{name}\"\ndeployment = \"{DEPLOYMENT}\"\ndata_dir = {data}\n\n\
             [listen]\nhttp_port = {base}\n\n[naming]\nvisibility = \"merge\"\n\n[tls]\n{}",
            self.identity(name, "registry"),
        );
        self.write(&format!("{name}-registry.toml"), &page)
    }

    /// Writes the configuration of a region's bridge.
    pub(super) fn bridge_page(&self, place: usize) -> io::Result<PathBuf> {
        let region = &self.regions[place];
        let name = region.name;
        let mut peers = String::new();
        for (_, other) in self.others(place) {
            // Writing to a string cannot fail.
            let _ = writeln!(peers, "{} = [\"{}\"]", other.name, other.bridge());
        }
        let page = format!(
            "region = \"{name}\"\nregistries = [\"{}\"]\ndata = {}\n\n[peers]\n{peers}\n\
             [feeds]\nlisten = \"{}\"\n\n[admin]\nlisten = \"{}\"\n\n[tls]\n{}",
            region.feeds(),
            quoted(&self.dir.join(format!("{name}-bridge"))),
            region.bridge(),
            region.bridge_admin(),
            self.identity(name, "bridge"),
        );
        self.write(&format!("{name}-bridge.toml"), &page)
    }

    /// Writes the configuration of a region's gateway.
    pub(super) fn gateway_page(&self, place: usize) -> io::Result<PathBuf> {
        let region = &self.regions[place];
        let name = region.name;
        let page = format!(
            "region = \"{name}\"\nzone = \"{}\"\nthreads = 1\n\n[admin]\nlisten = \"{}\"\n\n\
             [registry]\naddresses = [\"{}\"]\nkeepsake = {}\n\n[registry.tls]\n{}\n\
             [[listeners]]\nname = \"calls\"\nlisten = \"{}\"\nby_path = true\nby_header = true\n\n\
             [answers]\nshow_place = true\n",
            ZONES[0],
            region.gateway_admin(),
            region.feeds(),
            quoted(&self.dir.join(format!("{name}-gateway"))),
            self.identity(name, "gateway"),
            region.gateway(),
        );
        self.write(&format!("{name}-gateway.toml"), &page)
    }

    /// The keys of a `[tls]` table.
    fn identity(&self, region: &str, role: &str) -> String {
        let certs = self.certificates();
        let file = |ending: &str| quoted(&certs.join(region).join(format!("{role}-1.{ending}")));
        let authority = quoted(&certs.join("ca.pem"));
        format!("certificate = {}\nkey = {}\nauthority = {authority}\n", file("pem"), file("key"))
    }

    fn write(&self, name: &str, page: &str) -> io::Result<PathBuf> {
        let path = self.dir.join(name);
        std::fs::write(&path, page)?;
        Ok(path)
    }
}

/// A path as a TOML string.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(loopback(port)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_processes_share_a_port() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), REGIONS_MAX, 0).unwrap();

        let ports: Vec<u16> = layout.regions.iter().flat_map(Region::ports).collect();

        assert_eq!(ports.len(), ports.iter().collect::<BTreeSet<_>>().len());
    }

    #[test]
    fn a_taken_port_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let free = Layout::new(dir.path(), 2, 0).unwrap();
        let base = free.regions[0].registry().port();
        let _taken = TcpListener::bind(free.regions[1].gateway()).unwrap();

        let refused = Layout::new(dir.path(), 2, base).unwrap_err();

        assert!(refused.contains(&format!("port {} is taken", base + 120)), "{refused}");
    }

    #[test]
    fn the_pages_are_what_the_roles_read() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), 3, 0).unwrap();

        let registry = layout.registry_page(1).unwrap();
        let bridge = layout.bridge_page(1).unwrap();

        let layers = landbridge_runtime::config::Layers {
            defaults: "",
            file: Some(&registry),
            environment: &[],
            sets: &[],
        };
        assert_eq!(landbridge_registry::Config::read(&layers).unwrap().region.as_str(), "west");
        assert_eq!(landbridge_bridge::Config::load(Some(&bridge), &[], &[]).unwrap().plan.peers.len(), 2);
    }
}
