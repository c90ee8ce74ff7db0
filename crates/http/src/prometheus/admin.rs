//! `/admin/tsdb/*`: deletes and copies what is stored. Refused unless switched on.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use signal::Timestamp;
use tokio::task::spawn_blocking;

use super::{Handles, Reply, answer, matcher_sets, select};
use crate::handles::{Admin, AdminError};
use crate::health::is_foreign;
use crate::json;
use crate::params::Params;
use crate::reply::{Enveloped, Refusal};

pub(super) fn routes() -> Router<Handles> {
    Router::new()
        .route("/admin/tsdb/delete_series", post(delete).put(delete))
        .route("/admin/tsdb/clean_tombstones", post(clean).put(clean))
        .route("/admin/tsdb/snapshot", post(snapshot).put(snapshot))
        .layer(from_fn(same_origin))
}

/// The other routes are open to pages of any origin; a page must not delete what it may only look at.
async fn same_origin(request: Request, next: Next) -> Response {
    if is_foreign(request.headers()) {
        let text = "the admin API takes no requests from pages of another origin";
        return Refusal::bad(text).with_status(StatusCode::FORBIDDEN).into_envelope();
    }
    next.run(request).await
}

fn switched_on(handles: &Handles) -> Result<Admin, Refusal> {
    handles.admin.clone().ok_or_else(|| Refusal::switched_off("admin APIs disabled"))
}

async fn carried_out<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AdminError> + Send + 'static,
) -> Result<T, Enveloped> {
    let done = spawn_blocking(work).await.map_err(|_| Refusal::internal("the store failed unexpectedly"))?;
    Ok(done.map_err(|error| Refusal::internal(error.to_string()))?)
}

async fn delete(State(handles): State<Handles>, params: Params) -> Reply {
    let admin = switched_on(&handles)?;
    if params.all("match[]").next().is_none() {
        return Err(Refusal::bad("no match[] parameter provided").into());
    }
    let range = select::range(&params)?;
    let sets = matcher_sets(&params)?;
    carried_out(move || sets.into_iter().try_for_each(|matchers| admin.delete(matchers, range))).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn clean(State(handles): State<Handles>) -> Reply {
    let admin = switched_on(&handles)?;
    carried_out(move || admin.clean()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn snapshot(State(handles): State<Handles>, params: Params) -> Reply {
    let admin = switched_on(&handles)?;
    // Upstream can leave out what is not in a block yet. Here it is moved to blocks first, which takes no longer.
    params.flag("skip_head")?;
    let name = snapshot_name((handles.now)(), &handles);
    let body = format!(r#"{{"name":{}}}"#, json::quoted(&name));
    carried_out(move || admin.copy(&name)).await?;
    Ok(answer::data(&body))
}

/// `20240125T133000Z-` and sixteen digits that differ from those of another copy in the same second.
fn snapshot_name(now: Timestamp, handles: &Handles) -> String {
    let compact: String = now.to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
    let seconds = compact.split_once('.').map_or(compact.trim_end_matches('Z'), |(seconds, _)| seconds);
    let mut hasher = DefaultHasher::new();
    (now.0, handles.reader.status().metrics.items).hash(&mut hasher);
    format!("{seconds}Z-{:016x}", hasher.finish())
}
