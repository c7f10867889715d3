//! The command line, through the built binary.

mod config;
mod crash;
mod keys;
mod run;
mod serve;
mod support;
mod tls;
mod tools;
#[cfg(target_os = "linux")]
mod workers;
