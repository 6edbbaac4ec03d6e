//! What a query reads.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, Function, Ident, ObjectName, ObjectNamePart, Query, Select, SetExpr, Statement, TableFactor,
    TableObject, TypedString, Visit, Visitor,
};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::columns::{self, Columns};
use super::scope::Scopes;
use super::{Dialect, Kind, depth, lexis};
use crate::rooms::{self, NoRoom};

/// Longest query in bytes: more than a person writes, little enough that understanding it takes a millisecond.
const LONGEST: usize = 64 * 1024;
/// Deepest nesting of a query; the parser's own default, said here because it bounds the stack.
const DEEPEST: usize = 50;

/// The tables and functions of one query, as the database compares their names.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) tables: BTreeSet<Vec<String>>,
    pub(super) functions: BTreeSet<String>,
    pub(super) columns: Columns,
    /// The names that `WITH` gives, wherever in the query.
    pub(super) named: BTreeSet<String>,
}

impl Reading {
    /// Whether another reading found the same.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (&self.tables, &self.functions, &self.named) == (&other.tables, &other.functions, &other.named)
            && self.columns.is_like(&other.columns)
    }
}

impl Reading {
    /// The columns as rules compare them, nowhere but in PostgreSQL told apart by case; with `*` where more may be meant than are named:
    /// a table's name, standing alone, is all of its row.
    pub(super) fn columns_named(&self, dialect: Dialect) -> BTreeSet<String> {
        let Columns { named, aliases, untold, .. } = &self.columns;
        let tables = self.tables.iter().filter_map(|table| table.last());
        let has_rows = tables.chain(aliases).chain(&self.named).any(|row| named.contains(row));
        let folded = named.iter().map(|name| if dialect == Dialect::PostgreSql { name.clone() } else { name.to_ascii_lowercase() });
        folded.chain((has_rows || untold.is_some()).then(|| "*".to_owned())).collect()
    }
}

/// Why a text is no query whose reading is known.
pub(super) type Refusal = &'static str;

/// A query that the parser does not understand.
pub(super) const UNKNOWN: Refusal = "no query that can be understood";
/// A query that nobody wrote by hand.
const TOO_LONG: Refusal = "a query that is too long";
/// A query that there is no room for.
const TOO_DEEP: Refusal = "a query that is too deep";

/// Why a query was not looked at.
pub(super) fn without_room(none: NoRoom) -> Refusal {
    match none {
        NoRoom::Full => "a query that cannot be looked at now, since too many wait; try again",
        NoRoom::Failed => TOO_DEEP,
    }
}

/// Understands a query.
pub(super) fn of(text: &str, dialect: Dialect) -> Result<Reading, Refusal> {
    let text = text.to_owned();
    let read = move || {
        let statement = parse(&text, dialect)?;
        understand(&statement, dialect, Kind::Query).map(|(reading, _)| reading)
    };
    rooms::with_room(read).unwrap_or_else(|none| Err(without_room(none)))
}

/// Whether a token can be a step down in the tree: lists are as wide as they like.
fn is_step(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.keyword != Keyword::NoKeyword,
        Token::Number(..) | Token::SingleQuotedString(_) | Token::Placeholder(_) | Token::Whitespace(_) | Token::Comma | Token::Period => {
            false
        }
        Token::LParen | Token::RParen | Token::SemiColon | Token::EOF => false, // the parser counts them itself
        _ => true,
    }
}

/// Words that begin a statement of T-SQL, where no `;` has to stand before one: this parser takes them for another name of what stands
/// before. T-SQL keeps nearly all of them for itself, so few queries miss them; `GO` is what its clients end a batch with. `END`, `FETCH`
/// and `SET` also stand in queries and changes, and are no statements alone.
const STATEMENTS_OF_T_SQL: &[&str] = &[
    "backup",
    "begin",
    "break",
    "bulk",
    "checkpoint",
    "close",
    "commit",
    "continue",
    "dbcc",
    "deallocate",
    "declare",
    "deny",
    "disable",
    "dump",
    "enable",
    "exec",
    "execute",
    "go",
    "goto",
    "grant",
    "if",
    "kill",
    "lineno",
    "load",
    "open",
    "print",
    "raiserror",
    "readtext",
    "receive",
    "reconfigure",
    "restore",
    "return",
    "revert",
    "revoke",
    "rollback",
    "save",
    "setuser",
    "shutdown",
    "throw",
    "truncate",
    "updatetext",
    "use",
    "waitfor",
    "while",
    "writetext",
];

