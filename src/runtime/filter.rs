//! From the filter of a configuration (config-linux.md, "Seccomp") to programs for the kernel.
//!
//! `seccompiler` makes a program of rules that have one action in common. So there is a program that gives the
//! default action to what no rule is about, and after it one for each action of a rule. The kernel runs them
//! all and takes the strictest answer, of two errors that of the program that was installed last.

use std::collections::{BTreeMap, HashSet};
use std::str::FromStr;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};
use plyfs_sys::seccomp::{self, Instruction};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::error::{CliError, Context, Result};

/// Rules of a program: for each number of a system call the alternatives that match.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Filters the system calls of this process from now on.
pub(super) fn install(filter: &LinuxSeccomp) -> Result {
    for program in programs(filter)? {
        let instructions: Vec<Instruction> = program
            .iter()
            .map(|one| Instruction {
                code: one.code,
                jump_true: one.jt,
                jump_false: one.jf,
                operand: one.k,
            })
            .collect();
        seccomp::install(&instructions).context("filter system calls")?;
    }
    Ok(())
}

/// The programs, in the order in which they are installed.
fn programs(filter: &LinuxSeccomp) -> Result<Vec<BpfProgram>> {
    let default = action(filter.default_action(), filter.default_errno_ret())?;
    let mut by_action: Vec<(SeccompAction, Vec<&LinuxSyscall>)> = Vec::new();
    for rule in filter.syscalls().iter().flatten() {
        let action = action(rule.action(), rule.errno_ret())?;
        if action == default {
            continue;
        }
        match by_action.iter_mut().find(|(known, _)| *known == action) {
            Some((_, rules)) => rules.push(rule),
            None => by_action.push((action, vec![rule])),
        }
    }
    let mut programs = Vec::new();
    if default != SeccompAction::Allow {
        // What a rule treats less strictly than the default passes here, or the default would win. Without
        // such a rule the default still holds.
        let passing = by_action
            .iter()
            .filter(|(action, _)| strictness(action) < strictness(&default));
        let passing: Vec<&LinuxSyscall> = passing.flat_map(|(_, rules)| rules.clone()).collect();
        let allow = SeccompAction::Allow;
        programs.push(for_all_architectures(filter, &passing, &allow, &default)?);
    }
    for (action, rules) in by_action {
        if action != SeccompAction::Allow {
            let allow = SeccompAction::Allow;
            programs.push(for_all_architectures(filter, &rules, &action, &allow)?);
        }
    }
    Ok(programs)
}

/// Where an action stands in the order in which the kernel prefers one program's answer to another's
/// (seccomp(2), "return value").
fn strictness(action: &SeccompAction) -> u8 {
    match action {
        SeccompAction::Allow => 0,
        SeccompAction::Log => 1,
        SeccompAction::Trace(_) => 2,
        SeccompAction::Errno(_) => 3,
        SeccompAction::Trap => 4,
        SeccompAction::KillThread => 5,
        SeccompAction::KillProcess => 6,
    }
}

/// One program that holds for every architecture of the filter that this machine can run.
fn for_all_architectures(
    filter: &LinuxSeccomp,
    rules: &[&LinuxSyscall],
    action: &SeccompAction,
    otherwise: &SeccompAction,
) -> Result<BpfProgram> {
    let compile = |rules: Rules| -> Result<BpfProgram> {
        let filter = SeccompFilter::new(rules, otherwise.clone(), action.clone(), architecture()?);
        let program = filter.and_then(BpfProgram::try_from);
        program.context("make a filter of system calls")
    };
    let native = compile(numbered(rules, native_number)?)?;
    let has_32_bits = filter
        .architectures()
        .as_ref()
        .is_some_and(|all| all.contains(&Arch::ScmpArchX86));
    if has_32_bits && cfg!(target_arch = "x86_64") {
        with_32_bits(native, compile(numbered(rules, number_with_32_bits)?)?)
    } else {
        Ok(native)
    }
}

