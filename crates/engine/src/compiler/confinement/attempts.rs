//! What a confined process attempts in vain. Each attempt is made in a process of its own, which is
//! this test program, started again.

use std::env;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, exit};

use landlock::{ABI, Access, AccessFs, LandlockStatus, Ruleset, RulesetAttr};
use rustix::process::{Signal, getppid};

use super::Before;

/// What an attempting process is told to do: how to confine itself, and then what to attempt.
const STEP: &str = "CONFINEMENT_STEP";
const ATTEMPT: &str = "CONFINEMENT_ATTEMPT";
/// Where somebody listens whom it can try to connect to.
const ADDRESS: &str = "CONFINEMENT_ADDRESS";

/// Address space for a confined process, in bytes.
const MEMORY: u64 = 1 << 30;

/// How far a process confines itself before it attempts something.
#[derive(Clone, Copy, Debug)]
enum Step {
    Nothing,
    Files,
    All,
}

impl Step {
    const ALL: [Self; 3] = [Self::Nothing, Self::Files, Self::All];

    fn name(self) -> String {
        format!("{self:?}")
    }

    fn take(self) {
        let parent = getppid().unwrap().as_raw_pid().cast_unsigned();
        match self {
            Self::Nothing => {}
            Self::Files => drop(Before::threads(parent).unwrap()),
            Self::All => drop(Before::threads(parent).unwrap().finish(MEMORY).unwrap()),
        }
    }
}

/// Something that compiling does not need.
type Attempt = (&'static str, fn() -> io::Result<()>);

const OPEN: Attempt = ("open", || File::open("/proc/self/exe").map(drop));

const CREATE: Attempt = ("create", || tempfile::tempfile().map(drop));

const CONNECT: Attempt = ("connect", || {
    let address = env::var(ADDRESS).expect("it is told");
    TcpStream::connect(address).map(drop)
});

const EXECUTE: Attempt = ("execute", || Command::new("/bin/true").status().map(drop));

const ATTEMPTS: [Attempt; 4] = [OPEN, CREATE, CONNECT, EXECUTE];

/// Has a process confine itself and attempt something.
fn confined(step: Step, (attempt, _): Attempt) -> Output {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_, module) = module_path!().split_once("::").unwrap();
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &format!("{module}::this_attempts_what_it_is_told_to")])
        .env(STEP, step.name())
        .env(ATTEMPT, attempt)
        .env(ADDRESS, listener.local_addr().unwrap().to_string())
        .output()
        .unwrap()
}

/// Ends with 0 if the attempt succeeds, and with the error's number if it is refused.
#[test]
fn this_attempts_what_it_is_told_to() {
    let Ok(step) = env::var(STEP) else { return };
    let name = env::var(ATTEMPT).unwrap();
    let (_, attempt) = ATTEMPTS.into_iter().find(|(known, _)| *known == name).unwrap();
    Step::ALL.into_iter().find(|known| known.name() == step).unwrap().take();
    match attempt() {
        Ok(()) => exit(0),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => exit(libc::EACCES),
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn succeeds(step: Step, attempt: Attempt) {
    let output = confined(step, attempt);
    assert_eq!(output.status.code(), Some(0), "{step:?} {}: {output:?}", attempt.0);
}

#[track_caller]
fn is_refused(step: Step, attempt: Attempt) {
    let output = confined(step, attempt);
    assert_eq!(output.status.code(), Some(libc::EACCES), "{step:?} {}: {output:?}", attempt.0);
}

#[track_caller]
fn is_fatal(step: Step, attempt: Attempt) {
    let output = confined(step, attempt);
    let signal = Some(Signal::SYS.as_raw());
    assert_eq!(output.status.signal(), signal, "{step:?} {}: {output:?}", attempt.0);
}

/// The version of Landlock that the kernel has, as only who is restricted is told.
fn landlock() -> ABI {
    let restricted = std::thread::spawn(|| {
        let ruleset = Ruleset::default().handle_access(AccessFs::from_all(ABI::V1)).unwrap();
        ruleset.create().unwrap().restrict_self().unwrap()
    });
    match restricted.join().unwrap().landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi,
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => ABI::Unsupported,
    }
}

fn has_seccomp() -> bool {
    std::fs::exists("/proc/sys/kernel/seccomp/actions_avail").unwrap()
}

#[test]
fn a_process_that_is_not_confined_succeeds() {
    for attempt in ATTEMPTS {
        succeeds(Step::Nothing, attempt);
    }
}

#[test]
fn without_files_nothing_is_opened_or_executed_and_nobody_connected_to() {
    let version = landlock();
    if version >= ABI::V1 {
        for attempt in [OPEN, CREATE, EXECUTE] {
            is_refused(Step::Files, attempt);
        }
    }
    if version >= ABI::V4 {
        is_refused(Step::Files, CONNECT);
    }
}

#[test]
fn without_system_calls_opening_fails_and_all_else_is_fatal() {
    if has_seccomp() {
        is_refused(Step::All, OPEN);
        is_fatal(Step::All, CONNECT);
        is_fatal(Step::All, EXECUTE);
    }
}
