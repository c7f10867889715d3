//! Which sessions there are, who has them, which are idle, and which have ended why.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use wasm_exec_engine::{Session, SessionEnd, SessionShare};

use super::{EndReason, SessionCounts, SessionError, SessionOwner, SessionRef};
use crate::error::Error;
use crate::limits::{Granted, SessionSettings};

/// For how long it is told what ended a session.
const ENDED_LAST: Duration = Duration::from_secs(600);

/// Of how many sessions it is told.
const REMEMBERED_ENDED: usize = 10_000;

/// How long nobody looks for idle sessions, at least: one may end so much late.
const PAUSE: Duration = Duration::from_millis(50);

/// How long nobody has to use a session until it gives back what it has for calls only. The first call
/// after that takes some microseconds more.
const REST: Duration = Duration::from_secs(1);

/// The sessions of a server. A handle: clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: SessionSettings,
    table: Mutex<Table>,
    /// Something may expire earlier than was known, or nothing any more.
    sooner: Arc<Notify>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.sooner.notify_one();
    }
}

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<String, Arc<Entry>>,
    /// Places that are taken, those of sessions that are being made included.
    taken: usize,
    by_owner: HashMap<SessionOwner, Owned>,
    ended: HashMap<String, Ended>,
    /// The ended ones in their order.
    order: VecDeque<String>,
    counts: SessionCounts,
    shutting_down: bool,
    swept: bool,
}

/// What one owner has.
#[derive(Debug)]
struct Owned {
    sessions: usize,
    share: SessionShare,
}

#[derive(Debug)]
struct Ended {
    owner: SessionOwner,
    reason: EndReason,
    at: Instant,
}

/// A session, and what is kept with it.
#[derive(Debug)]
pub(crate) struct Entry {
    session: Session,
    limits: Granted,
    idle_timeout: Duration,
    used: Mutex<Used>,
    place: Place,
}

#[derive(Debug)]
struct Used {
    /// Requests that are at it.
    now: usize,
    last: Instant,
    /// Whether nobody has used it since it was told to [rest](Session::rest).
    rests: bool,
}

/// One of the places for sessions, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    owner: SessionOwner,
    /// What the owner's sessions may have together; `None` is what all may have.
    share: Option<SessionShare>,
    shared: Weak<Shared>,
}

impl Place {
    pub(crate) fn share(&self) -> Option<&SessionShare> {
        self.share.as_ref()
    }
}

/// A session that a request is at: it does not expire meanwhile.
#[derive(Debug)]
pub(crate) struct InUse {
    id: String,
    entry: Arc<Entry>,
    sessions: Sessions,
}

impl Entry {
    pub(crate) fn new(
        session: Session,
        limits: Granted,
        idle_timeout: Duration,
        place: Place,
    ) -> Self {
        let used = Mutex::new(Used { now: 0, last: Instant::now(), rests: false });
        Self { session, limits, idle_timeout, used, place }
    }

    /// Lets it rest if nobody has used it for a while. Says when to look again; `None` is that nobody has
    /// for so long that it ends. Whoever is at it takes its life from the end of that on.
    fn looked_at(&self, now: Instant) -> Option<Instant> {
        let mut used = lock(&self.used);
        let last = if used.now == 0 { used.last } else { now };
        let expires = last + self.idle_timeout;
        if expires <= now {
            return None;
        }
        if last + REST <= now && !std::mem::replace(&mut used.rests, true) {
            self.session.rest();
        }
        Some(if used.rests { expires } else { expires.min(last + REST) })
    }

    /// Whether somebody else's is asked for.
    fn is_hidden_from(&self, owner: &SessionOwner) -> bool {
        hides(&self.place.owner, owner)
    }
}

/// Whether what one made is hidden from another: without keys, whoever knows an id may use it.
fn hides(owner: &SessionOwner, other: &SessionOwner) -> bool {
    match (owner, other) {
        (SessionOwner::Client(_), SessionOwner::Client(_)) => false,
        (owner, other) => owner != other,
    }
}

