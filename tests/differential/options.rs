//! The sets of mount options that programs run with.

/// One set: what the kernel is told, and what plyfs is told to behave like that.
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
    OptionSet {
        name: "plain",
        kernel: "redirect_dir=off,index=off,metacopy=off,xino=off",
        plyfs: "",
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
        plyfs: "redirect_dir=on,index=off,metacopy=off,xino=off",
        ready: false,
    },
    OptionSet {
        name: "index",
        kernel: "redirect_dir=off,index=on,metacopy=off,xino=off",
        plyfs: "redirect_dir=off,index=on,metacopy=off,xino=off",
        ready: false,
    },
    OptionSet {
        name: "metacopy",
        kernel: "redirect_dir=on,index=off,metacopy=on,xino=off",
        plyfs: "redirect_dir=on,index=off,metacopy=on,xino=off",
        ready: false,
    },
    OptionSet {
        name: "xino",
        kernel: "redirect_dir=off,index=off,metacopy=off,xino=on",
        plyfs: "redirect_dir=off,index=off,metacopy=off,xino=on",
        ready: false,
    },
    OptionSet {
        name: "all",
        kernel: "redirect_dir=on,index=on,metacopy=on,xino=on",
        plyfs: "redirect_dir=on,index=on,metacopy=on,xino=on",
        ready: false,
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

    /// Whether records go into `user.overlay.`: as asked, or because nothing else is possible.
    pub fn userxattr(&self, initial: bool) -> bool {
        !initial || self.kernel.contains("userxattr")
    }
}
