//! Opens listening ports, and says plainly why one cannot be opened.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// How many connections the kernel keeps waiting; more are refused by it.
const BACKLOG_MAX: i32 = 4_096;

/// Opens `address` for `what` and logs the real address as event `listening`; port 0 picks a free one.
pub fn listen(address: SocketAddr, what: &'static str) -> Result<TcpListener, String> {
    announce(open(address, Sharing::Alone), address, what)
}

/// Like `listen`, but several listeners of one process may share the port; the kernel spreads connections.
pub fn listen_shared(address: SocketAddr, what: &'static str) -> Result<TcpListener, String> {
    announce(open(address, Sharing::Among), address, what)
}

/// Who may listen on a port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    Among,
}

fn open(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if sharing == Sharing::Among {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG_MAX)?;
    TcpListener::from_std(socket.into())
}

fn announce(
    opened: io::Result<TcpListener>,
    wanted: SocketAddr,
    what: &'static str,
) -> Result<TcpListener, String> {
    let opened = opened.and_then(|listener| listener.local_addr().map(|address| (listener, address)));
    match opened {
        Ok((listener, address)) => {
            tracing::info!(event = "listening", what, %address, "listening");
            Ok(listener)
        }
        Err(error) => Err(explain(&error, wanted, what)),
    }
}

fn explain(error: &io::Error, address: SocketAddr, what: &str) -> String {
    let cause = match error.kind() {
        ErrorKind::AddrInUse => format!(
            "another process listens there; stop it (`ss -ltnp 'sport = :{}'` names it) or set another port",
            address.port()
        ),
        ErrorKind::PermissionDenied => {
            "this user may not; ports below 1024 need CAP_NET_BIND_SERVICE, or set a higher port".to_owned()
        }
        ErrorKind::AddrNotAvailable => {
            format!("this machine has no address {}; set one of `ip addr`, or 0.0.0.0 for all", address.ip())
        }
        _ => error.to_string(),
    };
    format!("cannot listen on {address} for {what}: {cause}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[tokio::test]
    async fn port_zero_picks_a_free_port() {
        let listener = listen(loopback(0), "a test").unwrap();

        assert_ne!(listener.local_addr().unwrap().port(), 0);
    }

    #[tokio::test]
    async fn a_busy_port_is_told_in_one_sentence() {
        let first = listen(loopback(0), "a test").unwrap();
        let port = first.local_addr().unwrap().port();

        let refused = listen(loopback(port), "the admin page").unwrap_err();

        assert!(refused.contains(&format!("127.0.0.1:{port}")), "{refused}");
        assert!(
            refused.contains("the admin page") && refused.contains("another process listens"),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_told_as_such() {
        let refused = listen(SocketAddr::from(([192, 0, 2, 1], 0)), "a test").unwrap_err();

        assert!(refused.contains("192.0.2.1") && refused.contains("ip addr"), "{refused}");
    }

    #[tokio::test]
    async fn a_shared_port_takes_two_listeners() {
        let first = listen_shared(loopback(0), "calls").unwrap();

        let second = listen_shared(first.local_addr().unwrap(), "calls");

        assert!(second.is_ok());
    }
}
