//! The servers of our own that are measured or called: backends, a bare relay, and the gateway with everything on.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    process::ExitCode,
    rc::Rc,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response, Uri, Version, header};
use http_body_util::Full;
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::{http1 as client1, http2 as client2},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use landbridge_gateway::Config;
use landbridge_runtime::{log, shutdown::Shutdown};
use landbridge_tests::{
    authority::Authority,
    process::{Process, accepts, free_base},
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Builder, LocalOptions},
    task::spawn_local,
};

use crate::peers::loopback;

/// Serves as `backend PORT PORT`, `relay 1|2 PORT BACKEND BACKEND` or `gateway FILE` until killed.
pub fn serve(role: &str, arguments: &[String]) -> ExitCode {
    let done = match role {
        "backend" => alone(backend(arguments)),
        "relay" => alone(relay(arguments)),
        "gateway" => gateway(arguments),
        other => Err(anyhow::anyhow!("no such server: {other}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{role}: {why:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs on one thread, without anything that could move to another.
fn alone(work: impl Future<Output = Result<()>>) -> Result<()> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?.block_on(work)
}

/// Starts the backends: two ports of one process.
pub async fn backends() -> Result<(Process, [u16; 2])> {
    let ports = [free_base()?, free_base()?];
    let process = Process::start("backend", &ports.map(|port| port.to_string()))?;
    for port in ports {
        accepts(loopback(port)).await?;
    }
    Ok((process, ports))
}

fn number(arguments: &[String], place: usize) -> Result<u16> {
    arguments.get(place).and_then(|text| text.parse().ok()).context("a number is missing")
}

/// The connections that come to a port.
async fn each(port: u16, serve: impl Fn(TcpStream)) -> Result<()> {
    let listener = TcpListener::bind(loopback(port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        serve(stream);
    }
}

async fn backend(arguments: &[String]) -> Result<()> {
    let answer = |request: Request<Incoming>| {
        let length: usize = request.uri().path()[1..].parse().unwrap_or(100);
        let body = BODY.with(|body| body.slice(..length.min(body.len())));
        async move { Ok::<_, Infallible>(Response::new(Full::new(body))) }
    };
    let serve = move |stream| {
        spawn_local(async move {
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            // A caller that leaves is no news.
            let _ = builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    };
    tokio::try_join!(each(number(arguments, 0)?, serve), each(number(arguments, 1)?, serve)).map(|_| ())
}

thread_local! {
    static BODY: Bytes = Bytes::from(vec![b'x'; 102_400]);
}

/// The least that a proxy on hyper can do: a pool, and no decision but the next backend.
async fn relay(arguments: &[String]) -> Result<()> {
    let ports = [number(arguments, 2)?, number(arguments, 3)?];
    let port = number(arguments, 1)?;
    if number(arguments, 0)? == 1 {
        let pool = Rc::<RefCell<Vec<client1::SendRequest<Incoming>>>>::default();
        let opened = Rc::<Cell<usize>>::default();
        each(port, move |stream| {
            let (pool, opened) = (pool.clone(), opened.clone());
            spawn_local(async move {
                let relayed = service_fn(move |request| pass(pool.clone(), opened.clone(), ports, request));
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), relayed).await;
            });
        })
        .await
    } else {
        let shared = Rc::<RefCell<Option<client2::SendRequest<Incoming>>>>::default();
        each(port, move |stream| {
            let shared = shared.clone();
            spawn_local(async move {
                let relayed = service_fn(move |request| share(shared.clone(), ports[0], request));
                let builder = http2::Builder::new(Here);
                let _ = builder.serve_connection(TokioIo::new(stream), relayed).await;
            });
        })
        .await
    }
}

/// Starts tasks on this thread.
#[derive(Clone, Copy)]
struct Here;

impl<Task: Future<Output: 'static> + 'static> hyper::rt::Executor<Task> for Here {
    fn execute(&self, task: Task) {
        spawn_local(task);
    }
}

type Pool = Rc<RefCell<Vec<client1::SendRequest<Incoming>>>>;

async fn pass(
    pool: Pool,
    opened: Rc<Cell<usize>>,
    ports: [u16; 2],
    request: Request<Incoming>,
) -> Result<Response<Kept>> {
    let waiting = pool.borrow_mut().pop();
    let mut sender = match waiting {
        Some(sender) => sender,
        None => {
            opened.set(opened.get() + 1);
            let stream = TcpStream::connect(loopback(ports[opened.get() % 2])).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = client1::handshake(TokioIo::new(stream)).await?;
            spawn_local(connection);
            sender
        }
    };
    sender.ready().await?;
    let answer = sender.send_request(request).await?;
    Ok(answer.map(|incoming| Kept { incoming, back: Some((pool, sender)) }))
}

/// A body that gives its connection back.
struct Kept {
    incoming: Incoming,
    back: Option<(Pool, client1::SendRequest<Incoming>)>,
}

impl Body for Kept {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        std::pin::Pin::new(&mut self.incoming).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some((pool, sender)) = self.back.take() {
            pool.borrow_mut().push(sender);
        }
    }
}

async fn share(
    shared: Rc<RefCell<Option<client2::SendRequest<Incoming>>>>,
    port: u16,
    mut request: Request<Incoming>,
) -> Result<Response<Incoming>> {
    let open = shared.borrow().clone();
    let mut sender = match open {
        Some(sender) => sender,
        None => {
            let stream = TcpStream::connect(loopback(port)).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = client2::handshake(Here, TokioIo::new(stream)).await?;
            spawn_local(connection);
            *shared.borrow_mut() = Some(sender.clone());
            sender
        }
    };
    let host = request.uri().authority().map_or("bench.test", |authority| authority.as_str());
    let uri: Uri = format!("http://{host}{}", request.uri().path()).parse()?;
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().remove(header::HOST);
    Ok(sender.send_request(request).await?)
}

fn gateway(arguments: &[String]) -> Result<()> {
    let file = arguments.first().context("gateway wants a file")?;
    let config = Config::load(Some(Path::new(file)), &[], &[]);
    let config = config.map_err(|mistakes| anyhow::anyhow!(mistakes.join("; ")))?;
    // As the deployed program does: without it, every span is offered to a log that nobody keeps.
    log::init(&config.log).map_err(anyhow::Error::msg)?;
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals()?;
        landbridge_gateway::run(config, shutdown).await.map_err(anyhow::Error::msg)
    })
}

/// Where the gateway listens, and whom it calls.
pub struct Places {
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    pub backends: [u16; 2],
    pub http2: bool,
}

/// Calls that adaptive admission lets wait, and for how long: a closed loop is as many calls as it has callers, and a figure
/// counts only if none of them is sent away.
const QUEUE_MAX: u32 = 1_000;
const QUEUE_MS: u32 = 5_000;

/// A registry that nobody runs: what is asked of it is asked again and again, as while one is down.
const NO_REGISTRY: &str = "127.0.0.1:9";

/// The gateway's page, with all on that a page can switch on. Its files lie in the folder.
pub fn page(places: &Places, folder: &Path) -> Result<String> {
    let Places { listen, admin, backends, http2 } = places;
    let protocol = if *http2 { "h2c" } else { "http" };
    let endpoints = backends.map(|port| {
        format!(
            "{{ address = \"127.0.0.1\", port = {port}, region = \"east\", zone = \"a\", protocol = \"{protocol}\" }}"
        )
    });
    let far = "{ address = \"127.0.0.1\", port = 9, region = \"west\", zone = \"a\" }";
    let limit =
        |by: &str| format!("[[limits]]\nby = \"{by}\"\nrequests_per_second = 10000000\nburst = 1000000\n");
    let limits: String = LIMITS.map(limit).concat();
    let tls = certified(folder)?;
    let adaptive = std::env::var("ADAPTIVE").as_deref() != Ok("0");
    let (keepsake, log) = (folder.join("keepsake"), folder.join("access.json"));
    Ok(format!(
        "region = \"east\"\nzone = \"a\"\nthreads = 1\nadmin.listen = \"{admin}\"\nlog.level = \"error\"\n\
         [registry]\naddresses = [\"{NO_REGISTRY}\"]\nkeepsake = {keepsake:?}\n{tls}\
         [presence]\naddress = \"127.0.0.1\"\nregistries = [\"{NO_REGISTRY}\"]\nlisten = \"127.0.0.1\"\n\
         [relay]\nlisten = \"127.0.0.1:0\"\n{tls}\
         [[statics]]\nname = \"web\"\nendpoints = [{}, {far}]\n\
         [[listeners]]\nname = \"calls\"\nlisten = \"{listen}\"\nby_path = true\nby_header = true\n\
         host_suffix = \"svc.test\"\n\
         [[listeners.routes]]\nid = \"canary\"\nhosts = [\"bench.test\"]\nheaders = {{ \"x-canary\" = \"yes\" }}\nstatic = \"web\"\n\
         [[listeners.routes]]\nid = \"all\"\nhosts = [\"bench.test\"]\nstatic = \"web\"\n\
         [admission]\nadaptive = {adaptive}\nqueue_max = {QUEUE_MAX}\nqueue_ms = {QUEUE_MS}\ntrusted_cidrs = [\"10.0.0.0/8\"]\n[answers]\nshow_place = true\n\
         [access_log]\nshare = 0.01\nfile = {log:?}\n\
         [[probes]]\nservices = [\"static:web\"]\npath = \"/100\"\ninterval_ms = 1000\ntimeout_ms = 500\n\
         [ladder.costs]\nwest = 10\n{limits}",
        endpoints.join(", ")
    ))
}

/// Every way to count calls that limits know.
const LIMITS: [&str; 5] =
    ["caller_region", "service", "caller_region_and_service", "caller", "caller_and_service"];

/// Writes a gateway's certificate into the folder, and gives the line of a page that names it.
fn certified(folder: &Path) -> Result<String> {
    // Its own files go with it.
    let authority = Authority::new();
    let files = authority.files("bench/east/gateway/1");
    let mut line = "tls = {".to_owned();
    for (key, from) in
        [("certificate", files.certificate), ("key", files.key), ("authority", files.authority)]
    {
        let to = folder.join(key);
        std::fs::copy(&from, &to)?;
        line.push_str(&format!(" {key} = {to:?},"));
    }
    Ok(line.trim_end_matches(',').to_owned() + " }\n")
}

/// What a page switches on, as the gateway reads it.
pub fn switched_on(page: &str) -> Result<Vec<String>> {
    let config = Config::read(page).map_err(|wrong| anyhow::anyhow!(wrong.join("; ")))?;
    let (live, settings) = (&config.live, &config.live.settings);
    let limits: Vec<_> = settings.limits.iter().map(|limit| limit.by.as_str()).collect();
    let routes: usize = live.routes.iter().map(|table| table.routes.len()).sum();
    let retries = &settings.retries;
    let health = &settings.pick.health;
    Ok(vec![
        format!("{routes} routes by host and header, and by path, header and suffix"),
        format!("limits by {}", limits.join(", ")),
        format!(
            "limits shared with neighbours every {} ms: {}",
            settings.sharing.every_ms,
            config.relay.is_some()
        ),
        format!(
            "adaptive admission: {}, with room for {QUEUE_MAX} calls that wait",
            settings.crowding.is_some()
        ),
        format!("retries: {} tries, {} % budget", retries.tries_max, retries.budget.percent),
        format!("hedging: {} % budget", settings.hedging.budget.percent),
        format!(
            "ejection: after {} failures, or a share of {}",
            health.failures_max, health.failure_share_max
        ),
        format!("active probes: of {} services", settings.probing.probes.len()),
        format!("access log: {} of all calls", settings.access_share),
        format!("place shown in answers: {}", settings.show_place),
        format!(
            "registry followed, own presence kept: {}",
            config.registry.is_some() && config.presence.is_some()
        ),
    ])
}
