//! The system calls that a container may make: the profile of containers/common
//! (`pkg/seccomp/seccomp.json`), which Podman and Buildah use, with these made stricter:
//!
//! - keys (keyctl(2), add_key(2), request_key(2)): keyrings are not separated by namespaces everywhere;
//! - io_uring: what it does passes no filter;
//! - sockets of other families than the usual ones, and socketcall(2) of 32 bits, which hides the family.
//!
//! A call that is on no list answers `ENOSYS`, so that programs and C libraries fall back to older calls.
//! One that is refused on purpose answers `EPERM`.

use oci_spec::runtime::{
    Arch, Capabilities, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg,
    LinuxSeccompArgBuilder, LinuxSeccompBuilder, LinuxSeccompOperator, LinuxSyscall,
    LinuxSyscallBuilder,
};

use crate::error::{Context, Result};

/// Calls that every container may make.
const ALLOWED: &str = "\
     _llseek _newselect accept accept4 access adjtimex alarm arch_prctl arm_fadvise64_64 bind brk \
     capget capset chdir chmod chown chown32 clock_adjtime clock_adjtime64 clock_getres \
     clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 clone \
     clone3 close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 \
     epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 \
     execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate \
     fanotify_init fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl \
     fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsconfig fsetxattr fsmount \
     fsopen fspick fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex \
     futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_mempolicy \
     get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid \
     geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid \
     getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage \
     getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat \
     inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents \
     io_setup io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule \
     landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen \
     listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lsm_get_self_attr \
     lsm_list_modules lstat lstat64 madvise mbind membarrier memfd_create memfd_secret mincore mkdir \
     mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 modify_ldt mount mount_setattr \
     move_mount mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 \
     mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync \
     munlock munlockall munmap name_to_handle_at nanosleep newfstatat open open_tree openat openat2 \
     pause pidfd_getfd pidfd_open pidfd_send_signal pipe pipe2 pivot_root pkey_alloc pkey_free \
     pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease \
     process_vm_readv process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 \
     read readahead readlink readlinkat readv reboot recv recvfrom recvmmsg recvmmsg_time64 recvmsg \
     remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall \
     riscv_flush_icache rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo \
     rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo \
     sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam \
     sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity \
     sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop \
     semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_mempolicy \
     set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid \
     setgid32 setgroups setgroups32 setitimer setns setpgid setpriority setregid setregid32 \
     setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt \
     setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signal \
     signalfd signalfd4 sigprocmask sigreturn socketpair splice stat stat64 statfs \
     statfs64 statmount statx symlink symlinkat sync sync_file_range sync_file_range2 syncfs sysinfo \
     syslog tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 \
     timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime \
     timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask umount umount2 uname unlink \
     unlinkat unshare uretprobe utime utimensat utimensat_time64 utimes vfork wait4 waitid waitpid \
     write writev";

/// Calls that are refused whatever the capabilities are.
const REFUSED: &str = "\
     add_key bdflush cachestat io_pgetevents io_pgetevents_time64 io_uring_enter io_uring_register \
     io_uring_setup kexec_file_load kexec_load keyctl map_shadow_stack migrate_pages move_pages \
     nfsservctl nice oldfstat oldlstat oldolduname oldstat olduname pciconfig_iobase pciconfig_read \
     pciconfig_write request_key sgetmask ssetmask swapoff swapon syscall sysfs uselib userfaultfd \
     ustat vm86 vm86old vmsplice";

/// Calls that one of the capabilities opens, and that are refused without.
const WITH_CAPABILITY: [(&[Capability], &str); 12] = [
    (&[Capability::DacReadSearch], "open_by_handle_at"),
    (
        &[Capability::SysAdmin],
        "lookup_dcookie quotactl quotactl_fd setdomainname sethostname",
    ),
    (&[Capability::SysChroot], "chroot"),
    (
        &[Capability::SysModule],
        "delete_module finit_module init_module query_module",
    ),
    (&[Capability::SysPacct], "acct"),
    (&[Capability::SysPtrace], "kcmp process_madvise"),
    (&[Capability::SysRawio], "ioperm iopl"),
    (
        &[Capability::SysTime],
        "clock_settime clock_settime64 settimeofday stime",
    ),
    (&[Capability::SysTtyConfig], "vhangup"),
    (&[Capability::SysAdmin, Capability::Bpf], "bpf"),
    (
        &[Capability::SysAdmin, Capability::Perfmon],
        "perf_event_open",
    ),
    (&[Capability::SysAdmin], "fanotify_init"),
];

