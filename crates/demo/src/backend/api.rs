//! The routes of the sample application.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rusqlite::Connection;
use serde::Deserialize;
use signal::AttributeValue;

use super::call::{Call, Level, Reply, stamp, text};
use super::metrics::EXPOSITION_TYPE;
use super::names::normalise;
use super::users::{self, InsertError, NewUser, PAGE_LIMIT, User};
use super::{App, accounts};
use crate::clock::{self, Stopwatch};

const BODY_LIMIT: usize = 64 << 10;
const SLOW: Duration = Duration::from_secs(1);
const USERS: &str = "/api/v1/users";
const USER: &str = "/api/v1/users/{id}";
const CAMPAIGNS: &str = "/api/v1/campaigns";

pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route(USERS, get(list).post(create))
        .route(USER, get(show))
        .route(CAMPAIGNS, axum::routing::post(campaign))
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .method_not_allowed_fallback(wrong_method)
        .fallback(nothing_here)
        .with_state(app)
}

async fn create(State(app): State<Arc<App>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut call = Call::begin(&app, "POST", USERS, &parts.headers);
    let reply = match app.enter() {
        Some(_guard) => either(create_user(&app, &mut call, &parts.headers, body).await),
        None => too_many(),
    };
    call.finish(&app, reply)
}

