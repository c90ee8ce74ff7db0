use signal::{Labels, LogLine, Nanos};

use super::*;
use crate::blocks::DAY;

fn line(at: i64, text: &str) -> LogLine {
    LogLine { at: Nanos(at), line: text.to_owned(), metadata: Labels::empty() }
}

fn write(head: &mut LogsHead, labels: &Labels, lines: &[LogLine]) {
    let mut arrivals = Arrivals::copy(&[(labels, lines)], head);
    arrivals.seal();
    head.enter(arrivals);
}

fn measure(stream: &StreamHead) -> (usize, usize) {
    (stream.tail.iter().map(|chunk| chunk.len()).sum(), stream.tail.iter().map(|chunk| chunk.bytes()).sum())
}

#[test]
fn lines_are_sealed_when_there_are_enough() {
    let api = Labels::from_pairs([("app", "api")]);
    let mut head = LogsHead::default();
    let lines: Vec<_> = (0..SEAL_LINES as i64 * 4).map(|at| line(at, "text")).collect();
    for some in lines.chunks(100) {
        write(&mut head, &api, some);
    }
    let stream = head.streams.get(0).unwrap();
    assert_eq!(stream.sealed.len(), 3);
    assert_eq!(stream.lines(), lines.len() as u64);
    assert!(stream.sealed.iter().all(|sealed| sealed.group.rows() == SEAL_LINES as u32));
    assert_eq!((stream.tail_lines, stream.tail_bytes), measure(stream));
    let copy = head.clone();
    write(&mut head, &api, &lines[..3000]);
    assert_eq!(copy.size().items, lines.len() as u64, "a copy does not change");
    assert_eq!(head.streams.get(0).unwrap().sealed.len(), 5);
}

#[test]
fn lines_that_come_a_little_late_are_put_in_order() {
    let api = Labels::from_pairs([("app", "api")]);
    let mut head = LogsHead::default();
    // Four senders take turns, and none knows of the others.
    for turn in 0..40 {
        for sender in [2, 0, 3, 1] {
            let begin = (turn * 4 + sender) * 100;
            let lines: Vec<_> = (begin..begin + 100).map(|at| line(at, "text")).collect();
            write(&mut head, &api, &lines);
        }
    }
    let stream = head.streams.get(0).unwrap();
    assert!(stream.sealed.len() > 5);
    assert!(stream.sealed.is_sorted_by(|a, b| a.last < b.first));
    let (older, newest) = head.split();
    assert_eq!(newest[0].1.len(), LATE_LINES);
    let older = older.streams.get(0).unwrap();
    assert_eq!((older.tail_lines, older.tail_bytes), measure(older));
    assert_eq!(older.lines() as usize + LATE_LINES, stream.lines() as usize);
    assert!(older.tail_bounds().unwrap().1 < newest[0].1[0].at);
}

#[test]
fn what_is_there_twice_in_a_tail_is_sealed_once() {
    let api = Labels::from_pairs([("app", "api")]);
    let mut head = LogsHead::default();
    let lines: Vec<_> = (0..1_500).map(|at| line(at, "text")).collect();
    write(&mut head, &api, &lines);
    write(&mut head, &api, &lines);
    let stream = head.streams.get(0).unwrap();
    // Too few are left for a row group.
    assert_eq!((stream.sealed.len(), stream.tail.len(), stream.lines()), (0, 1, 1_500));
    assert!(head.split().1.is_empty(), "it is not busy");
}

#[test]
fn a_row_group_is_of_one_day() {
    let api = Labels::from_pairs([("app", "api")]);
    let mut head = LogsHead::default();
    let day = DAY * 1_000_000;
    let lines: Vec<_> = (0..5_000).map(|number| line(number * day / 2_000, "text")).collect();
    write(&mut head, &api, &lines);
    let stream = head.streams.get(0).unwrap();
    let days: Vec<_> = stream.sealed.iter().map(|sealed| (sealed.first.0 / day, sealed.last.0 / day)).collect();
    assert_eq!(days, [(0, 0), (1, 1)]);
    assert_eq!(stream.tail_lines, 1_000);
}

#[test]
fn two_days_at_once_make_few_row_groups() {
    let api = Labels::from_pairs([("app", "api")]);
    let mut head = LogsHead::default();
    let day = DAY * 1_000_000;
    for number in 0..40_000 {
        let at = if number % 2 == 0 { number } else { day + number };
        write(&mut head, &api, &[line(at, "text")]);
    }
    let stream = head.streams.get(0).unwrap();
    assert!(stream.sealed.len() < 60, "{}", stream.sealed.len());
    assert!(stream.tail_lines < SEAL_LINES + LATE_LINES);
}

#[test]
fn many_small_writes_leave_few_chunks() {
    let api = Labels::from_pairs([("app", "api")]);
    let mut head = LogsHead::default();
    for at in 0..2_000 {
        write(&mut head, &api, &[line(at, "text")]);
    }
    let stream = head.streams.get(0).unwrap();
    assert!(stream.tail.len() < 128, "{}", stream.tail.len());
    assert_eq!((stream.tail_lines, stream.tail_bytes), (2_000, 8_000));
    assert!(in_order(&stream.tail).iter().map(|line| line.at.0).eq(0..2_000));
}
