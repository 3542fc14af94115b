//! The last table on disk, so that a gateway serves with no registry at all, also after its own restart.
//!
//! A file holds a magic word, a format number, a checksum and the rows. It is replaced by a rename, so that a reader
//! sees the old one or the new one and never a part.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use landbridge_model::{Address, Cluster, Metadata, Region, ServiceKey, Zone};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::table::{Endpoint, RegionView, Standing, Table};

const MAGIC: &[u8; 4] = b"LBKS";

/// The rows as they stand below; another number is another program's file.
const FORMAT: u16 = 2;

/// The same without the ports of services.
const FORMAT_WITHOUT_PORTS: u16 = 1;

const HEAD_BYTES: usize = 4 + 2 + 8;

/// Why there is nothing to remember.
#[derive(Debug)]
pub(crate) enum Forgotten {
    /// There is no file: the first start.
    Absent,
    /// The file is of no use, and why.
    Unreadable(String),
}

#[derive(Serialize, Deserialize)]
struct Page {
    saved_unix_ms: u64,
    regions: Vec<RegionRow>,
    services: Vec<ServiceRow>,
}

#[derive(Serialize, Deserialize)]
struct RegionRow {
    name: String,
    standing: u8,
    age_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct ServiceRow {
    namespace: String,
    group: String,
    service: String,
    endpoints: Vec<EndpointRow>,
}

/// The port under which gateways carry connections to a service.
#[derive(Serialize, Deserialize)]
struct PortRow {
    namespace: String,
    group: String,
    service: String,
    port: u16,
}

#[derive(Serialize, Deserialize)]
struct EndpointRow {
    ip: String,
    port: u16,
    cluster: String,
    origin: String,
    zone: String,
    weight: f64,
    healthy: bool,
    enabled: bool,
    stale: bool,
    metadata: Vec<(String, String)>,
}

/// Writes a table beside the file and renames it into its place. Blocks: not for an async task.
pub(crate) fn write(file: &Path, table: &Table, unix_ms: u64) -> io::Result<()> {
    let bytes = pack(table, unix_ms)?;
    let beside = file.with_extension("new");
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut out = fs::File::create(&beside)?;
    out.write_all(&bytes)?;
    out.sync_data()?;
    fs::rename(&beside, file)
}

/// The bytes of a file that holds this table, as of this wall clock in unix milliseconds.
///
/// # Errors
/// The rows cannot be encoded.
pub fn pack(table: &Table, unix_ms: u64) -> io::Result<Vec<u8>> {
    let rows = postcard::to_stdvec(&(page(table, unix_ms), ports(table))).map_err(io::Error::other)?;
    let sum = xxh3_64(&rows).to_le_bytes();
    Ok([MAGIC.as_slice(), &FORMAT.to_le_bytes(), &sum, &rows].concat())
}

/// Reads what the last process wrote; every endpoint is unverified until a registry says otherwise. Blocks.
pub(crate) fn read(file: &Path, unix_ms: u64) -> Result<Table, Forgotten> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Forgotten::Absent),
        Err(error) => return Err(Forgotten::Unreadable(error.to_string())),
    };
    unpack(&bytes, unix_ms).map_err(Forgotten::Unreadable)
}

/// The table in the bytes of a file; every endpoint is unverified, and as much older as `unix_ms` is later.
///
/// # Errors
/// The bytes are damaged or another program's, and how.
pub fn unpack(bytes: &[u8], unix_ms: u64) -> Result<Table, String> {
    let (head, rows) = bytes.split_at_checked(HEAD_BYTES).ok_or("it is too short")?;
    if &head[..4] != MAGIC {
        return Err("it is no keepsake".to_owned());
    }
    let format = u16::from_le_bytes([head[4], head[5]]);
    if format != FORMAT && format != FORMAT_WITHOUT_PORTS {
        return Err(format!("it is of format {format}, this program reads {FORMAT}"));
    }
    if head[6..] != xxh3_64(rows).to_le_bytes() {
        return Err("its checksum does not fit: it is damaged".to_owned());
    }
    let (page, ports): (Page, Vec<PortRow>) = if format == FORMAT_WITHOUT_PORTS {
        (postcard::from_bytes(rows).map_err(|error| error.to_string())?, Vec::new())
    } else {
        postcard::from_bytes(rows).map_err(|error| error.to_string())?
    };
    let mut table = table(page, unix_ms)?;
    for row in ports {
        let key = ServiceKey::parse(&row.namespace, &row.group, &row.service).map_err(|e| e.to_string())?;
        table.ports.insert(key, row.port);
    }
    Ok(table)
}

fn ports(table: &Table) -> Vec<PortRow> {
    let row = |(key, port): (&ServiceKey, &u16)| PortRow {
        namespace: key.namespace().to_string(),
        group: key.group().to_string(),
        service: key.service().to_string(),
        port: *port,
    };
    table.ports.iter().map(row).collect()
}

fn page(table: &Table, unix_ms: u64) -> Page {
    let regions = table.regions.iter().map(|(region, view)| RegionRow {
        name: region.to_string(),
        standing: match view.standing {
            Standing::Live => 0,
            Standing::Suspect => 1,
            Standing::Frozen => 2,
        },
        age_ms: view.age_ms,
    });
    let services = table.services.iter().map(|(key, endpoints)| ServiceRow {
        namespace: key.namespace().to_string(),
        group: key.group().to_string(),
        service: key.service().to_string(),
        endpoints: endpoints.iter().map(endpoint_row).collect(),
    });
    Page { saved_unix_ms: unix_ms, regions: regions.collect(), services: services.collect() }
}