fn begins_statement(token: &Token) -> bool {
    let Token::Word(word) = token else { return false };
    word.quote_style.is_none() && STATEMENTS_OF_T_SQL.iter().any(|begin| word.value.eq_ignore_ascii_case(begin))
}

/// The one statement of a text that nobody else is to understand: what runs is printed from it.
pub(super) fn parse_own(text: &str, dialect: Dialect) -> Result<Statement, Refusal> {
    if text.len() > LONGEST {
        return Err(TOO_LONG);
    }
    parse(&lexis::plain(text, dialect)?, dialect)
}

/// The one statement of a text.
pub(super) fn parse(text: &str, dialect: Dialect) -> Result<Statement, Refusal> {
    if text.len() > LONGEST {
        return Err(TOO_LONG);
    }
    lexis::check(text, dialect)?;
    let parser = dialect.parser();
    let tokens = Tokenizer::new(&*parser, text).tokenize_with_location().map_err(|_| UNKNOWN)?;
    if tokens.iter().filter(|token| is_step(&token.token)).count() > depth::MOST_STEPS {
        return Err(TOO_DEEP);
    }
    if dialect == Dialect::MsSql && tokens.iter().any(|token| begins_statement(&token.token)) {
        return Err("not one statement");
    }
    let parsed = Parser::new(&*parser).with_recursion_limit(DEEPEST).with_tokens_with_locations(tokens).parse_statements();
    let statements = parsed.map_err(|_| UNKNOWN)?;
    let mut statements = statements.into_iter();
    match (statements.next(), statements.next()) {
        (Some(statement), None) => Ok(statement),
        _ => Err("not one statement"),
    }
}

/// Names in a statement by their place in memory, for as long as the statement is not moved.
pub(super) type Places = BTreeSet<*const ObjectName>;

/// What a statement reads, and the names of tables in it that stand without a schema.
pub(super) fn understand(statement: &Statement, dialect: Dialect, kind: Kind) -> Result<(Reading, Places), Refusal> {
    let mut reader = Reader {
        dialect,
        kind,
        scopes: Scopes::default(),
        reading: Reading::default(),
        table_functions: Vec::new(),
        unqualified: Places::new(),
        depth: 0,
        rows: BTreeSet::from(["excluded".to_owned()]),
        called: BTreeSet::new(),
        qualified: Vec::new(),
    };
    match statement.visit(&mut reader) {
        ControlFlow::Continue(()) => Ok(reader.finish()),
        ControlFlow::Break(refusal) => Err(refusal),
    }
}

struct Reader {
    dialect: Dialect,
    kind: Kind,
    scopes: Scopes,
    reading: Reading,
    /// Names that stand where a table does and are called.
    table_functions: Vec<*const ObjectName>,
    unqualified: Places,
    /// How many statements stand round this place.
    depth: usize,
    /// What rows of tables are called by.
    rows: BTreeSet<String>,
    /// What results of functions in `FROM` are called by.
    called: BTreeSet<String>,
    /// Columns as they are written with what they are of.
    qualified: Vec<(String, String)>,
}

/// Functions of PostgreSQL that take a row, whatever is in it: `o.to_json` calls one of them.
const OF_ROWS: &[&str] = &[
    "any_value",
    "array_agg",
    "count",
    "format_type",
    "hash_record",
    "json_agg",
    "json_build_array",
    "json_build_object",
    "jsonb_agg",
    "jsonb_build_array",
    "jsonb_build_object",
    "num_nonnulls",
    "num_nulls",
    "pg_column_compression",
    "pg_column_size",
    "pg_typeof",
    "quote_literal",
    "quote_nullable",
    "record_image_eq",
    "record_out",
    "record_send",
    "row_to_json",
    "to_json",
    "to_jsonb",
];

impl Reader {
    /// What was read, with the functions that are called without looking like it: where there is no such column, `x.f` is `f(x)` to
    /// PostgreSQL. Only now it is known what each `x` is.
    fn finish(mut self) -> (Reading, Places) {
        if self.dialect == Dialect::PostgreSql {
            for (of, name) in self.qualified {
                let is_of_a_row = self.rows.contains(&of) && !self.called.contains(&of);
                if !is_of_a_row || OF_ROWS.contains(&name.as_str()) {
                    self.reading.functions.insert(name.to_ascii_lowercase());
                }
            }
        }
        (self.reading, self.unqualified)
    }

    fn fold(&self, ident: &Ident) -> String {
        self.dialect.folding()(ident)
    }

