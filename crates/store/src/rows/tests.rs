use memchr::memmem;
use proptest::prelude::*;
use signal::{Labels, LogLine, Nanos};

use super::shape::SlotKind;
use super::*;
use crate::column::Rows;

fn line(at: i64, text: &str, metadata: &[(&str, &str)]) -> LogLine {
    LogLine { at: Nanos(at), line: text.to_owned(), metadata: Labels::from_pairs(metadata.iter().copied()) }
}

fn seal(lines: &[LogLine]) -> RowGroup {
    let lines: Vec<_> =
        lines.iter().map(|line| Line { at: line.at, line: &line.line, metadata: &line.metadata }).collect();
    RowGroup::seal(&lines)
}

/// Where the parts of a stored group are.
#[derive(Debug)]
struct Stored(Vec<u8>);

impl Parts for Stored {
    fn read(&self, offset: usize, len: usize) -> Result<Vec<u8>, RowsError> {
        let part = self.0.get(offset..).and_then(|rest| rest.get(..len));
        part.map(<[u8]>::to_vec).ok_or(RowsError::Damaged { reason: "beyond the end" })
    }
}

fn reopened(group: &RowGroup) -> RowGroup {
    let (front, parts) = group.stored().unwrap();
    RowGroup::open(&front, Box::new(Stored(parts))).unwrap()
}

#[test]
fn fields_become_columns() {
    let lines = [
        line(1, r#"{"level":"info","msg":"took 5 ms","n":17,"http":{"status":200},"tags":["a"],"x":null}"#, &[]),
        line(2, r#"{"level":"warn","msg":"took 6 ms","n":18,"http":{"status":500},"tags":[],"x":true}"#, &[]),
        line(3, "level=error msg=\"it broke\" n=19", &[("pod", "a-1")]),
        line(4, "plain text", &[("pod", "a-2")]),
        line(5, r#"{"level":"info", "broken"#, &[]),
        line(6, r#"{"a":1,"a":2}"#, &[]),
    ];
    let group = seal(&lines);
    let kinds: Vec<_> = group.shapes().iter().map(|shape| shape.kind).collect();
    assert_eq!(kinds, [ShapeKind::Json, ShapeKind::Logfmt, ShapeKind::Text, ShapeKind::Text]);
    let paths: Vec<String> =
        group.shapes()[0].slots().iter().map(|slot| slot.path().collect::<Vec<_>>().join(".")).collect();
    assert_eq!(paths, ["level", "msg", "n", "http.status", "tags", "x"]);
    assert_eq!(group.shapes()[0].slots()[4].kind, SlotKind::Array);
    assert_eq!(group.shapes()[1].metadata().len(), 1);
    assert_eq!(group.lines(&Rows::all(6)).unwrap(), lines);
    assert_eq!(group.rows_with(0).unwrap(), Some(vec![0, 1]));
}

#[test]
fn more_names_than_there_is_room_for_are_packed() {
    let names: Vec<String> = (0..700).map(|n| format!("n{n}")).collect();
    let lines: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(at, name)| line(at as i64, &format!("{{\"{name}\":1}}"), &[(name, "v:1"), ("all", "x")]))
        .collect();
    let group = seal(&lines);
    assert_eq!(group.lines(&Rows::all(700)).unwrap(), lines);
    assert_eq!(reopened(&group).lines(&Rows::all(700)).unwrap(), lines);
}

#[test]
fn a_needle_is_found_in_values_between_them_and_across() {
    let texts = [
        r#"{"level":"error","id":"4bf92f3577b34da6a3ce929d0e0e4736","n":12}"#,
        r#"{"level":"info","id":"00f067aa0ba902b700f067aa0ba902b7","n":13}"#,
        r#"{"level":"info","id":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","n":13}"#,
    ];
    let lines: Vec<_> = texts.iter().enumerate().map(|(at, text)| line(at as i64, text, &[])).collect();
    for group in [seal(&lines), reopened(&seal(&lines))] {
        for (needle, want) in [
            ("4bf92f3577b34da6a3ce929d0e0e4736", &[0_usize][..]),
            ("577b34", &[0]),
            ("00f067aa0ba902b700f067aa0ba902b8", &[]),
            ("\"level\":\"info\"", &[1, 2]),
            ("\"n\":1", &[0, 1, 2]),
            ("4736\",\"n\":12}", &[0]),
            ("no such text", &[]),
            (":13}", &[1, 2]),
            ("", &[0, 1, 2]),
        ] {
            let found: Vec<usize> = group.candidates(&Needle::new(needle)).unwrap().iter().collect();
            assert_eq!(found, want, "{needle}");
        }
    }
}

#[test]
fn words_too_short_for_the_filter_are_found() {
    let lines: Vec<_> =
        ["{\"a\":\"b+\"}", "{\"a\":\"-x c\"}", "{\"a\":\"y=z\"}"].map(|text| line(0, text, &[])).to_vec();
    let group = seal(&lines);
    for (needle, want) in [("b+", 0), ("c", 1), ("\"-x", 1), ("y", 2)] {
        let found: Vec<usize> = group.candidates(&Needle::new(needle)).unwrap().iter().collect();
        assert_eq!(found, [want], "{needle}");
    }
}

#[test]
fn damage_is_an_error() {
    let lines: Vec<_> = (0..50).map(|n| line(n, &format!("{{\"n\":{n},\"id\":\"{n:032x}\"}}"), &[])).collect();
    let (front, parts) = seal(&lines).stored().unwrap();
    for at in 0..parts.len() {
        let mut parts = parts.clone();
        parts[at] ^= 0x10;
        let group = RowGroup::open(&front, Box::new(Stored(parts))).unwrap();
        let filter = group.filter_place();
        // Neither the filter nor the lengths are needed for lines.
        let is_found = group.lines(&Rows::all(50)).is_err() || group.lengths().is_err();
        assert_eq!(is_found, !filter.contains(&at), "byte {at}");
    }
    for at in 0..front.len() {
        let mut front = front.clone();
        front[at] ^= 0x01;
        // Its checksum is kept elsewhere; here it only must not do harm.
        if let Ok(group) = RowGroup::open(&front, Box::new(Stored(parts.clone()))) {
            let _ = group.lines(&Rows::all(50));
            let _ = group.candidates(&Needle::new("00000000000000000000000000000011"));
        }
    }
}

fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z ]{0,12}",
        "[0-9]{1,6}",
        "-?[0-9]{1,3}\\.[0-9]{1,2}",
        "[0-9a-f]{8}",
        "(\\\\n|\\\\\"|é|u-[0-9]+){0,4}",
        any::<String>(),
    ]
}

