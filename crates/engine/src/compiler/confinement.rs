//! How a compile worker takes from itself what compiling does not need.
//!
//! In two steps, because a thread keeps what confined the thread that made it: [`Before`] is done
//! first, then the worker makes its threads, then [`Before::finish`]. Limits of resources are
//! everywhere; Landlock (no files, no TCP) and seccomp (few system calls) where the kernel has them.

use std::fmt;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::background::lower_priority;

#[cfg(all(test, target_os = "linux"))]
mod attempts;
#[cfg(target_os = "linux")]
mod linux;

/// Which layers confine compile workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// Limits of memory, processor time, files and what can be written to them.
    pub limits: bool,
    /// Linux's Landlock: no access to files, to TCP ports, and to processes by signals.
    pub landlock: bool,
    /// Linux's seccomp: only the system calls that compiling needs.
    pub seccomp: bool,
}

impl Confinement {
    /// The names of the layers that are active.
    pub fn layers(self) -> Vec<&'static str> {
        let Self { limits, landlock, seccomp } = self;
        let layers = [(limits, "limits"), (landlock, "landlock"), (seccomp, "seccomp")];
        layers.into_iter().filter_map(|(active, name)| active.then_some(name)).collect()
    }

    pub(super) fn to_bits(self) -> u8 {
        let Self { limits, landlock, seccomp } = self;
        u8::from(limits) | u8::from(landlock) << 1 | u8::from(seccomp) << 2
    }

    pub(super) fn from_bits(bits: u8) -> Self {
        let bit = |index: u8| bits >> index & 1 == 1;
        Self { limits: bit(0), landlock: bit(1), seccomp: bit(2) }
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.layers().join(", "))
    }
}

/// A worker that has done the first step.
#[derive(Debug)]
pub(super) struct Before {
    landlock: bool,
    /// Tells the size of the address space, which no path leads to any more.
    #[cfg(target_os = "linux")]
    mapped: linux::Mapped,
}

impl Before {
    /// The first step: the worker ends with its parent, yields to others, and can no longer open
    /// files or gain rights. No threads may have been made yet.
    ///
    /// # Errors
    ///
    /// When the process with the id `parent` is not the parent, or gone.
    pub(super) fn threads(parent: u32) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        linux::end_with(parent)?;
        #[cfg(not(target_os = "linux"))]
        let _ = parent;
        lower_priority();
        #[cfg(target_os = "linux")]
        let mapped = linux::Mapped::open()?;
        #[cfg(target_os = "linux")]
        let landlock = linux::close_files()?;
        #[cfg(not(target_os = "linux"))]
        let landlock = false;
        Ok(Self {
            landlock,
            #[cfg(target_os = "linux")]
            mapped,
        })
    }

    /// The second step: from here on, the process can have `memory` bytes of address space more
    /// than it has now, no more files and threads, and can make few system calls.
    ///
    /// # Errors
    ///
    /// When the system refuses a limit.
    pub(super) fn finish(self, memory: u64) -> io::Result<Confinement> {
        #[cfg(target_os = "linux")]
        let mapped = self.mapped.bytes()?;
        #[cfg(not(target_os = "linux"))]
        let mapped = 0;
        limit(Resource::As, memory.saturating_add(mapped))?;
        limit(Resource::Core, 0)?;
        limit(Resource::Nofile, 0)?;
        limit(Resource::Fsize, 0)?;
        limit(Resource::Nproc, 0)?;
        #[cfg(target_os = "linux")]
        let seccomp = linux::close_system_calls();
        #[cfg(not(target_os = "linux"))]
        let seccomp = false;
        Ok(Confinement { limits: true, landlock: self.landlock, seccomp })
    }
}

/// Sets a limit for good, or leaves one that is lower already.
fn limit(resource: Resource, value: u64) -> io::Result<()> {
    let value = Some(getrlimit(resource).maximum.map_or(value, |maximum| maximum.min(value)));
    Ok(setrlimit(resource, Rlimit { current: value, maximum: value })?)
}

/// Lets the process take `seconds` of processor time more than it has taken so far; what goes past
/// that is ended with SIGXCPU.
///
/// # Errors
///
/// When the system refuses.
pub(super) fn limit_cpu(seconds: u64, maximum: Option<u64>) -> io::Result<()> {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let used = u64::try_from(used.tv_sec).unwrap_or(0).saturating_add(1);
    let current = used.saturating_add(seconds);
    let current = Some(maximum.map_or(current, |maximum| maximum.min(current)));
    Ok(setrlimit(Resource::Cpu, Rlimit { current, maximum })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_survive_as_bits_and_have_names() {
        for bits in 0..8 {
            assert_eq!(Confinement::from_bits(bits).to_bits(), bits);
        }
        let all = Confinement::from_bits(u8::MAX);
        assert_eq!(all.to_string(), "limits, landlock, seccomp");
    }
}
