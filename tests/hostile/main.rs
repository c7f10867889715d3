//! Those who mean harm: modules, calls, bodies, connections and names that are made to hurt, over
//! HTTP, against the real server.
//!
//! A file is an idea. What is sent is made by a generator, whose sizes are parameters: `cargo test`
//! runs a size that takes seconds.

mod bombs;
mod compiler;
mod guests;
mod http2;
mod smuggling;
#[expect(dead_code, reason = "what other tests are written in is here, too")]
#[path = "../support/mod.rs"]
mod support;
