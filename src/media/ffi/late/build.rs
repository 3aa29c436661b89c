//! Makes FFmpeg a library that is loaded at its first call (see docs/decisions/0008).
//!
//! For every name of `symbols.txt` the linker is told to take `__wrap_NAME` instead, and a jump of that name through a table
//! is written. Nothing then refers to FFmpeg's libraries any more, and the linker leaves them out (`--as-needed`).

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

const SYMBOLS: &str = "src/media/ffi/late/symbols.txt";

/// Tells the linker, and writes jumps and table.
pub fn write() {
    println!("cargo:rerun-if-changed={SYMBOLS}");
    println!("cargo:rustc-check-cfg=cfg(ffmpeg_late)");
    let is = |name: &str, value: &str| env::var(format!("CARGO_CFG_TARGET_{name}")).as_deref() == Ok(value);
    // The jumps are written for one processor and one linker's switches; elsewhere FFmpeg is linked as usual.
    if !(is("OS", "linux") && is("ARCH", "x86_64") && is("ENV", "gnu")) {
        return;
    }
    println!("cargo:rustc-cfg=ffmpeg_late");
    let text = fs::read_to_string(SYMBOLS).expect("the list of symbols is part of the source");
    let (libraries, names) = parse(&text);
    for (_, name) in &names {
        println!("cargo:rustc-link-arg=-Wl,--wrap={name}");
    }
    let out = env::var_os("OUT_DIR").expect("cargo says where to write");
    fs::write(Path::new(&out).join("late.s"), jumps(&names)).expect("the directory of the build is there");
    fs::write(Path::new(&out).join("late.rs"), table(&libraries, &names)).expect("the directory of the build is there");
}

/// The libraries, and each name with the place of its library.
fn parse(text: &str) -> (Vec<&str>, Vec<(usize, &str)>) {
    let (mut libraries, mut names) = (Vec::new(), Vec::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(library) => libraries.push(library),
            None => names.push((libraries.len().checked_sub(1).expect("a name stands under a library"), line)),
        }
    }
    (libraries, names)
}

/// A jump for each name, and the table they jump through, which points behind each jump until FFmpeg is loaded.
fn jumps(names: &[(usize, &str)]) -> String {
    let mut text = ".section .text.aftercast_late,\"ax\",@progbits\n".to_owned();
    for (n, (_, name)) in names.iter().enumerate() {
        let at = 8 * n;
        let _ = write!(
            text,
            ".p2align 4\n.globl __wrap_{name}\n.hidden __wrap_{name}\n.type __wrap_{name},@function\n__wrap_{name}:\n\
             jmp qword ptr [rip + aftercast_late_table + {at}]\n.Laftercast_late_{n}:\npush {n}\njmp aftercast_late_first\n\
             .size __wrap_{name}, . - __wrap_{name}\n"
        );
    }
    // Pages of its own, because the table is made read-only once it is filled; x86-64 has pages of 4 KiB.
    text.push_str(".section .data.aftercast_late,\"aw\",@progbits\n.p2align 12\n.globl aftercast_late_table\n");
    text.push_str(".hidden aftercast_late_table\n.type aftercast_late_table,@object\naftercast_late_table:\n");
    for n in 0..names.len() {
        let _ = writeln!(text, ".quad .Laftercast_late_{n}");
    }
    text.push_str(".size aftercast_late_table, . - aftercast_late_table\n.p2align 12\n.text\n");
    text
}

fn table(libraries: &[&str], names: &[(usize, &str)]) -> String {
    format!(
        "/// FFmpeg's libraries.\npub(super) const LIBRARIES: [&str; {}] = {libraries:?};\n\
         /// Every name, with the place of its library, in the order of the table.\n\
         pub(super) const SYMBOLS: [(usize, &str); {}] = {names:?};\n",
        libraries.len(),
        names.len()
    )
}
