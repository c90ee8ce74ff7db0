//! `/-/reload` and `/-/quit`, as Prometheus answers them.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::task::spawn_blocking;

use crate::reply::Refusal;

/// Reads the configuration again; why it cannot be used, in words.
pub type Reload = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Routes that change how the process runs. For `Parts::extra`: no CORS headers, since no page of elsewhere is to
/// reload.
pub fn lifecycle_router(reload: Reload) -> Router {
    let again = move || {
        let reload = Arc::clone(&reload);
        async move { read_again(reload).await }
    };
    Router::new()
        .route("/-/reload", post(again.clone()).put(again))
        // Whoever started the process can end it; a request over the network cannot.
        .route("/-/quit", post(quit).put(quit))
}

async fn read_again(reload: Reload) -> Response {
    // It reads files.
    match spawn_blocking(move || reload()).await {
        Ok(Ok(())) => StatusCode::OK.into_response(),
        Ok(Err(error)) => Refusal::internal(format!("failed to reload config: {error}")).into_plain(),
        Err(_) => Refusal::internal("reloading failed unexpectedly").into_plain(),
    }
}

async fn quit() -> Response {
    (StatusCode::FORBIDDEN, "Lifecycle API is not enabled.\n").into_response()
}
