//! Asking another runtime for the first process of a container (`state`, runtime.md).

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::bundle::Bundle;

/// How often a runtime is asked that does not know the container yet, and the pause between.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// Asks whether a child has ended, and leaves it to be waited for.
const ENDED: WaitIdOptions = WaitIdOptions::EXITED
    .union(WaitIdOptions::NOHANG)
    .union(WaitIdOptions::NOWAIT);

/// The first process of a container; `None` if the keeper of its runtime ends before the runtime names it, or
/// the runtime does not name it in time.
pub(super) fn first_process(bundle: &Bundle, keeper: Pid) -> Option<Pid> {
    for _ in 0..TRIES {
        if let Some(pid) = pid(bundle) {
            return Some(pid);
        }
        let ended = waitid(WaitId::Pid(keeper), ENDED);
        if !matches!(ended, Ok(None)) {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
    None
}

fn pid(bundle: &Bundle) -> Option<Pid> {
    let mut state = bundle.command();
    state.args(["state", &bundle.id]).stderr(Stdio::null());
    let output = state.output().ok()?;
    let state: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let pid = i32::try_from(state.get("pid")?.as_i64()?).ok()?;
    Pid::from_raw(pid).filter(|_| pid > 0)
}
