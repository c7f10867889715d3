//! Scopes: what a key lets its holder do, and what a request needs.

use std::fmt;
use std::str::FromStr;

use http::Method;
use serde::{Deserialize, Serialize};

/// What a key lets its holder do, besides reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Call functions.
    Call,
    /// Register and delete modules.
    Register,
    /// Everything, in every namespace that is not closed to the key.
    Admin,
}

/// A text that is not a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown scope, expected call, register or admin")]
pub struct UnknownScope;

impl Scope {
    /// The scope as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Register => "register",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        let known = [Self::Call, Self::Register, Self::Admin];
        known.into_iter().find(|scope| scope.as_str() == text).ok_or(UnknownScope)
    }
}

/// What a request needs of a server that asks for keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: the answer is the same for everybody, and says nothing of what anybody registered.
    Nothing,
    /// Any key.
    Key,
    /// A key with this scope.
    Scope(Scope),
    /// A key with the scope of calls, and a call of its quota.
    Call,
    /// A key with the scope of calls, which are counted one by one while they come.
    Batch,
}

impl Need {
    /// What a request needs; `calls` says whether it is one that calls a function. Whatever is not
    /// known to need less needs the scope of those who change things.
    pub(crate) fn of(method: &Method, path: &str, calls: bool) -> Self {
        if calls {
            return Self::Call;
        }
        if path == "/v1/sessions" || path.starts_with("/v1/sessions/") {
            return Self::Scope(Scope::Call);
        }
        if path == "/metrics" || path == "/v1/network" {
            return Self::Scope(Scope::Admin);
        }
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match reads {
            true if is_open(path) => Self::Nothing,
            true => Self::Key,
            false if *method == Method::OPTIONS => Self::Key,
            false => Self::Scope(Scope::Register),
        }
    }
}

/// Whether everybody may read this.
fn is_open(path: &str) -> bool {
    matches!(path, "/" | "/healthz" | "/readyz" | "/openapi.json" | "/problems")
        || path.starts_with("/problems/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_requests_need() {
        const REGISTER: Need = Need::Scope(Scope::Register);
        const CALL: Need = Need::Scope(Scope::Call);
        for (method, path, need) in [
            (Method::GET, "/", Need::Nothing),
            (Method::HEAD, "/healthz", Need::Nothing),
            (Method::GET, "/problems/trap", Need::Nothing),
            (Method::GET, "/v1/limits", Need::Key),
            (Method::GET, "/v1/modules", Need::Key),
            (Method::GET, "/nothing", Need::Key),
            (Method::OPTIONS, "/v1/call", Need::Key),
            (Method::GET, "/metrics", Need::Scope(Scope::Admin)),
            (Method::GET, "/v1/network", Need::Scope(Scope::Admin)),
            (Method::POST, "/v1/sessions", CALL),
            (Method::GET, "/v1/sessions/id", CALL),
            (Method::POST, "/v1/sessionsx", REGISTER),
            (Method::POST, "/register", REGISTER),
            (Method::PUT, "/v1/modules/m", REGISTER),
            (Method::POST, "/v1/modules", REGISTER),
            (Method::DELETE, "/v1/modules/m", REGISTER),
            (Method::POST, "/healthz", REGISTER),
            (Method::PATCH, "/whatever/comes", REGISTER),
        ] {
            assert_eq!(Need::of(&method, path, false), need, "{method} {path}");
        }
        assert_eq!(Need::of(&Method::POST, "/", true), Need::Call);
    }

    #[test]
    fn scopes_are_read_as_they_are_written() {
        for scope in [Scope::Call, Scope::Register, Scope::Admin] {
            assert_eq!(scope.to_string().parse(), Ok(scope));
        }
        assert_eq!("Call".parse::<Scope>(), Err(UnknownScope));
    }
}
