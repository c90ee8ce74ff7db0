//! Targets listed by a server.

use std::time::Duration;

use ingest::scrape::{HttpSd, TargetGroup, parse_target_groups};
use reqwest::header::{ACCEPT, CONTENT_TYPE};

use super::Publisher;
use crate::scrape::client::{HttpClient, plain};

/// Most bytes of a list.
const MAX_BODY: usize = 64 << 20;
/// How long one request may take, whatever the time between two of them.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(super) async fn follow(sd: HttpSd, mut publisher: Publisher) {
    let client = HttpClient::new(sd.http.clone());
    loop {
        match ask(&client, &sd).await {
            Ok(groups) => {
                publisher.tell(String::new());
                publisher.publish(groups);
            }
            Err(problem) => publisher.tell(format!("{}: {problem}", sd.url)),
        }
        tokio::time::sleep(sd.refresh).await;
    }
}

async fn ask(client: &HttpClient, sd: &HttpSd) -> Result<Vec<TargetGroup>, String> {
    let request = client.get(&sd.url).await.map_err(|error| error.to_string())?;
    let request = request
        .timeout(TIMEOUT)
        .header(ACCEPT, "application/json")
        .header("X-Prometheus-Refresh-Interval-Seconds", sd.refresh.as_secs_f64().to_string());
    let mut response = request.send().await.map_err(|error| plain(&error))?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(format!("server returned HTTP status {}", response.status()));
    }
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("").to_owned();
    let media = kind.split(';').next().unwrap_or("").trim();
    if !media.eq_ignore_ascii_case("application/json") {
        return Err(format!("the answer has the content type `{kind}`; expected `application/json`"));
    }
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|error| plain(&error))? {
        if body.len() + part.len() > MAX_BODY {
            return Err(format!("the answer is larger than {MAX_BODY} bytes"));
        }
        body.extend_from_slice(&part);
    }
    let mut groups = parse_target_groups(&body).map_err(|error| crate::logging::chain(&error))?;
    for group in &mut groups {
        group.labels = group.labels.with("__meta_url", &sd.url);
    }
    Ok(groups)
}