    /// How `WITH` is told to hide a table: in SQL Server the database says whether case counts, so there only by the same letters.
    fn hiding(&self) -> impl Fn(&Ident) -> String + use<> {
        let dialect = self.dialect;
        move |name| if dialect == Dialect::MsSql { name.value.clone() } else { dialect.folding()(name) }
    }

    /// The parts of a name, unless one of them is worked out when the query runs.
    fn parts(&self, name: &ObjectName) -> Result<Vec<String>, Refusal> {
        let part = |part: &ObjectNamePart| part.as_ident().map(|ident| self.fold(ident));
        name.0.iter().map(part).collect::<Option<_>>().ok_or("a query with a name that is not known yet")
    }

    fn table(&mut self, name: &ObjectName) -> Result<(), Refusal> {
        let parts = self.parts(name)?;
        self.rows.extend(parts.last().cloned());
        let is_own = matches!(name.0.as_slice(), [ObjectNamePart::Identifier(name)] if self.scopes.names(&self.hiding()(name)));
        if !is_own {
            if parts.len() == 1 {
                self.unqualified.insert(name);
            }
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

    /// Remembers what a table, or what stands for one, is called by.
    fn name(&mut self, factor: &TableFactor) {
        let fold = self.dialect.folding();
        match factor {
            TableFactor::Table { alias: Some(alias), args: None, .. }
            | TableFactor::Derived { alias: Some(alias), .. }
            | TableFactor::NestedJoin { alias: Some(alias), .. } => drop(self.rows.insert(fold(&alias.name))),
            TableFactor::Table { alias, name, args: Some(_), .. } | TableFactor::Function { alias, name, .. } => {
                self.called.extend(alias.iter().map(|alias| fold(&alias.name)));
                self.called.extend(name.0.last().and_then(ObjectNamePart::as_ident).map(fold));
            }
            TableFactor::UNNEST { alias, .. } => {
                self.called.extend(alias.iter().map(|alias| fold(&alias.name)));
                self.called.insert("unnest".to_owned());
            }
            _ => {}
        }
    }

    fn factor(&mut self, factor: &TableFactor) -> Result<(), Refusal> {
        self.reading.columns.of_factor(factor, self.dialect.folding());
        self.name(factor);
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
            Statement::Query(_) if self.depth == 1 && self.kind == Kind::Query => ControlFlow::Continue(()),
            Statement::Insert(insert) if !matches!(insert.table, TableObject::TableName(_)) => {
                ControlFlow::Break("an `INSERT` into what is no table")
            }
            Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) if self.depth == 1 && self.kind == Kind::Change => {
                self.reading.columns.untold = Some("a change");
                ControlFlow::Continue(())
            }
            _ if self.kind == Kind::Change => ControlFlow::Break("no single `INSERT`, `UPDATE` or `DELETE`"),
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
        let fold = self.dialect.folding();
        self.reading.named.extend(query.with.iter().flat_map(|with| &with.cte_tables).map(|named| fold(&named.alias.name)));
        self.reading.columns.of_order(query, fold);
        self.scopes.enter(query, self.hiding());
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<Refusal> {
        self.scopes.leave(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Refusal> {
        if select.into.is_some() {
            return ControlFlow::Break("a query that writes what it reads");
        }
        self.reading.columns.of_select(select, self.dialect.folding());
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
        self.reading.columns.of_expression(expression, self.dialect.folding());
        match expression {
            Expr::Function(Function { name, .. }) => or_break(self.function(name)),
            Expr::CompoundIdentifier(parts) => {
                let fold = self.dialect.folding();
                if let [.., of, name] = parts.as_slice() {
                    self.qualified.push((fold(of), fold(name)));
                }
                ControlFlow::Continue(())
            }
            // Of anything but a row it is the call of a function that is so called.
            Expr::CompoundFieldAccess { access_chain, .. }
                if self.dialect == Dialect::PostgreSql && access_chain.iter().any(|access| matches!(access, AccessExpr::Dot(_))) =>
            {
                ControlFlow::Break("a query that takes a value apart")
            }
            // A cast to a type of somebody's own making calls what was made for it, and `regclass` looks names up.
            Expr::Cast { data_type, .. } | Expr::TypedString(TypedString { data_type, .. }) if !columns::is_plain(data_type) => {
                ControlFlow::Break("a query with a type that is not known")
            }
            Expr::BinaryOp { op: BinaryOperator::Custom(_) | BinaryOperator::PGCustomBinaryOperator(_), .. } => {
                ControlFlow::Break("a query with an operator that is not known")
            }
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
