//! The HTTP server: routes, request and response types, problems.
//!
//! A [`Server`] is a value: [`bind`](Server::bind) it, [`run`](Server::run) it until something says
//! to shut down. Handlers extract, make one call into [`wasm_exec::Exec`], and respond.
//!
//! ```no_run
//! # async fn example(exec: wasm_exec::Exec) -> Result<(), Box<dyn std::error::Error>> {
//! use wasm_exec_server::{Server, ServerConfig};
//!
//! let server = Server::bind(ServerConfig::default(), exec).await?;
//! println!("listening on {:?}", server.addresses());
//! server.run(async { tokio::signal::ctrl_c().await.expect("signals work") }).await;
//! # Ok(())
//! # }
//! ```

mod access;
mod answer;
mod app;
mod batch;
mod body;
mod caller;
mod client;
mod connection;
mod connections;
mod cors;
mod keys;
mod metrics;
mod negotiation;
mod openapi;
mod problem;
mod rate;
mod reload;
mod reply;
mod routes;
mod serve;
mod server;
mod stint;
mod tls;

pub use client::ClientLimits;
pub use keys::{
    ApiKey, ApiKeys, CallQuota, InvalidKeyFile, InvalidKeyId, InvalidRecord, KeyFile, KeyFileError,
    KeyId, KeyName, KeyRecord, Namespace, NamespaceRecord, NoRandomness, Per, RequestRate, Scope,
    UnknownScope,
};
pub use openapi::document as openapi_document;
pub use problem::Code;
pub use server::{BindError, Server, ServerConfig};
pub use tls::{TlsError, TlsIdentity};
