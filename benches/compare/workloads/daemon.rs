//! What a mount costs: the time until it can be used, and the memory of who serves it.

use std::fs;
use std::io;
use std::time::Duration;

use super::{Place, Unit, Watch, reading};

/// The time was taken when the mount was made.
pub fn mount(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    fs::symlink_metadata(place.merged())?;
    watch.add_time(1, place.mounted.took);
    Ok(())
}

pub fn memory(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let Some(pid) = place.mounted.daemon() else {
        // The kernel's own.
        return Ok(());
    };
    let note = |watch: &mut Watch, rss, pss, descriptors| {
        watch.note(rss, kibibytes(pid, "status", "VmRSS:")?, Unit::Kibibytes);
        watch.note(
            pss,
            kibibytes(pid, "smaps_rollup", "Pss:")?,
            Unit::Kibibytes,
        );
        let open = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        watch.note(descriptors, open as f64, Unit::Count);
        io::Result::Ok(())
    };
    note(watch, "rss-mounted", "pss-mounted", "fds-mounted")?;
    reading::walk(place.merged())?;
    note(watch, "rss-walked", "pss-walked", "fds-walked")?;
    if place.is_root {
        // The first time only takes from a name that it was used lately. The kernel tells of what it
        // has forgotten by and by.
        for _ in 0..4 {
            fs::write("/proc/sys/vm/drop_caches", "2")?;
            std::thread::sleep(Duration::from_millis(300));
        }
        note(watch, "rss-forgotten", "pss-forgotten", "fds-forgotten")?;
    }
    Ok(())
}

fn kibibytes(pid: i32, file: &str, field: &str) -> io::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