impl Sessions {
    pub(crate) fn new(settings: SessionSettings) -> Self {
        let (table, sooner) = (Mutex::default(), Arc::default());
        Self { shared: Arc::new(Shared { settings, table, sooner }) }
    }

    /// Takes a place for one more session. `share` makes what an owner's sessions have together.
    ///
    /// # Errors
    ///
    /// When there are as many as there may be, of this owner or of all.
    pub(crate) fn reserve(
        &self,
        owner: SessionOwner,
        share: impl FnOnce() -> SessionShare,
    ) -> Result<Place, Error> {
        let SessionSettings { sessions, per_client, .. } = self.shared.settings;
        let mut table = self.table();
        if table.shutting_down {
            return Err(SessionError::Ended(EndReason::ShuttingDown).into());
        }
        if table.taken >= sessions {
            return Err(Error::Overloaded);
        }
        let share = match &owner {
            SessionOwner::Client(None) => None,
            owner => {
                let owned = table.by_owner.entry(owner.clone());
                let owned = owned.or_insert_with(|| Owned { sessions: 0, share: share() });
                if owned.sessions >= per_client {
                    return Err(SessionError::TooMany { maximum: per_client }.into());
                }
                owned.sessions += 1;
                Some(owned.share.clone())
            }
        };
        table.taken += 1;
        Ok(Place { owner, share, shared: Arc::downgrade(&self.shared) })
    }

    /// Adds a session, which its maker is at.
    pub(crate) fn add(&self, id: String, entry: Entry) -> InUse {
        let entry = Arc::new(entry);
        let used = InUse::new(id.clone(), Arc::clone(&entry), self.clone());
        let mut table = self.table();
        table.counts.made += 1;
        table.sessions.insert(id, entry);
        if !std::mem::replace(&mut table.swept, true) {
            let sooner = Arc::clone(&self.shared.sooner);
            tokio::spawn(sweep(Arc::downgrade(&self.shared), sooner));
        }
        if table.shutting_down {
            // It began meanwhile, and did not see this one.
            drop(table);
            self.end(&used.id, EndReason::ShuttingDown);
        }
        self.shared.sooner.notify_one();
        used
    }

    /// A session of those that `asked` may see.
    ///
    /// # Errors
    ///
    /// When there is none of this id, or it has ended.
    pub(crate) fn find(&self, asked: SessionRef<'_>) -> Result<InUse, SessionError> {
        let mut table = self.table();
        if let Some(entry) = table.sessions.get(asked.id) {
            if entry.is_hidden_from(asked.owner) {
                return Err(SessionError::Unknown);
            }
            return Ok(InUse::new(asked.id.to_owned(), Arc::clone(entry), self.clone()));
        }
        table.forget(Instant::now());
        match table.ended.get(asked.id) {
            Some(ended) if !hides(&ended.owner, asked.owner) => {
                Err(SessionError::Ended(ended.reason))
            }
            _ => Err(SessionError::Unknown),
        }
    }

    /// Ends a session, if it has not ended yet; a call that runs is interrupted.
    pub(crate) fn end(&self, id: &str, reason: EndReason) {
        let ended = self.table().end(id, reason, Instant::now());
        // Dropped without the table's lock, which its place takes.
        drop(ended);
    }

    /// Ends all sessions, and lets none begin.
    pub(crate) fn shut_down(&self) {
        let mut table = self.table();
        table.shutting_down = true;
        let ids: Vec<String> = table.sessions.keys().cloned().collect();
        let now = Instant::now();
        let ended: Vec<_> =
            ids.iter().filter_map(|id| table.end(id, EndReason::ShuttingDown, now)).collect();
        drop(table);
        drop(ended);
    }

    pub(crate) fn counts(&self) -> SessionCounts {
        let table = self.table();
        SessionCounts { now: table.sessions.len(), ..table.counts }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.shared.table)
    }
}

