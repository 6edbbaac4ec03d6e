//! Which names in a query are those of its own `WITH`.
//!
//! A name in `WITH` hides a table only from there on: in `WITH orders AS (SELECT * FROM orders) …` the inner `orders` is the table. Who
//! takes such a name out everywhere lets tables be read that nobody allowed.

use sqlparser::ast::{Query, With};

/// The `WITH` clauses round the place that is looked at, from the outermost in.
#[derive(Default)]
pub(super) struct Scopes(Vec<Scope>);

struct Scope {
    query: *const Query,
    /// Each name with the query that stands for it.
    named: Vec<(String, *const Query)>,
    /// How many of them can be seen from here.
    visible: usize,
}

impl Scopes {
    /// Goes into a query; `fold` gives a name as the database compares it.
    pub(super) fn enter(&mut self, query: &Query, fold: impl Fn(&sqlparser::ast::Ident) -> String) {
        if let Some(with) = &query.with {
            self.0.push(Scope::of(query, with, fold));
        }
    }

    /// Leaves a query.
    pub(super) fn leave(&mut self, query: &Query) {
        self.0.pop_if(|scope| std::ptr::eq(scope.query, query));
        // What it stands for can be seen in all that follows.
        if let Some(scope) = self.0.last_mut()
            && let Some(place) = scope.named.iter().position(|(_, own)| std::ptr::eq(*own, query))
        {
            scope.visible = scope.visible.max(place + 1);
        }
    }

    /// Whether `name` is one of a `WITH` that can be seen from here.
    pub(super) fn names(&self, name: &str) -> bool {
        self.0.iter().any(|scope| scope.named.iter().take(scope.visible).any(|(known, _)| known == name))
    }
}

impl Scope {
    fn of(query: &Query, with: &With, fold: impl Fn(&sqlparser::ast::Ident) -> String) -> Self {
        let named: Vec<_> = with.cte_tables.iter().map(|cte| (fold(&cte.alias.name), &raw const *cte.query)).collect();
        // With RECURSIVE they see each other, and themselves.
        let visible = if with.recursive { named.len() } else { 0 };
        Self { query, named, visible }
    }
}