/// A program for x86-64 that goes on with another one for calls with 32 bits. Both begin with a look at the
/// architecture: load it, compare it, end the process where it is another one. The last of these becomes
/// the other program.
fn with_32_bits(native: BpfProgram, mut other: BpfProgram) -> Result<BpfProgram> {
    /// `AUDIT_ARCH_I386` (linux/audit.h).
    const I386: u32 = 0x4000_0003;
    /// `BPF_JMP | BPF_JA` (linux/bpf_common.h).
    const JUMP: u16 = 0x05;
    let begin_alike = native.get(..3).is_some_and(|head| other.starts_with(head));
    let (Some(compare), true) = (other.get_mut(1), begin_alike) else {
        return Err(CliError::new(
            "cannot make a filter of system calls for 32 bits",
        ));
    };
    compare.k = I386;
    let mut program = native;
    let behind = u32::try_from(program.len() - 3).context("make a filter of system calls")?;
    // Counted from the instruction after this one.
    if let Some(end) = program.get_mut(2) {
        (end.code, end.k) = (JUMP, behind);
    }
    program.extend(other);
    Ok(program)
}

fn architecture() -> Result<TargetArch> {
    let architecture = std::env::consts::ARCH;
    TargetArch::try_from(architecture).map_err(|_| {
        CliError::new(format_args!(
            "plyfs has no filter of system calls for {architecture}; give another runtime (--runtime), or go \
             without (--security-opt seccomp=unconfined)"
        ))
    })
}

fn native_number(name: &str) -> Option<i64> {
    let number = syscalls::Sysno::from_str(name).ok()?;
    Some(i64::from(number.id()))
}

fn number_with_32_bits(name: &str) -> Option<i64> {
    let number = syscalls::x86::Sysno::from_str(name).ok()?;
    Some(i64::from(number as i32))
}

/// Rules by the numbers of their calls; names that the architecture does not have are left out.
fn numbered(rules: &[&LinuxSyscall], number: fn(&str) -> Option<i64>) -> Result<Rules> {
    let mut numbered = Rules::new();
    // To the library a call without alternatives matches always.
    let mut always = HashSet::new();
    for rule in rules {
        let conditions = rule.args().iter().flatten().map(condition);
        let conditions = conditions.collect::<Result<Vec<_>>>()?;
        for number in rule.names().iter().filter_map(|name| number(name)) {
            let alternatives = numbered.entry(number).or_default();
            if conditions.is_empty() {
                always.insert(number);
                alternatives.clear();
            } else if !always.contains(&number) {
                let rule = SeccompRule::new(conditions.clone());
                alternatives.push(rule.context("make a filter of system calls")?);
            }
        }
    }
    Ok(numbered)
}