/// Arguments of personality(2) that Docker and Podman allow: the execution domains of Linux, with and without
/// `UNAME26`, and asking for the present one.
const PERSONALITIES: [u32; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

const AF_NETLINK: u32 = 16;
/// Families of sockets that a container may have: AF_UNIX, AF_INET, AF_INET6, AF_KEY, AF_NETLINK,
/// AF_PACKET, AF_CAN and AF_BLUETOOTH (address_families(7)).
const FAMILIES: [u32; 8] = [1, 2, 10, 15, AF_NETLINK, 17, 29, 31];
const AF_ALG: u32 = 38;
const AF_VSOCK: u32 = 40;
const NETLINK_AUDIT: u32 = 9;
/// Bits of a protocol of AF_NETLINK: the kernel refuses those from 32 on (`MAX_LINKS`, linux/netlink.h).
const NETLINK_BITS: u32 = 5;
const EPERM: u32 = 1;
const EINVAL: u32 = 22;
const ENOSYS: u32 = 38;

/// The default profile for a process with these capabilities.
pub(crate) fn default_profile(capabilities: &Capabilities) -> Result<LinuxSeccomp> {
    let (mut allowed, mut refused) = (words(ALLOWED), words(REFUSED));
    for (needed, names) in WITH_CAPABILITY {
        if needed.iter().any(|one| capabilities.contains(one)) {
            allowed.extend(words(names));
        } else {
            refused.extend(words(names));
        }
    }
    allowed.retain(|name| !refused.contains(name));
    let mut rules = vec![
        rule(
            refused,
            LinuxSeccompAction::ScmpActErrno,
            Some(EPERM),
            vec![],
        )?,
        rule(allowed, LinuxSeccompAction::ScmpActAllow, None, vec![])?,
    ];
    for value in PERSONALITIES {
        let arguments = vec![equals(0, value)?];
        let names = words("personality");
        rules.push(rule(
            names,
            LinuxSeccompAction::ScmpActAllow,
            None,
            arguments,
        )?);
    }
    rules.extend(sockets(capabilities)?);
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(ENOSYS)
        .architectures(architectures())
        .syscalls(rules)
        .build()
        .context("describe the filter of system calls")
}

/// socket(2): not to the hypervisor (AF_VSOCK), nor to the cryptography of the kernel (AF_ALG), which reads
/// and writes pages of files that containers share (CVE-2026-31431); and to the audit subsystem only with
/// its capability. A family that is not named here is refused by default.
fn sockets(capabilities: &Capabilities) -> Result<Vec<LinuxSyscall>> {
    let may_audit = capabilities.contains(&Capability::AuditWrite);
    let mut rules = Vec::new();
    for family in FAMILIES {
        if family == AF_NETLINK && !may_audit {
            rules.extend(netlink_without_audit()?);
        } else {
            rules.push(allow_socket(vec![equals(0, family)?])?);
        }
    }
    for family in [AF_ALG, AF_VSOCK] {
        rules.push(refuse_socket(EPERM, vec![equals(0, family)?])?);
    }
    Ok(rules)
}

/// Every protocol of AF_NETLINK but that of the audit subsystem. A rule cannot say that a part of an argument
/// differs, so there is one for each bit in which another protocol may differ.
fn netlink_without_audit() -> Result<Vec<LinuxSyscall>> {
    let mut rules = Vec::new();
    for bit in (0..NETLINK_BITS).map(|at| 1 << at) {
        let other = !NETLINK_AUDIT & bit;
        let arguments = vec![equals(0, AF_NETLINK)?, masked(2, bit, other)?];
        rules.push(allow_socket(arguments)?);
    }
    let audit = vec![equals(0, AF_NETLINK)?, equals(2, NETLINK_AUDIT)?];
    rules.push(refuse_socket(EINVAL, audit)?);
    Ok(rules)
}

fn allow_socket(arguments: Vec<LinuxSeccompArg>) -> Result<LinuxSyscall> {
    let action = LinuxSeccompAction::ScmpActAllow;
    rule(words("socket"), action, None, arguments)
}

fn refuse_socket(errno: u32, arguments: Vec<LinuxSeccompArg>) -> Result<LinuxSyscall> {
    let action = LinuxSeccompAction::ScmpActErrno;
    rule(words("socket"), action, Some(errno), arguments)
}

/// The architectures whose programs this machine can run.
fn architectures() -> Vec<Arch> {
    match std::env::consts::ARCH {
        "x86_64" => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86],
        "aarch64" => vec![Arch::ScmpArchAarch64],
        "riscv64" => vec![Arch::ScmpArchRiscv64],
        _ => vec![Arch::ScmpArchNative],
    }
}

