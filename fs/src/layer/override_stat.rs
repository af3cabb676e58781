//! The `override_stat` xattr of an object: reading and writing it.

use plyfs_format::override_stat::{self, OverrideStat};
use plyfs_sys::xattr::{self, At};
use rustix::fs::{Statx, XattrFlags};

use crate::config::override_stat_mode::OverrideStatMode;
use crate::error::{Errno, Result, decided};
use crate::types::Attr;

/// The `override_stat` record of an object. `None` if it has none, or one that cannot be read.
pub(crate) fn record(at: At<'_>, records: OverrideStatMode) -> Result<Option<OverrideStat>> {
    let mut buffer = [0; override_stat::MAX_LEN];
    match xattr::get(at, records.attribute(), &mut buffer) {
        Ok(len) => Ok(OverrideStat::parse(&buffer[..len])),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The attributes of an object as its record has them, if it has one.
pub(crate) fn recorded_attr_of(
    at: At<'_>,
    stat: &Statx,
    records: OverrideStatMode,
) -> Result<Attr> {
    let mut attr = Attr::from_statx(stat).ok_or_else(|| decided(Errno::IO))?;
    (attr.uid, attr.gid) = records.owner_on_disk(stat);
    if records.may_be_on(attr.kind, stat)
        && let Some(record) = record(at, records)?
        && records.may_say(&record)
    {
        attr.apply(&record);
    }
    Ok(attr)
}

/// Writes the record of an object, or removes one that says nothing the object does not.
///
/// # Errors
/// Those of setxattr(2). `OPNOTSUPP` is success where there is nothing to say.
pub(crate) fn write_record(
    at: At<'_>,
    record: Option<OverrideStat>,
    records: OverrideStatMode,
) -> Result<()> {
    let name = records.attribute();
    match record {
        Some(record) => xattr::set(at, name, record.format().as_bytes(), XattrFlags::empty()),
        None => match xattr::remove(at, name) {
            // A symbolic link or a fifo has no user.* attributes (xattr(7)).
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM) => Ok(()),
            other => other,
        },
    }
}

/// As [`write_record`], for an object that cannot have a record yet.
pub(crate) fn write_record_of_new(
    at: At<'_>,
    record: Option<OverrideStat>,
    records: OverrideStatMode,
) -> Result<()> {
    match record {
        Some(_) => write_record(at, record, records),
        None => Ok(()),
    }
}
