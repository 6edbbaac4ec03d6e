//! Everything that the matrix looks at, by subject.

mod errors;
mod lists;
mod news;
mod questions;
mod results;
mod running;
mod tasks;
mod unknown;

use crate::feature::Feature;

/// A heading of the page, and the rows under it.
pub(crate) struct Subject {
    pub(crate) title: &'static str,
    pub(crate) features: &'static [Feature],
}

/// In the order of the page.
pub(crate) const SUBJECTS: [Subject; 8] = [
    Subject { title: "Lists and what is on them", features: &lists::FEATURES },
    Subject { title: "Results", features: &results::FEATURES },
    Subject { title: "Errors", features: &errors::FEATURES },
    Subject { title: "While a call runs", features: &running::FEATURES },
    Subject { title: "Questions to the client", features: &questions::FEATURES },
    Subject { title: "News", features: &news::FEATURES },
    Subject { title: "Tasks", features: &tasks::FEATURES },
    Subject { title: "What no revision knows", features: &unknown::FEATURES },
];

/// All rows.
pub(crate) fn all() -> impl Iterator<Item = &'static Feature> {
    SUBJECTS.iter().flat_map(|subject| subject.features)
}
