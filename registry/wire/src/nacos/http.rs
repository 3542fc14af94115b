//! Nacos 1.x over HTTP, and the parts of 2.x and 3.x that SDKs ask over HTTP, as nouns and bodies.

pub mod answer;
mod parameters;
mod request;
pub mod udp;

pub use parameters::{PARAMETERS_MAX, Parameters};
pub use request::{Beat, Credentials, HealthEdit, InstanceEdit, ListQuery, Named};
