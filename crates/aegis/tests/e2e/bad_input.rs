//! What senders and askers get wrong, what they are told, and that it harms nobody else.

use std::fmt::Write as _;

use serde_json::json;

use crate::http::{self, Reply};
use crate::server::Server;
use crate::wire::{gzip, push_request, series, snappy, write_request};

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";
const WRITE: &str = "/api/v1/write";
const PUSH: &str = "/loki/api/v1/push";
const NS: &str = "1706189400000000000";

/// One thing to get wrong.
struct Row {
    name: &'static str,
    /// As shown in the table.
    request: String,
    bytes: Vec<u8>,
    status: u16,
    /// A piece of what the sender must be told.
    says: &'static str,
}

fn get(name: &'static str, path: &str, parameters: &[(&str, &str)], status: u16, says: &'static str) -> Row {
    let plain: Vec<String> = parameters.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mark = if plain.is_empty() { "" } else { "?" };
    let request = format!("GET {path}{mark}{}", plain.join("&"));
    let target = format!("{path}{mark}{}", http::form(parameters));
    Row { name, request, bytes: http::encode("GET", &target, &[], b""), status, says }
}

/// A POST; `kind` is content type, then encoding, in words of the header.
fn post(name: &'static str, path: &str, kind: &str, body: &[u8], status: u16, says: &'static str) -> Row {
    let (kind, encoding) = kind.split_once(", ").unwrap_or((kind, ""));
    let mut headers = Vec::new();
    if !kind.is_empty() {
        headers.push(("Content-Type", kind));
    }
    if !encoding.is_empty() {
        headers.push(("Content-Encoding", encoding));
    }
    let mut request = format!("POST {path} ({})", [kind, encoding].join(" ").trim());
    match std::str::from_utf8(body) {
        Ok(text) if text.len() <= 100 => write!(request, " {text}").unwrap(),
        _ => write!(request, " {} bytes", body.len()).unwrap(),
    }
    Row { name, request, bytes: http::encode("POST", path, &headers, body), status, says }
}

fn raw(name: &'static str, request: &str, bytes: &[u8], status: u16, says: &'static str) -> Row {
    Row { name, request: request.to_owned(), bytes: bytes.to_vec(), status, says }
}

fn remote_write() -> Vec<Row> {
    let kind = "application/x-protobuf, snappy";
    let no_name = series("x{job=\"a\"}", [(1_706_189_400_000, 1.0)]);
    let nameless = crate::wire::Series {
        labels: no_name.labels.into_iter().filter(|(name, _)| name != "__name__").collect(),
        samples: no_name.samples,
    };
    let future = series("up", [(4_102_444_800_000, 1.0)]);
    let bad_label = series("up{=\"a\"}", [(1_706_189_400_000, 1.0)]);
    let twice = series("up{a=\"1\",a=\"2\"}", [(1_706_189_400_000, 1.0)]);
    let write = |one| snappy(&write_request(&[one]));
    vec![
        post("not snappy", WRITE, kind, b"up 1", 400, "snappy"),
        // The first bytes of a snappy block say how long it will be: 4 GiB here.
        post("snappy bomb", WRITE, kind, b"\xff\xff\xff\xff\x0f\x00", 413, "max_decoded_bytes"),
        post("not protobuf", WRITE, kind, &snappy(b"\xff\xff\xff\xff"), 400, "protobuf"),
        post("wrong content type", WRITE, "text/plain", b"up 1", 415, "content type `text/plain`"),
        post("wrong encoding", WRITE, "application/x-protobuf, zstd", b"x", 415, "content encoding `zstd`"),
        post(
            "a version we do not speak",
            WRITE,
            "application/x-protobuf;proto=io.prometheus.write.v3.Request, snappy",
            b"",
            415,
            "`prometheus.WriteRequest` (1.0) and",
        ),
        post("no metric name", WRITE, kind, &write(nameless), 400, "name"),
        post("a label without name", WRITE, kind, &write(bad_label), 400, "label"),
        post("a label twice", WRITE, kind, &write(twice), 400, "`a`"),
        post("sample from the future", WRITE, kind, &write(future), 400, "ahead"),
        post("body too long", WRITE, kind, &vec![0; (16 << 20) + 1], 413, "larger than the limit of 16777216 bytes"),
    ]
}

