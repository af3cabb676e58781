//! Operations on data.

use super::*;

impl Generator {
    pub(super) fn data_op(&mut self) -> Op {
        let slot = self.slot();
        let length = self.size() as u32;
        let seed = self.rng.u64(..1000);
        match self.rng.u32(..40) {
            0..12 => self.open(),
            12..14 => Op::Read { slot, length },
            14..17 => Op::Pread {
                slot,
                offset: self.offset(),
                length,
            },
            17..20 => Op::Write { slot, length, seed },
            20..24 => Op::Pwrite {
                slot,
                offset: self.offset(),
                length,
                seed,
            },
            24..26 => Op::Seek {
                slot,
                whence: *self.one(Whence::ALL),
                offset: match self.chance(20) {
                    true => -(self.offset() as i64),
                    false => self.offset() as i64,
                },
            },
            26..29 => {
                let size = self.size();
                Op::Truncate {
                    what: self.object(),
                    size,
                }
            }
            29..31 => {
                let keep = FallocateFlags::KEEP_SIZE;
                let modes = [
                    FallocateFlags::empty(),
                    keep,
                    FallocateFlags::PUNCH_HOLE | keep,
                    FallocateFlags::ZERO_RANGE,
                    FallocateFlags::ZERO_RANGE | keep,
                    FallocateFlags::COLLAPSE_RANGE,
                    FallocateFlags::INSERT_RANGE,
                ];
                let possible = match self.base {
                    Base::Memory => 3,
                    Base::Disk => 5,
                };
                let mode = *self.one(&modes[..possible]);
                Op::Fallocate {
                    slot,
                    mode: Flags::new(mode.bits()),
                    offset: self.offset(),
                    length: self.size().max(1),
                }
            }
            31..33 => {
                let mut offset = || match self.chance(50) {
                    true => -1,
                    false => self.offset() as i64,
                };
                let (from_offset, to_offset) = (offset(), offset());
                Op::CopyRange {
                    from: slot,
                    from_offset,
                    to: self.slot(),
                    to_offset,
                    length,
                }
            }
            33 => *self
                .one(
                    &[
                        Op::Fsync { slot },
                        Op::Fdatasync { slot },
                        Op::Syncfs { slot },
                    ]
                    .map(Box::new),
                )
                .clone(),
            34 => {
                let actor = usize::from(self.actor);
                self.open[actor].retain(|open| *open != slot.0);
                Op::Close { slot }
            }
            35 => Op::Dup {
                from: slot,
                to: self.new_slot(),
            },
            _ => self.map_op(slot, seed),
        }
    }

    pub(super) fn map_op(&mut self, slot: Slot, seed: u64) -> Op {
        let map = MapSlot(self.rng.u8(..MAP_SLOTS));
        let (offset, length) = (self.rng.u32(..9000), self.rng.u32(1..3000));
        let what = if self.mapped { self.rng.u32(..10) } else { 0 };
        match what {
            0..4 => {
                self.mapped = true;
                let kind = *self.one(&[MapKind::Write, MapKind::Write, MapKind::Read]);
                // Storing into a mapping for reading alone is a fatal signal.
                let map = MapSlot(if kind == MapKind::Read { 1 } else { 0 });
                Op::Mmap {
                    map,
                    slot,
                    length: *self.one(&[4096, 8192, 16_384]),
                    kind,
                }
            }
            4..7 => Op::MapStore {
                map: MapSlot(0),
                offset: offset / 2,
                length,
                seed,
            },
            7 => Op::MapLoad {
                map,
                offset,
                length,
            },
            8 => Op::Msync { map },
            _ => Op::Munmap { map },
        }
    }
}
