//! What a query reads.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Function, Ident, ObjectName, ObjectNamePart, Query, Select, SetExpr, Statement, TableFactor, Visit, Visitor};
use sqlparser::parser::Parser;

use super::Dialect;
use super::scope::Scopes;

/// Longest query in bytes: more than a person writes, little enough that understanding it takes a millisecond.
const LONGEST: usize = 64 * 1024;
/// Deepest nesting of a query; the parser's own default, said here because it bounds the stack.
const DEEPEST: usize = 50;

/// The tables and functions of one query, as the database compares their names.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Reading {
    pub(super) tables: BTreeSet<Vec<String>>,
    pub(super) functions: BTreeSet<String>,
}

/// Why a text is no query whose reading is known.
type Refusal = &'static str;

/// Understands a query.
pub(super) fn of(text: &str, dialect: Dialect) -> Result<Reading, Refusal> {
    if text.len() > LONGEST {
        return Err("a query that is too long");
    }
    // A comment to this parser, and a statement to MySQL and MariaDB.
    if text.contains("/*!") || text.contains("/*M!") {
        return Err("a query with a comment that is none everywhere");
    }
    let parser = dialect.parser();
    let statements = Parser::new(&*parser)
        .with_recursion_limit(DEEPEST)
        .try_with_sql(text)
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|_| "no query that can be understood")?;
    let [statement] = statements.as_slice() else { return Err("not one statement") };
    let mut reader = Reader { dialect, scopes: Scopes::default(), reading: Reading::default(), table_functions: Vec::new(), depth: 0 };
    match statement.visit(&mut reader) {
        ControlFlow::Continue(()) => Ok(reader.reading),
        ControlFlow::Break(refusal) => Err(refusal),
    }
}

struct Reader {
    dialect: Dialect,
    scopes: Scopes,
    reading: Reading,
    /// Names that stand where a table does and are called.
    table_functions: Vec<*const ObjectName>,
    /// How many statements stand round this place.
    depth: usize,
}

impl Reader {
    fn fold(&self, ident: &Ident) -> String {
        self.dialect.fold(&ident.value, ident.quote_style.is_some())
    }

    /// The parts of a name, unless one of them is worked out when the query runs.
    fn parts(&self, name: &ObjectName) -> Result<Vec<String>, Refusal> {
        let part = |part: &ObjectNamePart| part.as_ident().map(|ident| self.fold(ident));
        name.0.iter().map(part).collect::<Option<_>>().ok_or("a query with a name that is not known yet")
    }

    fn table(&mut self, name: &ObjectName) -> Result<(), Refusal> {
        let parts = self.parts(name)?;
        let is_own = matches!(parts.as_slice(), [name] if self.scopes.names(name));
        if !is_own {
            self.reading.tables.insert(parts);
        }
        Ok(())
    }

    /// A function is compared without regard to case, and with its schema where one is written.
    fn function(&mut self, name: &ObjectName) -> Result<(), Refusal> {
        let parts = self.parts(name)?;
        self.reading.functions.insert(parts.join(".").to_ascii_lowercase());
        Ok(())
    }

    fn factor(&mut self, factor: &TableFactor) -> Result<(), Refusal> {
        match factor {
            TableFactor::Table { name, args: Some(_), .. } => {
                self.table_functions.push(name);
                self.function(name)
            }
            TableFactor::Function { name, .. } => self.function(name),
            TableFactor::UNNEST { .. } => {
                self.reading.functions.insert("unnest".to_owned());
                Ok(())
            }
            TableFactor::Table { .. } | TableFactor::Derived { .. } | TableFactor::NestedJoin { .. } => Ok(()),
            _ => Err("a query with a source that is not known"),
        }
    }
}

impl Visitor for Reader {
    type Break = Refusal;

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<Refusal> {
        self.depth += 1;
        match statement {
            Statement::Query(_) if self.depth == 1 => ControlFlow::Continue(()),
            _ => ControlFlow::Break("a statement that does more than read"),
        }
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Refusal> {
        if !query.locks.is_empty() {
            return ControlFlow::Break("a query that locks what it reads");
        }
        if !query.pipe_operators.is_empty() || query.settings.is_some() || query.format_clause.is_some() || !is_reading(&query.body) {
            return ControlFlow::Break("a statement that does more than read");
        }
        let dialect = self.dialect;
        self.scopes.enter(query, |name| dialect.fold(&name.value, name.quote_style.is_some()));
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<Refusal> {
        self.scopes.leave(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Refusal> {
        match &select.into {
            Some(_) => ControlFlow::Break("a query that writes what it reads"),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Refusal> {
        or_break(self.factor(factor))
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<Refusal> {
        if self.table_functions.pop_if(|function| std::ptr::eq(*function, name)).is_some() {
            return ControlFlow::Continue(());
        }
        or_break(self.table(name))
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<Refusal> {
        match expression {
            Expr::Function(Function { name, .. }) => or_break(self.function(name)),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn or_break(outcome: Result<(), Refusal>) -> ControlFlow<Refusal> {
    outcome.map_or_else(ControlFlow::Break, ControlFlow::Continue)
}

/// `TABLE x` names its table where nobody looks; everything else here that is no query is a statement of its own.
fn is_reading(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => true,
        SetExpr::SetOperation { left, right, .. } => is_reading(left) && is_reading(right),
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) | SetExpr::Table(_) => false,
    }
}
