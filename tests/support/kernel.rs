//! What the kernel that the tests run on can confine a process with.

/// The layers that have to confine a compile worker here, by the names that a server gives them.
pub(crate) fn layers() -> Vec<&'static str> {
    let layers = [(true, "limits"), (has_landlock(), "landlock"), (has_seccomp(), "seccomp")];
    layers.into_iter().filter_map(|(there, name)| there.then_some(name)).collect()
}

#[cfg(target_os = "linux")]
fn has_landlock() -> bool {
    use landlock::{
        ABI, Access, AccessFs, LandlockStatus, Ruleset, RulesetAttr, RulesetError, RulesetStatus,
    };

    // Only who is restricted is told, so this thread is, which does nothing else.
    let restricted = std::thread::spawn(|| {
        Ruleset::default().handle_access(AccessFs::from_all(ABI::V1))?.create()?.restrict_self()
    });
    let status: Result<_, RulesetError> = restricted.join().unwrap();
    let status = status.unwrap();
    let is_available = matches!(status.landlock, LandlockStatus::Available { .. });
    assert_eq!(is_available, status.ruleset != RulesetStatus::NotEnforced);
    is_available
}

#[cfg(target_os = "linux")]
fn has_seccomp() -> bool {
    let actions = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail");
    let has = |name: &str| {
        actions.as_ref().is_ok_and(|all| all.split_whitespace().any(|action| action == name))
    };
    has("kill_process") && has("errno")
}

#[cfg(not(target_os = "linux"))]
fn has_landlock() -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn has_seccomp() -> bool {
    false
}
