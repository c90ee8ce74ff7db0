//! TraceQL from text to traces, over a request as the complete flow shows it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test stops where its data is wrong")]

use std::sync::Arc;
use std::time::Duration;

use aegis_query::Cancel;
use aegis_query::traceql::{Expr, TraceHit, from_tags, parse, parse_unfinished, search, tag_names, tag_values};
use proptest::prelude::*;
use signal::{
    AttributeValue, Nanos, Span, SpanEvent, SpanId, SpanKind, SpanLink, SpanStatus, TimeRange, TraceId, WriteBatch,
};
use store::{Snapshot, Store};

const MS: i64 = 1_000_000;

fn text(value: &str) -> AttributeValue {
    AttributeValue::String(value.to_owned())
}

/// A span of trace `trace`; `id` 1 is the root, others lie below `parent`.
fn span(trace: u8, id: u8, parent: u8, name: &str, (start, end): (i64, i64)) -> Span {
    let mut trace_id = [0; 16];
    trace_id[15] = trace;
    Span {
        trace: TraceId(trace_id),
        id: SpanId([0, 0, 0, 0, 0, 0, 0, id]),
        parent: (parent != 0).then_some(SpanId([0, 0, 0, 0, 0, 0, 0, parent])),
        trace_state: String::new(),
        name: name.to_owned(),
        kind: SpanKind::Internal,
        start: Nanos(start * MS),
        end: Nanos(end * MS),
        status: SpanStatus::Unset,
        status_message: String::new(),
        attributes: Vec::new(),
        resource: Arc::new(vec![("service.name".to_owned(), text("aegis-backend"))]),
        scope_name: "tracer".to_owned(),
        scope_version: "1".to_owned(),
        events: Vec::new(),
        links: Vec::new(),
    }
}

/// Trace 1: the slow request; trace 2: a fast one of another service; trace 3: parents in a circle.
fn traces() -> Snapshot {
    let mut root = span(1, 1, 0, "http.request", (1000, 3300));
    root.kind = SpanKind::Server;
    root.attributes = vec![
        ("http.method".to_owned(), text("POST")),
        ("http.status_code".to_owned(), AttributeValue::Int(500)),
        ("tags".to_owned(), AttributeValue::List(vec![text("a"), text("b")])),
    ];
    root.status = SpanStatus::Error;
    root.status_message = "pool exhausted".to_owned();
    let auth = span(1, 2, 1, "auth.verify", (1000, 1005));
    let policy = span(1, 3, 1, "policy.evaluate", (1005, 1017));
    let mut insert = span(1, 4, 3, "db.insert", (1020, 3300));
    insert.resource = Arc::new(vec![("service.name".to_owned(), text("database"))]);
    insert.attributes =
        vec![("rows".to_owned(), AttributeValue::Int(3)), ("ratio".to_owned(), AttributeValue::Float(0.5))];
    insert.events = vec![SpanEvent {
        at: Nanos(1030 * MS),
        name: "exception".to_owned(),
        attributes: vec![("type".to_owned(), text("Timeout"))],
    }];
    insert.links = vec![SpanLink { trace: TraceId([7; 16]), span: SpanId([7; 8]), attributes: Vec::new() }];
    let mut fast = span(2, 1, 0, "GET /health", (5000, 5001));
    fast.resource = Arc::new(vec![("service.name".to_owned(), text("gateway"))]);
    fast.attributes = vec![("ok".to_owned(), AttributeValue::Bool(true))];
    let circle = [span(3, 1, 2, "left", (7000, 7001)), span(3, 2, 1, "right", (7000, 7001))];
    let store = Store::in_memory();
    let spans = [root, auth, policy, insert, fast].into_iter().chain(circle).collect();
    store.append(&[WriteBatch { spans, ..WriteBatch::default() }]).unwrap();
    store.snapshot()
}

fn find(expr: &Expr) -> Vec<TraceHit> {
    search(expr, &traces(), TimeRange::all(), 20, &Cancel::default()).unwrap()
}