fn loki_push() -> Vec<Row> {
    let line = |line: &str| format!("{{\"streams\":[{{\"stream\":{{\"a\":\"b\"}},\"values\":[[\"{NS}\",{line}]]}}]}}");
    let no_labels = format!("{{\"streams\":[{{\"stream\":{{}},\"values\":[[\"{NS}\",\"x\"]]}}]}}");
    let bad_time = "{\"streams\":[{\"stream\":{\"a\":\"b\"},\"values\":[[\"noon\",\"x\"]]}]}";
    let bomb = gzip(&vec![b' '; 65 << 20]);
    let too_long = line(&format!("\"{}\"", "x".repeat(300 << 10)));
    let labels = snappy(&push_request("{job=backend}", &[(1_706_189_400, "x")]));
    vec![
        post("broken JSON", PUSH, JSON, b"{\"streams\":[", 400, "JSON"),
        post("no streams", PUSH, JSON, b"{}", 422, "at least one valid stream is required"),
        post("no labels", PUSH, JSON, no_labels.as_bytes(), 400, "at least one label pair is required per stream"),
        post("a line that is a number", PUSH, JSON, line("5").as_bytes(), 400, "JSON"),
        post("a time in words", PUSH, JSON, bad_time.as_bytes(), 400, "noon"),
        post("line too long", PUSH, JSON, too_long.as_bytes(), 400, "262144"),
        post("labels that are no labels", PUSH, "application/x-protobuf, snappy", &labels, 400, "job=backend"),
        post("not gzip", PUSH, "application/json, gzip", b"{}", 400, "not gzip"),
        post("gzip bomb", PUSH, "application/json, gzip", &bomb, 413, "max_decoded_bytes"),
        post("wrong content type", PUSH, "text/xml", b"<a/>", 415, "content type `text/xml`"),
    ]
}

fn otlp() -> Vec<Row> {
    let by_name = b"{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"kind\":\"SERVER\"}]}]}]}";
    vec![
        post("broken JSON", "/v1/traces", JSON, b"{\"resourceSpans\":", 400, "JSON"),
        post("another shape", "/v1/traces", JSON, b"{\"resourceSpans\":5}", 400, "JSON"),
        post("enum by name", "/v1/traces", JSON, by_name, 400, "JSON"),
        post("broken protobuf", "/v1/metrics", PROTOBUF, b"\xff\xff\xff", 400, "protobuf"),
        post("wrong content type", "/v1/logs", "text/plain", b"x", 415, "content type `text/plain`"),
        post("wrong encoding", "/v1/logs", "application/json, br", b"x", 415, "content encoding `br`"),
        post(
            "body too long",
            "/v1/logs",
            JSON,
            &vec![b' '; (16 << 20) + 1],
            413,
            "larger than the limit of 16777216 bytes",
        ),
    ]
}

