//! Limits that a program has met, as far as that can still be seen when it has ended.

#[cfg(target_os = "linux")]
use rustix::fs::StatVfs;

/// A limit that a program has met. Where a hostile guest says so it is a hint, for messages, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// The kernel had no memory left, and ended something for it.
    Memory,
    /// `/tmp` was full.
    Tmp,
    /// `/dev/shm` was full.
    Shm,
    /// One of the two had as many files as it may.
    Files,
}

impl Met {
    const ALL: [Self; 4] = [Self::Memory, Self::Tmp, Self::Shm, Self::Files];

    /// As it stands in a record, where 0 is none.
    pub(crate) fn number(met: Option<Self>) -> u32 {
        let place = Self::ALL.iter().position(|one| Some(*one) == met);
        place.and_then(|place| u32::try_from(place + 1).ok()).unwrap_or(0)
    }

    /// What a number of a record means; `None` if nothing.
    pub(crate) fn of_number(number: u32) -> Option<Option<Self>> {
        match usize::try_from(number).ok()?.checked_sub(1) {
            None => Some(None),
            Some(place) => Self::ALL.get(place).copied().map(Some),
        }
    }

    /// What the program's own folders have no room left for. Its `/tmp` may be somebody else's.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn full(tmp: Option<&StatVfs>, shm: &StatVfs) -> Option<Self> {
        let is_full = |folder: &StatVfs| folder.f_blocks > 0 && folder.f_bfree == 0;
        let has_all_files = |folder: &StatVfs| folder.f_files > 0 && folder.f_ffree == 0;
        match (tmp.is_some_and(is_full), is_full(shm)) {
            (true, _) => Some(Self::Tmp),
            (_, true) => Some(Self::Shm),
            _ => (tmp.is_some_and(has_all_files) || has_all_files(shm)).then_some(Self::Files),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_number_and_no_other_number_means_anything() {
        for met in Met::ALL.map(Some).into_iter().chain([None]) {
            assert_eq!(Met::of_number(Met::number(met)), Some(met));
        }
        assert_eq!((Met::of_number(5), Met::of_number(u32::MAX)), (None, None));
    }
}
