//! The command line, through the built binary.

mod config;
mod crash;
#[cfg(target_os = "linux")]
#[path = "../support/kernel.rs"]
mod kernel;
mod keys;
#[cfg(feature = "network")]
mod network;
mod run;
mod serve;
mod support;
mod tls;
mod tools;
#[cfg(target_os = "linux")]
mod workers;
