use std::error::Error;

use proptest::prelude::*;
use prost::Message;
use signal::{Labels, Nanos, Timestamp};

use super::*;
use crate::Intake;

fn chain(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

#[derive(Clone, PartialEq, Message)]
struct Push {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<Stream>,
}

#[derive(Clone, PartialEq, Message)]
struct Stream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
    #[prost(uint64, tag = "3")]
    hash: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Time>,
    #[prost(string, tag = "2")]
    line: String,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Pair>,
}

#[derive(Clone, PartialEq, Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

fn body(push: &Push) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&push.encode_to_vec()).unwrap()
}

#[test]
fn json_lines_arrive_with_their_metadata() {
    let body = br#"{"streams":[
        {"stream":{"job":"aegis-backend","env":"pr\"od"},
         "values":[["1706189400000000001","{\"a\":1}"],["1706189400000000002","two",{"trace_id":"abc"}]]},
        {"stream":{"job":"idle"},"values":[]}
    ]}"#;
    let decoded = decode_json(body, &Limits::default()).unwrap();
    assert_eq!(decoded.batch.streams.len(), 1);
    let stream = &decoded.batch.streams[0];
    assert_eq!(stream.labels.get("env"), Some("pr\"od"));
    assert_eq!((stream.lines[0].at, &*stream.lines[0].line), (Nanos(1_706_189_400_000_000_001), "{\"a\":1}"));
    assert_eq!(stream.lines[1].metadata.get("trace_id"), Some("abc"));
}

