//! A connection, and what is certain of it before a statement runs.

use std::time::Duration;

use sallyport_secrets::{SecretReference, resolve};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, Transaction};

use super::super::limits::Limits;
use super::fault;
use super::tls::Tls;
use crate::tool::ToolError;

/// How long a connection may take to be made, within the time of the call.
const CONNECT: Duration = Duration::from_secs(10);

/// A connection.
pub(super) struct Session {
    pub(super) client: Client,
}

impl Session {
    pub(super) async fn open(address: &SecretReference, tls: &Tls, limits: Limits) -> Result<Self, ToolError> {
        let secret = resolve(address).map_err(|error| ToolError::new(error.to_string()).with_hint(error.hint()))?;
        // Its own error could quote the password.
        let mut config: Config = secret.expose().parse().map_err(|_| {
            ToolError::new(format!("`{address}` holds no address of a database")).with_hint("postgres://USER:PASSWORD@HOST/DATABASE")
        })?;
        // Without TLS a database in between could answer, and read the password's proof.
        if config.get_ssl_mode() == SslMode::Prefer && !stays_here(&config) {
            config.ssl_mode(SslMode::Require);
        }
        config.connect_timeout(CONNECT).application_name("sallyport");
        config.options(options(config.get_options(), limits));
        let (client, connection) = config.connect(tls.clone()).await.map_err(|error| fault(&error))?;
        tokio::spawn(connection); // with the runtime of the call it ends
        Ok(Self { client })
    }
}

/// Whether every place that is connected to is on this machine. Where an address is given beside a host's name, it alone is connected to.
fn stays_here(config: &Config) -> bool {
    config.get_hosts().iter().all(is_here) && config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback)
}

fn is_here(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()),
        Host::Unix(_) => true,
    }
}

/// Settings of the session. Names without a schema are those of the catalogue: tables get theirs from the guard, and no function or
/// operator that somebody made can stand in for one of the database's own. A backslash in a string is one, whatever the login's own
/// setting. The time is the database's own bound beside ours.
fn options(given: Option<&str>, limits: Limits) -> String {
    let milliseconds = u64::from(limits.seconds) * 1000;
    let own = format!(
        "-c search_path=pg_catalog -c standard_conforming_strings=on -c default_transaction_read_only=on \
         -c statement_timeout={milliseconds} -c lock_timeout={milliseconds} -c idle_in_transaction_session_timeout={milliseconds}"
    );
    given.map_or_else(|| own.clone(), |given| format!("{given} {own}"))
}

/// What nothing here could hold: such a login reads files, starts programs, or makes itself whatever it likes.
const BOUNDLESS: &str = "SELECT r.rolsuper OR r.rolreplication OR r.rolcreaterole
    OR EXISTS (SELECT FROM pg_roles p WHERE p.rolname IN ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program')
               AND pg_has_role(p.oid, 'MEMBER'))
    OR EXISTS (SELECT FROM pg_roles p WHERE p.rolsuper AND pg_has_role(p.oid, 'MEMBER')),
    current_setting('transaction_read_only') = 'on',
    current_setting('search_path') = 'pg_catalog',
    has_database_privilege(current_database(), 'TEMP'),
    has_database_privilege(current_database(), 'CREATE'),
    has_function_privilege('pg_catalog.lo_create(oid)', 'EXECUTE'),
    EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p', 'v', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
            AND has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE'))
    FROM pg_roles r WHERE r.rolname = current_user";

/// What the login may do beyond reading, in words.
///
/// # Errors
/// Where it may do so much that nothing here could hold it, or the session is not what it was asked to be.
pub(super) async fn powers(transaction: &Transaction<'_>, write: bool) -> Result<Vec<&'static str>, ToolError> {
    let row = transaction.query_one(BOUNDLESS, &[]).await.map_err(|error| fault(&error))?;
    let is = |at: usize| row.try_get::<_, bool>(at).map_err(|error| fault(&error));
    if is(0)? {
        return Err(ToolError::new("the login is a superuser's, or may become one: nothing could hold what is run with it")
            .with_hint("CREATE ROLE agent LOGIN PASSWORD '…'; GRANT SELECT ON the tables TO agent; and use that"));
    }
    if is(1)? == write || !is(2)? {
        return Err(
            ToolError::new("the session is not as it was asked to be").with_hint("a proxy between that drops settings cannot be used")
        );
    }
    let powers = [
        (is(3)?, "make temporary tables (REVOKE TEMP ON DATABASE … FROM PUBLIC)"),
        (is(4)?, "make schemas (REVOKE CREATE ON DATABASE …)"),
        (is(5)?, "make large objects (REVOKE EXECUTE ON FUNCTION lo_create(oid), … FROM PUBLIC)"),
        (is(6)? && !write, "change tables (REVOKE INSERT, UPDATE, DELETE, TRUNCATE …)"),
    ];
    Ok(powers.into_iter().filter(|(may, _)| *may).map(|(_, power)| power).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn what_goes_elsewhere_is_known_by_its_address_too() {
        for (address, is_here) in [
            ("postgres://u@localhost/d", true),
            ("postgres://u@localhost/d?hostaddr=127.0.0.1", true),
            ("host=/run/postgresql", true),
            ("postgres://u@db.example.com/d", false),
            ("postgres://u@localhost/d?hostaddr=10.0.0.5", false),
            ("host=127.0.0.1,127.0.0.1 hostaddr=127.0.0.1,10.0.0.5", false),
        ] {
            assert_eq!(stays_here(&address.parse().unwrap()), is_here, "{address}");
        }
    }
}