fn any_line() -> impl Strategy<Value = String> {
    let pairs = || proptest::collection::vec(("[a-d]{1,2}", any_value(), 0..4_u8), 0..5);
    prop_oneof![
        pairs().prop_map(|pairs| {
            let member = |(key, value, kind): &(String, String, u8)| match kind {
                0 => format!("\"{key}\":{value}"),
                1 => format!("\"{key}\": {{\"in\":\"{value}\"}}"),
                2 => format!("\"{key}\":[\"{value}\", 1]"),
                _ => format!("\"{key}\":\"{value}\""),
            };
            format!("{{{}}}", pairs.iter().map(member).collect::<Vec<_>>().join(","))
        }),
        pairs().prop_map(|pairs| {
            let pair = |(key, value, kind): &(String, String, u8)| match kind {
                0 => format!("{key}={value}"),
                _ => format!("{key}=\"{value}\""),
            };
            pairs.iter().map(pair).collect::<Vec<_>>().join(" ")
        }),
        any::<String>(),
        "[a-z]{1,5} [0-9]{1,3} [a-z]{1,3}",
    ]
}

fn any_lines() -> impl Strategy<Value = Vec<LogLine>> {
    let metadata = proptest::collection::btree_map("[m-p]", "[a-z]{1,3}", 0..3);
    let one = (any_line(), metadata, 0..1_000_000_000_000_i64).prop_map(|(line, metadata, at)| LogLine {
        at: Nanos(at),
        line,
        metadata: Labels::from_pairs(metadata),
    });
    proptest::collection::vec(one, 0..60)
}

proptest! {
    #[test]
    fn lines_come_back_byte_for_byte(lines in any_lines(), wanted in proptest::collection::vec(any::<bool>(), 60)) {
        let mut rows = Rows::none(lines.len());
        wanted.iter().take(lines.len()).enumerate().filter(|(_, wanted)| **wanted).for_each(|(row, _)| rows.insert(row));
        let want: Vec<_> = rows.iter().map(|row| lines[row].clone()).collect();
        let group = seal(&lines);
        prop_assert_eq!(&group.lines(&Rows::all(lines.len())).unwrap(), &lines);
        prop_assert_eq!(&group.lines(&rows).unwrap(), &want);
        prop_assert_eq!(reopened(&group).lines(&rows).unwrap(), want);
        let bytes: u64 = lines.iter().map(|line| line.line.len() as u64).sum();
        prop_assert_eq!(group.text_bytes(), bytes);
        let lengths: Vec<i64> = lines.iter().map(|line| line.line.len() as i64).collect();
        prop_assert_eq!(group.lengths().unwrap(), lengths);
    }

    #[test]
    fn no_line_with_the_needle_is_missed(lines in any_lines(), from in any::<prop::sample::Index>(), len in 1..12_usize) {
        let all: Vec<char> = lines.iter().flat_map(|line| line.line.chars()).collect();
        prop_assume!(!all.is_empty());
        let from = from.index(all.len());
        let needle: String = all[from..(from + len).min(all.len())].iter().collect();
        for group in [seal(&lines), reopened(&seal(&lines))] {
            let found = group.candidates(&Needle::new(&needle)).unwrap();
            for (row, line) in lines.iter().enumerate() {
                let holds = memmem::find(line.line.as_bytes(), needle.as_bytes()).is_some();
                prop_assert!(!holds || found.contains(row), "{:?} in {:?}", needle, line.line);
            }
        }
    }

    #[test]
    fn any_bytes_are_a_front_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = 1;
        }
        if let Ok(group) = RowGroup::open(&bytes, Box::new(Stored(Vec::new()))) {
            let _ = group.lines(&Rows::all(group.rows() as usize));
        }
    }
}
