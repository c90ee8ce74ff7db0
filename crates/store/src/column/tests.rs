use memchr::memmem::Finder;
use proptest::prelude::*;

use super::*;

/// 2026-11-23T02:41:54.048 in nanoseconds, and some.
const START: i64 = 1_795_401_714_048_000_321;

fn times(rows: usize) -> Vec<i64> {
    (0..rows as i64).map(|row| START + row * 48_017_000).collect()
}

fn kind(bytes: &[u8]) -> &'static str {
    match bytes.first() {
        Some(&CONSTANT) => "constant",
        Some(&DICTIONARY) => "dictionary",
        Some(&HEX) => "hex",
        Some(&NUMBERS) => "numbers",
        Some(&TIMES) => "times",
        Some(&TEXT) => "text",
        Some(&SPARSE) => "sparse",
        Some(&PATTERN) => "pattern",
        _ => "unknown",
    }
}

/// Packs the values, asks every question and answers the bytes.
fn packed(values: &[String]) -> Vec<u8> {
    let times = times(values.len());
    let texts: Texts = values.iter().map(String::as_str).collect();
    let mut bytes = b"before".to_vec();
    encode(&texts, &times, &mut bytes);
    let bytes = bytes.split_off(6);
    let column = Column::open(&bytes, values.len()).unwrap();
    let mut all = Texts::default();
    column.texts(&times, &mut all).unwrap();
    assert!(all == texts, "{}: {:?}", kind(&bytes), values.iter().zip(all.iter()).find(|(a, b)| a != b));
    column.texts(&times, &mut all).unwrap();
    assert!(all.iter().eq(texts.iter().chain(texts.iter())), "behind other texts");
    for row in (0..values.len()).step_by(values.len() / 50 + 1) {
        let mut one = Texts::default();
        column.pick(&[row as u32], &times, &mut one).unwrap();
        assert_eq!((one.len(), one.get(0)), (1, texts.get(row)));
    }
    for step in [1, 7, 1000] {
        let rows: Vec<u32> = (step as u32 / 3..values.len() as u32).step_by(step).collect();
        let mut some = Texts::default();
        column.pick(&rows, &times, &mut some).unwrap();
        assert!(some.iter().eq(rows.iter().map(|row| texts.get(*row as usize))), "{}", kind(&bytes));
    }
    if let Some(constant) = column.constant() {
        assert!(values.iter().all(|value| value == constant));
    }
    if let Some(Dictionary { entries, codes }) = column.dictionary().unwrap() {
        assert!(codes.iter().map(|code| entries.get(usize::from(*code))).eq(texts.iter()));
    }
    if let Some(numbers) = column.numbers().unwrap() {
        let parsed = texts.iter().map(|text| text.parse::<f64>().unwrap());
        assert!(numbers.iter().map(|number| number.to_bits()).eq(parsed.map(f64::to_bits)));
    }
    questions(&column, &texts, &times);
    bytes
}

fn questions(column: &Column<'_>, texts: &Texts, times: &[i64]) {
    let mut needles = ["", "0", "1", "a", "-", "e", ".", "T", "00", "1.", "no such", "0-", "timeout", "\n", "é"]
        .map(str::to_owned)
        .to_vec();
    for row in [0, texts.len() / 2, texts.len().saturating_sub(1)] {
        let text = texts.get(row);
        let places: Vec<usize> = text.char_indices().map(|(place, _)| place).chain([text.len()]).collect();
        let middle = places.len() / 2;
        let cut = |from: usize, to: usize| text[places[from.min(to)]..places[to]].to_owned();
        needles.extend([text.to_owned(), format!("{text}0"), cut(0, middle), cut(middle, places.len() - 1)]);
        needles.extend([cut(1.min(middle), middle), cut(middle / 2, middle), format!("{}{text}", texts.get(row + 1))]);
    }
    for needle in needles {
        let expected = |is_wanted: &dyn Fn(&str) -> bool| {
            texts.iter().enumerate().filter(|(_, text)| is_wanted(text)).map(|(row, _)| row).collect::<Vec<_>>()
        };
        let found: Vec<usize> = column.rows_equal(&needle, times).unwrap().iter().collect();
        assert_eq!(found, expected(&|text| text == needle), "equal to {needle:?}");
        let finder = Finder::new(&needle);
        let found: Vec<usize> = column.rows_containing(&finder, times).unwrap().iter().collect();
        assert_eq!(found, expected(&|text| text.contains(&needle)), "containing {needle:?}");
    }
}

