//! Compiles the protobuf definitions without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let feeds = protox::compile(["landbridge/feeds/v1/feeds.proto"], ["proto"])?;
    tonic_prost_build::configure().compile_fds(feeds)?;
    let peers = protox::compile(["landbridge/peers/v1/peers.proto"], ["proto"])?;
    tonic_prost_build::configure().bytes(".").compile_fds(peers)?;
    let nacos = protox::compile(["nacos/nacos.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .btree_map(".")
        .extern_path(".google.protobuf.Any", "crate::nacos::grpc::Any")
        .compile_fds(nacos)?;
    Ok(())
}
