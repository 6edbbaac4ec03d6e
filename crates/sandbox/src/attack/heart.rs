//! The file that grows as long as somebody lives who was told to end.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::arena::Arena;
use super::inside::HEART;

/// Time for more than ten beats of whoever still lives.
const A_FEW_BEATS: Duration = Duration::from_millis(300);

/// The first beat comes at once, on a machine that is busy (a module is compiled before it runs) within this.
const BEGIN_WITHIN: Duration = Duration::from_secs(60);

/// The heart of a hostile program. Its file is gone when this is dropped, so that the next row begins with none.
pub(super) struct Heart(PathBuf);

impl Heart {
    pub(super) fn of(arena: &Arena) -> Self {
        Self(arena.path("writable").join(HEART))
    }

    /// Waits for the first beats. False: nobody wrote, so nothing is known.
    pub(super) async fn begins(&self) -> bool {
        let begun = async {
            while self.beats() == 0 {
                sleep(A_FEW_BEATS).await;
            }
        };
        timeout(BEGIN_WITHIN, begun).await.is_ok()
    }

    /// Whether nobody writes any more.
    pub(super) async fn stands_still(&self) -> bool {
        let before = self.beats();
        sleep(A_FEW_BEATS).await;
        self.beats() == before
    }

    fn beats(&self) -> u64 {
        fs::metadata(&self.0).map_or(0, |found| found.len())
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        let _none = fs::remove_file(&self.0);
    }
}
