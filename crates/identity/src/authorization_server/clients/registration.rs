//! Clients that register themselves (RFC 7591), for those that know no documents: bounded, and forgotten unless they come back.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use sallyport_store::{Store, client};
use serde_json::Value;

use super::super::problem::Problem;
use super::super::{answer, unguessable};
use super::Kind;
use super::metadata::{CODE, Metadata, REFRESH};

/// For how many seconds a client that got no token is kept: nobody takes longer over a login.
const UNUSED: i64 = 24 * 60 * 60;
/// For how many seconds one is kept after each of its tokens.
pub(in super::super) const KEPT: i64 = 90 * 24 * 60 * 60;

/// Registers a client that came from `source`, the network of its address.
pub(in super::super) async fn register(
    store: &Store,
    request: &Request<Bytes>,
    source: String,
    now: i64,
) -> Result<Response<Bytes>, Problem> {
    let refused = |what: String| {
        let error = if what.contains("redirect") { "invalid_redirect_uri" } else { "invalid_client_metadata" };
        Problem::new(error, what)
    };
    let mut metadata: Metadata =
        serde_json::from_slice(request.body()).map_err(|error| refused(format!("the body is no client's metadata: {error}")))?;
    metadata.client_id = None;
    metadata.client_secret = None;
    metadata.grant_types.get_or_insert_with(|| [CODE, REFRESH].map(str::to_owned).into());
    metadata.response_types = Some(vec!["code".to_owned()]);
    metadata.token_endpoint_auth_method.get_or_insert_with(|| "none".to_owned());
    let id = format!("registered-{}", unguessable::id()?);
    let checked = metadata.clone().client(id.clone(), Kind::Registered).map_err(refused)?;
    metadata.grant_types = Some(checked.grants);
    let secret = if metadata.wants_secret() { Some(unguessable::text()?) } else { None };
    let document = serde_json::to_string(&metadata).map_err(|error| Problem::internal(&error.to_string()))?;
    let kept =
        client::Client { id: id.clone(), document, secret: secret.as_deref().map(unguessable::digest), since: now, ends: now + UNUSED };
    store.write(move |tables| client::add(tables, &kept, &source)).await?;
    let mut told = serde_json::to_value(&metadata).map_err(|error| Problem::internal(&error.to_string()))?;
    told["client_id"] = Value::from(id);
    told["client_id_issued_at"] = Value::from(now);
    if let Some(secret) = secret {
        told["client_secret"] = Value::from(secret);
        told["client_secret_expires_at"] = Value::from(0);
    }
    Ok(answer::json(StatusCode::CREATED, &told))
}