fn queries() -> Vec<Row> {
    let (query, range) = ("/api/v1/query", "/api/v1/query_range");
    let form = "application/x-www-form-urlencoded";
    let nested = format!("{}1{}", "(".repeat(5_000), ")".repeat(5_000));
    vec![
        get("cut off", query, &[("query", "sum(rate(up[5m])")], 400, "parse error"),
        get("no query", query, &[], 400, "invalid parameter \\\"query\\\""),
        get("unknown function", query, &[("query", "rat(up[5m])")], 400, "unknown function"),
        get(
            "bad time",
            query,
            &[("query", "up"), ("time", "noon")],
            400,
            "cannot parse \\\"noon\\\" to a valid timestamp",
        ),
        get("range of nothing", query, &[("query", "rate(up)")], 400, "range vector"),
        get("bad regular expression", query, &[("query", "up{job=~\"(\"}")], 400, "parse error"),
        get(
            "not one to one",
            query,
            &[("query", "label_replace(vector(1),\"a\",\"b\",\"c\",\"(\")")],
            422,
            "execution",
        ),
        post("nested 5000 deep", query, form, format!("query={nested}").as_bytes(), 400, "parse error"),
        get(
            "too many points",
            range,
            &[("query", "up"), ("start", "0"), ("end", "11001"), ("step", "1")],
            400,
            "exceeded maximum resolution of 11,000 points",
        ),
        get(
            "end before start",
            range,
            &[("query", "up"), ("start", "2"), ("end", "1"), ("step", "1")],
            400,
            "end timestamp must not be before start time",
        ),
        get(
            "step of nothing",
            range,
            &[("query", "up"), ("start", "1"), ("end", "2"), ("step", "0")],
            400,
            "zero or negative query resolution",
        ),
        get("bad selector", "/api/v1/series", &[("match[]", "{job=")], 400, "invalid parameter \\\"match[]\\\""),
        get("series of everything", "/api/v1/series", &[], 400, "no match[] parameter provided"),
        get(
            "LogQL cut off",
            "/loki/api/v1/query_range",
            &[("query", "{job=")],
            400,
            "unexpected $end, expecting STRING",
        ),
        get("LogQL of everything", "/loki/api/v1/query_range", &[("query", "{job=~\".*\"}")], 400, "at least one"),
        get(
            "lines at an instant",
            "/loki/api/v1/query",
            &[("query", "{a=\"b\"}")],
            400,
            "log queries are not supported as an instant query type",
        ),
        get(
            "too many lines",
            "/loki/api/v1/query_range",
            &[("query", "{a=\"b\"}"), ("limit", "99999")],
            400,
            "(99999 > 5000)",
        ),
        get(
            "bad limit",
            "/loki/api/v1/query_range",
            &[("query", "{a=\"b\"}"), ("limit", "many")],
            400,
            "strconv.Atoi: parsing \"many\": invalid syntax",
        ),
        get("bad time for Loki", "/loki/api/v1/labels", &[("start", "noon")], 400, "could not parse 'start' parameter"),
        get("bad trace id", "/api/traces/xyz", &[], 400, "`xyz` is not a hexadecimal id"),
        get("unknown trace", "/api/traces/abc", &[], 404, "trace not found"),
        get("TraceQL cut off", "/api/search", &[("q", "{ name = ")], 400, "invalid TraceQL query"),
        get("bad trace time", "/api/search", &[("q", "{}"), ("start", "noon")], 400, "invalid start"),
    ]
}

fn own_api() -> Vec<Row> {
    let (evaluate, detect) = ("/api/v1/policy/evaluate", "/api/v1/detect-anomaly");
    let pause = "/api/v1/automation/pause";
    let point = json!([{"metric_type": "request_rate", "value": 1, "timestamp": "noon"}]).to_string();
    vec![
        post("broken JSON", evaluate, JSON, b"{\"action\":", 400, "the body is not what is asked for"),
        post("missing key", evaluate, JSON, b"{\"action\":\"scale_up\"}", 400, "missing field `resource`"),
        post("unknown key", pause, JSON, b"{\"paused\":true,\"by\":\"a\",\"for\":\"1h\"}", 400, "unknown field `for`"),
        post("nobody pauses", pause, JSON, b"{\"paused\":true,\"by\":\" \"}", 400, "`by` must say who"),
        post("wrong content type", evaluate, "text/plain", b"{}", 415, "send application/json"),
        post("empty list", detect, JSON, b"[]", 400, "the list of metrics is empty"),
        post("time in words", detect, JSON, point.as_bytes(), 400, "`timestamp` is neither RFC 3339 nor unix seconds"),
        post("not a list", detect, JSON, b"7", 400, "expected a list of metrics"),
        post("misspelt key", detect, JSON, b"[{\"metrik_type\":\"error_rate\"}]", 400, "unknown field `metrik_type`"),
        get("unknown incident", "/api/v1/incidents/none", &[], 404, "there is no incident `none`"),
        get(
            "bad place in the timeline",
            "/api/v1/timeline",
            &[("after", "noon")],
            400,
            "must be the number of an entry",
        ),
    ]
}

