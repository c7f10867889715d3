//! What of an engine is in use.

use crate::Engine;

/// What of an [`Engine`] is in use at one moment. All of it is zero when nothing runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Calls that run.
    pub running_calls: usize,
    /// Calls that wait for a place.
    pub waiting_calls: usize,
    /// Modules that are being compiled.
    pub running_compilations: usize,
    /// Compilations that wait for a place.
    pub waiting_compilations: usize,
    /// Memory of all calls together, in bytes, without what each call has without asking.
    pub guest_memory_bytes: usize,
}

impl Engine {
    /// What of it is in use.
    pub fn occupancy(&self) -> Occupancy {
        let (running_compilations, waiting_compilations) = self.compiler.occupied();
        let slots = [Some(&self.fast), self.metered.get()].into_iter().flatten();
        Occupancy {
            running_calls: self.calls.taken(),
            waiting_calls: self.calls.waiting()
                + self.long_calls.waiting()
                + slots.map(|running| running.slots.waiting()).sum::<usize>(),
            running_compilations,
            waiting_compilations,
            guest_memory_bytes: self.guests.used(),
        }
    }
}
