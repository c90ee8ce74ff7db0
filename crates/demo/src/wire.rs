//! A plain HTTP/1.1 client for loopback: what the sample application and the orchestrator speak to each other with.

use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// Why an exchange gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("`{0}` is not a request that can be sent")]
    Request(String),
    #[error("cannot connect to {0}")]
    Connect(String),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// Keeps connections alive between requests. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    client: Client<HttpConnector, Full<Bytes>>,
    deadline: Duration,
}

/// No answer that the demo reads is larger.
const ANSWER_LIMIT: usize = 16 << 20;

impl Wire {
    /// A client whose every exchange ends within `deadline`.
    pub(crate) fn new(deadline: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(2).min(deadline)));
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_timer(TokioTimer::new())
            .build(connector);
        Self { client, deadline }
    }

    pub(crate) async fn get(&self, url: &str) -> Result<Answer, WireError> {
        self.send(Method::GET, url, &[], Bytes::new()).await
    }

    pub(crate) async fn post(&self, url: &str, kind: &'static str, body: Bytes) -> Result<Answer, WireError> {
        self.send(Method::POST, url, &[(CONTENT_TYPE, kind)], body).await
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(HeaderName, &str)],
        body: Bytes,
    ) -> Result<Answer, WireError> {
        let uri: Uri = url.parse().map_err(|_| WireError::Request(url.to_owned()))?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).map_err(|_| WireError::Request(format!("{name}: {value}")))?;
            request.headers_mut().insert(name, value);
        }
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|error| {
                if error.is_connect() {
                    WireError::Connect(url.to_owned())
                } else {
                    WireError::Broken(error.to_string())
                }
            })?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_LIMIT).collect().await;
            let body = body.map_err(|error| WireError::Broken(error.to_string()))?.to_bytes();
            Ok(Answer { status, body })
        };
        tokio::time::timeout(self.deadline, exchange).await.unwrap_or(Err(WireError::TimedOut(self.deadline)))
    }
}
