//! The sets of mount options that programs run with.

use super::known;
use super::layers::Entry;
use super::program::{Op, Program, Step};
use super::text::Bytes;

/// One set: options for the kernel, and the options that make plyfs behave the same way.
#[derive(Debug)]
pub struct OptionSet {
    pub name: &'static str,
    pub kernel: &'static str,
    pub plyfs: &'static str,
    /// Whether plyfs can do it yet.
    pub ready: bool,
}

/// All of them. `PLYFS_DIFF_OPTIONS` names those to run, ready or not.
pub const SETS: &[OptionSet] = &[
    // As plyfs is mounted without options.
    OptionSet {
        name: "plain",
        kernel: "redirect_dir=off,index=off,metacopy=off,xino=off",
        plyfs: "",
        ready: true,
    },
    OptionSet {
        name: "open",
        kernel: "redirect_dir=off,index=off,metacopy=off,xino=off",
        plyfs: "redirect_dir=off,index=off,metacopy=off,xino=off,copy_up=open",
        ready: true,
    },
    // With every request that is saved otherwise.
    OptionSet {
        name: "sent",
        kernel: "redirect_dir=off,index=off,metacopy=off,xino=off",
        plyfs: "send=open:opendir:create:flush:lookup:killpriv:readlink:fsync",
        ready: true,
    },
    // The kernel gathers writes and keeps times.
    OptionSet {
        name: "gathered",
        kernel: "redirect_dir=off,index=off,metacopy=off,xino=off",
        plyfs: "writeback=1",
        ready: true,
    },
    OptionSet {
        name: "gathered_open",
        kernel: "redirect_dir=off,index=off,metacopy=off,xino=off",
        plyfs: "writeback=1,copy_up=open",
        ready: true,
    },
    // Nothing is kept, as for layers that change underneath.
    OptionSet {
        name: "no_timeout",
        kernel: "redirect_dir=off,index=off,metacopy=off,xino=off",
        plyfs: "timeout=0",
        ready: true,
    },
    OptionSet {
        name: "no_timeout_all",
        kernel: "redirect_dir=on,index=on,metacopy=on,xino=on",
        plyfs: "redirect_dir=on,index=on,metacopy=on,xino=on,copy_up=open,timeout=0",
        ready: true,
    },
    OptionSet {
        name: "volatile",
        kernel: "redirect_dir=off,index=off,metacopy=off,xino=off,volatile",
        plyfs: "volatile",
        ready: true,
    },
    OptionSet {
        name: "redirect",
        kernel: "redirect_dir=on,index=off,metacopy=off,xino=off",
        plyfs: "redirect_dir=on,index=off,metacopy=off,xino=off,copy_up=open",
        ready: true,
    },
    OptionSet {
        name: "index",
        kernel: "redirect_dir=off,index=on,metacopy=off,xino=off",
        plyfs: "redirect_dir=off,index=on,metacopy=off,xino=off,copy_up=open",
        ready: true,
    },
    OptionSet {
        name: "metacopy",
        kernel: "redirect_dir=on,index=off,metacopy=on,xino=off",
        plyfs: "redirect_dir=on,index=off,metacopy=on,xino=off,copy_up=open",
        ready: true,
    },
    OptionSet {
        name: "all",
        kernel: "redirect_dir=on,index=on,metacopy=on,xino=on",
        plyfs: "redirect_dir=on,index=on,metacopy=on,xino=on,copy_up=open",
        ready: true,
    },
    // Directories are moved with redirects by the kernel, and copied up as a whole by plyfs.
    OptionSet {
        name: "cut_off",
        kernel: "redirect_dir=on,index=off,metacopy=off,xino=off",
        plyfs: "redirect_dir=off,index=off,metacopy=off,xino=off",
        ready: true,
    },
    OptionSet {
        name: "userxattr",
        kernel: "index=off,metacopy=off,xino=off,userxattr",
        plyfs: "userxattr",
        ready: true,
    },
];

impl OptionSet {
    pub fn named(name: &str) -> Option<&'static Self> {
        SETS.iter().find(|set| set.name == name)
    }

    /// Whether the kernel can do it: in a user namespace it makes and follows no redirects, and leaves no
    /// data below.
    pub fn is_possible(&self, initial: bool) -> bool {
        let needs_trust = ["redirect_dir=on", "metacopy=on", "index=on"];
        initial
            || !needs_trust
                .iter()
                .any(|option| self.kernel.contains(option))
    }

    /// Whether files keep their numbers: not directories that plyfs cuts off from lower ones, not over a
    /// remount in a user namespace, where the kernel finds no origins, and not those of other file systems,
    /// which the kernel makes unlike by the device alone.
    pub fn keeps_numbers(&self, initial: bool, program: &Program) -> bool {
        initial && self.name != "cut_off" && !program.is_of_several_file_systems()
    }

    /// What of an answer is compared.
    pub fn comparable(&self, answer: String, program: &Program) -> String {
        let stores = |step: &Step| matches!(step.op, Op::MapStore { .. });
        let tells_late = !self.gathers() && program.steps.iter().any(stores);
        let answer = match tells_late || self.kernel.contains("metacopy=on") {
            true => known::without_file_times(&answer),
            false => answer,
        };
        let is_capability = |name: &Bytes| name.0 == b"security.capability";
        let sets =
            |step: &Step| matches!(&step.op, Op::Setxattr { name, .. } if is_capability(name));
        let has = |entry: &Entry| entry.xattrs.iter().any(|(name, _)| is_capability(name));
        let capable = program.steps.iter().any(sets) || program.entries.iter().any(has);
        match !self.gathers() && capable {
            true => known::without_file_set_id(&answer),
            false => answer,
        }
    }

    /// Whether the kernel gathers writes for plyfs, and says why it takes set-id bits away.
    pub fn gathers(&self) -> bool {
        self.plyfs.contains("writeback=1")
    }

    /// Whether the kernel writes down what copies are copies of, which it cannot on every file system.
    pub fn needs_handles(&self) -> bool {
        let needs = ["index=on", "xino=on", "metacopy=on"];
        needs.iter().any(|option| self.kernel.contains(option))
    }

    /// Whether plyfs leaves records where the kernel does. Without redirects it moves what it copied up.
    pub fn leaves_the_same(&self) -> bool {
        self.name != "cut_off"
    }

    /// Whether records go into `user.overlay.`: as asked, or because nothing else is possible.
    pub fn userxattr(&self, initial: bool) -> bool {
        !initial || self.kernel.contains("userxattr")
    }
}
