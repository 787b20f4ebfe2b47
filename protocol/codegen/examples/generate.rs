//! Rewrites the generated files of the protocol crate: `cargo run -p ottla-protocol-codegen --example generate`.

use std::fs;

fn main() -> std::io::Result<()> {
    for (path, content) in ottla_protocol_codegen::generate() {
        let path = ottla_protocol_codegen::protocol_dir().join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        if fs::read_to_string(&path).is_ok_and(|old| old == content) {
            continue;
        }
        println!("{}", path.display());
        fs::write(path, content)?;
    }
    Ok(())
}
