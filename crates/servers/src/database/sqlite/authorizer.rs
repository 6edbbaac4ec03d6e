//! The second wall: what SQLite itself finds a statement to touch, compared with what it may.

use std::collections::BTreeSet;

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use super::super::engine::{Ask, RelationKind};
use super::catalogue;

/// What operators are called by.
const OPERATORS: [&str; 4] = ["like", "glob", "->", "->>"];

struct Allowed {
    tables: BTreeSet<String>,
    views: BTreeSet<String>,
    /// What the statement itself gives a name to.
    named: BTreeSet<String>,
    columns: Option<BTreeSet<String>>,
    functions: BTreeSet<String>,
    /// Whether rows may be changed.
    change: bool,
}

/// Asks about everything that is prepared from now on.
pub(super) fn install(connection: &mut Connection, ask: &Ask<'_>, change: bool) -> rusqlite::Result<()> {
    let of_kind = |kind| {
        ask.allowed.relations.iter().filter(move |relation| relation.kind == kind).map(|relation| relation.name.to_ascii_lowercase())
    };
    // A name that is a table's of the file stays that table's, also where the statement gives it to something else.
    let real: BTreeSet<String> = catalogue::relations(connection)?.into_iter().map(|relation| relation.name.to_ascii_lowercase()).collect();
    let is_free = |name: &&String| !real.contains(*name) && !name.starts_with("sqlite_") && !name.starts_with("pragma_");
    let allowed = Allowed {
        tables: of_kind(RelationKind::Table).chain(of_kind(RelationKind::View)).collect(),
        views: of_kind(RelationKind::View).collect(),
        named: ask.statement.named.iter().filter(is_free).cloned().collect(),
        columns: ask.allowed.columns.clone(),
        functions: ask.allowed.functions.clone(),
        change,
    };
    connection
        .authorizer(Some(move |context: AuthContext<'_>| if allowed.admits(&context) { Authorization::Allow } else { Authorization::Deny }))
}

/// Asks no more.
pub(super) fn remove(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)
}

impl Allowed {
    fn admits(&self, context: &AuthContext<'_>) -> bool {
        let is_main = context.database_name.is_none_or(|name| name == "main");
        match context.action {
            AuthAction::Select | AuthAction::Recursive => true,
            AuthAction::Read { table_name, column_name } => is_main && self.reads(table_name, column_name, context.accessor),
            AuthAction::Function { function_name } => {
                let name = function_name.to_ascii_lowercase();
                self.functions.contains(&name) || OPERATORS.contains(&&*name)
            }
            AuthAction::Insert { table_name } | AuthAction::Delete { table_name } | AuthAction::Update { table_name, .. } => {
                // What a trigger does is not what the statement says.
                self.change && is_main && context.accessor.is_none() && self.tables.contains(&table_name.to_ascii_lowercase())
            }
            _ => false,
        }
    }

    /// A `count(*)` reads a table's column without a name.
    fn reads(&self, table: &str, column: &str, accessor: Option<&str>) -> bool {
        let (table, column) = (table.to_ascii_lowercase(), column.to_ascii_lowercase());
        if self.named.contains(&table) || accessor.is_some_and(|view| self.views.contains(&view.to_ascii_lowercase())) {
            return true;
        }
        self.tables.contains(&table) && self.columns.as_ref().is_none_or(|columns| column.is_empty() || columns.contains(&column))
    }
}