/// Numbers that look like chance and are always the same.
fn noise(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed;
    std::iter::from_fn(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Some((mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) >> 1)
    })
}

fn many(make: impl Fn(usize, u64) -> String) -> Vec<String> {
    noise(1).enumerate().take(700).map(|(row, chance)| make(row, chance)).collect()
}

#[test]
fn a_column_is_kept_in_the_way_that_its_values_suggest() {
    let instant = |row: usize| format!("2026-11-23T02:{:02}:54.{:03}", row / 60 % 60, row % 1000);
    let words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"];
    let prose =
        |chance: u64| (0..9).map(|word| words[(chance >> (word * 5)) as usize % 10]).collect::<Vec<_>>().join(" ");
    for (name, expected, values) in [
        ("nothing", "constant", vec![]),
        ("one", "constant", vec!["only".to_owned()]),
        ("all alike", "constant", many(|_, _| "é alike".to_owned())),
        ("all empty", "constant", many(|_, _| String::new())),
        ("few words", "dictionary", many(|_, chance| words[chance as usize % 7].to_owned())),
        (
            "few words or nothing",
            "dictionary",
            many(|_, chance| if chance % 3 == 0 { String::new() } else { words[chance as usize % 7].to_owned() }),
        ),
        ("ids of traces", "hex", many(|_, chance| format!("{chance:016x}{:016x}", chance.wrapping_mul(77)))),
        ("odd digits", "hex", many(|_, chance| format!("a{chance:016x}"))),
        ("capital digits", "hex", many(|_, chance| format!("{chance:016X}"))),
        ("a prefix before digits", "hex", many(|_, chance| format!("id={chance:016x}!"))),
        ("long numbers with zeros before", "hex", many(|_, chance| format!("{:020}", chance))),
        (
            "UUIDs",
            "hex",
            many(|_, chance| {
                format!(
                    "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
                    chance as u32,
                    chance as u16,
                    chance % 4096,
                    chance >> 52 & 0xfff,
                    chance >> 16
                )
            }),
        ),
        (
            "mixed case",
            "text",
            many(|row, chance| if row % 2 == 0 { format!("a{chance:016x}") } else { format!("A{chance:016X}") }),
        ),
        ("whole numbers", "numbers", many(|_, chance| format!("{}", chance as i64 as i32))),
        (
            "numbers of every length",
            "numbers",
            many(|row, chance| format!("{}", ((chance << 1 | 1) as i64) >> (row % 64))),
        ),
        ("one decimal", "numbers", many(|_, chance| format!("{}.{}", chance % 1000, chance % 7))),
        (
            "eighteen decimals",
            "numbers",
            many(|_, chance| format!("-{}.{:018}", chance % 9, chance % 1_000_000_000_000_000_000)),
        ),
        ("units", "numbers", many(|_, chance| format!("took {}ms", chance % 5000))),
        ("users", "numbers", many(|_, chance| format!("u-{}", chance % 50_000))),
        (
            "some are empty",
            "sparse",
            many(|row, chance| if row % 9 == 0 { String::new() } else { format!("{}", chance % 50_000) }),
        ),
        (
            "one is empty",
            "sparse",
            many(|row, chance| if row == 77 { String::new() } else { format!("{chance:016x}") }),
        ),
        ("one is not empty", "sparse", many(|row, _| if row == 77 { "here".to_owned() } else { String::new() })),
        ("half empty times", "sparse", many(|row, _| if row % 2 == 0 { instant(row) } else { String::new() })),
        ("times", "times", many(|row, _| instant(row) + "Z")),
        ("times with an offset", "times", many(|row, _| instant(row) + "+02:00")),
        ("times of seconds", "times", many(|row, _| format!("2026-11-23 02:{:02}:{:02} UTC", row / 60, row % 60))),
        ("times in brackets", "times", many(|row, chance| format!("[{}{:06}]", instant(row), chance % 1_000_000))),
        ("times with a comma", "times", many(|row, _| instant(row).replace('.', ","))),
        (
            "seconds since 1970",
            "numbers",
            many(|row, _| format!("{}", (START + row as i64 * 48_017_000) / 1_000_000_000)),
        ),
        (
            "milliseconds since 1970",
            "numbers",
            many(|row, _| format!("{}", (START + row as i64 * 48_017_000) / 1_000_000 + 12)),
        ),
        (
            "a message with numbers",
            "pattern",
            many(|row, chance| {
                if row % 3 == 0 {
                    format!("order {} of {:03}", chance % 200_000, chance % 500)
                } else {
                    format!("took {}.{} s", chance % 100, chance % 17)
                }
            }),
        ),
        (
            "numbers of blocks",
            "pattern",
            many(|row, chance| format!("{} blk_-{chance}", if row % 2 == 0 { "sent" } else { "got" })),
        ),
        ("addresses", "pattern", many(|_, chance| format!("10.{}.{}.{}", chance % 3, chance % 251, chance % 255))),
        ("floats", "numbers", many(|_, chance| format!("{:?}", (chance % 100_000) as f64 / 100.0))),
        ("floats of every length", "pattern", many(|_, chance| format!("{:?}", chance as f64 / (1_u64 << 61) as f64))),
        (
            "one long float among short ones",
            "pattern",
            many(
                |row, chance| {
                    if row == 77 { format!("{:?}", 0.1 + 0.2) } else { format!("{:?}", (chance % 5000) as f64 / 10.0) }
                },
            ),
        ),
        (
            "a zero too many",
            "pattern",
            many(
                |row, chance| {
                    if row == 77 { "1.50".to_owned() } else { format!("{:?}", (chance % 5000) as f64 / 1000.0) }
                },
            ),
        ),
        (
            "floats and whole numbers",
            "pattern",
            many(|row, chance| if row % 7 == 0 { format!("{}.0", chance % 500) } else { format!("{}", chance % 500) }),
        ),
        (
            "times without zeros at the end",
            "times",
            many(|row, chance| {
                format!("{}{}", instant(row), format!("{:06}", chance % 100_000 * 10).trim_end_matches('0')) + "Z"
            })
            .into_iter()
            .map(|text| {
                if text.ends_with("0Z") {
                    text.trim_end_matches(['0', 'Z']).trim_end_matches('.').to_owned() + "Z"
                } else {
                    text
                }
            })
            .collect(),
        ),
        ("decimals of any length", "numbers", many(|_, chance| format!("{}", (chance % 100_000) as f64 / 1000.0))),
        ("prose", "text", many(|_, chance| prose(chance))),
        ("not only letters of English", "text", many(|_, chance| prose(chance).replace('a', "ä€"))),
    ] {
        let bytes = packed(&values);
        assert_eq!(kind(&bytes), expected, "{name}");
    }
}

