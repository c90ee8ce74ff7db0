//! The commands that look at metrics, with a server in the data directory and without one.

use std::path::Path;

use crate::server::{Server, printed, run};

const TEXT: &str = "# TYPE requests counter\nrequests_total{code=\"200\"} 1 1700000000\n\
                    requests_total{code=\"200\"} 4 1700000015\n# EOF\n";

/// The block of a real Prometheus that lies with the reader's tests.
fn block() -> String {
    let block = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ingest/src/prometheus_tsdb/testdata/block");
    block.to_str().unwrap().to_owned()
}

#[test]
fn metrics_come_in_and_are_asked_for_with_and_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let (data, text) = (dir.path().join("data"), dir.path().join("history.om"));
    std::fs::write(&text, TEXT).unwrap();
    let (data_dir, text) = (data.to_str().unwrap(), text.to_str().unwrap());
    let query =
        |expr: &str| run(&["query", "metrics", expr, "--data-dir", data_dir, "--time", "1700000020", "-o", "prom"]);

    let mut server = Server::start(&data);
    for from in [text, &block()] {
        let output = run(&["tsdb", "import", from, "--data-dir", data_dir]);
        assert!(output.status.success(), "{}", printed(&output));
    }
    let expected = "requests_total{code=\"200\"} => 4 @[1700000020]\n";
    let latency = "latency_seconds{kind=\"integer\"} => Count: 14, Sum: 21.25, Buckets: [";
    assert_eq!(printed(&query("requests_total")), expected);
    assert!(printed(&query("latency_seconds{kind='integer'}")).starts_with(latency));
    let output = run(&["tsdb", "analyze", "--data-dir", data_dir]);
    assert_eq!(output.status.code(), Some(1));
    let says = format!("`{data_dir}` is in use by the server at http://{}; stop it first", server.address);
    assert!(printed(&output).contains(&says), "{}", printed(&output));

    assert!(server.terminate().success());
    assert_eq!(printed(&query("requests_total")), expected);
    assert!(printed(&query("latency_seconds{kind='integer'}")).starts_with(latency));
    let output = query("rate(latency_seconds)");
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    let output = run(&["tsdb", "dump", "--data-dir", data_dir, "--match", "requests_total"]);
    assert_eq!(
        printed(&output),
        "requests_total{code=\"200\"} 1 1700000000.000\nrequests_total{code=\"200\"} 4 1700000015.000\n# EOF\n"
    );
    let output = run(&["tsdb", "analyze", "--data-dir", data_dir, "--match", "requests_total"]);
    assert!(printed(&output).contains("Series: 1\nSamples: 2\n"), "{}", printed(&output));
}

#[test]
fn what_cannot_be_brought_in_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let text = dir.path().join("cut.om");
    std::fs::write(&text, "a 1 1\n").unwrap();
    let import =
        |from: &Path| run(&["tsdb", "import", from.to_str().unwrap(), "--data-dir", data_dir.to_str().unwrap()]);
    for (from, says) in [
        (text.as_path(), "the text does not end with `# EOF`; it may be cut short"),
        (dir.path(), "there is no block of a Prometheus in"),
        (&dir.path().join("nothing"), "cannot open"),
    ] {
        let output = import(from);
        assert_eq!(output.status.code(), Some(1));
        assert!(printed(&output).contains(says), "{}", printed(&output));
    }
}
