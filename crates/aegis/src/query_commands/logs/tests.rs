use std::sync::Arc;

use clap::Parser;
use signal::{LogLine, StreamWrite, WriteBatch};
use store::Store;
use tokio::net::TcpListener;
use web::{Ingress, LineTap, Parts, Reader};

use super::super::QueryCommand;
use super::super::place::Server;
use super::lines::Line;
use super::*;
use crate::cli::{Cli, Command};

const NOW: Timestamp = Timestamp(1_706_189_400_000);

fn args(line: &str) -> Result<LogsArgs, String> {
    let words = ["aegis", "query", "logs", "{job=\"api\"}"].into_iter().chain(line.split_whitespace());
    match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
        Command::Query(QueryCommand::Logs(args)) => Ok(args),
        _ => Err("another command".to_owned()),
    }
}

#[test]
fn flags_say_from_when_to_when() {
    let hour = 3_600_000;
    for (line, from, to) in [
        ("", NOW.0 - hour, NOW.0),
        ("--since 1d", NOW.0 - 24 * hour, NOW.0),
        ("--to now-1h --since 1h", NOW.0 - 2 * hour, NOW.0 - hour),
        ("--from now-3h --to 2024-01-25T13:00:00Z", NOW.0 - 3 * hour, NOW.0 - hour / 2),
    ] {
        assert_eq!(args(line).unwrap().range(NOW), (Timestamp(from), Timestamp(to)), "{line}");
    }
    for (line, says) in [
        ("--since 1h --from now-2h", "cannot be used with"),
        ("--tail --to now", "cannot be used with"),
        ("--delay-for 6", "6 is not in 0..=5"),
        ("--limit -1", "invalid value"),
    ] {
        let error = args(line).unwrap_err();
        assert!(error.contains(says), "{line}: {error}");
    }
}

/// Lines of two streams, a second apart; each third has the time of the one before.
fn store_with(lines: i64) -> Store {
    let store = Store::in_memory();
    for (job, odd) in [("api", 0), ("web", 1)] {
        let numbers = (0..lines).filter(|number| number % 2 == odd);
        let line = |number: i64| LogLine {
            at: Nanos((number - i64::from(number % 3 == 2)) * 1_000_000_000),
            line: format!("line {number}"),
            metadata: Labels::empty(),
        };
        let labels = Labels::from_pairs([("job", job), ("env", "test")]);
        let stream = StreamWrite { labels, lines: numbers.map(line).collect() };
        store.append(&[WriteBatch { streams: vec![stream], ..WriteBatch::default() }]).unwrap();
    }
    store
}

fn all_pages(place: &Place, question: RangeQuery) -> Vec<Line> {
    let text = r#"{env="test"}"#;
    let expr = logql::parse(text).unwrap();
    let mut pages = Pages::new(place, &expr, text, question).unwrap();
    let mut lines = Vec::new();
    while let Some(page) = pages.next().unwrap() {
        lines.extend(page);
    }
    lines
}

#[test]
fn pages_have_every_line_once() {
    let place = Place::Store(Box::new(store_with(3_500)));
    for (direction, limit, want) in [
        (Direction::Forward, usize::MAX, 3_500),
        (Direction::Backward, usize::MAX, 3_500),
        (Direction::Forward, 2_345, 2_345),
        (Direction::Backward, 1, 1),
    ] {
        let question = RangeQuery { direction, ..RangeQuery::lines(Nanos(0), Nanos(i64::MAX), limit) };
        let lines = all_pages(&place, question);
        assert_eq!(lines.len(), want, "{direction:?} {limit}");
        let in_order = lines.is_sorted_by(|a, b| match direction {
            Direction::Forward => a.at <= b.at,
            Direction::Backward => a.at >= b.at,
        });
        assert!(in_order, "{direction:?}");
        let mut texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), want, "{direction:?} {limit}");
    }
}

fn printed(output: LineOutput, shown: Shown) -> String {
    let line = |at: i64, level: &str, text: &str| Line {
        at: Nanos(at),
        labels: Labels::from_pairs([("job", "api"), ("level", level)]),
        text: text.to_owned(),
    };
    let lines =
        [line(1_706_189_400_000_000_000, "info", "one "), line(1_706_189_400_500_000_001, "warning", "\"two\"")];
    let mut printer = Printer::new(output, shown);
    printer.look(&lines);
    let mut out = Vec::new();
    lines.iter().for_each(|line| printer.write(&mut out, line).unwrap());
    String::from_utf8(out).unwrap()
}

