//! Settings of sessions.

use std::num::NonZeroUsize;

use clap::Args;
use wasm_exec::{SessionSettings, Setting};

use super::SettingsError;
use super::sources::Sources;
use super::values::{Period, count};

/// The settings as they are given.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sessions")]
pub(super) struct SessionOptions {
    /// Sessions at once [default: 1000]
    #[arg(long, env = "WASM_EXEC_SESSIONS", value_name = "N")]
    sessions: Option<NonZeroUsize>,
    /// Sessions of one key, or of one client where there are no keys [default: half of all]
    #[arg(long, env = "WASM_EXEC_SESSIONS_PER_CLIENT", value_name = "N")]
    sessions_per_client: Option<NonZeroUsize>,
    /// Time after which an unused session ends that asks for no other [default: 5m]
    #[arg(long, env = "WASM_EXEC_SESSION_IDLE_DEFAULT", value_name = "TIME")]
    session_idle_default: Option<Period>,
    /// Most time a session may ask to be unused for [default: 1h]
    #[arg(long, env = "WASM_EXEC_SESSION_IDLE_MAXIMUM", value_name = "TIME")]
    session_idle_maximum: Option<Period>,
    /// Instances of a session, and memories [default: 1024]
    #[arg(long, env = "WASM_EXEC_SESSION_INSTANCES", value_name = "N")]
    session_instances: Option<NonZeroUsize>,
}

impl SessionOptions {
    pub(super) fn resolve(
        self,
        sources: &mut Sources<'_>,
    ) -> Result<SessionSettings, SettingsError> {
        let Self {
            sessions,
            sessions_per_client: per_client,
            session_idle_default,
            session_idle_maximum,
            session_instances: instances,
        } = self;
        let sessions = sources.pick("sessions", sessions, count(1_000))?;
        let half = NonZeroUsize::new(sessions.get() / 2).unwrap_or(sessions);
        let per_client = sources.pick("sessions-per-client", per_client, half)?;
        sources.at_most(("sessions-per-client", per_client), ("sessions", sessions))?;
        let idle = sources.pick_pair(
            ["session-idle-default", "session-idle-maximum"],
            [session_idle_default, session_idle_maximum],
            [Period::seconds(300), Period::seconds(3_600)],
        )?;
        let [default, maximum] = idle.map(Period::milliseconds);
        Ok(SessionSettings {
            sessions: sessions.get(),
            per_client: per_client.get(),
            idle_timeout_ms: Setting { default, maximum },
            instances: sources.pick("session-instances", instances, count(1_024))?.get(),
        })
    }
}
