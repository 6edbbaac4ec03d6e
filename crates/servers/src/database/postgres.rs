//! PostgreSQL: a connection of its own for every call, a transaction that only reads, and a session whose names mean what the guard took
//! them for.

mod catalogue;
mod session;
mod tls;
mod value;

use std::future::Future;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use sallyport_secrets::SecretReference;
use tokio::runtime::Builder;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Statement, Transaction};

use super::engine::{Ask, Description, Engine, Relation};
use super::execute::too_many;
use super::limits::Limits;
use super::parameter;
use super::rows::{Gather, Page, ResultColumn, longest_value};
use crate::build_error::BuildError;
use crate::tool::{Job, ToolError};
use session::Session;
use tls::Tls;

/// How often a call at work looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);
/// How long a database may take to hear that a statement is to end: the connection is closed in any case.
const CANCEL: Duration = Duration::from_secs(2);
/// Bytes of rows that one step of a portal may bring into memory.
const STEP_BYTES: usize = 16 * 1024 * 1024;
/// Rows of one step of a portal at most: more do not make it faster.
const STEP_ROWS: usize = 256;

/// A database behind an address.
pub(super) struct Postgres {
    address: SecretReference,
    tls: Tls,
    limits: Limits,
    /// What the login may do beyond what it needs, told once.
    told: OnceLock<()>,
}

/// What a call does inside of its transaction.
struct Work<'a> {
    transaction: Transaction<'a>,
    limits: Limits,
}

impl Postgres {
    pub(super) fn new(address: SecretReference, authority: Option<&Path>, limits: Limits) -> Result<Self, BuildError> {
        Ok(Self { address, tls: Tls::new(authority)?, limits, told: OnceLock::new() })
    }

