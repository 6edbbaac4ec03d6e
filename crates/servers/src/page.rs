//! One page of a long result.

use std::ops::ControlFlow;

/// Bytes of text in one page: some 16,000 tokens, below the 25,000 at which common clients cut a result.
pub(crate) const PAGE_BYTES: usize = 64 * 1024;

/// Gathers the items `offset..offset + limit` of a sequence, as far as they fit into a page.
#[derive(Debug)]
pub(crate) struct Page<T> {
    offset: u64,
    limit: usize,
    room: usize,
    seen: u64,
    items: Vec<T>,
    next: Option<u64>,
}

impl<T> Page<T> {
    /// A page of `limit` items (`usual` where it was not said, `most` at most) from `offset` on.
    pub(crate) fn new(offset: Option<u64>, limit: Option<u64>, usual: usize, most: usize) -> Self {
        let limit = limit.map_or(usual, |limit| usize::try_from(limit).unwrap_or(most)).clamp(1, most);
        Self { offset: offset.unwrap_or(0), limit, room: PAGE_BYTES, seen: 0, items: Vec::new(), next: None }
    }

    /// Offers the next item of `bytes`, made only where it belongs to the page. Breaks when the page is full
    /// *and* there is more: only then does a next page exist.
    pub(crate) fn offer(&mut self, bytes: usize, item: impl FnOnce() -> T) -> ControlFlow<()> {
        let at = self.seen;
        self.seen += 1;
        if at < self.offset {
            return ControlFlow::Continue(());
        }
        // The first item is taken whatever its size, or nobody could ever page past it.
        if self.items.len() == self.limit || (bytes > self.room && !self.items.is_empty()) {
            self.next = Some(at);
            return ControlFlow::Break(());
        }
        self.room = self.room.saturating_sub(bytes);
        self.items.push(item());
        ControlFlow::Continue(())
    }

    /// The items, and the offset of the next page if there is one.
    pub(crate) fn finish(self) -> (Vec<T>, Option<u64>) {
        (self.items, self.next)
    }
}

/// Says in a text where it goes on.
pub(crate) fn more(text: &mut String, next: Option<u64>) {
    if let Some(next) = next {
        text.push_str(&format!("\n[more: call again with offset {next}]"));
    }
}

/// `line` without its end, cut to `most` bytes where it is longer; says so.
pub(crate) fn cut(line: &str, most: usize) -> String {
    let line = line.trim_end_matches(['\n', '\r']);
    if line.len() <= most {
        return line.to_owned();
    }
    let kept = line.get(..line.floor_char_boundary(most)).unwrap_or_default();
    format!("{kept}… [{} bytes more]", line.len() - kept.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(offset: u64, limit: u64, count: usize, bytes: usize) -> (Vec<usize>, Option<u64>) {
        let mut page = Page::new(Some(offset), Some(limit), 10, 100);
        let _ = (0..count).try_for_each(|n| page.offer(bytes, || n));
        page.finish()
    }

    #[test]
    fn pages_join_without_gap_or_overlap() {
        let (mut all, mut next) = page(0, 7, 30, 10);
        while let Some(offset) = next {
            let (items, after) = page(offset, 7, 30, 10);
            all.extend(items);
            next = after;
        }
        assert_eq!(all, (0..30).collect::<Vec<_>>());
    }

    #[test]
    fn the_last_page_says_that_it_is_the_last() {
        assert_eq!(page(25, 5, 30, 10), (vec![25, 26, 27, 28, 29], None));
        assert_eq!(page(30, 5, 30, 10), (vec![], None));
    }

    #[test]
    fn a_page_is_bounded_in_bytes_and_still_makes_progress() {
        assert_eq!(page(0, 100, 30, PAGE_BYTES / 2).0.len(), 2);
        assert_eq!(page(3, 100, 30, PAGE_BYTES * 9), (vec![3], Some(4)));
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        assert_eq!(cut("abc\r\n", 10), "abc");
        assert_eq!(cut("aäöü", 4), "aä… [4 bytes more]");
    }
}
