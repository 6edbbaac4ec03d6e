//! The memory of one server: one budget, which all its running guests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wasmtime::{ResourceLimiter, Result};

/// Entries of tables count as memory.
const TABLE_ENTRY_BYTES: usize = 16;

/// Modules within a component, each with its memories and tables: composed ones have some ten. Each memory takes address space.
const MOST_INSTANCES: usize = 256;
const MOST_MEMORIES: usize = 16;
const MOST_TABLES: usize = 64;

/// What is left of a server's memory, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<AtomicUsize>);

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    fn take(&self, bytes: usize) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }

    /// What one guest takes; it is given back when the guest ends.
    pub(super) fn share(&self) -> Share {
        Share { budget: self.clone(), taken: 0, refused: false }
    }
}

/// What one guest has taken.
#[derive(Debug)]
pub(super) struct Share {
    budget: Budget,
    taken: usize,
    refused: bool,
}

impl Share {
    /// Whether the guest wanted more than there was, which is why it failed if it did.
    pub(super) fn was_refused(&self) -> bool {
        self.refused
    }

    fn grow(&mut self, bytes: usize) -> bool {
        let granted = self.budget.take(bytes);
        if granted {
            self.taken += bytes;
        } else {
            self.refused = true;
        }
        granted
    }
}

impl ResourceLimiter for Share {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(self.grow(desired.saturating_sub(current)))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(self.grow(desired.saturating_sub(current).saturating_mul(TABLE_ENTRY_BYTES)))
    }

    fn instances(&self) -> usize {
        MOST_INSTANCES
    }

    fn memories(&self) -> usize {
        MOST_MEMORIES
    }

    fn tables(&self) -> usize {
        MOST_TABLES
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_share_what_there_is_and_give_it_back() {
        let budget = Budget::new(100);
        let (mut first, mut second) = (budget.share(), budget.share());
        assert!(first.grow(60));
        assert!(!second.grow(60) && second.was_refused());
        drop(first);
        assert!(second.grow(100));
        assert!(!second.grow(1));
    }
}