fn endpoint_row(endpoint: &Endpoint) -> EndpointRow {
    let pairs = endpoint.metadata.pairs().iter();
    EndpointRow {
        ip: endpoint.ip.to_string(),
        port: endpoint.port,
        cluster: endpoint.cluster.to_string(),
        origin: endpoint.origin.to_string(),
        zone: endpoint.zone.to_string(),
        weight: endpoint.weight,
        healthy: endpoint.healthy,
        enabled: endpoint.enabled,
        stale: endpoint.stale,
        metadata: pairs.map(|(key, value)| (key.to_string(), value.to_string())).collect(),
    }
}

fn table(page: Page, unix_ms: u64) -> Result<Table, String> {
    let slept_ms = unix_ms.saturating_sub(page.saved_unix_ms);
    let mut table = Table::default();
    for row in page.regions {
        let region = Region::parse(&row.name).map_err(|error| error.to_string())?;
        let standing = match row.standing {
            0 | 1 => Standing::Suspect,
            2 => Standing::Frozen,
            other => return Err(format!("standing {other} is unknown")),
        };
        let age_ms = row.age_ms.saturating_add(slept_ms);
        table.regions.insert(region, RegionView { standing, age_ms, remembered: true });
    }
    for row in page.services {
        let key = ServiceKey::parse(&row.namespace, &row.group, &row.service).map_err(|e| e.to_string())?;
        let endpoints: Result<Arc<[Endpoint]>, String> = row.endpoints.into_iter().map(endpoint).collect();
        table.services.insert(key, endpoints?);
    }
    Ok(table)
}

fn endpoint(row: EndpointRow) -> Result<Endpoint, String> {
    let pairs = row.metadata.into_iter().map(|(key, value)| (key.into(), value.into()));
    let parsed = || {
        Ok(Endpoint {
            ip: Address::parse(&row.ip)?,
            port: row.port,
            cluster: Cluster::parse(&row.cluster)?,
            origin: Region::parse(&row.origin)?,
            zone: Zone::parse(&row.zone)?,
            weight: row.weight,
            healthy: row.healthy,
            enabled: row.enabled,
            unverified: true,
            stale: row.stale,
            metadata: Metadata::new(pairs)?,
        })
    };
    parsed().map_err(|error: landbridge_model::InvalidName| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_table() -> Table {
        let region = Region::parse("west").expect("a valid region");
        let endpoint = Endpoint {
            ip: Address::parse("10.0.0.1").expect("a valid address"),
            port: 8080,
            cluster: Cluster::parse("").expect("a valid cluster"),
            origin: region.clone(),
            zone: Zone::parse("a").expect("a valid zone"),
            weight: 2.5,
            healthy: true,
            enabled: true,
            unverified: false,
            stale: true,
            metadata: Metadata::new([("zone".into(), "a".into())]).expect("within bounds"),
        };
        let view = RegionView { standing: Standing::Frozen, age_ms: 20_000, remembered: false };
        let key = ServiceKey::parse("", "pay", "orders").expect("a valid key");
        let ports = [(key.clone(), 20_000)].into();
        Table { services: [(key, Arc::from([endpoint]))].into(), regions: [(region, view)].into(), ports }
    }

    #[test]
    fn what_was_kept_comes_back_unverified_and_older() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("made/on/demand/keepsake");
        let kept = some_table();

        write(&file, &kept, 1_000_000).expect("written");
        let read = read(&file, 1_005_000).expect("readable");

        let (key, endpoints) = kept.services.iter().next().expect("one service");
        assert_eq!(read.endpoints(key), [Endpoint { unverified: true, ..endpoints[0].clone() }]);
        assert_eq!(read.ports, kept.ports);
        let view = read.regions.values().next().expect("one region");
        assert_eq!((view.age_ms, view.standing, view.remembered), (25_000, Standing::Frozen, true));
    }

    #[test]
    fn what_was_kept_before_services_had_ports_is_read_too() {
        let rows = postcard::to_stdvec(&page(&some_table(), 0)).expect("rows");
        let sum = xxh3_64(&rows).to_le_bytes();
        let bytes = [MAGIC.as_slice(), &FORMAT_WITHOUT_PORTS.to_le_bytes(), &sum, &rows].concat();

        let read = unpack(&bytes, 0).expect("an older file");

        assert_eq!((read.services.len(), read.ports.len()), (1, 0));
    }

    #[test]
    fn a_torn_or_foreign_file_is_told_apart_from_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("keepsake");
        assert!(matches!(read(&file, 0), Err(Forgotten::Absent)));
        write(&file, &some_table(), 0).expect("written");
        let whole = fs::read(&file).expect("readable");

        for at in [0, 3, 5, 9, 20, whole.len() - 1] {
            fs::write(&file, &whole[..at]).expect("written");
            assert!(matches!(read(&file, 0), Err(Forgotten::Unreadable(_))), "cut at {at}");
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            fs::write(&file, &flipped).expect("written");
            assert!(matches!(read(&file, 0), Err(Forgotten::Unreadable(_))), "flipped at {at}");
        }
    }
}
