//! How Wasmtime asks for memories and tables to grow.
//!
//! How many instances, tables and memories there are is bounded before they are made: by the pool's
//! slots, and by sessions.

use std::time::Instant;

use wasmtime::{ResourceLimiter, ResourceLimiterAsync};

use super::Limiter;

#[async_trait::async_trait]
impl ResourceLimiterAsync for Limiter {
    async fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = self.grow_memory(current, desired, maximum)?;
        if granted && self.belongs_in_background() {
            self.background = true;
            let began = Instant::now();
            tokio::task::yield_now().await;
            self.paused = began.elapsed();
        }
        Ok(granted)
    }

    async fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow_table(current, desired, maximum)?)
    }

    fn instances(&self) -> usize {
        usize::MAX
    }

    fn tables(&self) -> usize {
        usize::MAX
    }

    fn memories(&self) -> usize {
        usize::MAX
    }
}

/// For a call that cannot go on in the background: an error ends it, or leaves it without its
/// garbage-collected heap, and what then comes of it is never seen.
impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let before = self.held();
        let granted = self.grow_memory(current, desired, maximum)?;
        if granted && self.belongs_in_background() {
            self.interrupted = true;
            // Wasmtime collects garbage and goes on when its heap does not grow, and asks again.
            self.restore(before);
            wasmtime::bail!("the memory is to be touched in the background");
        }
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow_table(current, desired, maximum)?)
    }

    fn instances(&self) -> usize {
        usize::MAX
    }

    fn tables(&self) -> usize {
        usize::MAX
    }

    fn memories(&self) -> usize {
        usize::MAX
    }
}
