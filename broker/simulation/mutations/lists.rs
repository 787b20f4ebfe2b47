//! The lists of mutations, as the example that runs them and the test that they fit read them.

use std::fs;
use std::path::{Path, PathBuf};

pub struct Patch {
    /// The mutation that it is written under; it may carry others.
    pub name: String,
    pub file: String,
    pub old: String,
    pub new: String,
}

pub struct Mutation {
    pub name: String,
    pub list: String,
    pub file: String,
}

impl Patch {
    /// The text with the patch in it.
    ///
    /// # Errors
    /// What does not fit.
    pub fn apply(&self, text: &str) -> Result<String, String> {
        match text.matches(&self.old).count() {
            1 => Ok(text.replacen(&self.old, &self.new, 1)),
            times => Err(format!("{}: {} has this {times} times, not once:\n{}", self.name, self.file, self.old)),
        }
    }
}

/// All patches and mutations of the lists in a directory.
pub fn read_lists(dir: &Path) -> (Vec<Patch>, Vec<Mutation>) {
    let mut patches = Vec::new();
    let mut mutations: Vec<Mutation> = Vec::new();
    let mut lists: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    lists.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    lists.sort();
    for path in lists {
        let list = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let (mut file, mut old, mut new) = (String::new(), Vec::new(), Vec::new());
        for line in text.lines().chain(["mutation "]) {
            if let Some(line) = line.strip_prefix("- ") {
                old.push(line);
            } else if let Some(line) = line.strip_prefix("+ ") {
                new.push(switched(line));
            } else if line.starts_with("mutation ") || line.starts_with("file ") {
                if !old.is_empty() {
                    let name = mutations.last().map_or_else(String::new, |mutation| mutation.name.clone());
                    patches.push(Patch { name, file: file.clone(), old: old.join("\n"), new: new.join("\n") });
                    (old, new) = (Vec::new(), Vec::new());
                }
                match line.split_once(' ') {
                    Some(("file", path)) => file = path.to_owned(),
                    Some((_, name)) if !name.is_empty() => {
                        mutations.push(Mutation { name: name.to_owned(), list: list.clone(), file: file.clone() });
                    }
                    _ => {}
                }
            }
        }
    }
    for mutation in &mutations {
        let switch = format!("mutant(\"{}\")", mutation.name);
        assert!(patches.iter().any(|patch| patch.new.contains(&switch)), "{} is nowhere", mutation.name);
    }
    (patches, mutations)
}

/// `MUTANT(name)` asks whether that mutation is turned on.
fn switched(line: &str) -> String {
    let mut text = line.to_owned();
    while let Some(at) = text.find("MUTANT(") {
        let end = at + text[at..].find(')').expect("a closing bracket");
        let name = text[at + 7..end].to_owned();
        text.replace_range(at..=end, &format!("ottla_protocol::mutant(\"{name}\")"));
    }
    text
}