#[test]
fn bad_json_says_what_and_where() {
    for (case, body, want) in [
        ("nothing", "{}", "at least one valid stream is required for ingestion"),
        ("no streams", r#"{"streams":[]}"#, "at least one valid stream is required for ingestion"),
        ("null", r#"{"streams":null}"#, "at least one valid stream is required for ingestion"),
        (
            "no labels",
            r#"{"streams":[{"stream":{},"values":[["1","x"]]}]}"#,
            "at least one label pair is required per stream",
        ),
        (
            "label is a number",
            r#"{"streams":[{"stream":{"a":1},"values":[]}]}"#,
            "cannot read the push request as JSON: invalid type: integer `1`, expected a string at line 1 column 28",
        ),
        (
            "line is a number",
            r#"{"streams":[{"stream":{"a":"b"},"values":[["1",2]]}]}"#,
            "cannot read the push request as JSON: invalid type: integer `2`, expected a string at line 1 column 48",
        ),
        (
            "time is a number",
            r#"{"streams":[{"stream":{"a":"b"},"values":[[1,"x"]]}]}"#,
            "cannot read the push request as JSON: invalid type: integer `1`, expected a string at line 1 column 44",
        ),
        (
            "time is a date",
            r#"{"streams":[{"stream":{"a":"b"},"values":[["2024-01-01","x"]]}]}"#,
            "cannot read the push request as JSON: timestamp `2024-01-01` is not a number of nanoseconds at line 1 column 56",
        ),
        (
            "no line",
            r#"{"streams":[{"stream":{"a":"b"},"values":[["1"]]}]}"#,
            "cannot read the push request as JSON: invalid length 1, expected an array of a timestamp in nanoseconds, a line and optional structured metadata at line 1 column 47",
        ),
        (
            "cut",
            r#"{"streams":["#,
            "cannot read the push request as JSON: EOF while parsing a list at line 1 column 12",
        ),
    ] {
        let error = decode_json(body.as_bytes(), &Limits::default()).unwrap_err();
        assert_eq!(chain(&error), want, "{case}");
    }
    let small = Limits { max_decoded_bytes: 1, ..Limits::default() };
    assert_eq!(
        decode_json(b"{}", &small).unwrap_err().to_string(),
        "push request has 2 bytes, more than the limit of 1 (max_decoded_bytes)"
    );
    let one = Limits { max_items: 1, ..Limits::default() };
    let two = br#"{"streams":[{"stream":{"a":"b"},"values":[["1","x"],["2","y"]]}]}"#;
    assert_eq!(decode_json(two, &one).unwrap_err().to_string(), "push request has more than 1 lines (max_items)");
}

#[test]
fn bad_protobuf_says_what_and_where() {
    let entry = Entry { timestamp: Some(Time { seconds: 1, nanos: 5 }), line: "x".to_owned(), metadata: vec![] };
    let push = |labels: &str| {
        body(&Push { streams: vec![Stream { labels: labels.to_owned(), entries: vec![entry.clone(); 2], hash: 0 }] })
    };
    let one = Limits { max_items: 1, ..Limits::default() };
    for (case, body, limits, want) in [
        ("nothing", body(&Push::default()), Limits::default(), "at least one valid stream is required for ingestion"),
        ("no labels", push("{}"), Limits::default(), "at least one label pair is required per stream"),
        (
            "no quotes",
            push("{a=b}"),
            Limits::default(),
            "cannot read the stream labels `{a=b}`: at byte 3: expected a quoted string",
        ),
        ("bare", push("app"), Limits::default(), "cannot read the stream labels `app`: at byte 0: expected `{`"),
        (
            "dotted",
            push(r#"{a.b="c"}"#),
            Limits::default(),
            r#"cannot read the stream labels `{a.b="c"}`: at byte 2: expected `=`"#,
        ),
        (
            "twice",
            push(r#"{a="b", a="c"}"#),
            Limits::default(),
            r#"cannot read the stream labels `{a="b", a="c"}`: at byte 8: label occurs twice"#,
        ),
        (
            "tail",
            push(r#"{a="b"} x"#),
            Limits::default(),
            r#"cannot read the stream labels `{a="b"} x`: at byte 8: text after `}`"#,
        ),
        (
            "open",
            push(r#"{a="b""#),
            Limits::default(),
            r#"cannot read the stream labels `{a="b"`: at byte 6: expected `,` or `}`"#,
        ),
        ("too many", push(r#"{a="b"}"#), one, "push request has more than 1 lines (max_items)"),
        (
            "not protobuf",
            snap::raw::Encoder::new().compress_vec(b"\x0a\x09").unwrap(),
            one,
            "cannot read the push request as protobuf: protobuf ends inside a field",
        ),
    ] {
        assert_eq!(chain(&decode_protobuf(&body, &limits).unwrap_err()), want, "{case}");
    }
}

#[test]
fn a_line_without_time_is_refused_alone() {
    let timed = Entry { timestamp: Some(Time { seconds: 2, nanos: 3 }), line: "x".to_owned(), metadata: vec![] };
    let entries = vec![Entry::default(), timed];
    let push = Push { streams: vec![Stream { labels: r#"{a="b",}"#.to_owned(), entries, hash: 0 }] };
    let decoded = decode_protobuf(&body(&push), &Limits::default()).unwrap();
    assert_eq!(decoded.batch.streams[0].lines[0].at, Nanos(2_000_000_003));
    assert_eq!((decoded.rejected[0].reason, decoded.rejected[0].count), ("line_without_time", 1));
}

#[test]
fn a_stream_with_bad_labels_is_refused_alone() {
    let entry = Entry { timestamp: Some(Time { seconds: 1, nanos: 5 }), line: "x".to_owned(), metadata: vec![] };
    let stream = |labels: &str| Stream { labels: labels.to_owned(), entries: vec![entry.clone(); 2], hash: 0 };
    let push = Push { streams: vec![stream("{a=1}"), stream(r#"{a="1"}"#), stream("{}")] };
    let decoder = PushDecoder::new(Limits::default(), 7);
    let decoded = decode_protobuf(&body(&push), &Limits::default()).unwrap();
    let pushed = decoder.decode_protobuf(&body(&push)).unwrap();
    assert_eq!((pushed.batch.batch(), &pushed.rejected), (&decoded.batch, &decoded.rejected));
    assert_eq!(decoded.batch.line_count(), 2);
    let sentence = "cannot read the stream labels `{a=1}`: at byte 3: expected a quoted string";
    assert_eq!((decoded.rejected[0].count, &*decoded.rejected[0].example), (4, sentence));
    let json = br#"{"streams":[{"stream":{},"values":[["1","x"]]},{"stream":{"a":"1"},"values":[["1","x"]]}]}"#;
    let decoded = decoder.decode_json(json).unwrap();
    let shown = (decoded.batch.batch().line_count(), &*decoded.rejected[0].example);
    assert_eq!(shown, (1, "at least one label pair is required per stream"));
}

#[test]
fn labels_over_a_limit_are_looked_at_every_time() {
    let entry = Entry { timestamp: Some(Time { seconds: 1, nanos: 5 }), line: "x".to_owned(), metadata: vec![] };
    let stream = |labels: &str| Stream { labels: labels.to_owned(), entries: vec![entry.clone()], hash: 0 };
    let limits = Limits { max_stream_labels: 1, ..Limits::default() };
    let push = body(&Push { streams: vec![stream(r#"{a="1"}"#), stream(r#"{a="1", b="2"}"#)] });
    let decoder = PushDecoder::new(limits, 7);
    let mut intake = Intake::new(limits);
    for _ in 0..2 {
        let admitted = intake.admit(decoder.decode_protobuf(&push).unwrap().batch, Timestamp(0));
        assert_eq!((admitted.batch.line_count(), admitted.rejected[0].reason), (1, "too_many_labels"));
    }
}

#[test]
fn lines_are_read_in_any_order_of_fields() {
    let line = |fields: &[(u32, &[u8])]| {
        let mut entry = Vec::new();
        for (number, content) in fields {
            prost::encoding::bytes::encode(*number, &content.to_vec(), &mut entry);
        }
        let mut stream = Vec::new();
        prost::encoding::bytes::encode(2, &entry, &mut stream);
        prost::encoding::string::encode(1, &r#"{a="b"}"#.to_owned(), &mut stream);
        let mut push = Vec::new();
        prost::encoding::bytes::encode(1, &stream, &mut push);
        protobuf::read(&push, &Limits::default(), None).unwrap().batch.into_batch().streams.remove(0).lines.remove(0)
    };
    let (time, pair) = (&b"\x10\x05\x08\x01"[..], &b"\x0a\x01m\x12\x01n"[..]);
    let want = line(&[(1, b"\x08\x01\x10\x05"), (2, b"text"), (3, pair)]);
    assert_eq!((want.at, want.metadata.get("m")), (Nanos(1_000_000_005), Some("n")));
    for (case, fields) in [
        ("time backwards", [(1, time), (2, b"text"), (3, pair), (9, b"")]),
        ("metadata first", [(3, pair), (1, time), (2, b"text"), (9, b"new")]),
        ("line twice", [(2, b"old"), (3, pair), (1, time), (2, b"text")]),
    ] {
        assert_eq!(line(&fields), want, "{case}");
    }
}

proptest! {
    #[test]
    fn any_bytes_decode_or_err(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,60}") {
        let _ = decode_json(&bytes, &Limits::default());
        let _ = decode_json(text.as_bytes(), &Limits::default());
        let _ = decode_protobuf(&bytes, &Limits::default());
        let _ = protobuf::read(&bytes, &Limits::default(), None);
        let _ = selector::labels(&text);
        let _ = selector::labels(&format!("{{a={text}"));
    }

    #[test]
    fn encoded_lines_come_back(
        labels in proptest::collection::btree_map("[a-z_]{1,6}", "\\PC{1,8}", 1..5),
        lines in proptest::collection::vec((0_i64..4_000_000_000, 0_i32..1_000_000_000, "\\PC{0,30}", "[a-z]{1,5}"), 1..10),
    ) {
        let text: Vec<_> = labels.iter().map(|(name, value)| {
            format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
        }).collect();
        let entries = lines.iter().map(|(seconds, nanos, line, meta)| Entry {
            timestamp: Some(Time { seconds: *seconds, nanos: *nanos }),
            line: line.clone(),
            metadata: vec![Pair { name: meta.clone(), value: "v".to_owned() }],
        }).collect();
        let push = Push { streams: vec![Stream { labels: format!("{{{}}}", text.join(", ")), entries, hash: 7 }] };
        let decoded = decode_protobuf(&body(&push), &Limits::default()).unwrap();
        let decoder = PushDecoder::new(Limits::default(), 7);
        for _ in 0..2 {
            let pushed = decoder.decode_protobuf(&body(&push)).unwrap();
            prop_assert_eq!(pushed.batch.batch(), &decoded.batch);
        }
        let stream = &decoded.batch.streams[0];
        prop_assert_eq!(&stream.labels, &Labels::from_pairs(&labels));
        for (line, (seconds, nanos, text, meta)) in stream.lines.iter().zip(&lines) {
            prop_assert_eq!(line.at.0, seconds * 1_000_000_000 + i64::from(*nanos));
            prop_assert_eq!(&line.line, text);
            prop_assert_eq!(line.metadata.get(meta), Some("v"));
        }
    }
}
