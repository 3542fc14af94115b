//! Two bridges of one region: the one that imports is killed, the other takes over, and nothing is lost.

use std::net::TcpListener;
use std::path::Path;
use std::time::Instant;

use crate::roles::{Running, until};
use crate::{landbridge, stdout};

/// A region's files and ports.
struct Place {
    name: &'static str,
    http: u16,
    members: u16,
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

impl Place {
    fn new(name: &'static str) -> Self {
        Self { name, http: free_port(), members: free_port() }
    }

    fn at(&self) -> String {
        format!("127.0.0.1:{}", self.http)
    }

    fn tls(&self, folder: &Path, role: &str) -> String {
        let file = |ending: &str| folder.join("certs").join(self.name).join(format!("{role}.{ending}"));
        let (certificate, key, authority) = (file("pem"), file("key"), folder.join("certs").join("ca.pem"));
        format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\nauthority = {authority:?}\n")
    }

    fn registry(&self, folder: &Path) -> Running {
        let page = format!(
            "region = {:?}\ndeployment = \"demo\"\ndata_dir = {:?}\n[listen]\nhttp_port = {}\ngrpc_port = {}\n\
             feeds_port = {}\n{}",
            self.name,
            folder.join(self.name).join("registry"),
            self.http,
            free_port(),
            self.members,
            self.tls(folder, "registry-1")
        );
        start(folder, "registry", &format!("{}-registry", self.name), &page)
    }

    /// A bridge, and where it is asked.
    fn bridge(&self, folder: &Path, id: u8, feeds: u16, peer: (&str, u16)) -> (Running, String) {
        let admin = format!("127.0.0.1:{}", free_port());
        let page = format!(
            "region = {:?}\nregistries = [\"127.0.0.1:{}\"]\ndata = {:?}\n[peers]\n{} = [\"127.0.0.1:{}\"]\n[feeds]\n\
             listen = \"127.0.0.1:{feeds}\"\n[admin]\nlisten = {admin:?}\n{}",
            self.name,
            self.members,
            folder.join(self.name).join(format!("bridge-{id}")),
            peer.0,
            peer.1,
            self.tls(folder, &format!("bridge-{id}"))
        );
        (start(folder, "bridge", &format!("{}-bridge-{id}", self.name), &page), admin)
    }
}

fn start(folder: &Path, role: &str, name: &str, page: &str) -> Running {
    let file = folder.join(format!("{name}.toml"));
    std::fs::write(&file, page).expect("written");
    Running::silent(&[role, "-c", file.to_str().expect("a plain path")], &folder.join(format!("{name}.log")))
}

/// Whether the bridge asked there says that it imports, and that somebody is listed to.
fn imports(admin: &str) -> Option<bool> {
    let links = stdout(&landbridge(&["links", "-o", "json", "--at", admin]));
    let links: serde_json::Value = serde_json::from_str(&links).ok()?;
    links[0]["importer"].as_str()?;
    links[0]["imports"].as_bool()
}

fn until_imports(admins: [&str; 2]) -> usize {
    let begun = Instant::now();
    loop {
        match admins.map(imports) {
            [Some(true), Some(false)] => return 0,
            [Some(false), Some(true)] => return 1,
            other => {
                assert!(begun.elapsed() < crate::roles::PATIENCE, "the bridges did not agree: {other:?}")
            }
        }
    }
}

#[test]
fn a_killed_importer_is_followed_by_the_other_bridge_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let certs = folder.path().join("certs");
    let made = landbridge(&["certs", certs.to_str().unwrap(), "--each", "2"]);
    assert!(made.status.success());
    let (east, west) = (Place::new("east"), Place::new("west"));
    let (east_feeds, west_feeds) = (free_port(), [free_port(), free_port()]);
    let _registries = [east.registry(folder.path()), west.registry(folder.path())];
    let _exporter = east.bridge(folder.path(), 1, east_feeds, ("west", west_feeds[0]));
    let (first, first_admin) = west.bridge(folder.path(), 1, west_feeds[0], ("east", east_feeds));
    let (second, second_admin) = west.bridge(folder.path(), 2, west_feeds[1], ("east", east_feeds));
    let mut bridges = [Some(first), Some(second)];
    until(&["check", "--at", &east.at()], "\nready\n");
    until(&["policy", "export", "west", "--allow", "*/*/*", "--at", &east.at()], "seq");
    let log = folder.path().join("instances.log");
    let register = |port: &str| {
        Running::silent(&["register", "orders", &format!("192.0.2.7:{port}"), "--at", &east.at()], &log)
    };
    let instances = ["instances", "orders", "--at", &west.at()];
    let _before = register("8081");
    until(&instances, "8081");
    let importer = until_imports([&first_admin, &second_admin]);

    // Dropping it kills it.
    let killed = Instant::now();
    drop(bridges[importer].take());
    let _after = register("8082");
    until(&instances, "8082");
    println!("a registration right after the importer was killed was seen after {:?}", killed.elapsed());
    assert!(stdout(&landbridge(&instances)).contains("8081"), "what was there before is lost");
    let other = [&first_admin, &second_admin][1 - importer];
    while imports(other) != Some(true) {
        assert!(killed.elapsed() < crate::roles::PATIENCE, "the other bridge was never named");
    }
    println!("the other bridge was named after {:?}", killed.elapsed());
}
