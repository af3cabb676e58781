//! What is known of the protection of a node.

use std::sync::atomic::{AtomicU8, Ordering};

use plyfs_format::protattr::Protection;

/// What is known of the protection of a node: a few bits, since nodes are many.
#[derive(Debug, Default)]
pub(crate) struct KnownProtection(AtomicU8);

impl KnownProtection {
    const IMMUTABLE: u8 = 1;
    const APPEND_ONLY: u8 = 2;
    /// The flags of the object are among them.
    const HAS_FLAGS: u8 = 4;
    /// What its record says is among them, or does not count.
    const HAS_RECORD: u8 = 8;
    const ALL: u8 = Self::HAS_FLAGS | Self::HAS_RECORD;

    /// The protection, if flags and record are known.
    pub(crate) fn get(&self) -> Option<Protection> {
        let bits = self.0.load(Ordering::Relaxed);
        (bits & Self::ALL == Self::ALL).then(|| Self::protection(bits))
    }

    /// The flags of the object, if they are known.
    pub(crate) fn flags(&self) -> Option<Protection> {
        let bits = self.0.load(Ordering::Relaxed);
        (bits & Self::HAS_FLAGS != 0).then(|| Self::protection(bits))
    }

    /// Sets the protection after a change.
    pub(crate) fn set(&self, protection: Protection) {
        let bits = Self::bits(protection) | Self::ALL;
        self.0.store(bits, Ordering::Relaxed);
    }

    /// Stores the flags that a lookup saw, unless more is known.
    pub(crate) fn saw_flags(&self, protection: Protection) {
        let bits = Self::bits(protection) | Self::HAS_FLAGS;
        let order = Ordering::Relaxed;
        // What another thread knows already is not older.
        let _known = self.0.compare_exchange(0, bits, order, order);
    }

    /// Stores what was read, unless another thread has set it meanwhile.
    pub(crate) fn learn(&self, protection: Protection) {
        let bits = Self::bits(protection) | Self::ALL;
        let learn = |known| (known & Self::ALL != Self::ALL).then_some(bits);
        let order = Ordering::Relaxed;
        let _known = self.0.fetch_update(order, order, learn);
    }

    fn protection(bits: u8) -> Protection {
        Protection {
            immutable: bits & Self::IMMUTABLE != 0,
            append_only: bits & Self::APPEND_ONLY != 0,
        }
    }

    fn bits(protection: Protection) -> u8 {
        let bit = |is_set, bit| if is_set { bit } else { 0 };
        bit(protection.immutable, Self::IMMUTABLE) | bit(protection.append_only, Self::APPEND_ONLY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMMUTABLE: Protection = Protection {
        immutable: true,
        append_only: false,
    };
    const APPEND_ONLY: Protection = Protection {
        immutable: false,
        append_only: true,
    };

    #[test]
    fn what_was_set_is_newer_than_what_was_read() {
        let known = KnownProtection::default();
        known.set(IMMUTABLE);
        known.learn(Protection::default());
        known.saw_flags(APPEND_ONLY);
        assert_eq!(known.get(), Some(IMMUTABLE));
        known.set(Protection::default());
        assert_eq!(known.get(), Some(Protection::default()));
    }

    #[test]
    fn flags_alone_do_not_say_all() {
        let known = KnownProtection::default();
        assert_eq!(known.flags(), None);
        known.saw_flags(APPEND_ONLY);
        assert_eq!((known.flags(), known.get()), (Some(APPEND_ONLY), None));
        known.learn(IMMUTABLE);
        assert_eq!(known.get(), Some(IMMUTABLE));
    }
}