impl Table {
    fn end(&mut self, id: &str, reason: EndReason, now: Instant) -> Option<Arc<Entry>> {
        let entry = self.sessions.remove(id)?;
        entry.session.end();
        let owner = entry.place.owner.clone();
        self.ended.insert(id.to_owned(), Ended { owner, reason, at: now });
        self.order.push_back(id.to_owned());
        self.counts.ended[reason as usize] += 1;
        self.forget(now);
        Some(entry)
    }

    /// Forgets what ended too long ago, or is too much to remember.
    fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.order.front() {
            let old = self
                .ended
                .get(oldest)
                .is_none_or(|ended| now.saturating_duration_since(ended.at) >= ENDED_LAST);
            if !old && self.order.len() <= REMEMBERED_ENDED {
                break;
            }
            self.ended.remove(oldest);
            self.order.pop_front();
        }
    }

    /// Ends what has been idle for too long, lets rest what has been for a while, and says when to look
    /// again.
    fn expire(&mut self, now: Instant) -> (Vec<Arc<Entry>>, Option<Instant>) {
        let mut due = Vec::new();
        let mut next: Option<Instant> = None;
        for (id, entry) in &self.sessions {
            match entry.looked_at(now) {
                None => due.push(id.clone()),
                Some(again) => next = Some(next.map_or(again, |next| next.min(again))),
            }
        }
        let ended = due.iter().filter_map(|id| self.end(id, EndReason::Idle, now)).collect();
        (ended, next)
    }
}

/// Ends idle sessions for as long as there is a table of them.
async fn sweep(shared: Weak<Shared>, sooner: Arc<Notify>) {
    loop {
        let now = Instant::now();
        let Some(strong) = shared.upgrade() else { return };
        let (ended, next) = lock(&strong.table).expire(now);
        // Nothing is kept alive while this sleeps.
        drop((ended, strong));
        match next.map(|next| next.max(now + PAUSE)) {
            Some(next) => {
                // Whichever comes first, it looks again.
                let _ = tokio::time::timeout_at(next.into(), sooner.notified()).await;
            }
            None => sooner.notified().await,
        }
    }
}

