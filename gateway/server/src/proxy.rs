//! The PROXY protocol: a balancer's word for whom a connection is, read from those who may give it, written for endpoints.
//!
//! Invariant: not one byte behind the introduction is read, and no more than its bound before it is complete.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::io::{AsyncRead, AsyncReadExt};

/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// What version 1 begins with.
const PREFIX: &[u8] = b"PROXY ";

/// The longest line of version 1, by its specification.
const LINE_BYTES_MAX: usize = 107;

/// The longest rest of version 2 that is read: addresses and additions.
const REST_BYTES_MAX: usize = 2_048;

/// Version 2, and the word for a connection of somebody else's.
const V2_PROXY: u8 = 0x21;

/// Version 2, and the word for a connection of the balancer's own.
const V2_LOCAL: u8 = 0x20;

const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Reads an introduction of either version. `None` when the balancer speaks for itself, or does not know for whom.
pub(crate) async fn read(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut begin = [0; SIGNATURE.len()];
    io.read_exact(&mut begin).await?;
    if begin == SIGNATURE {
        return read_binary(io).await;
    }
    if !begin.starts_with(PREFIX) {
        return Err(wrong("no introduction"));
    }
    let mut line = begin.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE_BYTES_MAX {
            return Err(wrong("the introduction is too long"));
        }
        line.push(io.read_u8().await?);
    }
    let line = str::from_utf8(&line).map_err(|_| wrong("the introduction is no text"))?;
    read_line(line.trim_end_matches("\r\n"))
}

fn read_line(line: &str) -> io::Result<Option<SocketAddr>> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        ["PROXY", family @ ("TCP4" | "TCP6"), source, destination, source_port, destination_port] => {
            let address =
                |text: &str| text.parse::<IpAddr>().ok().filter(|ip| ip.is_ipv4() == (family == "TCP4"));
            let port = |text: &str| text.parse::<u16>().ok();
            let whole = address(destination).is_some() && port(destination_port).is_some();
            match (address(source), port(source_port)) {
                (Some(ip), Some(port)) if whole => Ok(Some(SocketAddr::new(ip, port))),
                _ => Err(wrong("the introduction names no address")),
            }
        }
        _ => Err(wrong("the introduction cannot be read")),
    }
}

async fn read_binary(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let (command, family) = (io.read_u8().await?, io.read_u8().await?);
    let length = usize::from(io.read_u16().await?);
    if length > REST_BYTES_MAX {
        return Err(wrong("the introduction is too long"));
    }
    let mut rest = vec![0; length];
    io.read_exact(&mut rest).await?;
    match (command, family) {
        (V2_LOCAL, _) => Ok(None),
        (V2_PROXY, TCP4) => match rest.first_chunk::<12>() {
            Some([a, b, c, d, _, _, _, _, high, low, ..]) => {
                Ok(Some((Ipv4Addr::new(*a, *b, *c, *d), u16::from_be_bytes([*high, *low])).into()))
            }
            None => Err(wrong("the introduction is too short")),
        },
        (V2_PROXY, TCP6) => match (rest.first_chunk::<16>(), rest.get(32..36)) {
            (Some(source), Some(&[high, low, _, _])) => {
                Ok(Some((Ipv6Addr::from(*source), u16::from_be_bytes([high, low])).into()))
            }
            (None, _) | (_, None | Some(_)) => Err(wrong("the introduction is too short")),
        },
        (V2_PROXY, _) => Ok(None),
        (_, _) => Err(wrong("the introduction has an unknown version")),
    }
}

/// Writes an introduction of version 2.
pub(crate) fn written(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
    let addresses = match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            bytes.extend([V2_PROXY, TCP4]);
            [source.octets(), destination.octets()].concat()
        }
        (source, destination) => {
            let wide = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            bytes.extend([V2_PROXY, TCP6]);
            [wide(source), wide(destination)].concat()
        }
    };
    bytes.extend(((addresses.len() + ports.len()) as u16).to_be_bytes());
    bytes.extend(addresses);
    bytes.extend(ports);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(bytes: &[u8]) -> (Result<Option<SocketAddr>, String>, usize) {
        let mut left = bytes;
        let told = read(&mut left).await.map_err(|error| error.to_string());
        (told, left.len())
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_line_introduces_and_what_follows_is_left() {
        let (who, left) = told(b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 80\r\nGET /").await;
        assert_eq!((who, left), (Ok(Some(at("192.0.2.7:5000"))), 5));
        let (who, left) = told(b"PROXY TCP6 2001:db8::7 ::1 5000 80\r\nx").await;
        assert_eq!((who, left), (Ok(Some(at("[2001:db8::7]:5000"))), 1));
        assert_eq!(told(b"PROXY UNKNOWN\r\nx").await, (Ok(None), 1));
    }

    #[tokio::test]
    async fn what_is_written_is_read_back() {
        for (source, destination) in [
            ("192.0.2.7:5000", "10.0.0.1:80"),
            ("[2001:db8::7]:5000", "[::1]:80"),
            ("[2001:db8::7]:1", "10.0.0.1:2"),
        ] {
            let mut bytes = written(at(source), at(destination));
            bytes.extend(b"rest");
            assert_eq!(told(&bytes).await, (Ok(Some(at(source))), 4), "{source}");
        }
    }

    #[tokio::test]
    async fn additions_are_passed_over_and_an_own_connection_is_nobodys() {
        let mut bytes = written(at("192.0.2.7:5000"), at("10.0.0.1:80"));
        bytes[15] += 7;
        bytes.extend([0x03, 0, 4, 1, 2, 3, 4]);
        assert_eq!(told(&bytes).await, (Ok(Some(at("192.0.2.7:5000"))), 0));

        let local = [&SIGNATURE[..], &[V2_LOCAL, 0, 0, 0]].concat();
        assert_eq!(told(&local).await, (Ok(None), 0));
    }

    #[tokio::test]
    async fn nonsense_and_endless_introductions_are_refused() {
        let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 500]].concat();
        let huge = [&SIGNATURE[..], &[V2_PROXY, TCP4, 0xff, 0xff]].concat();
        let unknown = [&SIGNATURE[..], &[0x31, TCP4, 0, 0]].concat();
        let short = [&SIGNATURE[..], &[V2_PROXY, TCP6, 0, 12], &[0; 12]].concat();
        for wrong in [
            b"GET / HTTP/1.1\r\n\r\n".as_slice(),
            b"PROXY TCP4 ::1 ::1 5000 80\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 5000\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 99999 80\r\n",
            b"PROXY TCP4 1.2.3.4",
            &endless,
            &huge,
            &unknown,
            &short,
        ] {
            assert!(told(wrong).await.0.is_err(), "{:?}", String::from_utf8_lossy(wrong));
        }
    }
}
