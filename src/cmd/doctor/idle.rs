//! What the processors of a virtual machine do while there is nothing to do.

use super::probe::Probe;

/// The driver of idle processors in use.
const DRIVER: &str = "/sys/devices/system/cpu/cpuidle/current_driver";
/// How long an idle processor of a guest looks for work before it halts, in nanoseconds
/// (Documentation/virt/guest-halt-polling.rst of Linux).
const POLLS: &str = "/sys/module/haltpoll/parameters/guest_halt_poll_ns";

/// Whether waking an idle processor is cheap, where the kernel lets one choose. Nothing elsewhere.
///
/// A parameter and no trial: what a wake-up costs depends on what else the machine and its host do.
pub(super) fn probe() -> Option<Probe> {
    let read = |path| std::fs::read_to_string(path).ok();
    let driver = read(DRIVER)?;
    (driver.trim() == "haltpoll").then_some(())?;
    let polls: u64 = read(POLLS)?.trim().parse().ok()?;
    let tried = match polls {
        0 => Err(
            "idle processors of this virtual machine halt at once: a request through FUSE that does \
                  not follow others at once waits for one to be woken",
        ),
        _ => Ok(()),
    };
    Some(Probe::new(
        ("halt_polling", "halt polling"),
        tried,
        "idle processors look for work before they halt: requests through FUSE are answered sooner",
        "echo 200000 >/sys/module/haltpoll/parameters/guest_halt_poll_ns, as root: Linux's default",
    ))
}