    /// Does `work` in a transaction of a new connection; ends it when its time is over or nobody waits for it any more.
    fn run<T>(&self, write: bool, job: &Job, work: impl AsyncFnOnce(Work<'_>) -> Result<T, ToolError>) -> Result<T, ToolError> {
        // A runtime of its own: whatever the call leaves behind ends with it.
        let runtime = Builder::new_current_thread().enable_all().build().map_err(ToolError::internal)?;
        let outcome = runtime.block_on(async {
            let end = tokio::time::Instant::now() + self.limits.time();
            let mut session = within(end, job, Session::open(&self.address, &self.tls, self.limits)).await?;
            let ending = session.client.cancel_token();
            let outcome = within(end, job, async {
                let transaction = session.client.build_transaction().read_only(!write).start().await.map_err(|error| fault(&error))?;
                self.check(&transaction, write).await?;
                work(Work { transaction, limits: self.limits }).await
            })
            .await;
            if outcome.is_err() {
                // Dropping the connection does not stop a statement that is at work.
                let _unheard = tokio::time::timeout(CANCEL, ending.cancel_query(self.tls.clone())).await;
            }
            outcome
        });
        runtime.shutdown_background();
        outcome
    }

    /// Refuses a login that nothing could hold, and tells once of one that may more than it needs.
    async fn check(&self, transaction: &Transaction<'_>, write: bool) -> Result<(), ToolError> {
        let powers = session::powers(transaction, write).await?;
        if !powers.is_empty() && self.told.set(()).is_ok() {
            tracing::warn!(database = %self.address, may = powers.join(", "), "the login may do more than it needs");
        }
        Ok(())
    }
}

/// Waits for `work` until its time is over or nobody waits for it any more.
async fn within<T>(end: tokio::time::Instant, job: &Job, work: impl Future<Output = Result<T, ToolError>>) -> Result<T, ToolError> {
    let unwanted = async {
        loop {
            if let Err(cancelled) = job.check() {
                return cancelled;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        done = work => done,
        cancelled = unwanted => Err(cancelled),
        () = tokio::time::sleep_until(end) => Err(super::too_long()),
    }
}

impl Work<'_> {
    async fn prepare(&self, text: &str, ask: &Ask<'_>) -> Result<Statement, ToolError> {
        let statement = self.transaction.prepare(text).await.map_err(|error| fault(&error))?;
        parameter::check(ask.parameters, statement.params().len())?;
        Ok(statement)
    }

    /// The rows of a statement whose columns are all text, step by step: no more come than the page takes.
    async fn rows(
        &self,
        statement: &Statement,
        columns: Vec<ResultColumn>,
        kinds: &[value::Kind],
        ask: &Ask<'_>,
    ) -> Result<Page, ToolError> {
        let longest = longest_value(columns.len(), self.limits);
        // Characters of up to four bytes.
        let step = (STEP_BYTES / (longest * columns.len().max(1) * 4)).clamp(1, STEP_ROWS).min(self.limits.rows() + 1);
        let step = i32::try_from(step).unwrap_or(i32::MAX);
        let given: Vec<&(dyn ToSql + Sync)> = ask.parameters.iter().map(|parameter| parameter as _).collect();
        let portal = self.transaction.bind(statement, &given).await.map_err(|error| fault(&error))?;
        let mut gather = Gather::new(columns, self.limits);
        loop {
            let rows = self.transaction.query_portal(&portal, step).await.map_err(|error| fault(&error))?;
            for row in &rows {
                let (values, cut) = value::of_row(row, kinds, longest).map_err(|error| fault(&error))?;
                if gather.offer(values, cut).is_break() {
                    return Ok(gather.finish());
                }
            }
            if rows.len() < usize::try_from(step).unwrap_or(usize::MAX) {
                return Ok(gather.finish());
            }
        }
    }
}

impl Engine for Postgres {
    fn name(&self) -> &'static str {
        "PostgreSQL"
    }

    fn relations(&self, job: &Job) -> Result<Vec<Relation>, ToolError> {
        self.run(false, job, async |work| catalogue::relations(&work.transaction).await)
    }

    fn plain_tables(&self, job: &Job) -> Result<Vec<Relation>, ToolError> {
        self.run(false, job, async |work| catalogue::plain_tables(&work.transaction).await)
    }

    fn describe(&self, relation: &Relation, job: &Job) -> Result<Description, ToolError> {
        self.run(false, job, async |work| catalogue::describe(&work.transaction, relation).await)
    }

    fn query(&self, ask: &Ask<'_>, job: &Job) -> Result<Page, ToolError> {
        self.run(false, job, async |work| {
            let plain = work.prepare(&ask.statement.text, ask).await?;
            let (columns, kinds) = value::columns(&plain)?;
            let text = value::as_text(&ask.statement.text, columns.len(), longest_value(columns.len(), work.limits), ask.skip);
            let wrapped = work.prepare(&text, ask).await?;
            work.rows(&wrapped, columns, &kinds, ask).await
        })
    }

    fn explain(&self, ask: &Ask<'_>, job: &Job) -> Result<String, ToolError> {
        self.run(false, job, async |work| {
            let statement = work.prepare(&format!("EXPLAIN {}", ask.statement.text), ask).await?;
            let column = vec![ResultColumn { name: "plan".to_owned(), data_type: None }];
            let page = work.rows(&statement, column, &[value::Kind::Text], ask).await?;
            let lines = page.rows.iter().filter_map(|row| row.first()?.as_str());
            Ok(lines.collect::<Vec<_>>().join("\n"))
        })
    }

    fn execute(&self, ask: &Ask<'_>, job: &Job) -> Result<(u64, Page), ToolError> {
        self.run(true, job, async |work| {
            let most = work.limits.rows;
            let plain = work.prepare(&ask.statement.text, ask).await?;
            let (changed, page) = match plain.columns().is_empty() {
                true => {
                    let given = ask.parameters.iter().map(|parameter| parameter as &(dyn ToSql + Sync)).collect::<Vec<_>>();
                    (work.transaction.execute(&plain, &given).await.map_err(|error| fault(&error))?, Page::default())
                }
                false => {
                    let (columns, kinds) = value::columns(&plain)?;
                    let text = value::change_as_text(&ask.statement.text, columns.len(), longest_value(columns.len(), work.limits));
                    let wrapped = work.prepare(&text, ask).await?;
                    let page = work.rows(&wrapped, columns, &kinds, ask).await?;
                    let changed = page.rows.len() as u64 + u64::from(page.more);
                    (changed, page)
                }
            };
            if changed > most.into() || page.more {
                return Err(too_many(changed, most));
            }
            work.transaction.commit().await.map_err(|error| fault(&error))?;
            Ok((changed, page))
        })
    }
}

/// What went wrong, for the model: the database's own words, with its code.
fn fault(error: &tokio_postgres::Error) -> ToolError {
    let Some(told) = error.as_db_error() else {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        return ToolError::new(format!("the database cannot be asked: {error}{cause}"));
    };
    if told.code() == &tokio_postgres::error::SqlState::QUERY_CANCELED {
        return super::too_long();
    }
    let said = ToolError::new(format!("the database says: {} ({})", told.message(), told.code().code()));
    match told.hint() {
        Some(hint) => said.with_hint(hint.to_owned()),
        None => said,
    }
}
