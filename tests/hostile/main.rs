//! Those who mean harm: modules, calls, bodies, connections and names that are made to hurt, over
//! HTTP, against the real server.
//!
//! A file is an idea. What is sent is made by a generator, whose sizes are parameters: `cargo test`
//! runs a size that takes seconds, `just hostile` the full one. After each, others are answered
//! rightly and nothing is held ([`victim`]).

mod bombs;
mod bulk;
mod compiler;
mod compression;
mod digests;
mod graphs;
mod growth;
mod headers;
mod http2;
mod json;
mod names;
mod outputs;
mod recursion;
mod requests;
mod secrets;
mod slow;
mod smuggling;
mod starts;
#[expect(dead_code, reason = "what other tests are written in is here, too")]
#[path = "../support/mod.rs"]
mod support;
mod texts;
mod victim;
