//! A door between two processes that can be shut: what goes through it breaks, and nobody gets in.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// A door to one address; it is open at first.
pub struct Gate {
    port: u16,
    open: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Gate {
    /// A door to this port of this machine.
    pub async fn to(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (open, is_open) = watch::channel(true);
        let own = listener.local_addr()?.port();
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let task = tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                if *is_open.borrow() {
                    tokio::spawn(pass(caller, target, is_open.clone()));
                }
            }
        });
        Ok(Self { port: own, open, task })
    }

    /// Where callers knock.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Shuts it, or opens it again.
    pub fn set(&self, open: bool) {
        self.open.send_replace(open);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut caller: TcpStream, target: SocketAddr, mut open: watch::Receiver<bool>) {
    let Ok(mut called) = TcpStream::connect(target).await else { return };
    tokio::select! {
        // Whoever ends it, both sides see the end.
        _ = copy_bidirectional(&mut caller, &mut called) => {}
        _ = open.wait_for(|open| !open) => {}
    }
}
