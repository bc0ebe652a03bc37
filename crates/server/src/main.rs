//! The binary `ringfence`: assembly only.
fn main() {}