impl InUse {
    fn new(id: String, entry: Arc<Entry>, sessions: Sessions) -> Self {
        let mut used = lock(&entry.used);
        used.now += 1;
        if std::mem::replace(&mut used.rests, false) {
            // It is to be looked at earlier than when it expires.
            sessions.shared.sooner.notify_one();
        }
        drop(used);
        Self { id, entry, sessions }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn session(&self) -> &Session {
        &self.entry.session
    }

    pub(super) fn limits(&self) -> Granted {
        self.entry.limits
    }

    pub(super) fn idle_timeout(&self) -> Duration {
        self.entry.idle_timeout
    }

    /// Ends the session, if it has not ended yet.
    pub(super) fn end(&self, reason: EndReason) {
        self.sessions.end(&self.id, reason);
    }

    /// Why the session has ended, by what the engine says; if it is listed still, it is not from here on.
    pub(super) fn ended(&self, why: SessionEnd) -> SessionError {
        let reason = match why {
            // That is in the table before any call can see it.
            SessionEnd::Asked => {
                let table = self.sessions.table();
                table.ended.get(&self.id).map_or(EndReason::Deleted, |ended| ended.reason)
            }
            SessionEnd::Timeout => EndReason::Timeout,
            SessionEnd::Failed => EndReason::Failed,
        };
        self.end(reason);
        SessionError::Ended(reason)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut used = lock(&self.entry.used);
        used.now -= 1;
        used.last = Instant::now();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut table = lock(&shared.table);
        table.taken -= 1;
        if let Some(owned) = table.by_owner.get_mut(&self.owner) {
            owned.sessions -= 1;
            if owned.sessions == 0 {
                table.by_owner.remove(&self.owner);
            }
        }
    }
}

/// Nothing that is done under these locks panics half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(at: Instant) -> Ended {
        Ended { owner: SessionOwner::Client(None), reason: EndReason::Idle, at }
    }

    #[test]
    fn what_ended_is_told_for_ten_minutes_and_of_so_many() {
        let (mut table, now) = (Table::default(), Instant::now());
        for number in 0..REMEMBERED_ENDED + 10 {
            table.ended.insert(number.to_string(), ended(now));
            table.order.push_back(number.to_string());
        }
        table.forget(now);
        assert_eq!((table.ended.len(), table.order.len()), (REMEMBERED_ENDED, REMEMBERED_ENDED));
        assert!(!table.ended.contains_key("9") && table.ended.contains_key("10"));
        table.forget(now + ENDED_LAST - Duration::from_millis(1));
        assert_eq!(table.ended.len(), REMEMBERED_ENDED);
        table.forget(now + ENDED_LAST);
        assert!(table.ended.is_empty() && table.order.is_empty());
    }

    #[test]
    fn a_key_hides_its_sessions_and_an_address_does_not() {
        let key = |name: &str| SessionOwner::Key(name.to_owned());
        assert!(!hides(&key("a"), &key("a")));
        assert!(hides(&key("a"), &key("b")));
        assert!(hides(&key("a"), &SessionOwner::Client(None)));
        assert!(!hides(&SessionOwner::Client(None), &SessionOwner::Client(None)));
    }

    fn engine() -> Arc<wasm_exec_engine::Engine> {
        let config = wasm_exec_engine::EngineConfig { concurrent_calls: 1, ..Default::default() };
        let artifacts = wasm_exec_engine::ArtifactStore::in_memory(1 << 20);
        Arc::new(wasm_exec_engine::Engine::new(config, artifacts).unwrap())
    }

    #[test]
    fn a_session_rests_once_nobody_has_used_it_for_a_while() {
        const IDLE: Duration = Duration::from_secs(60);
        let (engine, sessions) = (engine(), Sessions::new(SessionSettings::default()));
        let granted = crate::Limits::default().grant(&Default::default()).unwrap();
        let limits = wasm_exec_engine::SessionLimits { memory_bytes: 1 << 20, instances: 1 };
        let place = sessions.reserve(SessionOwner::Client(None), || engine.session_share());
        let session = engine.session(limits, None).unwrap();
        let entry = Arc::new(Entry::new(session, granted, IDLE, place.unwrap()));
        let state = || {
            let used = lock(&entry.used);
            (used.last, used.rests)
        };
        for _ in 0..2 {
            let (last, rests) = state();
            assert!(!rests);
            assert_eq!(entry.looked_at(last), Some(last + REST));
            assert_eq!(entry.looked_at(last + REST), Some(last + IDLE));
            assert!(state().1, "it rests");
            assert_eq!(entry.looked_at(last + 2 * REST), Some(last + IDLE));
            assert_eq!(entry.looked_at(last + IDLE), None);
            let used = InUse::new("id".to_owned(), Arc::clone(&entry), sessions.clone());
            assert!(!state().1, "it is used");
            let later = last + 2 * IDLE;
            assert_eq!(entry.looked_at(later), Some(later + REST));
            drop(used);
        }
    }

    #[test]
    fn places_are_counted_for_all_and_for_each_owner() {
        let settings = SessionSettings { sessions: 3, per_client: 2, ..Default::default() };
        let sessions = Sessions::new(settings);
        let engine = engine();
        let owner = |name: &str| SessionOwner::Key(name.to_owned());
        let reserve = |name: &str| sessions.reserve(owner(name), || engine.session_share());
        let (_one, two) = (reserve("a").unwrap(), reserve("a").unwrap());
        assert!(matches!(reserve("a"), Err(Error::Session(_))));
        let _three = reserve("b").unwrap();
        assert!(matches!(reserve("b"), Err(Error::Overloaded)));
        drop(two);
        assert!(reserve("a").is_ok());
    }
}
