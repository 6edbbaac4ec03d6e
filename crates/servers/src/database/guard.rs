//! The first wall: what is understood of a statement, compared with what may be read.

use std::collections::BTreeSet;

use sallyport_policy::{Dialect, SqlGuard, SqlRule, SqlStatement, StatementKind};

use super::engine::{Relation, RelationKind, default_schema};
use super::{Config, Database};
use crate::build_error::BuildError;
use crate::tool::{Job, ToolError};

/// What works on the values it is given and on nothing else, takes little time and makes little out of much: no `repeat`, `lpad`,
/// `printf`, `generate_series`, and nothing that asks the database about itself.
const FUNCTIONS: &[&str] = &[
    "abs",
    "avg",
    "ceil",
    "ceiling",
    "coalesce",
    "count",
    "date",
    "date_part",
    "date_trunc",
    "datetime",
    "dense_rank",
    "floor",
    "julianday",
    "lag",
    "lead",
    "length",
    "lower",
    "ltrim",
    "max",
    "min",
    "nullif",
    "now",
    "rank",
    "round",
    "row_number",
    "rtrim",
    "strftime",
    "substr",
    "substring",
    "sum",
    "time",
    "total",
    "trim",
    "upper",
];

/// Which statements pass.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    dialect: Dialect,
    tables: Option<Vec<String>>,
    columns: Option<Vec<String>>,
    functions: Vec<String>,
}

/// What a statement may touch, as the database should see it.
#[derive(Debug, Clone)]
pub(super) struct Allowed {
    pub(super) relations: Vec<Relation>,
    pub(super) columns: Option<BTreeSet<String>>,
    pub(super) functions: BTreeSet<String>,
}

impl Guard {
    pub(super) fn new(config: &Config) -> Self {
        let dialect = if config.sqlite.is_some() { Dialect::Sqlite } else { Dialect::PostgreSql };
        let schema = default_schema(dialect);
        let qualified = |name: &String| if name.contains('.') { name.clone() } else { format!("{schema}.{name}") };
        let functions = config.functions.clone().unwrap_or_else(|| FUNCTIONS.iter().map(|name| (*name).to_owned()).collect());
        let tables = config.tables.as_ref().map(|tables| tables.iter().map(qualified).collect());
        Self { dialect, tables, columns: config.columns.clone(), functions }
    }

    /// What is wrong with the lists.
    pub(super) fn problem(&self) -> Option<BuildError> {
        let tables = self.tables.clone().unwrap_or_default();
        if let Some(name) = tables.iter().find(|name| name.matches('.').count() != 1) {
            return Some(BuildError::new(format!("{name:?} is no table")).with_hint("write NAME or SCHEMA.NAME"));
        }
        self.rule(tables).err().map(BuildError::new)
    }

    fn rule(&self, tables: Vec<String>) -> Result<SqlGuard, String> {
        let (columns, functions) = (self.columns.clone(), Some(self.functions.clone()));
        SqlGuard::build(&SqlRule { dialect: self.dialect, tables, functions, columns })
    }

    /// Whether a relation is one of those that may be read.
    fn admits(&self, relation: &Relation) -> bool {
        let is_same = |listed: &String, name: &str| match self.dialect {
            Dialect::Sqlite => listed.eq_ignore_ascii_case(name),
            _ => listed == name,
        };
        let name = relation.full_name();
        // A name that needs more than quotes could be taken for another one.
        let is_plain = !name.contains(['"', '`', '[', '*', ' ']) && name.matches('.').count() == 1;
        is_plain && self.tables.as_ref().is_none_or(|listed| listed.iter().any(|listed| is_same(listed, &name)))
    }
}

impl Relation {
    /// The relation that a full name in the configuration means.
    fn of(name: &str) -> Option<Self> {
        let (schema, name) = name.split_once('.')?;
        Some(Self { schema: schema.to_owned(), name: name.to_owned(), kind: RelationKind::Table })
    }

    pub(super) fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

impl Database {
    /// The tables and views that may be read, by name.
    pub(super) fn relations(&self, job: &Job) -> Result<Vec<Relation>, ToolError> {
        let mut relations = self.engine.relations(job)?;
        relations.retain(|relation| self.guard.admits(relation));
        relations.sort();
        Ok(relations)
    }

    /// Whether a column may be named.
    pub(super) fn shows(&self, column: &str) -> bool {
        self.guard.columns.as_ref().is_none_or(|listed| listed.iter().any(|listed| listed.eq_ignore_ascii_case(column)))
    }

    /// Understands a statement, and says what the database should hold it to.
    pub(super) fn admit(&self, sql: &str, kind: StatementKind, job: &Job) -> Result<(SqlStatement, Allowed), ToolError> {
        let relations = match &self.guard.tables {
            // Its login is asked anyway when the statement runs, over another connection.
            Some(listed) if self.guard.dialect == Dialect::PostgreSql => listed.iter().filter_map(|name| Relation::of(name)).collect(),
            _ => self.relations(job)?,
        };
        self.admit_over(relations, sql, kind)
    }

    /// The same for a query whose plan is shown. The plan of a view names what is behind it, with the view's conditions, whoever may read that.
    pub(super) fn admit_plan(&self, sql: &str, job: &Job) -> Result<(SqlStatement, Allowed), ToolError> {
        let mut relations = self.engine.plain_tables(job)?;
        relations.retain(|relation| self.guard.admits(relation));
        self.admit_over(relations, sql, StatementKind::Query).map_err(|refused| {
            refused.with_hint(
                "one SELECT, as `query` takes it, over tables: of views, partitions and rows that a policy chooses no plan is shown",
            )
        })
    }

    fn admit_over(&self, relations: Vec<Relation>, sql: &str, kind: StatementKind) -> Result<(SqlStatement, Allowed), ToolError> {
        let names = relations.iter().map(Relation::full_name).collect();
        let rule = self.guard.rule(names).map_err(ToolError::internal)?;
        let statement = rule.admit(sql, kind, Some(default_schema(self.guard.dialect))).map_err(|why| refused(&why))?;
        // A name of WITH that is a view's would look like that view to the database's own check.
        let hides = |relation: &&Relation| relation.kind == RelationKind::View && statement.named.contains(&relation.name.to_lowercase());
        if let Some(view) = relations.iter().find(hides) {
            return Err(refused(&format!("gives the name of the view {:?} to something else", view.name)));
        }
        let fold = |names: &Vec<String>| names.iter().map(|name| name.to_ascii_lowercase()).collect::<BTreeSet<_>>();
        let allowed = Allowed { relations, columns: self.guard.columns.as_ref().map(fold), functions: fold(&self.guard.functions) };
        Ok((statement, allowed))
    }
}

fn refused(why: &str) -> ToolError {
    ToolError::argument("sql", why)
        .with_hint("one statement over the tables of list_tables, with plain functions and types; values belong into `parameters`")
}
