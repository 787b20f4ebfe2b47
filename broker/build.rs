//! The images' binary is linked statically, and by LLD where that is the target's linker: functions of the same code are then
//! kept once, which is a tenth of the binary.

use std::env::var;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let has = |name: &str, word: &str| var(name).is_ok_and(|value| value.split(',').any(|item| item == word));
    if has("CARGO_CFG_TARGET_FEATURE", "crt-static") && has("CARGO_CFG_TARGET_ARCH", "x86_64") {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
    }
}
