//! SPDX licence expressions, as far as crates use them.

use std::collections::BTreeSet;

/// Whether `expression` can be satisfied with licences of `allowed`: `MIT OR Apache-2.0`, `(A OR B) AND C`, and `MIT/Apache-2.0`,
/// the old way to write `OR`. Anything that is not understood is not allowed.
pub(crate) fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { words: &words, allowed };
    reader.alternatives().is_some_and(|satisfied| satisfied && reader.words.is_empty())
}

struct Reader<'a> {
    words: &'a [&'a str],
    allowed: &'a BTreeSet<String>,
}

impl Reader<'_> {
    fn alternatives(&mut self) -> Option<bool> {
        let mut satisfied = self.conjunction()?;
        while self.eat("OR") {
            satisfied |= self.conjunction()?;
        }
        Some(satisfied)
    }

    fn conjunction(&mut self) -> Option<bool> {
        let mut satisfied = self.licence()?;
        while self.eat("AND") {
            satisfied &= self.licence()?;
        }
        Some(satisfied)
    }

    fn licence(&mut self) -> Option<bool> {
        if self.eat("(") {
            let satisfied = self.alternatives()?;
            return self.eat(")").then_some(satisfied);
        }
        let mut name = self.next()?.to_owned();
        if self.eat("WITH") {
            name = format!("{name} WITH {}", self.next()?);
        }
        Some(self.allowed.contains(&name))
    }

    fn eat(&mut self, word: &str) -> bool {
        let found = self.words.first() == Some(&word);
        if found {
            self.next();
        }
        found
    }

    fn next(&mut self) -> Option<&str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(expression: &str) -> bool {
        let licences = ["MIT", "Apache-2.0", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"];
        is_allowed(expression, &licences.map(str::to_owned).into())
    }

    #[test]
    fn one_allowed_alternative_is_enough() {
        assert!(allowed("LGPL-2.1 OR MIT"));
        assert!(allowed("GPL-3.0/Apache-2.0"));
        assert!(allowed("Apache-2.0 WITH LLVM-exception"));
    }

    #[test]
    fn every_part_of_a_conjunction_counts() {
        assert!(allowed("(MIT OR GPL-2.0) AND Unicode-3.0"));
        assert!(!allowed("MIT AND GPL-2.0"));
        assert!(!allowed("GPL-2.0 WITH LLVM-exception"));
    }

    #[test]
    fn nonsense_is_not_allowed() {
        for nonsense in ["", "MIT MIT", "(MIT", "MIT OR", "see LICENSE"] {
            assert!(!allowed(nonsense), "{nonsense:?}");
        }
    }
}