async fn create_user(app: &App, call: &mut Call, headers: &HeaderMap, body: Body) -> Result<Reply, Reply> {
    permit(app, call, headers, "create_user")?;
    let body = axum::body::to_bytes(body, BODY_LIMIT).await.map_err(|_| {
        let why = format!("the body is longer than {BODY_LIMIT} bytes or broke off");
        Reply::refused(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", &why)
    })?;
    let wanted = NewUser::parse(&body)
        .map_err(|error| Reply::refused(StatusCode::BAD_REQUEST, "invalid_request", &error.to_string()))?;
    let name = |name: &str| {
        normalise(&app.settings.release, name).map_err(|error| {
            let told = "the user could not be created";
            Reply::failed(StatusCode::INTERNAL_SERVER_ERROR, "internal", told, format!("Error: {error}"))
        })
    };
    let user = User {
        id: app.ids.uuid(),
        email: wanted.email,
        first_name: name(&wanted.first_name)?,
        last_name: wanted.last_name.as_deref().map(name).transpose()?,
        created_at: stamp(clock::now()),
    };
    let stored = user.clone();
    match database(app, call, "insert", move |connection| users::insert(connection, &stored)).await? {
        Ok(()) => {
            let body = serde_json::to_value(&user).unwrap_or_default();
            Ok(Reply::done(StatusCode::CREATED, body, "User created successfully"))
        }
        Err(error @ InsertError::Exists(_)) => {
            Err(Reply::refused(StatusCode::CONFLICT, "email_exists", &error.to_string()))
        }
        Err(InsertError::Database(error)) => Err(broken_database(&error)),
    }
}

#[derive(Debug, Default, Deserialize)]
struct Paging {
    limit: Option<u32>,
    after: Option<i64>,
}

async fn list(
    State(app): State<Arc<App>>,
    paging: Result<Query<Paging>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let mut call = Call::begin(&app, "GET", USERS, &headers);
    let reply = match app.enter() {
        Some(_guard) => either(list_users(&app, &mut call, &headers, paging).await),
        None => too_many(),
    };
    call.finish(&app, reply)
}

async fn list_users(
    app: &App,
    call: &mut Call,
    headers: &HeaderMap,
    paging: Result<Query<Paging>, QueryRejection>,
) -> Result<Reply, Reply> {
    permit(app, call, headers, "read_users")?;
    let invalid = |why: &str| Reply::refused(StatusCode::BAD_REQUEST, "invalid_request", why);
    let Query(paging) = paging.map_err(|error| invalid(&error.body_text()))?;
    let limit = paging.limit.unwrap_or(20);
    if limit == 0 || limit > PAGE_LIMIT {
        return Err(invalid(&format!("`limit` must be 1 to {PAGE_LIMIT}")));
    }
    let after = paging.after.unwrap_or(0);
    let page = database(app, call, "select", move |connection| users::page(connection, after, limit)).await?;
    let page = page.map_err(|error| broken_database(&error))?;
    Ok(Reply::done(StatusCode::OK, serde_json::to_value(page).unwrap_or_default(), "Users listed"))
}

async fn show(State(app): State<Arc<App>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let mut call = Call::begin(&app, "GET", USER, &headers);
    let reply = match app.enter() {
        Some(_guard) => either(show_user(&app, &mut call, &headers, id).await),
        None => too_many(),
    };
    call.finish(&app, reply)
}

async fn show_user(app: &App, call: &mut Call, headers: &HeaderMap, id: String) -> Result<Reply, Reply> {
    permit(app, call, headers, "read_users")?;
    let found = database(app, call, "select", move |connection| users::find(connection, &id)).await?;
    match found.map_err(|error| broken_database(&error))? {
        Some(user) => Ok(Reply::done(StatusCode::OK, serde_json::to_value(user).unwrap_or_default(), "User shown")),
        None => Err(Reply::refused(StatusCode::NOT_FOUND, "no_such_user", "there is no user with this id")),
    }
}

fn either(outcome: Result<Reply, Reply>) -> Reply {
    match outcome {
        Ok(reply) | Err(reply) => reply,
    }
}

/// Records that marketing starts to advertise: what a person would find in the log afterwards.
async fn campaign(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let mut call = Call::begin(&app, "POST", CAMPAIGNS, &headers);
    let reply = match permit(&app, &mut call, &headers, "create_user") {
        Ok(()) => {
            let body = serde_json::json!({ "status": "started" });
            Reply::done(StatusCode::ACCEPTED, body, "Marketing campaign started")
        }
        Err(reply) => reply,
    };
    call.finish(&app, reply)
}

/// Ready unless shutting down. Not counted: probes are not users.
async fn health(State(app): State<Arc<App>>) -> Response {
    if app.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    (StatusCode::OK, "ok\n").into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    match app.metrics.exposition(app.pool.usage(), app.telemetry.losses()) {
        Ok(text) => ([(header::CONTENT_TYPE, EXPOSITION_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn nothing_here(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let call = Call::begin(&app, "OTHER", "other", &headers);
    call.finish(&app, Reply::refused(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path"))
}

async fn wrong_method(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let call = Call::begin(&app, "OTHER", "other", &headers);
    let why = "this path does not answer this method";
    call.finish(&app, Reply::refused(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", why))
}

/// Finds out who asks, then asks the policy whether they may.
fn permit(app: &App, call: &mut Call, headers: &HeaderMap, action: &'static str) -> Result<(), Reply> {
    let step = call.step(app, "auth.verify");
    let given = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
    let account = match accounts::verify(given) {
        Ok(account) => {
            call.end(app, &step, vec![text("enduser.id", account.id)], None);
            account
        }
        Err(error) => {
            call.end(app, &step, Vec::new(), Some(error.to_string()));
            return Err(Reply::refused(StatusCode::UNAUTHORIZED, "unauthorized", &error.to_string()));
        }
    };
    call.user = Some(account.id);

    let step = call.step(app, "policy.evaluate");
    let evaluation = app.may(&account, action);
    app.metrics.evaluated(action, evaluation.allowed);
    let result = if evaluation.allowed { "allow" } else { "deny" };
    call.end(app, &step, vec![text("policy.action", action), text("policy.result", result)], None);
    if evaluation.allowed {
        return Ok(());
    }
    let why = format!("the role `{}` may not {}", account.role, action.replace('_', " "));
    Err(Reply::refused(StatusCode::FORBIDDEN, "forbidden", &why))
}

/// Runs `work` on a connection of the pool. The round trip to the database takes its time while the connection is held.
async fn database<T: Send + 'static>(
    app: &App,
    call: &mut Call,
    operation: &'static str,
    work: impl FnOnce(&mut Connection) -> T + Send + 'static,
) -> Result<T, Reply> {
    let step = call.step(app, if operation == "insert" { "db.insert" } else { "db.select" });
    let waiting = Stopwatch::start();
    let acquired = app.pool.acquire().await;
    let waited = waiting.elapsed();
    app.metrics.acquired(waited, acquired.is_err());
    let attributes = vec![
        text("db.operation.name", operation),
        text("db.collection.name", "users"),
        ("db.pool.wait_ms".to_owned(), AttributeValue::Float(waited.as_secs_f64() * 1000.0)),
    ];
    let mut lease = match acquired {
        Ok(lease) => lease,
        Err(error) => {
            call.end(app, &step, attributes, Some(error.to_string()));
            let told = "the service is overloaded; try again in a moment";
            let message = "Error: Connection pool exhausted".to_owned();
            return Err(Reply::failed(StatusCode::SERVICE_UNAVAILABLE, "overloaded", told, message));
        }
    };
    let held = Stopwatch::start();
    tokio::time::sleep(app.settings.db_service).await;
    let worked = tokio::task::spawn_blocking(move || {
        let result = lease.connection().map(work);
        (lease, result)
    });
    let result = match worked.await {
        Ok((lease, result)) => {
            drop(lease);
            result
        }
        Err(_) => None,
    };
    app.metrics.queried(operation, held.elapsed());
    let took = waiting.elapsed();
    let error = result.is_none().then(|| "the query did not finish".to_owned());
    call.end(app, &step, attributes, error);
    if took > SLOW {
        let message = format!("Database query slow: {:.1}s", took.as_secs_f64());
        call.log(app, Level::Warn, &message, None, took);
    }
    result.ok_or_else(|| {
        let message = "Error: database query did not finish".to_owned();
        Reply::failed(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request could not be completed", message)
    })
}

fn broken_database(error: &rusqlite::Error) -> Reply {
    let told = "the request could not be completed";
    Reply::failed(StatusCode::INTERNAL_SERVER_ERROR, "internal", told, format!("Error: database: {error}"))
}

fn too_many() -> Reply {
    let why = "too many requests are being answered already";
    Reply::refused(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", why)
}
