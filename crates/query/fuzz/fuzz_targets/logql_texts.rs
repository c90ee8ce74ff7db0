//! The little languages inside of LogQL, over a line: templates, patterns, paths, regular expressions and addresses.

#![no_main]

use aegis_query::logql::{self, LineRunner};
use libfuzzer_sys::fuzz_target;
use signal::{Labels, LogLine, Nanos};

const STAGES: [&str; 8] = [
    "| logfmt | line_format ",
    "| logfmt | label_format x=",
    "| pattern ",
    "|> ",
    "| json x=",
    "| regexp ",
    "|= ip",
    "| logfmt x=",
];

fuzz_target!(|input: (u8, &str, &str)| {
    let (choice, text, line) = input;
    let stage = STAGES[usize::from(choice) % STAGES.len()];
    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let quoted = if stage.ends_with("ip") { format!("(\"{quoted}\")") } else { format!("\"{quoted}\"") };
    let Ok(query) = logql::parse(&format!("{{job=\"fuzz\"}} {stage}{quoted}")) else { return };
    let runner = LineRunner::new(&query, Nanos(0)).expect("what parses compiles");
    let line = LogLine { at: Nanos(1), line: line.to_owned(), metadata: Labels::empty() };
    let _ = runner.run(&Labels::from_pairs([("job", "fuzz")]), &line);
});
