//! Where fetched and built things live: `target/compat`, filled once by whichever test binary comes first.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The folder of this package.
pub fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    package().parent().expect("the package lies in the workspace")
}

/// Cargo's target folder, whichever way it was chosen: the folder above the profile folder this test runs from.
pub fn target() -> PathBuf {
    profile_dir().parent().expect("a profile folder lies in the target folder").to_owned()
}

/// `target/debug` or `target/release`: the folder that holds the binaries of this profile.
pub fn profile_dir() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let deps = test.parent().expect("a test binary lies in a folder");
    let dir = if deps.ends_with("deps") { deps.parent().expect("deps lies in the profile folder") } else { deps };
    dir.to_owned()
}

/// A folder below `target/compat`, created if need be.
pub fn dir(name: &str) -> PathBuf {
    let dir = target().join("compat").join(name);
    fs::create_dir_all(&dir).expect("create a folder below target/compat");
    dir
}

/// A lock between test binaries and between `cargo test` runs; held until dropped.
pub fn lock(name: &str) -> File {
    let file = File::create(dir("locks").join(name)).expect("create a lock file");
    file.lock().expect("take a file lock");
    file
}

/// Runs `fill` unless it has run before with the same `stamp`. `fill` returns an error text when it could not.
pub fn once(name: &str, stamp: &str, fill: impl FnOnce(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let guard = lock(name);
    let place = dir(name);
    let mark = place.join(".stamp");
    if fs::read_to_string(&mark).is_ok_and(|found| found == stamp) {
        return Ok(place);
    }
    fs::remove_dir_all(&place).ok();
    fs::create_dir_all(&place).map_err(|e| e.to_string())?;
    fill(&place)?;
    fs::write(&mark, stamp).map_err(|e| e.to_string())?;
    drop(guard);
    Ok(place)
}

/// The contents of files, as a stamp: when one changes, what was built from it is built again.
pub fn stamp_of(paths: &[PathBuf]) -> String {
    let mut text = String::new();
    for path in paths {
        text.push_str(&fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())));
    }
    text
}