fn plain_http() -> Vec<Row> {
    let delete = http::encode("DELETE", "/api/v1/query", &[], b"");
    let names: Vec<String> = (0..200).map(|n| format!("x-{n}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let many = http::encode("GET", "/-/ready", &many, b"");
    let length = b"POST /api/v1/write HTTP/1.1\r\nHost: a\r\nContent-Length: many\r\n\r\n";
    let chunk = b"POST /loki/api/v1/push HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
                  Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n{}\r\n0\r\n\r\n";
    vec![
        get("unknown path", "/api/v1/nothing", &[], 404, "404 page not found"),
        raw("wrong method", "DELETE /api/v1/query", &delete, 405, "method DELETE is not allowed here"),
        get("push by GET", PUSH, &[], 405, "method GET is not allowed here"),
        raw("200 headers", "GET /-/ready with 200 headers", &many, 431, ""),
        raw("garbage", "\\x00\\x01\\x02 …", b"\x00\x01\x02 garbage\r\n\r\n", 400, ""),
        raw("length in words", "POST /api/v1/write, Content-Length: many", length, 400, ""),
        raw("chunks that are none", "POST /loki/api/v1/push, broken chunk", chunk, 400, "before it was complete"),
    ]
}

#[test]
fn bad_input_is_answered_and_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    // Clients that begin and fall silent hold nothing up while everybody else is served.
    let silent: Vec<_> = [
        &b"GET /api/v1/query?query=up HTT"[..],
        b"POST /api/v1/write HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf",
        b"POST /v1/traces HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"PRI * HTTP/2.0\r\n",
        b"",
    ]
    .iter()
    .flat_map(|begin| std::iter::repeat_n(begin, 10))
    .map(|bytes| http::begin(&server.address, bytes))
    .collect();

    let sections = [remote_write(), loki_push(), otlp(), queries(), own_api(), plain_http()];
    let rows: Vec<Row> = sections.into_iter().flatten().collect();
    assert!(rows.len() >= 60, "{}", rows.len());
    let mut table = String::from("| # | request | status | what the user sees |\n|---|---|---|---|\n");
    let mut wrong = String::new();
    for (number, row) in rows.iter().enumerate() {
        let Some(reply) = http::send(&server.address, &row.bytes) else {
            writeln!(wrong, "{}: no answer", row.name).unwrap();
            continue;
        };
        let text = reply.text();
        if reply.status != row.status || !text.contains(row.says) {
            writeln!(
                wrong,
                "{} ({}): expected {} `{}`, got {} {text}",
                row.name, row.request, row.status, row.says, reply.status
            )
            .unwrap();
        }
        let (request, seen) = (cell(&row.request), cell(&told(&reply)));
        writeln!(table, "| {} | {}: `{request}` | {} | `{seen}` |", number + 1, row.name, reply.status).unwrap();
    }
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("bad-input.md");
    std::fs::write(&file, &table).unwrap();
    println!("{table}");
    assert!(wrong.is_empty(), "{wrong}");

    // A head beyond any sense: refused, or the connection is closed while it is still being sent.
    let huge = "x".repeat(2 << 20);
    let reply = http::try_request(&server.address, "GET", "/-/ready", &[("X-Huge", &huge)], b"");
    assert!(reply.is_none_or(|reply| reply.status == 431));

    assert_eq!(server.get("/-/ready").status, 200);
    let now = (server.now() * 1000.0) as i64;
    server.remote_write(&[series("alive", [(now, 1.0)])]);
    assert_eq!(server.number("alive"), Some(1.0), "writes and queries still work");
    assert_eq!(server.number("count({__name__=~\".+\"})"), Some(1.0), "and nothing of the above was stored");
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
    drop(silent);
}

/// The message, without the protocol's wrapping.
fn told(reply: &Reply) -> String {
    if reply.head.contains("application/x-protobuf") {
        // google.rpc.Status: two bytes of code, then tag and length of the message.
        return String::from_utf8_lossy(&reply.body[4..]).into_owned();
    }
    let text = reply.text();
    let Ok(body) = serde_json::from_str::<serde_json::Value>(&text) else { return text };
    let message = ["error", "message", "detail"].into_iter().find_map(|key| body[key].as_str());
    message.map_or(text, str::to_owned)
}

fn cell(text: &str) -> String {
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|").replace('`', "'");
    if line.chars().count() > 160 {
        line = line.chars().take(160).chain(['…']).collect();
    }
    if line.is_empty() { "(no body)".to_owned() } else { line }
}
