//! One budget of memory and table elements for everything that lives in a store.

use wasmtime::ResourceLimiterAsync;

/// A store that holds more memory than this is run and dropped by background threads: touching,
/// copying and unmapping that much takes longer than a short call may wait.
pub(crate) const LARGE_MEMORY: usize = 4 << 20;

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
    /// Whether the call runs in the background already, so growing past [`LARGE_MEMORY`] need not
    /// yield first.
    background: bool,
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
        // The module's own declared maximum forbids this growth: no refusal of ours.
        if maximum.is_some_and(|maximum| desired > maximum && maximum < self.limit) {
            return false;
        }
        let delta = desired.saturating_sub(current);
        match self.used.checked_add(delta) {
            Some(used) if used <= self.limit => {
                self.used = used;
                self.peak = self.peak.max(used);
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
    pub(crate) fn new(memory_bytes: usize, table_elements: usize, background: bool) -> Self {
        Self { memory: Budget::new(memory_bytes), table: Budget::new(table_elements), background }
    }

    /// The largest sum of memories so far, in bytes.
    pub(crate) fn peak_memory(&self) -> usize {
        self.memory.peak
    }

    /// Whether any growth was refused because of the budget.
    pub(crate) fn refused(&self) -> bool {
        self.memory.refused || self.table.refused
    }

    /// What was refused, for a person to read.
    pub(crate) fn refusal(&self) -> String {
        if self.table.refused && !self.memory.refused {
            format!("the call may have {} table elements", self.table.limit)
        } else {
            format!("the call may have {} bytes of memory", self.memory.limit)
        }
    }
}

#[async_trait::async_trait]
impl ResourceLimiterAsync for Limiter {
    async fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = self.memory.grow(current, desired, maximum);
        if granted && !self.background && self.memory.used > LARGE_MEMORY {
            self.background = true;
            tokio::task::yield_now().await;
        }
        Ok(granted)
    }

    async fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.table.grow(current, desired, maximum))
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
    fn sizes_that_overflow_are_refused() {
        let mut budget = Budget::new(usize::MAX);
        assert!(budget.grow(0, usize::MAX, None));
        assert!(!budget.grow(0, usize::MAX, None));
        assert!(budget.grow(10, 5, None), "a wrong order counts nothing");
    }
}
