//! The table of faults: what breaks, how much of it, and how that is done to real processes.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::endpoint::{Endpoint, Manner};

/// How something breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process dies; the kernel resets its connections.
    Kill,
    /// The process stands still; the kernel still accepts for it.
    Freeze,
    /// It reads requests and never answers.
    BlackHole,
    /// It dies, and what is sent to its address to connect is dropped.
    Unreachable,
    /// It answers after 300 ms.
    Slow,
    /// It answers 503 every other 400 ms.
    Flap,
    /// It answers 503 to everything.
    Storm,
}

impl Fault {
    /// What is noticed at once, or answered.
    pub(crate) const TOLD: [Self; 5] = [Self::Kill, Self::Unreachable, Self::Slow, Self::Flap, Self::Storm];

    /// What nobody tells of: whoever is hit takes everything and answers nothing.
    pub(crate) const SILENT: [Self; 2] = [Self::Freeze, Self::BlackHole];

    /// The one that is called so, such as `Slow`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::TOLD.into_iter().chain(Self::SILENT).find(|fault| format!("{fault:?}") == name)
    }

    /// What they are called.
    pub(crate) fn names() -> String {
        let names: Vec<_> =
            Self::TOLD.iter().chain(&Self::SILENT).map(|fault| format!("{fault:?}")).collect();
        names.join(", ")
    }

    /// Who is hit does not answer at all.
    pub(crate) fn hangs(self) -> bool {
        match self {
            Self::Freeze | Self::BlackHole | Self::Unreachable => true,
            Self::Kill | Self::Slow | Self::Flap | Self::Storm => false,
        }
    }

    /// Who is hit takes calls and answers none, so that calls go on to go there until it is out of rotation. Where not even
    /// a connection comes to be, one failed try may be the last for as long as a run lasts.
    pub(crate) fn swallows(self) -> bool {
        matches!(self, Self::Freeze | Self::BlackHole)
    }
}

/// How much breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// One endpoint of the gateway's own zone.
    Endpoint,
    /// All endpoints of its own zone.
    Zone,
    /// All endpoints of its own region.
    Region,
}

impl Scope {
    pub(crate) const ALL: [Self; 3] = [Self::Endpoint, Self::Zone, Self::Region];

    /// Whether an endpoint is hit.
    pub(crate) fn takes(self, name: &str) -> bool {
        match self {
            Self::Endpoint => name == "east/a/1",
            Self::Zone => name.starts_with("east/a/"),
            Self::Region => name.starts_with("east/"),
        }
    }
}

/// Holds what a fault needs for as long as it lasts.
#[derive(Default)]
pub(crate) struct Struck {
    _plugs: Vec<Plug>,
}

/// Breaks these endpoints.
pub(crate) fn strike(fault: Fault, endpoints: &mut [&mut Endpoint]) -> Result<Struck> {
    let mut struck = Struck::default();
    for endpoint in endpoints {
        match fault {
            Fault::Kill => endpoint.kill()?,
            Fault::Freeze => endpoint.freeze()?,
            Fault::BlackHole => endpoint.behave(Manner::Silent)?,
            Fault::Unreachable => {
                endpoint.kill()?;
                struck._plugs.push(Plug::set(endpoint.address)?);
            }
            Fault::Slow => endpoint.behave(Manner::Slow)?,
            Fault::Flap => endpoint.behave(Manner::Flap)?,
            Fault::Storm => endpoint.behave(Manner::Storm)?,
        }
    }
    Ok(struck)
}

/// Connections that fill a queue of length one; the kernel drops what comes after them.
const FILLING: usize = 4;

/// A port on which connecting hangs: its queue is full and nobody takes from it.
struct Plug {
    _listener: Socket,
    _filling: Vec<Socket>,
}

impl Plug {
    fn set(address: SocketAddr) -> Result<Self> {
        let address = SockAddr::from(address);
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        listener.set_reuse_address(true)?;
        listener.bind(&address)?;
        listener.listen(0)?;
        let mut filling = Vec::new();
        for _ in 0..FILLING {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            match socket.connect(&address) {
                Ok(()) => {}
                Err(why) => ensure!(why.raw_os_error() == Some(libc::EINPROGRESS), "a full port said: {why}"),
            }
            filling.push(socket);
        }
        Ok(Self { _listener: listener, _filling: filling })
    }
}