#[test]
fn lines_are_written_for_people_and_programs() {
    insta::assert_snapshot!(printed(LineOutput::Default, Shown::Unique), @r#"
    2024-01-25T13:30:00Z {level="info"}    one
    2024-01-25T13:30:00.500000001Z {level="warning"} "two"
    "#);
    insta::assert_snapshot!(printed(LineOutput::Default, Shown::None), @r#"
    2024-01-25T13:30:00Z one
    2024-01-25T13:30:00.500000001Z "two"
    "#);
    insta::assert_snapshot!(printed(LineOutput::Raw, Shown::All), @r#"
    one 
    "two"
    "#);
    insta::assert_snapshot!(printed(LineOutput::Jsonl, Shown::Unique), @r#"
    {"labels":{"job":"api","level":"info"},"line":"one ","timestamp":"2024-01-25T13:30:00Z"}
    {"labels":{"job":"api","level":"warning"},"line":"\"two\"","timestamp":"2024-01-25T13:30:00.500000001Z"}
    "#);
}

/// A whole server over a store, on a port of its own.
fn serve(store: Arc<Store>) -> (Server, Ingress, LineTap, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (ingress, mut requests) = Ingress::new(16);
    let tap = LineTap::default();
    let parts = Parts {
        tap: tap.clone(),
        ..Parts::new(ingress.clone(), Reader::new(Arc::clone(&store)), Arc::new(|| Timestamp(3_600_000)))
    };
    let lines = tap.clone();
    runtime.spawn(async move {
        let mut intake = ingest::Intake::new(ingest::Limits::default());
        while let Some(request) = requests.recv().await {
            lines.publish(web::commit(vec![request], &mut intake, &store, Timestamp(3_600_000)).streams);
        }
    });
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(web::serve(listener, web::router(parts), std::future::pending()));
    (Server::new(&format!("http://{address}")).unwrap(), ingress, tap, runtime)
}

#[test]
fn a_server_answers_as_the_store_itself() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let store = Arc::new(store_with(2_500));
    let (server, _ingress, _tap, _runtime) = serve(Arc::clone(&store));
    let (server, local) = (Place::Server(server), Place::Store(Box::new(store_with(2_500))));
    let end = Nanos(3_600_000_000_000);
    for direction in [Direction::Forward, Direction::Backward] {
        let question = RangeQuery { direction, ..RangeQuery::lines(Nanos(0), end, usize::MAX) };
        assert_eq!(all_pages(&server, question), all_pages(&local, question));
    }
    for (text, when) in [
        (r#"sum by (job) (count_over_time({env="test"}[10m]))"#, When::At(Timestamp(1_000_000))),
        ("1.5 * 2", When::At(Timestamp(20_500))),
        (
            r#"rate({env="test"}[1m])"#,
            When::Over(Steps { start: Timestamp(0), end: Timestamp(600_000), step: Duration::from_secs(60) }),
        ),
    ] {
        let expr = logql::parse(text).unwrap();
        let asked = pages::numbers(&server, &expr, text, when).unwrap();
        assert_eq!(asked, pages::numbers(&local, &expr, text, when).unwrap(), "{text}");
    }
    let range = (Nanos(0), end);
    let found = pages::streams(&server, Some(r#"{job="web"}"#), range).unwrap();
    assert_eq!(found, pages::streams(&local, Some(r#"{job="web"}"#), range).unwrap());
    assert_eq!(found.len(), 1);
}

#[test]
fn lines_are_followed() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (server, ingress, tap, runtime) = serve(Arc::new(store_with(10)));
    let mut tail = tail::Tail::new(server, r#"{job="api"}"#, 2, Nanos(0), Printer::new(LineOutput::Raw, Shown::None));
    let labels = Labels::from_pairs([("job", "api"), ("env", "test")]);
    runtime.block_on(async {
        let mut socket = tail.connect().await.unwrap();
        let mut heard = tail.hear(&mut socket).await.unwrap();
        let at = Nanos(3_600_000_000_000);
        let line = LogLine { at, line: "new".to_owned(), metadata: Labels::empty() };
        let stream = StreamWrite { labels, lines: vec![line] };
        ingress.write(WriteBatch { streams: vec![stream], ..WriteBatch::default() }).await.unwrap();
        heard.extend(tail.hear(&mut socket).await.unwrap());
        let texts: Vec<&str> = heard.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["line 6", "line 8", "new"]);
        tap.close();
        assert_eq!(tail.hear(&mut socket).await.unwrap_err(), "the server is shutting down");
    });
}
