//! API keys: who may do what, and how much of it.
//!
//! A file says which keys there are ([`file`]); it is looked at again and again, and what it says
//! counts from then on. A request's key is found by its id, and compared by its hash in constant
//! time, before anything of the request's body is read. What it may do is then a small value, the
//! [`Caller`], that handlers use where names are used.

mod file;
mod quota;
mod record;
mod scope;
mod token;

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use constant_time_eq::constant_time_eq_32;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use wasm_exec::{Account, Digest, Exec, View};

use crate::caller::Caller;
use crate::problem::{Code, Problem, chain};
use crate::rate::{self, Bucket, Rate};
use crate::reload::{self, Stamp};
pub use file::{InvalidKeyFile, KeyFile, KeyFileError, NamespaceRecord};
use quota::{Exceeded, Quota, Spent};
pub use record::{CallQuota, InvalidRecord, KeyName, KeyRecord, Namespace, Per, RequestRate};
pub(crate) use scope::Need;
pub use scope::{Scope, UnknownScope};
pub use token::{ApiKey, InvalidKeyId, KeyId, NoRandomness};

/// A file of keys that was read, to serve with.
#[derive(Clone, Debug)]
pub struct ApiKeys {
    path: PathBuf,
    stamp: Stamp,
    file: KeyFile,
}

impl ApiKeys {
    /// Reads the file of keys at `path`. A server that is given it reads it again when it changes.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is none.
    pub fn open(path: &Path) -> Result<Self, KeyFileError> {
        let (file, stamp) = KeyFile::read_stamped(path)?;
        Ok(Self { path: path.to_owned(), stamp, file })
    }
}

/// The keys of a server, as their file last said.
#[derive(Debug)]
pub(crate) struct Keys {
    path: PathBuf,
    /// The file's when the server started.
    stamp: Stamp,
    /// What nobody's key restricts.
    exec: Exec,
    keys: RwLock<Table>,
}

type Table = HashMap<KeyId, Arc<Key>>;

/// A key, ready to be used.
#[derive(Debug)]
pub(crate) struct Key {
    name: KeyName,
    hash: Digest,
    scopes: Vec<Scope>,
    /// The only namespaces it can write to.
    namespaces: Option<Arc<BTreeSet<String>>>,
    private: Arc<BTreeSet<String>>,
    /// The service as its holder sees it.
    exec: Exec,
    rate: Option<Rate>,
    quota: Option<Quota>,
    stored_bytes: Option<u64>,
    used: Arc<Used>,
}

/// What was used of a key. It outlives a change of the file that keeps the key's id.
#[derive(Debug, Default)]
struct Used {
    bucket: Bucket,
    spent: Spent,
    /// Whether the key is gone from the file, for requests that began before.
    revoked: AtomicBool,
}

impl Keys {
    pub(crate) fn new(ApiKeys { path, stamp, file }: ApiKeys, exec: Exec) -> Self {
        let keys = RwLock::new(table(&file, &exec, &Table::new()));
        Self { path, stamp, exec, keys }
    }

    /// Whom a request comes from that needs so much, and whether it may pass. It is counted against
    /// its key's rate and, if it is a call, its quota.
    ///
    /// The problem is `unauthenticated` without a key that is known, `forbidden` without the scope,
    /// `rate-limited` and `quota-exceeded` when as much is used up.
    pub(crate) fn admit(&self, need: Need, headers: &HeaderMap) -> (Caller, Result<(), Problem>) {
        if need == Need::Nothing {
            return (Caller::anyone(), Ok(()));
        }
        match self.authenticate(headers) {
            Ok(key) => {
                let admitted = key.admit(need);
                (Caller::with(key), admitted)
            }
            Err(problem) => (Caller::anyone(), Err(problem)),
        }
    }

    fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Key>, Problem> {
        let token = bearer(headers)?;
        let known = KeyId::of_key(token).and_then(|id| self.table().get(&id).cloned());
        let matches =
            |key: &Arc<Key>| constant_time_eq_32(Digest::of(token).as_bytes(), key.hash.as_bytes());
        known.filter(matches).ok_or_else(|| unauthenticated("this key is not known here"))
    }

    /// Reads the file again whenever it changes. One that cannot be used changes nothing.
    pub(crate) async fn watch(self: Arc<Self>) {
        reload::watch(Some(self.stamp), move |seen| self.look(seen)).await;
    }

    /// Reads the file if it is not what was seen of it before, and gives what is seen now. Blocks.
    fn look(&self, seen: Option<Stamp>) -> Option<Stamp> {
        let stamp = Stamp::at(&self.path).ok();
        if stamp == seen {
            return stamp;
        }
        match KeyFile::read(&self.path) {
            Ok(file) => {
                let table = table(&file, &self.exec, &self.table());
                revoke(&self.table(), &table);
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = table;
                let (path, keys) = (self.path.display(), file.keys.len());
                tracing::info!(%path, keys, "the changed file of keys was read");
            }
            Err(error) => {
                let error = chain(&error);
                tracing::error!(
                    error,
                    "the changed file of keys cannot be used; the keys stay as they were"
                );
            }
        }
        stamp
    }

    fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys of a file; of those that were there before, `old` has what was used.
fn table(file: &KeyFile, exec: &Exec, old: &Table) -> Table {
    let private = Arc::new(file.private());
    let key = |record: &KeyRecord| {
        let same = old.get(&record.id).filter(|key| key.hash == record.hash);
        let used = same.map(|key| Arc::clone(&key.used)).unwrap_or_default();
        (record.id, Arc::new(Key::new(record, &private, exec, used)))
    };
    file.keys.iter().map(key).collect()
}

/// Has those that go on with a key of `old` know that it is not among the `new` ones.
fn revoke(old: &Table, new: &Table) {
    for (id, key) in old {
        if new.get(id).is_none_or(|new| !Arc::ptr_eq(&new.used, &key.used)) {
            key.used.revoked.store(true, Ordering::Relaxed);
        }
    }
}

impl Key {
    fn new(
        record: &KeyRecord,
        private: &Arc<BTreeSet<String>>,
        exec: &Exec,
        used: Arc<Used>,
    ) -> Self {
        let texts = |set: &BTreeSet<Namespace>| set.iter().map(Namespace::to_string).collect();
        let namespaces = record.namespaces.as_ref().map(|set| Arc::new(texts(set)));
        let view = match record.scopes.contains(&Scope::Admin) {
            true => View::complete(),
            false => View::new(Arc::clone(private), namespaces.clone().unwrap_or_default()),
        };
        let stored_bytes = record.stored_bytes.map(NonZeroU64::get);
        let account = Account::new(record.id.to_string(), stored_bytes);
        Self {
            name: record.name.clone(),
            hash: record.hash,
            scopes: record.scopes.clone(),
            namespaces,
            private: Arc::clone(private),
            exec: exec.restricted(view, &record.maxima).charged_to(account),
            stored_bytes,
            rate: record.rate.map(|rate| Rate::new(rate.per_second, rate.burst)),
            quota: record.quota.map(Quota::new),
            used,
        }
    }

    /// What people call it.
    pub(crate) fn name(&self) -> &KeyName {
        &self.name
    }

    /// What tells it from all other keys, also from a later one of the same name.
    pub(crate) fn identity(&self) -> String {
        self.hash.to_string()
    }

    /// The service as the key's holder sees it.
    pub(crate) fn exec(&self) -> &Exec {
        &self.exec
    }

    /// How many bytes its registrations may hold; `None` is any number.
    pub(crate) fn stored_bytes(&self) -> Option<u64> {
        self.stored_bytes
    }

    fn admit(&self, need: Need) -> Result<(), Problem> {
        self.take_token().map_err(rate_limited)?;
        let scope = match need {
            Need::Nothing | Need::Key => return Ok(()),
            Need::Scope(scope) => scope,
            Need::Call | Need::Batch => Scope::Call,
        };
        if !self.has(scope) {
            let detail = format!("this needs a key with the scope `{scope}`, which yours lacks");
            return Err(Problem::new(Code::Forbidden, detail).with("scope", scope.as_str()));
        }
        match need {
            Need::Call => self.count_call(),
            _ => Ok(()),
        }
    }

    /// Whether the key is still known, for a request that goes on for long.
    ///
    /// # Errors
    ///
    /// `unauthenticated` once the file of keys does not have it any more.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        match self.used.revoked.load(Ordering::Relaxed) {
            true => Err(unauthenticated("this key is not known here any more")),
            false => Ok(()),
        }
    }

    /// Takes a token of the key's rate.
    ///
    /// # Errors
    ///
    /// When there is none: the time until there is.
    pub(crate) fn take_token(&self) -> Result<(), Duration> {
        self.rate.map_or(Ok(()), |rate| self.used.bucket.take(rate, rate::now()))
    }

    /// Counts a call against the key's quota.
    ///
    /// # Errors
    ///
    /// `quota-exceeded` when that is used up.
    pub(crate) fn count_call(&self) -> Result<(), Problem> {
        let Some(quota) = &self.quota else { return Ok(()) };
        self.used.spent.begin_call(quota, Instant::now()).map_err(quota_exceeded)
    }

    fn has(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|own| *own == scope || *own == Scope::Admin)
    }

    /// Whether it can register and delete in a namespace; `None` is where no namespace is named.
    pub(crate) fn may_write(&self, namespace: Option<&str>) -> bool {
        match (&self.namespaces, namespace) {
            (Some(own), Some(namespace)) => own.contains(namespace),
            (Some(_), None) => false,
            (None, Some(namespace)) => self.has(Scope::Admin) || !self.private.contains(namespace),
            (None, None) => true,
        }
    }

    /// Whether the time of calls is counted.
    pub(crate) fn counts_time(&self) -> bool {
        self.quota.is_some_and(|quota| quota.time.is_some())
    }

    /// Counts the time of a call that ended.
    pub(crate) fn charge(&self, time: Duration) {
        self.used.spent.charge(time);
    }
}

/// The token of a request (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Result<&[u8], Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next(), values.next()) else {
        return Err(unauthenticated("there are two Authorization headers"));
    };
    let value = value.map(|value| value.as_bytes().trim_ascii());
    let scheme = value.and_then(|value| value.split_at_checked(b"Bearer ".len()));
    match scheme {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") => Ok(token.trim_ascii()),
        _ => Err(unauthenticated("this needs a key: `Authorization: Bearer wxk_…`")),
    }
}

fn unauthenticated(detail: &str) -> Problem {
    Problem::new(Code::Unauthenticated, detail)
}

/// The problem of what came too early for its key.
pub(crate) fn rate_limited(retry_after: Duration) -> Problem {
    let detail = "this key made more requests per second than it may";
    Problem::new(Code::RateLimited, detail).retry_after(retry_after)
}

fn quota_exceeded(Exceeded { what, retry_after }: Exceeded) -> Problem {
    let detail = format!("this key has used up its quota of {what}");
    Problem::new(Code::QuotaExceeded, detail).with("quota", what).retry_after(retry_after)
}
