//! Rehearsals: a program whose memory was given back is asked something a few times before it may sleep on, so that the request that wakes it
//! finds what it needs in memory, and the rest stays away.

use std::io;

use crate::instance::{GivenBack, Memory};

/// With so few pages left to wait for, another rehearsal gains nothing: from disk they take a millisecond.
const FEW: u64 = 16;

/// Each rehearsal takes as long as a call. Most programs are through with two to four; some fetch other pages in every call.
const MOST: u32 = 6;

/// A program that keeps more than this part of what it had, though it could keep less, begins once more: it has collected its garbage in the
/// middle of a rehearsal, which goes through all of its memory.
const LARGE: u64 = 5;

/// Decides how often a program rehearses. Until a rehearsal hardly waits for pages any more, or for no fewer than the one before: of a program
/// that allocates from a heap that was given back, each call fetches pages that none before has touched.
#[derive(Clone, Copy, Debug)]
pub struct Rehearsal {
    given: GivenBack,
    /// How many pages the program had waited for when this last looked; `None` before the first rehearsal.
    fetched: Option<u64>,
    /// Of those, in the rehearsal before.
    last: u64,
    /// Rehearsals that may follow.
    left: u32,
    has_begun_anew: bool,
}

impl Rehearsal {
    /// Of a program that has given back so much and sleeps. `before` is what it has when it has all of its memory: one that gave memory back
    /// before has less at the next time.
    #[must_use]
    pub fn after(given: GivenBack) -> Self {
        Self { given, fetched: None, last: u64::MAX, left: MOST, has_begun_anew: false }
    }

    /// Whether the program is to be woken for one request (more) that changes nothing. Asked while it sleeps; blocks as [`Memory::give_back`]
    /// does, which it calls where the program has fetched too much.
    ///
    /// # Errors
    /// As [`Memory::give_back`].
    pub fn wants_another(&mut self, memory: &Memory, go_on: impl Fn() -> bool) -> io::Result<bool> {
        if self.is_unfinished(memory.fetched()) {
            return Ok(true);
        }
        let is_small = |resident: u64| resident < self.given.before / LARGE;
        // Without swap it is never that small, and once more would be the same.
        if self.has_begun_anew || !is_small(self.given.after) || is_small(memory.give_back(|| false)?.after) {
            return Ok(false);
        }
        memory.give_back(go_on)?;
        *self = Self { has_begun_anew: true, ..Self::after(self.given) };
        Ok(self.is_unfinished(memory.fetched()))
    }

    /// The same by the pages that the program has waited for so far.
    fn is_unfinished(&mut self, fetched: u64) -> bool {
        let in_this = self.fetched.replace(fetched).map_or(u64::MAX, |before| fetched.saturating_sub(before));
        let last = std::mem::replace(&mut self.last, in_this);
        // An eighth is what two calls differ by anyway.
        let is_fewer = in_this == u64::MAX || in_this < last - last / 8;
        let goes_on = self.left > 0 && in_this > FEW && is_fewer;
        self.left = self.left.saturating_sub(1);
        goes_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many rehearsals there are of a program that waits for so many pages in each.
    fn rehearsals(pages: &[u64]) -> usize {
        let mut rehearsal = Rehearsal::after(GivenBack { before: 100, after: 3 });
        let mut fetched = 7;
        for (done, pages) in pages.iter().enumerate() {
            if !rehearsal.is_unfinished(fetched) {
                return done;
            }
            fetched += pages;
        }
        panic!("it never ends");
    }

    #[test]
    fn a_program_rehearses_until_that_gains_nothing() {
        assert_eq!(rehearsals(&[0, 0]), 1, "it needed nothing");
        assert_eq!(rehearsals(&[900, 16, 0]), 2, "it needs next to nothing any more");
        // As Node's filesystem server did with zram.
        assert_eq!(rehearsals(&[1269, 133, 131, 126]), 3);
        assert_eq!(rehearsals(&[1242, 120, 92, 95, 93]), 4);
        assert_eq!(rehearsals(&[1000, 800, 600, 500, 400, 300, 200, 100]), 6, "it is never done");
        assert_eq!(rehearsals(&[1000, 3000, 100]), 2, "it does something else");
    }
}
