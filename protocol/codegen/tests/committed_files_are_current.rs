//! What is committed is what the tables say.

#[test]
fn committed_files_are_current() {
    for (path, content) in ottla_protocol_codegen::generate() {
        let committed = std::fs::read_to_string(ottla_protocol_codegen::protocol_dir().join(&path)).unwrap_or_default();
        assert!(
            committed == content,
            "{} is stale: cargo run -p ottla-protocol-codegen --example generate",
            path.display()
        );
    }
}
