//! What only Linux has.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use rustix::thread::{set_name, set_no_new_privs};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// The version of Landlock whose restrictions are asked for; an older kernel gives those it has.
const LANDLOCK: ABI = ABI::V6;

/// Has the kernel kill this process when the thread that started it ends, and makes sure that it has
/// not ended already.
pub(super) fn end_with(parent: u32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let is_parent = |pid: rustix::process::Pid| u32::try_from(pid.as_raw_pid()) == Ok(parent);
    if !getppid().is_some_and(is_parent) {
        return Err(io::Error::other("the process that started this one is gone"));
    }
    // For those who look at the list of processes.
    set_name(c"compile-worker")?;
    // When memory runs out, a worker is what the machine can best do without. Refused, the kernel
    // chooses by itself.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    Ok(())
}

/// The size of the address space.
#[derive(Debug)]
pub(super) struct Mapped(File);

impl Mapped {
    pub(super) fn open() -> io::Result<Self> {
        File::open("/proc/self/status").map(Self)
    }

    /// The size, in bytes.
    pub(super) fn bytes(mut self) -> io::Result<u64> {
        let mut status = String::new();
        self.0.read_to_string(&mut status)?;
        let size = status.lines().find_map(|line| {
            let kib: u64 =
                line.strip_prefix("VmSize:")?.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kib << 10)
        });
        size.ok_or_else(|| io::Error::other("the kernel does not tell the address space's size"))
    }
}

/// Gives up all access to files and TCP, and the way to more rights. Whether the kernel can enforce
/// the former.
pub(super) fn close_files() -> io::Result<bool> {
    set_no_new_privs(true)?;
    let restricted = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(LANDLOCK)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(LANDLOCK)))
        .and_then(Ruleset::create)
        .and_then(|ruleset| ruleset.restrict_self());
    Ok(restricted.is_ok_and(|status| status.ruleset != RulesetStatus::NotEnforced))
}

/// Gives up all system calls that compiling does not need, for all threads. Whether that worked.
pub(super) fn close_system_calls() -> bool {
    let filters = TargetArch::try_from(std::env::consts::ARCH)
        .ok()
        .and_then(|arch| Some((opening_fails(arch).ok()?, other_calls_kill(arch).ok()?)));
    filters.is_some_and(|(fail, kill)| {
        seccompiler::apply_filter_all_threads(&fail).is_ok()
            && seccompiler::apply_filter_all_threads(&kill).is_ok()
    })
}

type Result<T> = std::result::Result<T, seccompiler::BackendError>;

/// System calls, each with the rules of which one has to hold; with none, it is allowed always.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// What fails without ending the process: glibc's allocator asks a file how to shrink its heaps, and
/// does without where it gets no answer.
fn opening_fails(arch: TargetArch) -> Result<BpfProgram> {
    let rules = Rules::from([(libc::SYS_openat, Vec::new())]);
    let fails = SeccompAction::Errno(libc::EACCES as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, fails, arch)?.try_into()
}

/// What is allowed; everything else ends the process. `openat` is left to the other filter.
fn other_calls_kill(arch: TargetArch) -> Result<BpfProgram> {
    let mut rules: Rules = ALWAYS.iter().map(|call| (*call, Vec::new())).collect();
    let not_executable = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![SeccompRule::new(vec![argument(2, &not_executable, 0)?])?]);
    }
    // The limit of processor time is set anew for every module, and only that.
    let own_cpu = vec![argument(0, &SeccompCmpOp::Eq, 0)?, cpu_limit()?];
    rules.insert(libc::SYS_prlimit64, vec![SeccompRule::new(own_cpu)?]);
    // A process that aborts signals itself.
    let own = argument(0, &SeccompCmpOp::Eq, u64::from(std::process::id()))?;
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![own])?]);
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch)?.try_into()
}

fn argument(index: u8, operator: &SeccompCmpOp, value: u64) -> Result<SeccompCondition> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator.clone(), value)
}

fn cpu_limit() -> Result<SeccompCondition> {
    argument(1, &SeccompCmpOp::Eq, u64::from(libc::RLIMIT_CPU))
}

/// System calls that are harmless whatever their arguments are, to a process that can open nothing.
const ALWAYS: &[i64] = &[
    // Jobs and answers.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_openat,
    libc::SYS_close,
    // Memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Threads that wait for each other.
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    // Time and chance.
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getrusage,
    libc::SYS_getrandom,
    // Signals, which end the process when it overflows its stack or aborts.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_can_be_made() {
        for arch in [TargetArch::x86_64, TargetArch::aarch64] {
            opening_fails(arch).unwrap();
            other_calls_kill(arch).unwrap();
        }
    }

    #[test]
    fn the_address_space_has_a_size() {
        let bytes = Mapped::open().unwrap().bytes().unwrap();
        assert!(bytes > 1 << 20, "{bytes}");
    }
}
