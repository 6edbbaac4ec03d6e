//! What a query reads.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;

use sqlparser::ast::{
    Delete, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Insert, ObjectName, ObjectNamePart, Query, Select,
    SelectItem, SetExpr, Statement, TableAlias, TableFactor, TableObject, Update, Visit, Visitor,
};
use sqlparser::parser::Parser;

use super::Dialect;
use super::scope::Scopes;

/// Longest query in bytes: more than a person writes, little enough that understanding it takes a millisecond.
const LONGEST: usize = 64 * 1024;
/// Deepest nesting of a query; the parser's own default, said here because it bounds the stack.
const DEEPEST: usize = 50;

/// The tables, functions and columns of one statement, as the database compares their names.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Reading {
    pub(super) tables: BTreeSet<Vec<String>>,
    pub(super) functions: BTreeSet<String>,
    /// Every name that may be a column, and `*` where all of a table may be meant.
    pub(super) columns: BTreeSet<String>,
}

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatementKind {
    Select,
    Insert,
    Update,
    Delete,
}

impl StatementKind {
    /// As rules name it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// Why a text is no query whose reading is known.
type Refusal = &'static str;

/// Understands a query.
pub(super) fn of(text: &str, dialect: Dialect) -> Result<Reading, Refusal> {
    match any(text, dialect)? {
        (StatementKind::Select, reading) => Ok(reading),
        _ => Err("a statement that does more than read"),
    }
}

/// Understands a query, or one statement that writes rows and whose tables are all known.
pub(super) fn any(text: &str, dialect: Dialect) -> Result<(StatementKind, Reading), Refusal> {
    if text.len() > LONGEST {
        return Err("a query that is too long");
    }
    // A comment to this parser, and a statement to MySQL and MariaDB.
    if text.contains("/*!") || text.contains("/*M!") {
        return Err("a query with a comment that is none everywhere");
    }
    // A name by its code points: another one to this parser than to PostgreSQL.
    if text.to_ascii_lowercase().contains("u&\"") {
        return Err("a query with a name that is not written as it is understood");
    }
    let parser = dialect.parser();
    let statements = Parser::new(&*parser)
        .with_recursion_limit(DEEPEST)
        .try_with_sql(text)
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|_| "no query that can be understood")?;
    let [statement] = statements.as_slice() else { return Err("not one statement") };
    let kind = kind(statement).ok_or("a statement that does more than read")?;
    let mut reader = Reader::new(dialect);
    match statement.visit(&mut reader) {
        ControlFlow::Continue(()) => Ok((kind, reader.finish())),
        ControlFlow::Break(refusal) => Err(refusal),
    }
}

/// What a statement does; `None` where it is none of the plain forms, all of whose tables the visitor sees.
fn kind(statement: &Statement) -> Option<StatementKind> {
    match statement {
        Statement::Query(_) => Some(StatementKind::Select),
        Statement::Insert(Insert { table: TableObject::TableName(_), output: None, multi_table_insert_type: None, .. }) => {
            Some(StatementKind::Insert)
        }
        Statement::Update(Update { output: None, .. }) => Some(StatementKind::Update),
        Statement::Delete(Delete { tables, output: None, .. }) if tables.is_empty() => Some(StatementKind::Delete),
        _ => None,
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
    /// Names that are no column where they stand: of tables, functions, and what qualifies a column.
    no_columns: HashSet<*const Ident>,
    /// What a whole row can be called by.
    rows: BTreeSet<String>,
    /// Names that stand alone in expressions.
    alone: BTreeSet<String>,
}

impl Reader {
    fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            scopes: Scopes::default(),
            reading: Reading::default(),
            table_functions: Vec::new(),
            depth: 0,
            no_columns: HashSet::new(),
            rows: BTreeSet::new(),
            alone: BTreeSet::new(),
        }
    }

    /// A table's name, standing alone, is all of its row.
    fn finish(mut self) -> Reading {
        if !self.alone.is_disjoint(&self.rows) {
            self.reading.columns.insert("*".to_owned());
        }
        self.reading
    }

    fn is_no_column<'n>(&mut self, names: impl IntoIterator<Item = &'n Ident>) {
        self.no_columns.extend(names.into_iter().map(|name| &raw const *name));
    }

    fn named_by(&mut self, alias: Option<&TableAlias>) {
        if let Some(alias) = alias {
            self.is_no_column([&alias.name]);
            let name = self.fold(&alias.name);
            self.rows.insert(name);
        }
    }

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
        self.is_no_column(name.0.iter().filter_map(ObjectNamePart::as_ident));
        self.rows.extend(parts.last().cloned());
        let is_own = matches!(parts.as_slice(), [name] if self.scopes.names(name));
        if !is_own {
            self.reading.tables.insert(parts);
        }
        Ok(())
    }

    /// A function is compared without regard to case, and with its schema where one is written.
    fn function(&mut self, name: &ObjectName) -> Result<(), Refusal> {
        let parts = self.parts(name)?;
        self.is_no_column(name.0.iter().filter_map(ObjectNamePart::as_ident));
        self.reading.functions.insert(parts.join(".").to_ascii_lowercase());
        Ok(())
    }

    fn factor(&mut self, factor: &TableFactor) -> Result<(), Refusal> {
        match factor {
            TableFactor::Table { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::UNNEST { alias, .. }
            | TableFactor::Derived { alias, .. }
            | TableFactor::NestedJoin { alias, .. } => self.named_by(alias.as_ref()),
            _ => {}
        }
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
            statement if self.depth == 1 && kind(statement).is_some() => ControlFlow::Continue(()),
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
        self.is_no_column(query.with.iter().flat_map(|with| &with.cte_tables).map(|cte| &cte.alias.name));
        self.scopes.enter(query, |name| dialect.fold(&name.value, name.quote_style.is_some()));
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<Refusal> {
        self.scopes.leave(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Refusal> {
        if select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))) {
            self.reading.columns.insert("*".to_owned());
        }
        match &select.into {
            Some(_) => ControlFlow::Break("a query that writes what it reads"),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_ident(&mut self, ident: &Ident) -> ControlFlow<Refusal> {
        if !self.no_columns.contains(&(&raw const *ident)) {
            let name = self.dialect.fold_column(&ident.value, ident.quote_style.is_some());
            self.reading.columns.insert(name);
        }
        ControlFlow::Continue(())
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
            Expr::Function(Function { name, args, .. }) => {
                if takes_rows(args) {
                    self.reading.columns.insert("*".to_owned());
                }
                or_break(self.function(name))
            }
            Expr::Identifier(name) => {
                let name = self.fold(name);
                self.alone.insert(name);
                ControlFlow::Continue(())
            }
            Expr::CompoundIdentifier(parts) => {
                self.is_no_column(parts.split_last().into_iter().flat_map(|(_, qualifiers)| qualifiers));
                ControlFlow::Continue(())
            }
            Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => {
                self.reading.columns.insert("*".to_owned());
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Whether a function is given all of a table's row: `f(t.*)`. `count(*)` is given none of it.
fn takes_rows(arguments: &FunctionArguments) -> bool {
    let FunctionArguments::List(list) = arguments else { return false };
    list.args.iter().any(|argument| {
        let (FunctionArg::Unnamed(value) | FunctionArg::Named { arg: value, .. } | FunctionArg::ExprNamed { arg: value, .. }) = argument;
        matches!(value, FunctionArgExpr::QualifiedWildcard(_))
    })
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
