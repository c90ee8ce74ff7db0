//! A configuration as it may be shown.

use serde_json::Value;

/// Keys whose values are nobody's business.
const SECRETS: [&str; 9] = [
    "password",
    "credentials",
    "bearer_token",
    "client_secret",
    "secrets",
    "key",
    "proxy_connect_header",
    "secret_key",
    "api_key",
];
const HIDDEN: &str = "<secret>";

/// The YAML `text` with stars in place of secrets; empty when it cannot be read.
pub(super) fn shown(text: &str) -> String {
    if text.trim().is_empty() {
        return String::new();
    }
    let Ok(mut value) = serde_saphyr::from_str::<Value>(text) else { return String::new() };
    hide(&mut value);
    serde_saphyr::to_string(&value).unwrap_or_default()
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                if SECRETS.contains(&key.as_str()) && !value.is_null() {
                    *value = Value::from(HIDDEN);
                } else {
                    hide(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hide),
        // A password can stand in a URL, too.
        Value::String(text) => {
            if let Some((scheme, rest)) = text.split_once("://")
                && let Some((user, host)) = rest.split_once('@')
                && !user.contains('/')
                && let Some((name, _)) = user.split_once(':')
            {
                *text = format!("{scheme}://{name}:{HIDDEN}@{host}");
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
        let text = "scrape_configs:\n  - job_name: a\n    basic_auth: {username: u, password: hunter2}\n    \
                    proxy_url: http://u:hunter2@proxy:1/x\n    http_headers: {X: {secrets: [hunter2], values: [v]}}\n    \
                    tls_config: {key: hunter2, key_file: k}\n";
        let shown = shown(text);
        assert!(!shown.contains("hunter2"), "{shown}");
        for kept in ["job_name: a", "username: u", "key_file: k", "http://u:<secret>@proxy:1/x"] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
        assert_eq!(super::shown("[unclosed"), "");
    }
}
