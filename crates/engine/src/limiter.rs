//! One budget of memory and table elements for everything that lives in a store.

mod growing;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A store that holds more memory than this is run and dropped by background threads: touching,
/// copying and unmapping that much takes longer than a short call may wait.
pub(crate) const LARGE_MEMORY: usize = 4 << 20;

/// What an element of a table takes in Wasmtime, in bytes.
const ELEMENT_BYTES: usize = 8;

/// The memory of all guests together, their tables included, so that many calls within their limits
/// cannot take more than the machine has.
#[derive(Debug)]
pub(crate) struct GuestMemory {
    used: AtomicUsize,
    limit: usize,
    /// What each call has without asking, so that a few large ones leave something for all others.
    reserved: usize,
    /// What this is a part of, and counted in as well.
    whole: Option<Arc<Self>>,
}

/// All guests together have as much memory as they may. It ends the call that asks for more: a guest
/// that is merely told no could not tell this from its own limit, nor could its caller.
#[derive(Debug, thiserror::Error)]
#[error("all guests together have as much memory as they may")]
pub(crate) struct Exhausted;

impl GuestMemory {
    /// So many bytes for so many calls: up to half of it is divided among them beforehand.
    pub(crate) fn new(bytes: usize, calls: usize) -> Self {
        let reserved = (bytes / 2 / calls.max(1)).min(LARGE_MEMORY);
        let limit = bytes - reserved * calls.max(1);
        Self { used: AtomicUsize::new(0), limit, reserved, whole: None }
    }

    /// So many bytes, none of which anybody has without asking.
    pub(crate) fn of(limit: usize) -> Self {
        Self { used: AtomicUsize::new(0), limit, reserved: 0, whole: None }
    }

    /// At most one half of it, for those that keep what they have for long. Nobody has any of it
    /// without asking.
    pub(crate) fn half(whole: &Arc<Self>) -> Self {
        let (limit, whole) = (whole.limit / 2, Some(Arc::clone(whole)));
        Self { used: AtomicUsize::new(0), limit, reserved: 0, whole }
    }

    /// How much is taken at this moment, in bytes, without what each call has anyway.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How much of a call's memory is not what it has anyway.
    fn beyond(&self, bytes: usize) -> usize {
        bytes.saturating_sub(self.reserved)
    }

    /// Takes so much of it.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), Exhausted> {
        let add = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.limit);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        taken.map_err(|_| Exhausted)?;
        match &self.whole {
            Some(whole) => whole.take(bytes).inspect_err(|_| self.give_own(bytes)),
            None => Ok(()),
        }
    }

    /// Gives back what was taken.
    pub(crate) fn give(&self, bytes: usize) {
        self.give_own(bytes);
        if let Some(whole) = &self.whole {
            whole.give(bytes);
        }
    }

    fn give_own(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// There is no room for a host value.
#[derive(Debug, thiserror::Error)]
#[error("the session has no memory left for a host value")]
pub(crate) struct NoRoom;

/// The room of a host value, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct HostRoom {
    own: Arc<AtomicUsize>,
    guests: Arc<GuestMemory>,
    bytes: usize,
}

impl Drop for HostRoom {
    fn drop(&mut self) {
        self.own.fetch_sub(self.bytes, Ordering::Relaxed);
        self.guests.give(self.bytes);
    }
}

/// What the memories, in bytes, and the tables, in elements, of a store have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    memory: usize,
    table: usize,
}

/// Sums memories, garbage-collected heap and tables over a whole store.
///
/// Wasmtime's own `StoreLimits` bounds each memory for itself, so a graph of ten modules would get
/// ten times the limit.
///
/// A growth that is granted and then fails in Wasmtime stays counted: Wasmtime reports failures also
/// for growths that it never asked about, so giving back would let a guest lower its own count.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory: Budget,
    table: Budget,
    guests: Arc<GuestMemory>,
    /// What host values take of a session's memory, in bytes.
    host: Option<Arc<AtomicUsize>>,
    /// What a session's instances and code take besides, in bytes: of the memory of all guests, but
    /// not of its own limit.
    overhead: usize,
    exhausted: bool,
    /// Whether the call runs in the background already, so growing past [`LARGE_MEMORY`] need not
    /// yield first.
    background: bool,
    /// Whether a growth was refused because it is to happen in the background.
    interrupted: bool,
    /// How long the call waited to be taken there.
    paused: Duration,
}

#[derive(Debug)]
struct Budget {
    used: usize,
    peak: usize,
    limit: usize,
    refused: bool,
}

impl Budget {
    fn new(limit: usize) -> Self {
        Self { used: 0, peak: 0, limit, refused: false }
    }