/// Names of the matched spans: sets by `;`, traces by `|`, newest first.
fn names(query: &str) -> String {
    let expr = parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let hits = find(&expr).into_iter().map(|hit| {
        let sets =
            hit.sets.iter().map(|set| set.spans.iter().map(|hit| hit.span.name.as_str()).collect::<Vec<_>>().join(","));
        sets.collect::<Vec<_>>().join(";")
    });
    hits.collect::<Vec<_>>().join("|")
}

#[test]
fn conditions_pick_spans() {
    for (query, want) in [
        ("{ name = \"db.insert\" }", "db.insert"),
        ("{ status = error }", "http.request"),
        ("{ statusMessage =~ \"pool.*\" }", "http.request"),
        ("{ kind = server && duration > 2s }", "http.request"),
        ("{ duration >= 2280ms }", "http.request,db.insert"),
        ("{ rootName = \"http.request\" && rootServiceName != \"x\" && name =~ \"auth.*\" }", "auth.verify"),
        ("{ traceDuration > 2s && childCount = 0 }", "auth.verify,db.insert"),
        ("{ span.http.status_code >= 500 }", "http.request"),
        ("{ .http.status_code = 500.0 }", "http.request"),
        ("{ .http.status_code = \"500\" }", ""),
        ("{ .http.status_code != \"500\" }", ""),
        ("{ resource.service.name = \"database\" }", "db.insert"),
        ("{ .service.name = \"database\" }", "db.insert"),
        ("{ span.service.name = \"database\" }", ""),
        ("{ .http.method != \"GET\" }", "http.request"),
        ("{ .http.method = nil && rootServiceName = \"aegis-backend\" }", "auth.verify,policy.evaluate,db.insert"),
        ("{ .http.method != nil }", "http.request"),
        ("{ .http.method !~ \"G.*\" }", "http.request"),
        ("{ .ok }", "GET /health"),
        ("{ .tags = \"b\" }", "http.request"),
        ("{ .tags != \"c\" }", "http.request"),
        ("{ .tags != \"a\" }", ""),
        ("{ .rows * 2 + 1 = 7 }", "db.insert"),
        ("{ -.rows < -2 && .ratio = 1 / 2 }", "db.insert"),
        ("{ event:name = \"exception\" && event.type = \"Timeout\" && event:timeSinceStart >= 10ms }", "db.insert"),
        ("{ link:traceID = \"07070707070707070707070707070707\" }", "db.insert"),
        ("{ trace:id = \"00000000000000000000000000000002\" }", "GET /health"),
        ("{ span:parentID = \"0000000000000003\" }", "db.insert"),
        ("{ instrumentation:name != \"tracer\" }", ""),
        ("{ nestedSetParent < 0 && name != \"left\" && name != \"right\" }", "GET /health|http.request"),
    ] {
        assert_eq!(names(query), want, "{query}");
    }
}

#[test]
fn spans_are_found_by_how_they_lie() {
    for (query, want) in [
        ("{ kind = server } > { }", "auth.verify,policy.evaluate"),
        ("{ kind = server } >> { }", "auth.verify,policy.evaluate,db.insert"),
        ("{ name = \"db.insert\" } < { }", "policy.evaluate"),
        ("{ name = \"db.insert\" } << { }", "http.request,policy.evaluate"),
        ("{ name = \"auth.verify\" } ~ { }", "policy.evaluate"),
        ("{ kind = server } !>> { rootName = \"http.request\" }", "http.request"),
        ("{ name = \"policy.evaluate\" } &> { }", "policy.evaluate,db.insert"),
        ("{ name = \"auth.verify\" } && { name = \"db.insert\" }", "auth.verify,db.insert"),
        ("{ name = \"auth.verify\" } && { name = \"nothing\" }", ""),
        ("{ name = \"auth.verify\" } || { name = \"GET /health\" }", "GET /health|auth.verify"),
        ("{ kind = server } >> { name = \"policy.evaluate\" } > { }", "db.insert"),
        ("{ name = \"left\" } >> { }", "right"),
    ] {
        assert_eq!(names(query), want, "{query}");
    }
}

