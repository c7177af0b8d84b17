//! Generates the gRPC code of the node-to-node transport.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // `bytes::Bytes` for bodies: a body is decoded without copying it out of the frame.
    tonic_prost_build::configure().bytes(".meridian.transport.v1").compile_protos(&["proto/transport.proto"], &["proto"])?;
    Ok(())
}
