//! The mutations of `mutations/*.txt` go with the sources: one that fits no longer shows nothing, and stops the run of all.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../mutations/lists.rs"]
mod lists;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::Path;

#[test]
fn every_mutation_fits_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let (patches, mutations) = lists::read_lists(&root.join("broker/simulation/mutations"));
    assert!(mutations.len() >= 121, "{}", mutations.len());
    let names = mutations.iter().map(|mutation| (&mutation.name, (&mutation.list, &mutation.file)));
    assert_eq!(names.collect::<BTreeMap<_, _>>().len(), mutations.len(), "a name is there twice");
    // As they are applied: all to one copy, each to what those before it have left.
    let mut texts = BTreeMap::new();
    let mut misfits = Vec::new();
    for patch in &patches {
        let text = match texts.entry(&patch.file) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(new) => new.insert(fs::read_to_string(root.join(&patch.file)).expect(&patch.file)),
        };
        assert_ne!(patch.old, patch.new, "{}", patch.name);
        match patch.apply(text) {
            Ok(patched) => *text = patched,
            Err(misfit) => misfits.push(misfit),
        }
    }
    assert!(misfits.is_empty(), "{} fit no longer:\n\n{}", misfits.len(), misfits.join("\n\n"));
}