#[test]
fn pipelines_go_on_with_what_was_found() {
    for (query, want) in [
        ("{ } | count() > 2", "http.request,auth.verify,policy.evaluate,db.insert"),
        ("{ rootName = \"http.request\" } | { duration < 20ms }", "auth.verify,policy.evaluate"),
        ("{ } | avg(duration) > 1s", "http.request,auth.verify,policy.evaluate,db.insert"),
        ("{ } | max(.rows) = 1 + 2", "http.request,auth.verify,policy.evaluate,db.insert"),
        ("{ duration < 20ms } | sum(duration) = 17ms", "auth.verify,policy.evaluate"),
        (
            "{ rootName = \"http.request\" } | by(resource.service.name) | count() > 1",
            "http.request,auth.verify,policy.evaluate",
        ),
        (
            "{ rootName = \"http.request\" } | by(resource.service.name) | coalesce() | count() = 4",
            "http.request,auth.verify,policy.evaluate,db.insert",
        ),
        (
            "{ rootName = \"http.request\" } | by(resource.service.name)",
            "http.request,auth.verify,policy.evaluate;db.insert",
        ),
        ("({ kind = server } | count() = 1) >> ({ name = \"db.insert\" })", "db.insert"),
        ("count() = 1", "GET /health"),
    ] {
        assert_eq!(names(query), want, "{query}");
    }
}

#[test]
fn a_hit_says_what_people_look_for() {
    let expr = parse("{ status = error && .http.method = \"POST\" } | select(span.http.status_code)").unwrap();
    let hits = find(&expr);
    let hit = &hits[0];
    assert_eq!(
        (hit.root_service.as_str(), hit.root_name.as_str(), hit.duration_ms),
        ("aegis-backend", "http.request", 2300)
    );
    assert_eq!((hit.services["aegis-backend"].spans, hit.services["aegis-backend"].errors), (3, 1));
    let shown: Vec<_> = hit.sets[0].spans[0].attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(shown, ["status=error", "http.method=POST", "http.status_code=500"]);
    let limited = search(&parse("{}").unwrap(), &traces(), TimeRange::all(), 1, &Cancel::default()).unwrap();
    assert_eq!(limited.len(), 1);
    let canceled = Cancel::default();
    canceled.cancel();
    assert!(search(&expr, &traces(), TimeRange::all(), 1, &canceled).is_err());
}

#[test]
fn tags_are_searched_and_listed() {
    for (tags, min, max, found) in [
        ("service.name=database", None, None, 1),
        ("http.status_code=500 http.method=\"POST\"", None, None, 1),
        ("error=true", None, None, 1),
        ("name=\"GET /health\"", None, None, 1),
        ("", Some(Duration::from_secs(1)), None, 1),
        ("", None, Some(Duration::from_millis(1)), 2),
        ("", None, None, 3),
    ] {
        assert_eq!(find(&from_tags(tags, min, max).unwrap()).len(), found, "{tags} {min:?} {max:?}");
    }
    assert!(from_tags("no pair", None, None).is_err());
    let names = tag_names(&traces(), TimeRange::all());
    let of = |wanted: &str| {
        names.iter().find(|(scope, _)| *scope == wanted).map(|(_, names)| names.join(" ")).unwrap_or_default()
    };
    assert_eq!(
        (of("resource").as_str(), of("span").as_str(), of("event").as_str()),
        ("service.name", "http.method http.status_code ok ratio rows tags", "type")
    );
    assert!(of("intrinsic").contains("rootServiceName"));
    for (tag, filter, want) in [
        ("resource.service.name", None, "string:aegis-backend string:database string:gateway"),
        ("service.name", Some("{ status = error }"), "string:aegis-backend"),
        (".rows", None, "int:3"),
        ("status", None, "keyword:error keyword:ok keyword:unset"),
        ("name", Some("{ duration > 2280ms }"), "string:http.request"),
        ("duration", Some("{ name = \"auth.verify\" }"), "duration:5ms"),
    ] {
        let filter = filter.map(|filter| parse(filter).unwrap());
        let values = tag_values(&traces(), TimeRange::all(), tag, (filter.as_ref(), 100), &Cancel::default()).unwrap();
        let values: Vec<_> = values.iter().map(|value| format!("{}:{}", value.kind, value.value)).collect();
        assert_eq!(values.join(" "), want, "{tag}");
    }
}

