//! One member as clients and strangers meet it: Nacos over gRPC and HTTP, garbage, floods and the end.

mod auth;
mod catalogue;
mod dashboards;
mod fuzzy;
mod grpc;
mod http;
mod limits;
mod one;
mod referee;
mod rights;
mod selectors;
mod strangers;
mod tls;
mod upstream;
