//! The HTTP API, end to end: the real server over the real store and engine, spoken to over HTTP.
//!
//! A module is a part of the surface, and each test is a sentence about it. Everything is said
//! through [`support`]: a server is started, requests are built and awaited, and what comes back is
//! compared with what is written. Nothing sleeps; whatever has to happen first is waited for.

mod access;
mod batch;
mod bodies;
mod bytes;
mod compiled;
mod compiling;
mod compression;
mod download;
mod functions;
mod host_memory;
mod http2;
mod keys;
mod limits;
mod linking;
mod links;
mod listing;
mod memory;
mod modules;
mod names;
mod network;
mod operations;
mod original;
mod persistence;
mod problems;
mod scheduling;
mod sessions;
mod shutdown;
mod simple_requests;
mod start;
mod storage;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod traps;
mod values;
mod wasm;