    fn grow(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> bool {
        self.grow_beside(0, current, desired, maximum)
    }

    /// Grows what is counted here, where `held` of the limit is taken by something else.
    fn grow_beside(
        &mut self,
        held: usize,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> bool {
        // The module's own declared maximum forbids this growth: no refusal of ours.
        if maximum.is_some_and(|maximum| desired > maximum && maximum < self.limit) {
            return false;
        }
        let delta = desired.saturating_sub(current);
        match self.used.checked_add(delta) {
            Some(used) if used <= self.limit.saturating_sub(held) => {
                self.used = used;
                self.peak = self.peak.max(used + held);
                true
            }
            _ => {
                self.refused = true;
                false
            }
        }
    }
}

impl Limiter {
    pub(crate) fn new(
        memory_bytes: usize,
        table_elements: usize,
        guests: Arc<GuestMemory>,
        background: bool,
    ) -> Self {
        let (memory, table) = (Budget::new(memory_bytes), Budget::new(table_elements));
        Self {
            memory,
            table,
            guests,
            host: None,
            overhead: 0,
            exhausted: false,
            background,
            interrupted: false,
            paused: Duration::ZERO,
        }
    }

    /// The limiter of a session, which can have host values.
    pub(crate) fn of_session(
        memory_bytes: usize,
        table_elements: usize,
        guests: Arc<GuestMemory>,
    ) -> Self {
        let mut limiter = Self::new(memory_bytes, table_elements, guests, false);
        limiter.host = Some(Arc::default());
        limiter
    }

    /// Takes room for a host value. It counts as memory until it is dropped.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] when the session has none, [`Exhausted`] when all guests together have none.
    pub(crate) fn take_host(&mut self, bytes: usize) -> wasmtime::Result<HostRoom> {
        let host = self.host.get_or_insert_default();
        let held = self.memory.used + host.load(Ordering::Relaxed);
        if bytes > self.memory.limit.saturating_sub(held) {
            return Err(NoRoom.into());
        }
        self.guests.take(bytes)?;
        host.fetch_add(bytes, Ordering::Relaxed);
        self.memory.peak = self.memory.peak.max(held + bytes);
        let (own, guests) = (Arc::clone(host), Arc::clone(&self.guests));
        Ok(HostRoom { own, guests, bytes })
    }

    /// A host value has no room, also after garbage was collected.
    pub(crate) fn refuse_host(&mut self) {
        self.memory.refused = true;
    }

    /// What memories and tables have at this moment.
    pub(crate) fn held(&self) -> Held {
        Held { memory: self.memory.used, table: self.table.used }
    }

    /// Gives back what was taken since then, for an instance that was never made: its memories and
    /// tables are gone.
    pub(crate) fn restore(&mut self, held: Held) {
        let before = self.shared();
        (self.memory.used, self.table.used) = (held.memory, held.table);
        self.guests.give(before - self.shared());
    }

    /// Takes memory of all guests for instances and code, until this is dropped.
    pub(crate) fn take_overhead(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.guests.take(bytes)?;
        self.overhead += bytes;
        Ok(())
    }

    /// Gives back what was taken for an instance that is not made.
    pub(crate) fn give_overhead(&mut self, bytes: usize) {
        self.overhead -= bytes;
        self.guests.give(bytes);
    }

    /// What is taken of the memory of all guests for memories and tables, in bytes.
    fn shared(&self) -> usize {
        let tables = self.table.used.saturating_mul(ELEMENT_BYTES);
        self.guests.beyond(self.memory.used.saturating_add(tables))
    }

    /// Takes of the memory of all guests what was granted since then, or takes the grant back.
    fn share_since(&mut self, before: Held) -> Result<(), Exhausted> {
        let after = self.held();
        let now = self.shared();
        (self.memory.used, self.table.used) = (before.memory, before.table);
        let taken = self.guests.take(now - self.shared());
        match taken {
            Ok(()) => (self.memory.used, self.table.used) = (after.memory, after.table),
            Err(Exhausted) => self.exhausted = true,
        }
        taken
    }

    fn held_by_host(&self) -> usize {
        self.host.as_ref().map_or(0, |host| host.load(Ordering::Relaxed))
    }

    /// Forgets what was refused in a session's call before.
    pub(crate) fn begin_call(&mut self) {
        (self.memory.refused, self.table.refused) = (false, false);
        (self.exhausted, self.background) = (false, false);
        self.paused = Duration::ZERO;
    }

    /// Lets growths of this call go on without yielding first.
    pub(crate) fn keep_going(&mut self) {
        self.background = true;
    }

    /// The sum of memories, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.memory.used + self.held_by_host()
    }

    /// The largest sum of memories so far, in bytes.
    pub(crate) fn peak_memory(&self) -> usize {
        self.memory.peak
    }

    /// Whether any growth was refused because of the budget.
    pub(crate) fn refused(&self) -> bool {
        self.memory.refused || self.table.refused
    }

    /// Whether a growth was refused because all guests together have as much as they may.
    pub(crate) fn exhausted(&self) -> bool {
        self.exhausted
    }

    /// Whether a growth was refused because it is to happen in the background.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// How long the call waited to go on in the background because of its memory.
    pub(crate) fn paused(&self) -> Duration {
        self.paused
    }

    /// What was refused, for a person to read.
    pub(crate) fn refusal(&self) -> String {
        let who = if self.host.is_some() { "session" } else { "call" };
        if self.table.refused && !self.memory.refused {
            format!("the {who} may have {} table elements", self.table.limit)
        } else {
            format!("the {who} may have {} bytes of memory", self.memory.limit)
        }
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.guests.give(self.shared() + self.overhead);
    }
}

impl Limiter {
    /// Grants a memory's growth, or not. An error ends the call.
    fn grow_memory(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool, Exhausted> {
        let (before, host) = (self.held(), self.held_by_host());
        let granted = self.memory.grow_beside(host, current, desired, maximum);
        self.share_since(before)?;
        Ok(granted)
    }

    /// The same for a table.
    fn grow_table(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool, Exhausted> {
        let before = self.held();
        let granted = self.table.grow(current, desired, maximum);
        self.share_since(before)?;
        Ok(granted)
    }

    /// Whether what was just granted is to be touched in the background, where the call is not yet.
    fn belongs_in_background(&self) -> bool {
        !self.background && self.memory.used > LARGE_MEMORY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_budget_for_all_memories() {
        let mut budget = Budget::new(100);
        assert!(budget.grow(0, 60, None));
        assert!(budget.grow(0, 40, Some(1000)));
        assert!(!budget.refused);
        assert!(!budget.grow(60, 61, None));
        assert!(budget.refused);
        assert_eq!((budget.used, budget.peak), (100, 100));
    }

    #[test]
    fn a_declared_maximum_is_no_refusal_of_ours() {
        let mut budget = Budget::new(100);
        assert!(!budget.grow(10, 30, Some(20)));
        assert!(!budget.refused);
        // Where the budget would have refused first, it is the budget's.
        assert!(!budget.grow(10, 300, Some(200)));
        assert!(budget.refused);
    }

    #[test]
    fn all_guests_share_what_there_is() {
        let guests = Arc::new(GuestMemory {
            used: AtomicUsize::new(0),
            limit: 80,
            reserved: 10,
            whole: None,
        });
        let limiter = || Limiter::new(80, 0, Arc::clone(&guests), true);
        let (mut one, mut two) = (limiter(), limiter());
        assert!(one.grow_memory(0, 60, None).unwrap());
        assert!(two.grow_memory(0, 40, None).unwrap());
        assert_eq!(guests.used.load(Ordering::Relaxed), 80, "both have ten without asking");
        assert!(two.grow_memory(40, 41, None).is_err());
        drop(one);
        assert!(two.grow_memory(40, 80, None).unwrap());
        assert!(!two.grow_memory(80, 81, None).unwrap(), "its own limit only says no");
        drop(two);
        assert_eq!(guests.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn tables_share_it_too_and_what_was_never_made_is_given_back() {
        let guests = Arc::new(GuestMemory::of(100 * ELEMENT_BYTES));
        let used = || guests.used.load(Ordering::Relaxed);
        let mut one = Limiter::new(1000, 1000, Arc::clone(&guests), true);
        assert!(one.grow_table(0, 60, None).unwrap());
        assert!(one.grow_memory(0, 80, None).unwrap());
        assert_eq!(used(), 60 * ELEMENT_BYTES + 80);
        let held = one.held();
        assert!(one.grow_memory(0, 160, None).unwrap());
        assert!(one.grow_table(60, 100, None).is_err() && one.exhausted());
        one.restore(held);
        assert_eq!((used(), one.memory()), (60 * ELEMENT_BYTES + 80, 80));
        assert!(one.grow_table(60, 90, None).unwrap());
        drop(one);
        assert_eq!(used(), 0);
    }

    #[test]
    fn host_values_count_towards_the_peak() {
        let guests = Arc::new(GuestMemory::of(100));
        let mut session = Limiter::of_session(90, 0, Arc::clone(&guests));
        let room = session.take_host(60).unwrap();
        assert_eq!((session.memory(), session.peak_memory()), (60, 60));
        assert!(session.take_host(31).unwrap_err().is::<NoRoom>());
        let mut other = Limiter::of_session(90, 0, Arc::clone(&guests));
        assert!(other.take_host(41).unwrap_err().is::<Exhausted>());
        drop(room);
        assert_eq!((session.memory(), session.peak_memory()), (0, 60));
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        let mut budget = Budget::new(usize::MAX);
        assert!(budget.grow(0, usize::MAX, None));
        assert!(!budget.grow(0, usize::MAX, None));
        assert!(budget.grow(10, 5, None), "a wrong order counts nothing");
    }
}
