//! Where the protocol's source looks for the engine's configuration.

pub(crate) use wasm_exec_engine::Profile;
