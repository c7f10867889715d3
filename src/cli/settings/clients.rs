//! Settings of what one client may do.

use std::num::{NonZeroU32, NonZeroUsize};

use clap::Args;
use clap::builder::BoolishValueParser;
use wasm_exec_server::ClientLimits;

use super::SettingsError;
use super::sources::Sources;
use super::values::count;

/// The settings as they are given.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits of a client (an IPv4 address, or a 64-bit IPv6 network)")]
pub(super) struct ClientOptions {
    /// Connections at once [default: 1000]
    #[arg(long, env = "WASM_EXEC_CLIENT_CONNECTIONS", value_name = "N")]
    client_connections: Option<NonZeroUsize>,
    /// Requests at once [default: 128]
    #[arg(long, env = "WASM_EXEC_CLIENT_REQUESTS", value_name = "N")]
    client_requests: Option<NonZeroUsize>,
    /// Requests per second; twice as many may come at once [default: 1000]
    #[arg(long, env = "WASM_EXEC_CLIENT_REQUESTS_PER_SECOND", value_name = "N")]
    client_requests_per_second: Option<NonZeroU32>,
    /// Bind programs on this machine, too
    #[arg(
        long,
        env = "WASM_EXEC_LIMIT_LOOPBACK",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
    )]
    limit_loopback: Option<bool>,
}

impl ClientOptions {
    pub(super) fn resolve(self, sources: &mut Sources<'_>) -> Result<ClientLimits, SettingsError> {
        let Self {
            client_connections,
            client_requests,
            client_requests_per_second: per_second,
            limit_loopback,
        } = self;
        let connections = sources.pick("client-connections", client_connections, count(1000))?;
        let requests = sources.pick("client-requests", client_requests, count(128))?;
        let thousand = const { NonZeroU32::new(1000).unwrap() };
        let per_second = sources.pick("client-requests-per-second", per_second, thousand)?;
        Ok(ClientLimits {
            connections: connections.get(),
            requests: requests.get(),
            requests_per_second: per_second.get(),
            loopback: sources.pick("limit-loopback", limit_loopback, false)?,
        })
    }
}