#[test]
fn refusals_say_why() {
    for (query, want) in [
        ("{ .a < 3", "parse error at line 1, col 9: syntax error: unexpected $end, expecting }"),
        ("{ . }", "parse error at line 1, col 3: expected the name of an attribute after the point"),
        ("{ .a == 1 }", "parse error at line 1, col 7: syntax error: unexpected ="),
        ("{ 1 = \"a\" }", "the types of `1` and `\"a\"` do not fit `=`"),
        ("{ name }", "a span filter must be a condition: name"),
        ("{} | rate()", "metrics functions are not supported yet: rate()"),
        ("{ parent.a = 1 }", "`parent` is not supported; use the structural operators"),
        ("{ .a =~ \"[\" }", "error parsing regexp: missing closing ]: `[`"),
    ] {
        assert_eq!(parse(query).unwrap_err().to_string(), want, "{query}");
    }
    for query in [
        format!("{{ {}true{} }}", "(".repeat(10_000), ")".repeat(10_000)),
        format!("{{ {}true }}", "!".repeat(10_000)),
        format!("{}{{}}{}", "(".repeat(10_000), ")".repeat(10_000)),
        format!("{{ 1{} = 1 }}", "+1".repeat(10_000)),
        format!("{{}}{}", " && {}".repeat(10_000)),
    ] {
        assert!(parse(&query).is_err(), "{query:.40}");
    }
}

#[test]
fn an_unfinished_query_still_filters() {
    for (query, want) in [
        ("{ status = error && .b = }", Some("{ (status = error) }")),
        ("{ status = error && ", Some("{ (status = error) }")),
        ("{ .a = \"x\" && name = \"b\" && kind =", Some("{ ((.a = \"x\") && (name = \"b\")) }")),
        ("{ .a = ", None),
        ("", None),
    ] {
        assert_eq!(parse_unfinished(query).map(|expr| expr.to_string()).as_deref(), want, "{query}");
    }
}

fn field() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(".a = 1".to_owned()),
        Just("span.\"foo bar\" != \"x\\\"y\"".to_owned()),
        Just("resource.service.name =~ `a.*`".to_owned()),
        Just("status = error".to_owned()),
        Just("duration > 1h30m".to_owned()),
        Just(".x * 2 ^ 3 - 1.5 < -4".to_owned()),
        Just(".b = nil".to_owned()),
        Just("!.flag".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), prop_oneof![Just("&&"), Just("||")], inner.clone())
                .prop_map(|(a, op, b)| format!("{a} {op} ({b})")),
            inner.prop_map(|inner| format!("!({inner})")),
        ]
    })
}

proptest! {
    #[test]
    fn random_text_never_panics(text in "\\PC{0,60}") {
        let _ = parse(&text);
        let _ = parse_unfinished(&text);
        let _ = from_tags(&text, None, None);
    }

    #[test]
    fn random_tokens_never_panic(words in proptest::collection::vec(prop_oneof![
        Just("{"), Just("}"), Just("("), Just(")"), Just(".a"), Just("span.b"), Just("="), Just("1"), Just("1s"), Just("\"x\""), Just("|"),
        Just("count()"), Just("by("), Just("&&"), Just(">>"), Just("!"), Just("-"), Just("nil"), Just("select"), Just("avg"), Just("with"),
    ], 0..24)) {
        let _ = parse(&words.join(" "));
    }

    #[test]
    fn what_is_printed_reads_the_same(
        a in field(), b in field(),
        op in prop_oneof![Just("&&"), Just("||"), Just(">"), Just(">>"), Just("!<"), Just("&~")],
        end in prop_oneof![Just(""), Just(" | count() > 2"), Just(" | by(.a + 1) | avg(duration) >= 2 * 3ms"), Just(" | select(.a, span.b) | coalesce()")],
    ) {
        let query = format!("{{ {a} }} {op} ({{ {b} }} | count() = 1 | {{}}){end}");
        let expr = parse(&query).map_err(|error| TestCaseError::fail(format!("{query}: {error}")))?;
        let printed = expr.to_string();
        let again = parse(&printed).map_err(|error| TestCaseError::fail(format!("{printed}: {error}")))?;
        prop_assert_eq!(expr, again, "{}", printed);
    }
}