fn condition(argument: &LinuxSeccompArg) -> Result<SeccompCondition> {
    let (operator, value) = match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => (SeccompCmpOp::Ne, argument.value()),
        LinuxSeccompOperator::ScmpCmpLt => (SeccompCmpOp::Lt, argument.value()),
        LinuxSeccompOperator::ScmpCmpLe => (SeccompCmpOp::Le, argument.value()),
        LinuxSeccompOperator::ScmpCmpEq => (SeccompCmpOp::Eq, argument.value()),
        LinuxSeccompOperator::ScmpCmpGe => (SeccompCmpOp::Ge, argument.value()),
        LinuxSeccompOperator::ScmpCmpGt => (SeccompCmpOp::Gt, argument.value()),
        LinuxSeccompOperator::ScmpCmpMaskedEq => (
            SeccompCmpOp::MaskedEq(argument.value()),
            argument.value_two().unwrap_or(0),
        ),
    };
    let index = u8::try_from(argument.index()).context("make a filter of system calls")?;
    let length = match operator {
        // Half as long, and the same: the upper half is masked out.
        SeccompCmpOp::MaskedEq(mask) if mask <= u32::MAX.into() => SeccompCmpArgLen::Dword,
        // All 64 bits, as libseccomp compares them.
        _ => SeccompCmpArgLen::Qword,
    };
    let condition = SeccompCondition::new(index, length, operator, value);
    condition.context("make a filter of system calls")
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<SeccompAction> {
    const EPERM: u32 = 1;
    Ok(match action {
        LinuxSeccompAction::ScmpActAllow => SeccompAction::Allow,
        LinuxSeccompAction::ScmpActErrno => SeccompAction::Errno(errno.unwrap_or(EPERM)),
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            SeccompAction::KillThread
        }
        LinuxSeccompAction::ScmpActKillProcess => SeccompAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => SeccompAction::Trap,
        LinuxSeccompAction::ScmpActLog => SeccompAction::Log,
        LinuxSeccompAction::ScmpActTrace | LinuxSeccompAction::ScmpActNotify => {
            return Err(CliError::new(
                "the filter of system calls asks another process, which only other runtimes do (--runtime)",
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{LinuxSeccompBuilder, LinuxSyscallBuilder};

    use super::*;

    fn rule(name: &str, action: LinuxSeccompAction, errno: u32) -> LinuxSyscall {
        let builder = LinuxSyscallBuilder::default().names([name.to_owned()]);
        builder.action(action).errno_ret(errno).build().unwrap()
    }

    #[test]
    fn each_action_has_a_program_and_the_default_is_first() {
        let filter = LinuxSeccompBuilder::default()
            .default_action(LinuxSeccompAction::ScmpActErrno)
            .default_errno_ret(38_u32)
            .syscalls([
                rule("bpf", LinuxSeccompAction::ScmpActErrno, 1),
                rule("read", LinuxSeccompAction::ScmpActAllow, 0),
                rule("acct", LinuxSeccompAction::ScmpActErrno, 1),
                rule("no_such_call", LinuxSeccompAction::ScmpActAllow, 0),
            ])
            .build()
            .unwrap();
        let programs = programs(&filter).unwrap();
        assert_eq!(programs.len(), 2);
        let returns = |program: &BpfProgram| program.iter().map(|one| one.k).collect::<Vec<_>>();
        assert!(returns(&programs[0]).contains(&(libc_errno(38))));
        assert!(returns(&programs[1]).contains(&(libc_errno(1))));
    }

    /// Without a rule that allows, everything was allowed.
    #[test]
    fn the_default_action_holds_without_a_rule_that_allows() {
        for rules in [vec![], vec![rule("bpf", LinuxSeccompAction::ScmpActLog, 0)]] {
            let filter = LinuxSeccompBuilder::default()
                .default_action(LinuxSeccompAction::ScmpActErrno)
                .default_errno_ret(38_u32)
                .syscalls(rules.clone())
                .build()
                .unwrap();
            let programs = programs(&filter).unwrap();
            assert_eq!(programs.len(), 1 + rules.len());
            assert!(programs[0].iter().any(|one| one.k == libc_errno(38)));
        }
    }

    #[test]
    fn without_a_stricter_rule_nothing_is_filtered_by_a_default_that_allows() {
        let filter = LinuxSeccompBuilder::default()
            .default_action(LinuxSeccompAction::ScmpActAllow)
            .syscalls([rule("read", LinuxSeccompAction::ScmpActAllow, 0)])
            .build()
            .unwrap();
        assert_eq!(programs(&filter).unwrap().len(), 0);
    }

    /// Actions that are less strict than the default, and a default that kills.
    #[test]
    fn what_a_rule_logs_passes_the_default() {
        let filter = |action| {
            LinuxSeccompBuilder::default()
                .default_action(LinuxSeccompAction::ScmpActKillProcess)
                .syscalls([rule("read", action, 1)])
                .build()
                .unwrap()
        };
        const ALLOW: u32 = 0x7fff_0000;
        for action in [
            LinuxSeccompAction::ScmpActLog,
            LinuxSeccompAction::ScmpActErrno,
        ] {
            let programs = programs(&filter(action)).unwrap();
            assert_eq!(programs.len(), 2);
            let allows = |program: &BpfProgram| program.iter().any(|one| one.k == ALLOW);
            assert!(programs.iter().all(allows), "{action:?}");
        }
    }

    /// The kernel takes no longer ones (`BPF_MAXINSNS`).
    #[test]
    fn the_default_profile_fits_into_the_kernel_s_programs() {
        use oci_spec::runtime::Capabilities;
        let all = crate::oci::defaults::ALL_CAPABILITIES;
        let all: Capabilities = all.iter().map(|name| name.parse().unwrap()).collect();
        for capabilities in [Capabilities::new(), all] {
            let profile = crate::oci::seccomp::default_profile(&capabilities).unwrap();
            for program in programs(&profile).unwrap() {
                assert!(program.len() < 4096, "{}", program.len());
            }
        }
    }

    fn libc_errno(errno: u32) -> u32 {
        0x0005_0000 | errno
    }
}
