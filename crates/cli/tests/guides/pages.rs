//! The pages for users, and the blocks of text in them.

use std::fs;
use std::path::PathBuf;

/// A page of the documentation.
pub(crate) struct Page {
    /// Its path in the repository.
    pub(crate) name: String,
    pub(crate) blocks: Vec<Block>,
}

/// What stands between two fences.
pub(crate) struct Block {
    /// What is written behind the opening fence: `toml`, `sh`, …
    pub(crate) language: String,
    /// The line that it begins in.
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// README and all guides.
pub(crate) fn all() -> Vec<Page> {
    let top = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guides = fs::read_dir(top.join("docs/guides")).unwrap();
    let mut names: Vec<String> = guides.map(|entry| format!("docs/guides/{}", entry.unwrap().file_name().to_str().unwrap())).collect();
    names.sort();
    names.insert(0, "README.md".to_owned());
    names
        .into_iter()
        .map(|name| {
            let blocks = blocks(&fs::read_to_string(top.join(&name)).unwrap());
            Page { name, blocks }
        })
        .collect()
}

/// The guide of that name.
pub(crate) fn guide(name: &str) -> Page {
    let name = format!("docs/guides/{name}.md");
    all().into_iter().find(|page| page.name == name).unwrap()
}

impl Page {
    /// The text of the block in `language` that says `part`.
    pub(crate) fn block(&self, language: &str, part: &str) -> &str {
        let mut found = self.blocks.iter().filter(|block| block.language == language && block.text.contains(part));
        &found.next().unwrap_or_else(|| panic!("{}: no block in {language} says {part}", self.name)).text
    }
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in page.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some(Block { language: language.to_owned(), line: index + 2, text: String::new() }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is left open");
    blocks
}