#[test]
fn what_would_be_written_in_another_way_is_no_number() {
    for text in [
        "-0",
        "-0.0",
        "007",
        "00",
        "+1",
        "1e3",
        "",
        ".5",
        "5.",
        "1.2.3",
        "1_000",
        "0x10",
        "9223372036854775808",
        "-9223372036854775809",
        "NaN",
        "inf",
        " 1",
        "1 ",
        "--1",
        "-",
        "1,5",
        "99999999999999999999",
        "-00",
        "0.00.",
    ] {
        for decimals in 0..3 {
            if !(text == "5." && decimals == 0) {
                assert_eq!(numbers::parse(text.as_bytes(), decimals), None, "{text:?} with {decimals} decimals");
            }
        }
        let around = many(|row, _| if row == 300 { text.to_owned() } else { format!("{row}") });
        assert_ne!(kind(&packed(&around)), "numbers", "{text:?}");
    }
    for (text, decimals, number) in [
        ("0", 0, 0),
        ("-1", 0, -1),
        ("9223372036854775807", 0, i64::MAX),
        ("-9223372036854775808", 0, i64::MIN),
        ("-9.223372036854775808", 18, i64::MIN),
        ("-0.5", 1, -5),
        ("0.0", 1, 0),
        ("10.05", 2, 1005),
    ] {
        assert_eq!(numbers::parse(text.as_bytes(), decimals), Some(number), "{text}");
        let around = many(|row, chance| {
            if row == 300 {
                text.to_owned()
            } else if decimals == 0 {
                format!("{row}")
            } else {
                format!("3.{:0width$}", chance % 10, width = decimals as usize)
            }
        });
        let bytes = packed(&around);
        assert!(matches!(kind(&bytes), "numbers" | "dictionary"), "{text} {}", kind(&bytes));
    }
}

