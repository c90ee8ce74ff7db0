//! Lines through every parser of LogQL; labels that are asked for are what they are when all are.

#![no_main]

use aegis_query::Cancel;
use aegis_query::logql::{self, LineRunner};
use libfuzzer_sys::fuzz_target;
use signal::{Labels, LogLine, Nanos, StreamWrite, WriteBatch};

const PARSERS: [&str; 12] = [
    "| json",
    "| json a=\"a.b[0]\", level",
    "| logfmt",
    "| logfmt --strict --keep-empty",
    "| logfmt level, a=\"b_c\"",
    "| unpack",
    "| pattern \"<level> <a>=<_>\"",
    "| regexp \"(?P<level>[a-z]+)(?P<a>[0-9]+)?\"",
    "| json | line_format \"{{.a}} {{.level}}\" | logfmt",
    "| logfmt | json | label_format a=level, level=\"{{.a}}\"",
    "| json | a > 5 or level = ip(\"10.0.0.0/8\") or b < 5ms",
    "| decolorize |= ip(\"::1\") or \"a\" |> \"<_>a<_>\" | unpack | keep level, a=~\".+\" | drop a=\"1\"",
];

fuzz_target!(|input: (u8, &str)| {
    let (choice, text) = input;
    let parser = PARSERS[usize::from(choice) % PARSERS.len()];
    let stream = Labels::from_pairs([("job", "fuzz"), ("app", "x")]);
    let line = LogLine { at: Nanos(1), line: text.to_owned(), metadata: Labels::from_pairs([("pod", "p")]) };

    let query = logql::parse(&format!("{{job=\"fuzz\"}} {parser}")).expect("a query of ours");
    let runner = LineRunner::new(&query, Nanos(0)).expect("a query of ours");
    let Some(kept) = runner.run(&stream, &line) else { return };

    let store = store::Store::in_memory();
    let write = StreamWrite { labels: stream, lines: vec![line] };
    store.append(&[WriteBatch { streams: vec![write], ..WriteBatch::default() }]).expect("memory takes it");
    let grouped = format!("sum by (level, a) (count_over_time({{job=\"fuzz\"}} {parser} [1m]))");
    let grouped = logql::parse(&grouped).expect("a query of ours");
    let Ok(logql::Answer::Vector(series)) = logql::instant(&grouped, &store.snapshot(), Nanos(2), &Cancel::default())
    else {
        assert!(kept.labels.get("__error__").is_some(), "{parser}: only a line in error fails a query");
        return;
    };
    let wanted = kept.labels.without(|name| !matches!(name, "level" | "a"));
    assert_eq!(series.first().map(|(labels, _)| labels), Some(&wanted), "{parser}");
});
