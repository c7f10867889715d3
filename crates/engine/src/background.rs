//! Threads of lower priority, for what takes long: calls past their first slice, and compiling.

use std::future::Future;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;

/// The nice value of background threads: the kernel gives a foreground thread nine times the share.
const NICE: i32 = 10;

/// Wasm of more bytes than this is read in the background, not by threads that serve requests.
pub const LARGE_WASM: usize = 64 << 10;

/// Gives way, again and again while something long is read in the background, to threads that serve
/// requests: from a thread that has just begun, whatever its priority, the kernel takes the core only
/// after milliseconds.
#[derive(Debug)]
pub(crate) struct GiveWay {
    /// Where to give way next, in bytes from the beginning.
    next: usize,
}

impl GiveWay {
    /// How many bytes are read in between.
    const STRIDE: usize = 16 << 10;

    /// While `wasm` is read. What is small may be read by a thread that serves requests itself.
    pub(crate) fn while_reading(wasm: &[u8]) -> Self {
        Self { next: if wasm.len() > LARGE_WASM { Self::STRIDE } else { usize::MAX } }
    }

    /// Says how far the reading has come, in bytes from the beginning.
    #[inline]
    pub(crate) fn at(&mut self, offset: usize) {
        if offset >= self.next {
            self.next = offset + Self::STRIDE;
            std::thread::yield_now();
        }
    }
}

/// A runtime whose threads the kernel runs after those that serve requests.
#[derive(Debug)]
pub(crate) struct Background {
    /// `None` only while dropping.
    runtime: Option<Runtime>,
}

impl Background {
    /// # Errors
    ///
    /// When threads cannot be started.
    pub(crate) fn start(blocking_threads: usize) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(available_parallelism().map_or(2, usize::from))
            .max_blocking_threads(blocking_threads)
            .thread_name("background")
            .on_thread_start(lower_priority)
            .build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Runs a future to its end, or until the handle is dropped.
    pub(crate) fn spawn<F>(&self, future: F) -> AbortOnDropHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        AbortOnDropHandle::new(self.handle().spawn(future))
    }

    /// Runs a function that blocks; it goes on to its end even if the handle is dropped.
    pub(crate) fn spawn_blocking<T: Send + 'static>(
        &self,
        function: impl FnOnce() -> T + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.handle().spawn_blocking(function)
    }

    /// Drops a value that takes long to drop.
    pub(crate) fn drop_later<T: Send + 'static>(&self, value: T) {
        self.handle().spawn(async move { drop(value) });
    }

    fn handle(&self) -> &tokio::runtime::Handle {
        match &self.runtime {
            Some(runtime) => runtime.handle(),
            None => unreachable!("the runtime is taken out only by `drop`"),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Dropping a runtime waits for its threads, which panics inside another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Lowers the calling thread's priority. A refusal costs fairness, not correctness.
pub(crate) fn lower_priority() {
    // Linux applies the "process" priority of id 0 to the calling thread.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "a background thread keeps its priority");
    }
}