#[test]
fn what_would_be_written_in_another_way_is_no_time() {
    for text in [
        "2026-11-23t02:41:54Z",
        "2026-11-23T02:41:54z",
        "2026-11-23T02:41:60Z",
        "2026-11-23T24:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-11-23T02:41:54.10Z",
        "2026-11-23T02:41:54.Z",
        "12026-11-23T02:41:54Z",
        "-001-11-23T02:41:54Z",
        "2026-11-23T02:41:54+00:00",
        "2026-11-23 02:41:54Z",
        "",
    ] {
        let around =
            many(
                |row, _| {
                    if row == 300 { text.to_owned() } else { format!("2026-11-23T02:{:02}:{:02}Z", row / 60, row % 60) }
                },
            );
        assert_ne!(kind(&packed(&around)), "times", "{text:?}");
    }
    for (name, text) in [
        ("the year zero", "0000-01-01T00:00:00Z"),
        ("the last second", "9999-12-31T23:59:59Z"),
        ("a leap day", "2024-02-29T12:00:00Z"),
        ("before 1970", "1969-12-31T23:59:59Z"),
    ] {
        let around =
            many(
                |row, _| {
                    if row == 300 { text.to_owned() } else { format!("2026-11-23T02:{:02}:{:02}Z", row / 60, row % 60) }
                },
            );
        assert_eq!(kind(&packed(&around)), "times", "{name}");
    }
}

#[test]
fn a_column_needs_little() {
    let bytes = |values: Vec<String>| packed(&values).len();
    for (name, most, len) in [
        (
            "times of the rows themselves",
            20,
            bytes(many(|row, _| {
                let millis = (START + row as i64 * 48_017_000) / 1_000_000 - 1_795_401_714_000;
                format!(
                    "2026-11-23T02:{:02}:{:02}.{:03}Z",
                    41 + (54_000 + millis) / 60_000,
                    (54 + millis / 1000) % 60,
                    millis % 1000
                )
            })),
        ),
        (
            "milliseconds of the rows themselves",
            20,
            bytes(many(|row, _| format!("{}", (START + row as i64 * 48_017_000) / 1_000_000))),
        ),
        (
            "nearly all empty",
            60,
            bytes(many(|row, _| if row == 400 { "a text that stands alone".to_owned() } else { String::new() })),
        ),
        ("ids", 700 * 16 + 10, bytes(many(|_, chance| format!("{chance:016x}{:016x}", chance.wrapping_mul(77))))),
        (
            "yes and no",
            700 / 8 + 30,
            bytes(many(|_, chance| if chance % 2 == 0 { "yes".to_owned() } else { "no".to_owned() })),
        ),
    ] {
        assert!(len <= most, "{name}: {len} bytes");
    }
}

#[test]
fn long_texts_and_many_rows_are_kept() {
    let long = "0123456789abcdef€".repeat(9_000);
    packed(&["short".to_owned(), long.clone(), String::new(), format!("{long}!")]);
    packed(&noise(3).take(40_000).map(|chance| format!("{}", chance % 1000)).collect::<Vec<_>>());
    packed(&noise(3).take(5_000).map(|chance| "ab".repeat(chance as usize % 90)).collect::<Vec<_>>());
}

#[test]
fn a_time_beyond_the_calendar_is_an_error() {
    let texts = many(|row, _| format!("2026-11-23T02:{:02}:{:02}Z", row / 60, row % 60));
    let values: Texts = texts.iter().map(String::as_str).collect();
    let mut bytes = Vec::new();
    encode(&values, &[0; 700], &mut bytes);
    let column = Column::open(&bytes, 700).unwrap();
    assert!(column.texts(&[i64::MAX; 700], &mut Texts::default()).is_ok());
    assert!(column.texts(&[0], &mut Texts::default()).is_err());
    let bytes = [&[TIMES, b'T', 0, 0, 0, 0, 0][..], &[0xff; 9], &[1]].concat();
    let column = Column::open(&bytes, 2).unwrap();
    assert_eq!(column.texts(&[0, 0], &mut Texts::default()), Err(DecodeError("a time is beyond the years 0 to 9999")));
}

fn some_text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[a-c]{1,2}",
        "[0-9a-f]{8}",
        "-?[0-9]{1,19}",
        "[0-9]{1,3}\\.[0-9]{2}",
        "user [0-9]{1,4} of [0-9]{1,3}",
        "20[0-9]{2}-0[1-9]-[0-3][0-9]T0[0-9]:[0-5][0-9]:[0-5][0-9]\\.[0-9]{3}Z",
        "\\PC{0,20}",
    ]
}

