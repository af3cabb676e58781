//! Links the unwinder of GCC into the program, where the compiler has it as a static library.
//!
//! A mount is made by a program that is started for it, and starting it takes longer than mounting. To find,
//! map and relocate `libgcc_s.so`, which besides asks the processor what it can (on a virtual machine its
//! host answers), is a seventh of the time that `plyfs mount` takes. Without the static library it is used as ever.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    let gnu = is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu");
    // A compiler for another machine is not called cc, and a static program has all of it anyway.
    let native = std::env::var("TARGET").is_ok_and(|target| is("HOST", &target));
    let features = std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if !gnu || !native || features.split(',').any(|feature| feature == "crt-static") {
        return;
    }
    let asked = Command::new("cc")
        .arg("-print-file-name=libgcc_eh.a")
        .output();
    let Ok(answer) = asked else { return };
    let path = String::from_utf8(answer.stdout).unwrap_or_default();
    // The name alone, if there is none.
    let path = Path::new(path.trim());
    if let Some(directory) = path.parent()
        && path.is_absolute()
        && path.is_file()
    {
        println!("cargo::rustc-link-search=native={}", directory.display());
        println!("cargo::rustc-link-lib=static=gcc_eh");
    }
}