fn words(names: &str) -> Vec<String> {
    names.split_whitespace().map(str::to_owned).collect()
}

fn rule(
    names: Vec<String>,
    action: LinuxSeccompAction,
    errno: Option<u32>,
    arguments: Vec<LinuxSeccompArg>,
) -> Result<LinuxSyscall> {
    let mut builder = LinuxSyscallBuilder::default().names(names).action(action);
    if let Some(errno) = errno {
        builder = builder.errno_ret(errno);
    }
    if !arguments.is_empty() {
        builder = builder.args(arguments);
    }
    builder
        .build()
        .context("describe the filter of system calls")
}

/// That an argument of type `int` has a value. The kernel takes 32 bits of it, so the others, which a program
/// can set as it likes, are not compared.
fn equals(index: usize, value: u32) -> Result<LinuxSeccompArg> {
    masked(index, u32::MAX, value)
}

/// That the bits of `mask` in an argument are those of `value`.
fn masked(index: usize, mask: u32, value: u32) -> Result<LinuxSeccompArg> {
    LinuxSeccompArgBuilder::default()
        .index(index)
        .value(mask)
        .value_two(value)
        .op(LinuxSeccompOperator::ScmpCmpMaskedEq)
        .build()
        .context("describe the filter of system calls")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action_of(profile: &LinuxSeccomp, name: &str) -> Option<LinuxSeccompAction> {
        let rules = profile.syscalls().as_ref().unwrap();
        let rule = rules
            .iter()
            .find(|rule| rule.names().iter().any(|known| known == name));
        rule.map(oci_spec::runtime::LinuxSyscall::action)
    }

    #[test]
    fn dangerous_calls_are_refused_without_their_capability() {
        let profile = default_profile(&Capabilities::new()).unwrap();
        for name in [
            "keyctl",
            "add_key",
            "request_key",
            "bpf",
            "userfaultfd",
            "io_uring_setup",
            "open_by_handle_at",
            "kexec_load",
            "init_module",
            "perf_event_open",
            "chroot",
        ] {
            let action = action_of(&profile, name);
            assert_eq!(action, Some(LinuxSeccompAction::ScmpActErrno), "{name}");
        }
        for name in ["read", "execve", "clone3", "openat2", "capset", "setresuid"] {
            let action = action_of(&profile, name);
            assert_eq!(action, Some(LinuxSeccompAction::ScmpActAllow), "{name}");
        }
        assert_eq!(action_of(&profile, "no_such_call"), None);
    }

    /// The kernel takes 32 bits of what socket(2) and personality(2) get.
    #[test]
    fn rules_about_arguments_compare_what_the_kernel_takes() {
        let profile = default_profile(&Capabilities::new()).unwrap();
        let rules = profile.syscalls().iter().flatten();
        let arguments: Vec<_> = rules
            .flat_map(|rule| rule.args().iter().flatten())
            .collect();
        assert!(arguments.len() > FAMILIES.len());
        for argument in arguments {
            assert_eq!(argument.op(), LinuxSeccompOperator::ScmpCmpMaskedEq);
            assert!(argument.value() <= u32::MAX.into(), "{argument:?}");
        }
    }

    #[test]
    fn a_capability_opens_its_calls() {
        let profile = default_profile(&[Capability::SysChroot].into()).unwrap();
        let action = action_of(&profile, "chroot");
        assert_eq!(action, Some(LinuxSeccompAction::ScmpActAllow));
    }
}