/// Columns in which most or all values are alike in their form.
fn some_column() -> impl Strategy<Value = Vec<String>> {
    let rows = 0..300_usize;
    prop_oneof![
        proptest::collection::vec(some_text(), rows.clone()),
        proptest::collection::vec("[a-c]{1,2}", rows.clone()),
        proptest::collection::vec("[0-9a-f]{9}", rows.clone()),
        proptest::collection::vec("[0-9A-F]{4}-[0-9A-F]{3}", rows.clone()),
        proptest::collection::vec("-?[1-9][0-9]{0,18}", rows.clone()),
        proptest::collection::vec("x-[1-9][0-9]{0,3}\\.[0-9]{2}s", rows.clone()),
        proptest::collection::vec("(user [0-9]{1,4}|of 0{0,2}[0-9]{1,20}|é [0-9])", rows.clone()),
        proptest::collection::vec("20[0-9]{2}-0[1-9]-[0-2][1-8] 0[0-9]:[0-5][0-9]:[0-5][0-9]\\.[0-9]{6}", rows.clone()),
        proptest::collection::vec("(|[1-9][0-9]{0,8})", rows.clone()),
        proptest::collection::vec("-?(0|[1-9][0-9]{0,2})(\\.[0-9]{0,3}[1-9])?", rows.clone()),
        proptest::collection::vec("(0|[1-9][0-9]{0,2})(\\.0|\\.[0-9]{0,3}[1-9])", rows.clone()),
        proptest::collection::vec("2024-02-2[0-9]T10:20:[0-5][0-9](\\.[0-9]{0,8}[1-9])?Z", rows.clone()),
        proptest::collection::vec("\\PC{0,40}", rows),
    ]
}

proptest! {
    // Each asks some hundred questions.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_column_comes_back(values in some_column()) {
        packed(&values);
    }

    #[test]
    fn one_stranger_does_no_harm(values in some_column(), stranger in some_text(), place in any::<prop::sample::Index>()) {
        let mut values = values;
        if !values.is_empty() {
            let place = place.index(values.len());
            values[place] = stranger;
        }
        packed(&values);
    }

    #[test]
    fn bytes_that_nobody_wrote_do_no_harm(kind in 0_u8..8, bytes in proptest::collection::vec(any::<u8>(), 0..300), rows in 0_usize..400) {
        ask_everything(&[&[kind][..], &bytes].concat(), rows);
    }

    #[test]
    fn one_wrong_bit_does_no_harm(values in some_column(), flip in any::<prop::sample::Index>(), other_rows in 0_usize..300) {
        let mut bytes = packed(&values);
        ask_everything(&bytes, other_rows);
        let flip = flip.index(bytes.len() * 8);
        bytes[flip / 8] ^= 1 << (flip % 8);
        ask_everything(&bytes, values.len());
        bytes.truncate(flip / 8);
        ask_everything(&bytes, values.len());
    }

    #[test]
    fn packed_numbers_come_back(numbers in proptest::collection::vec(prop_oneof![any::<i64>(), -3_i64..100, Just(7), 0..1_i64 << 40], 0..400)) {
        let mut bytes = Vec::new();
        packed::pack(&numbers, &mut bytes);
        let packed = packed::Packed::new(&bytes, numbers.len());
        let mut unpacked = Vec::new();
        packed.unpack(&mut unpacked).unwrap();
        prop_assert_eq!(&unpacked, &numbers);
    }
}

/// Whatever the answers are, they come.
fn ask_everything(bytes: &[u8], rows: usize) {
    let times = times(rows);
    let Ok(column) = Column::open(bytes, rows) else { return };
    let mut texts = Texts::default();
    if column.texts(&times, &mut texts).is_ok() {
        assert_eq!(texts.len(), rows);
    }
    for row in [0, rows / 2, rows] {
        let _ = column.pick(&[row as u32], &times, &mut Texts::default());
    }
    let all: Vec<u32> = (0..rows as u32).collect();
    let _ = column.pick(&all, &times, &mut texts);
    let _ = column.dictionary();
    let _ = column.numbers();
    for text in ["", "1", "ab", "2026-11-23T02:41:54Z", "user 1 of 2"] {
        let _ = column.rows_equal(text, &times);
        let _ = column.rows_containing(&Finder::new(text), &times);
    }
}
