//! The servers that are measured: a member, and a bare tonic echo of the same messages.

use std::{net::SocketAddr, process::ExitCode};

use landbridge_tests::serve;
use landbridge_wire::nacos::grpc::{Payload, RequestServer, RequestService};
use tonic::{Request, Response, Status};

/// Serves as `registry KEY=VALUE ...` or `echo ADDRESS` until killed.
pub fn serve(role: &str, arguments: &[String]) -> ExitCode {
    match role {
        "registry" => serve::registry(arguments),
        "echo" => serve::serve(role, echo(arguments)),
        other => serve::serve(other, async { Err("there is no such server".to_owned()) }),
    }
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
