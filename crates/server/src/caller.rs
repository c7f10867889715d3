//! Whom a request comes from, as far as that restricts it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use http::request::Parts;
use wasm_exec::{ClientKey, Exec, Name, SessionOwner};

use crate::app::App;
use crate::keys::Key;
use crate::problem::{Code, Problem};

/// Whom a request comes from. Cheap to clone. In a request on its way to the router it is an
/// extension.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The key it was sent with, on a server that asks for one.
    key: Option<Arc<Key>>,
    /// Where it comes from, if that matters.
    client: Option<ClientKey>,
}

impl Caller {
    /// One whom nothing restricts: of a server without keys, or with a request that needs none.
    pub(crate) const fn anyone() -> Self {
        Self { key: None, client: None }
    }

    pub(crate) const fn with(key: Arc<Key>) -> Self {
        Self { key: Some(key), client: None }
    }

    /// The same from a client.
    pub(crate) fn from(self, client: Option<ClientKey>) -> Self {
        Self { client, ..self }
    }

    /// Where it comes from, if that matters.
    pub(crate) fn client(&self) -> Option<ClientKey> {
        self.client
    }

    /// The name of the key, for the log.
    pub(crate) fn key_name(&self) -> Option<&str> {
        self.key.as_ref().map(|key| key.name().as_str())
    }

    /// The service as the caller sees it: without what is private to others, with limits of its own.
    pub(crate) fn exec<'a>(&'a self, app: &'a App) -> &'a Exec {
        match &self.key {
            Some(key) => key.exec(),
            None => &app.exec,
        }
    }

    /// Whether the caller may register a module under this name, or without one.
    ///
    /// # Errors
    ///
    /// `forbidden` if its key does not let it.
    pub(crate) fn may_register(&self, name: Option<&str>) -> Result<(), Problem> {
        let Some(key) = &self.key else { return Ok(()) };
        match name.map(str::parse::<Name>).transpose() {
            Ok(name) => may_write(key, name.as_ref()),
            // Registering reads the name first, and says what is wrong with it.
            Err(_) => Ok(()),
        }
    }

    /// Whether the caller may delete what `module` names. What it does not see is left to the
    /// service, for which it does not exist.
    ///
    /// # Errors
    ///
    /// `forbidden` if its key does not let it.
    pub(crate) fn may_delete(&self, module: &str) -> Result<(), Problem> {
        let Some(key) = &self.key else { return Ok(()) };
        match module.parse::<Name>() {
            Ok(name) if key.exec().sees(&name) => may_write(key, Some(&name)),
            Ok(_) => Ok(()),
            Err(_) => may_write(key, None),
        }
    }

    /// Whether its key is still known, for a request that goes on for long.
    ///
    /// # Errors
    ///
    /// `unauthenticated` once it is not.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        self.key.as_ref().map_or(Ok(()), |key| key.check())
    }

    /// Takes a token of its key's rate, for a call that no request is counted for.
    ///
    /// # Errors
    ///
    /// When there is none: the time until there is.
    pub(crate) fn take_token(&self) -> Result<(), Duration> {
        self.key.as_ref().map_or(Ok(()), |key| key.take_token())
    }

    /// Counts such a call against its key's quota.
    ///
    /// # Errors
    ///
    /// `quota-exceeded` when that is used up.
    pub(crate) fn count_call(&self) -> Result<(), Problem> {
        self.key.as_ref().map_or(Ok(()), |key| key.count_call())
    }

    /// How many bytes what it registers may hold; `None` is any number.
    pub(crate) fn stored_bytes(&self) -> Option<u64> {
        self.key.as_ref().and_then(|key| key.stored_bytes())
    }

    /// Who its sessions are for.
    pub(crate) fn session_owner(&self) -> SessionOwner {
        match &self.key {
            Some(key) => SessionOwner::Key(key.identity()),
            None => SessionOwner::Client(self.client),
        }
    }

    /// Begins to count the time of a call.
    pub(crate) fn begin_call(&self) -> Meter<'_> {
        let key = self.key.as_deref().filter(|key| key.counts_time());
        Meter { running: key.map(|key| (key, Instant::now())) }
    }
}

fn may_write(key: &Key, name: Option<&Name>) -> Result<(), Problem> {
    let namespace = name.and_then(Name::namespace);
    if key.may_write(namespace) {
        return Ok(());
    }
    let detail = match namespace {
        Some(namespace) => format!("this key cannot write to the namespace `{namespace}`"),
        None => "this key can write only to its namespaces".to_owned(),
    };
    Err(Problem::new(Code::Forbidden, detail))
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    /// Without the extension nothing is known of the caller, so nothing is done for it.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Problem::new(Code::Internal, "internal error"))
    }
}

/// The time of a call, counted against its key when it ends: what its guest used, or if the request
/// is given up before that is known, all that passed.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    running: Option<(&'a Key, Instant)>,
}

impl Meter<'_> {
    /// The call ended, and its guest used so much; `None` if none ran.
    pub(crate) fn end(mut self, used: Option<Duration>) {
        if let Some((key, _)) = self.running.take() {
            key.charge(used.unwrap_or_default());
        }
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        if let Some((key, began)) = self.running.take() {
            key.charge(began.elapsed());
        }
    }
}
