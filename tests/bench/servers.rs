//! The servers that are measured: a member, and a bare tonic echo of the same messages.

use std::{net::SocketAddr, process::ExitCode};

use landbridge_registry::Config;
use landbridge_runtime::{
    config::Layers,
    shutdown::Shutdown,
    telemetry::{BuildInfo, install},
};
use landbridge_wire::nacos::grpc::{Payload, RequestServer, RequestService};
use tonic::{Request, Response, Status};

/// Serves as `registry KEY=VALUE ...` or `echo ADDRESS` until killed.
pub fn serve(role: &str, arguments: &[String]) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime can be built");
    let done = match role {
        "registry" => runtime.block_on(registry(arguments)),
        "echo" => runtime.block_on(echo(arguments)),
        other => Err(format!("no such server: {other}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{role}: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn registry(sets: &[String]) -> Result<(), String> {
    let layers = Layers { defaults: "", file: None, environment: &[], sets };
    let config = Config::read(&layers).map_err(|wrong| wrong.join("\n"))?;
    let page = install(BuildInfo { version: env!("CARGO_PKG_VERSION"), role: "registry" })?;
    let shutdown = Shutdown::on_signals().map_err(|error| error.to_string())?;
    let member = tokio::spawn(landbridge_registry::run(config, page, shutdown));
    member.await.map_err(|died| died.to_string())?.map_err(|failure| failure.to_string())
}

struct Echo;

#[tonic::async_trait]
impl RequestService for Echo {
    async fn request(&self, request: Request<Payload>) -> Result<Response<Payload>, Status> {
        Ok(Response::new(request.into_inner()))
    }
}

async fn echo(arguments: &[String]) -> Result<(), String> {
    let address: SocketAddr =
        arguments.first().and_then(|text| text.parse().ok()).ok_or("echo wants an address")?;
    let server = tonic::transport::Server::builder().add_service(RequestServer::new(Echo));
    server.serve(address).await.map_err(|error| error.to_string())
}
