//! The functions Loki adds to Go templates.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use gotmpl::{TemplateError, Value};
use regex::Regex;
use signal::{Nanos, go_regex};

use super::{Current, MAX_OUTPUT, time};
use crate::logql::units::{read_bytes, read_duration};

pub(super) type Function = Box<dyn Fn(&[Value]) -> Result<Value, TemplateError> + Send + Sync>;

/// Every function by name; those about the line at hand read it from `current`.
pub(super) fn all(current: &Arc<Mutex<Current>>) -> Vec<(&'static str, Function)> {
    let mut functions: Vec<(&'static str, Function)> = Vec::new();
    for (name, read) in [
        ("__line__", (|current: &Current| text(&current.line)) as fn(&Current) -> Value),
        ("__timestamp__", |current| text(&time::show(current.at))),
        ("now", |current| text(&time::show(current.now))),
    ] {
        let current = current.clone();
        functions.push((name, Box::new(move |_| Ok(read(&current.lock().unwrap_or_else(PoisonError::into_inner))))));
    }
    for (name, arity, function) in TEXTS {
        functions.push((
            name,
            Box::new(move |given| {
                with_arity(name, *arity, given, |given| {
                    let given: Vec<String> = given.iter().map(show).collect();
                    let given: Vec<&str> = given.iter().map(String::as_str).collect();
                    function(&given).map_err(|reason| failed(name, &reason))
                })
            }),
        ));
    }
    for (name, function) in NUMBERS {
        functions.push((
            name,
            Box::new(move |given| {
                let numbers = given.iter().map(|value| float(name, value)).collect::<Result<Vec<_>, _>>()?;
                let (first, rest) = numbers.split_first().ok_or_else(|| failed(name, "needs an argument"))?;
                if rest.is_empty() {
                    return Ok(Value::Float(if ROUNDING.contains(name) { function(*first, 0.0) } else { *first }));
                }
                if *name == "divf" && rest.contains(&0.0) {
                    return Err(failed(name, "decimal division by 0"));
                }
                Ok(Value::Float(rest.iter().fold(*first, |sum, next| function(sum, *next))))
            }),
        ));
    }
    for (name, function) in INTEGERS {
        functions.push((
            name,
            Box::new(move |given| {
                let numbers = given.iter().map(|value| integer(name, value)).collect::<Result<Vec<_>, _>>()?;
                let (first, rest) = numbers.split_first().ok_or_else(|| failed(name, "needs an argument"))?;
                if matches!(*name, "div" | "mod") && rest.contains(&0) {
                    return Err(failed(name, "runtime error: integer divide by zero"));
                }
                let folded = rest.iter().try_fold(*first, |sum, next| function(sum, *next));
                folded.map(Value::Int).ok_or_else(|| failed(name, "integer overflow"))
            }),
        ));
    }
    functions.extend(others());
    functions.extend(with_patterns());
    functions
}

type OnText = fn(&[&str]) -> Result<Value, String>;

fn text(value: &str) -> Value {
    Value::String(Arc::from(value))
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        Value::Nil => String::new(),
        other => other.to_string(),
    }
}

fn failed(name: &str, reason: &str) -> TemplateError {
    TemplateError::Exec(format!("error calling {name}: {reason}"))
}

fn with_arity(
    name: &str,
    arity: usize,
    given: &[Value],
    call: impl FnOnce(&[Value]) -> Result<Value, TemplateError>,
) -> Result<Value, TemplateError> {
    if given.len() == arity {
        call(given)
    } else {
        Err(failed(name, &format!("wants {arity} arguments, got {}", given.len())))
    }
}

fn float(name: &str, value: &Value) -> Result<f64, TemplateError> {
    match value {
        Value::Int(number) => Ok(*number as f64),
        Value::Uint(number) => Ok(*number as f64),
        Value::Float(number) => Ok(*number),
        Value::Bool(flag) => Ok(f64::from(u8::from(*flag))),
        // As sprig: what is no number counts as zero.
        Value::String(text) => Ok(text.trim().parse().unwrap_or(0.0)),
        Value::Nil | Value::List(_) | Value::Map(_) | Value::Function(_) => Err(failed(name, "wants numbers")),
    }
}

fn integer(name: &str, value: &Value) -> Result<i64, TemplateError> {
    match value {
        Value::Int(number) => Ok(*number),
        Value::String(text) => {
            Ok(text.trim().parse().unwrap_or_else(|_| text.trim().parse().unwrap_or(0.0_f64) as i64))
        }
        other => float(name, other).map(|number| number as i64),
    }
}

/// Those of [`NUMBERS`] that do something to a single argument.
const ROUNDING: &[&str] = &["ceil", "floor", "round"];

type OnFloats = fn(f64, f64) -> f64;
type OnIntegers = fn(i64, i64) -> Option<i64>;

const NUMBERS: &[(&str, OnFloats)] = &[
    ("addf", |a, b| a + b),
    ("subf", |a, b| a - b),
    ("mulf", |a, b| a * b),
    ("divf", |a, b| a / b),
    ("maxf", f64::max),
    ("minf", f64::min),
    ("float64", |a, _| a),
    ("ceil", |a, _| a.ceil()),
    ("floor", |a, _| a.floor()),
    ("round", |a, places| {
        let scale = 10_f64.powi(places as i32);
        (a * scale).round() / scale
    }),
];

const INTEGERS: &[(&str, OnIntegers)] = &[
    ("add", i64::checked_add),
    ("sub", i64::checked_sub),
    ("mul", i64::checked_mul),
    ("div", i64::checked_div),
    ("mod", i64::checked_rem),
    ("max", |a, b| Some(a.max(b))),
    ("min", |a, b| Some(a.min(b))),
    ("int", |a, _| Some(a)),
];

/// Functions of texts alone, with their number of arguments. Piped values come last, as in Go.
const TEXTS: &[(&str, usize, OnText)] = &[
    ("ToLower", 1, |a| Ok(text(&lower(one(a)?)))),
    ("lower", 1, |a| Ok(text(&lower(one(a)?)))),
    ("ToUpper", 1, |a| Ok(text(&upper(one(a)?)))),
    ("upper", 1, |a| Ok(text(&upper(one(a)?)))),
    ("title", 1, |a| Ok(text(&title(one(a)?)))),
    ("trim", 1, |a| Ok(text(one(a)?.trim()))),
    ("TrimSpace", 1, |a| Ok(text(one(a)?.trim()))),
    ("Trim", 2, |a| two(a).map(|(subject, cut)| text(subject.trim_matches(|c| cut.contains(c))))),
    ("TrimLeft", 2, |a| two(a).map(|(subject, cut)| text(subject.trim_start_matches(|c| cut.contains(c))))),
    ("TrimRight", 2, |a| two(a).map(|(subject, cut)| text(subject.trim_end_matches(|c| cut.contains(c))))),
    ("TrimPrefix", 2, |a| two(a).map(|(subject, cut)| text(subject.strip_prefix(cut).unwrap_or(subject)))),
    ("TrimSuffix", 2, |a| two(a).map(|(subject, cut)| text(subject.strip_suffix(cut).unwrap_or(subject)))),
    ("trimAll", 2, |a| two(a).map(|(cut, subject)| text(subject.trim_matches(|c| cut.contains(c))))),
    ("trimPrefix", 2, |a| two(a).map(|(cut, subject)| text(subject.strip_prefix(cut).unwrap_or(subject)))),
    ("trimSuffix", 2, |a| two(a).map(|(cut, subject)| text(subject.strip_suffix(cut).unwrap_or(subject)))),
    ("contains", 2, |a| two(a).map(|(part, subject)| Value::Bool(subject.contains(part)))),
    ("hasPrefix", 2, |a| two(a).map(|(part, subject)| Value::Bool(subject.starts_with(part)))),
    ("hasSuffix", 2, |a| two(a).map(|(part, subject)| Value::Bool(subject.ends_with(part)))),
    ("replace", 3, |a| match a {
        [from, to, subject] => Ok(text(&bounded(subject.replace(from, to))?)),
        _ => Err("wants 3 arguments".to_owned()),
    }),
    ("urlencode", 1, |a| Ok(text(&gotmpl::url_encode(one(a)?)))),
    ("urldecode", 1, |a| Ok(text(&urldecode(one(a)?)?))),
    ("b64enc", 1, |a| Ok(text(&base64_encode(one(a)?.as_bytes())))),
    // As sprig: what cannot be decoded says so in its place.
    ("b64dec", 1, |a| Ok(text(&base64_decode(one(a)?).unwrap_or_else(|reason| reason)))),
    ("bytes", 1, |a| read_bytes(one(a)?).map(|size| Value::Float(size as f64))),
    ("duration", 1, |a| seconds(one(a)?)),
    ("duration_seconds", 1, |a| seconds(one(a)?)),
    // As sprig: what is no JSON is nothing.
    ("fromJson", 1, |a| Ok(serde_json::from_str(one(a)?).map_or(Value::Nil, |value| from_json(&value)))),
    ("date", 2, |a| {
        let (layout, at) = two(a)?;
        Ok(text(&time::zoned(instant(at)?, "UTC").map(|at| time::format(layout, &at)).unwrap_or_default()))
    }),
    ("toDate", 2, |a| {
        let (layout, value) = two(a)?;
        Ok(text(
            &time::parse(layout, value, "UTC")
                .map(time::show)
                .unwrap_or_else(|| "0001-01-01 00:00:00 +0000 UTC".to_owned()),
        ))
    }),
    ("toDateInZone", 3, |a| match a {
        [layout, zone, value] => Ok(text(
            &time::parse(layout, value, zone)
                .map(time::show)
                .unwrap_or_else(|| "0001-01-01 00:00:00 +0000 UTC".to_owned()),
        )),
        _ => Err("wants 3 arguments".to_owned()),
    }),
    ("unixEpoch", 1, |a| Ok(text(&(instant(one(a)?)?.0.div_euclid(1_000_000_000)).to_string()))),
    ("unixEpochMillis", 1, |a| Ok(text(&(instant(one(a)?)?.0.div_euclid(1_000_000)).to_string()))),
    ("unixEpochNanos", 1, |a| Ok(text(&instant(one(a)?)?.0.to_string()))),
    ("unixToTime", 1, |a| {
        let value = one(a)?;
        time::of_unix(value).map(|at| text(&time::show(at))).ok_or_else(|| format!("unable to parse time '{value}'"))
    }),
];

fn one<'a>(given: &[&'a str]) -> Result<&'a str, String> {
    given.first().copied().ok_or_else(|| "wants an argument".to_owned())
}

fn two<'a>(given: &[&'a str]) -> Result<(&'a str, &'a str), String> {
    match given {
        [first, second] => Ok((first, second)),
        _ => Err("wants 2 arguments".to_owned()),
    }
}

fn instant(value: &str) -> Result<Nanos, String> {
    time::read(value).ok_or_else(|| format!("not a time: {value:?}"))
}

fn seconds(value: &str) -> Result<Value, String> {
    read_duration(value).map(|nanos| Value::Float(nanos as f64 / 1e9))
}

fn bounded(value: String) -> Result<String, String> {
    if value.len() > MAX_OUTPUT { Err(format!("result is longer than {MAX_OUTPUT} bytes")) } else { Ok(value) }
}

/// Letter by letter, as in Go: none becomes several.
fn lower(subject: &str) -> String {
    subject.chars().filter_map(|c| c.to_lowercase().next()).collect()
}

fn upper(subject: &str) -> String {
    let single = |c: char| if c.to_uppercase().len() == 1 { c.to_uppercase().next().unwrap_or(c) } else { c };
    subject.chars().map(single).collect()
}

fn title(subject: &str) -> String {
    // Any sign of ASCII ends a word, the apostrophe too; of the others only blanks do.
    let separates = |c: char| match c {
        '_' => false,
        c if c.is_ascii() => !c.is_ascii_alphanumeric(),
        c => !c.is_alphanumeric() && c.is_whitespace(),
    };
    let mut previous = ' ';
    let mut out = String::with_capacity(subject.len());
    for c in subject.chars() {
        if separates(previous) {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        previous = c;
    }
    out
}

/// How often to repeat something.
fn times(name: &str, count: &Value) -> Result<usize, TemplateError> {
    usize::try_from(integer(name, count)?).map_err(|_| failed(name, "strings: negative Repeat count"))
}

/// `subject[start:end]` in characters; a negative end is the end of the text.
fn substring(start: i64, end: i64, subject: &str) -> Result<String, String> {
    let length = subject.chars().count();
    let outside = |what: String| Err(format!("runtime error: slice bounds out of range {what}"));
    let Ok(first) = usize::try_from(start) else {
        return match usize::try_from(end) {
            Ok(end) if end <= length => Ok(subject.chars().take(end).collect()),
            Ok(end) => outside(format!("[:{end}] with length {length}")),
            Err(_) => outside(format!("[:{end}]")),
        };
    };
    let last = usize::try_from(end).map_or(length, |end| end.min(length));
    if first > last {
        return outside(format!("[{first}:{last}]"));
    }
    Ok(subject.chars().skip(first).take(last - first).collect())
}

/// Patterns that were compiled before: most often each line brings the same one.
#[derive(Default)]
struct Patterns(Mutex<HashMap<String, Regex>>);

impl Patterns {
    /// A pattern may come from the line, so not all of them can be kept.
    const MOST: usize = 16;

    fn get(&self, pattern: &str) -> Result<Regex, String> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(regex) = known.get(pattern) {
            return Ok(regex.clone());
        }
        let regex = go_regex::compile(pattern)?;
        if known.len() >= Self::MOST {
            known.clear();
        }
        known.insert(pattern.to_owned(), regex.clone());
        Ok(regex)
    }
}

/// Functions whose first argument is a regular expression.
fn with_patterns() -> Vec<(&'static str, Function)> {
    type OnPattern = fn(&Regex, &[&str]) -> Result<Value, String>;
    let functions: [(&'static str, usize, OnPattern); 3] = [
        ("regexReplaceAll", 3, |regex, rest| {
            let (subject, replacement) = two(rest)?;
            Ok(text(&bounded(regex.replace_all(subject, replacement).into_owned())?))
        }),
        ("regexReplaceAllLiteral", 3, |regex, rest| {
            let (subject, replacement) = two(rest)?;
            Ok(text(&bounded(regex.replace_all(subject, regex::NoExpand(replacement)).into_owned())?))
        }),
        ("count", 2, |regex, rest| {
            Ok(Value::Int(i64::try_from(regex.find_iter(one(rest)?).count()).unwrap_or(i64::MAX)))
        }),
    ];
    let patterns = Arc::new(Patterns::default());
    let with = |(name, arity, function): (&'static str, usize, OnPattern)| {
        let patterns = Arc::clone(&patterns);
        let call: Function = Box::new(move |given| {
            with_arity(name, arity, given, |given| {
                let given: Vec<String> = given.iter().map(show).collect();
                let given: Vec<&str> = given.iter().map(String::as_str).collect();
                let (pattern, rest) = given.split_first().ok_or_else(|| failed(name, "wants a pattern"))?;
                let regex = patterns.get(pattern).map_err(|reason| failed(name, &reason))?;
                function(&regex, rest).map_err(|reason| failed(name, &reason))
            })
        });
        (name, call)
    };
    functions.map(with).into()
}

/// Functions whose arguments are numbers and texts.
fn others() -> Vec<(&'static str, Function)> {
    let pad = move |name: &'static str, left: bool| -> Function {
        Box::new(move |given| {
            with_arity(name, 2, given, |given| {
                let (Some(count), Some(subject)) = (given.first(), given.last()) else { return Ok(text("")) };
                let (count, subject) = (integer(name, count)?, show(subject));
                let Ok(count) = usize::try_from(count) else { return Ok(text(&subject)) };
                let count = count.min(MAX_OUTPUT / 4);
                let length = subject.chars().count();
                let blanks = " ".repeat(count.saturating_sub(length));
                Ok(text(&if left {
                    format!("{}{blanks}", subject.chars().take(count).collect::<String>())
                } else {
                    format!("{blanks}{}", subject.chars().skip(length.saturating_sub(count)).collect::<String>())
                }))
            })
        })
    };
    let indent = move |name: &'static str, start: &'static str| -> Function {
        Box::new(move |given| {
            with_arity(name, 2, given, |given| {
                let (Some(count), Some(subject)) = (given.first(), given.last()) else { return Ok(text("")) };
                let blanks = " ".repeat(times(name, count)?.min(256));
                let indented = format!("{start}{blanks}{}", show(subject).replace('\n', &format!("\n{blanks}")));
                bounded(indented).map(|out| text(&out)).map_err(|reason| failed(name, &reason))
            })
        })
    };
    vec![
        ("alignLeft", pad("alignLeft", true)),
        ("alignRight", pad("alignRight", false)),
        ("indent", indent("indent", "")),
        ("nindent", indent("nindent", "\n")),
        (
            "default",
            Box::new(|given| {
                let (Some(fallback), Some(value)) = (given.first(), given.last()) else {
                    return Err(failed("default", "wants an argument"));
                };
                Ok(if given.len() > 1 && value.is_truthy() { value.clone() } else { fallback.clone() })
            }),
        ),
        (
            "repeat",
            Box::new(move |given| {
                with_arity("repeat", 2, given, |given| {
                    let (Some(count), Some(subject)) = (given.first(), given.last()) else { return Ok(text("")) };
                    let (count, subject) = (times("repeat", count)?, show(subject));
                    if subject.len().saturating_mul(count) > MAX_OUTPUT {
                        return Err(failed("repeat", &format!("result is longer than {MAX_OUTPUT} bytes")));
                    }
                    Ok(text(&subject.repeat(count)))
                })
            }),
        ),
        (
            "trunc",
            Box::new(|given| {
                with_arity("trunc", 2, given, |given| {
                    let (Some(count), Some(subject)) = (given.first(), given.last()) else { return Ok(text("")) };
                    let (count, subject) = (integer("trunc", count)?, show(subject));
                    let length = subject.chars().count();
                    let keep = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
                    let skip = if count < 0 { length.saturating_sub(keep) } else { 0 };
                    Ok(text(&subject.chars().skip(skip).take(keep).collect::<String>()))
                })
            }),
        ),
        (
            "substr",
            Box::new(|given| {
                with_arity("substr", 3, given, |given| {
                    let [start, end, subject] = given else { return Ok(text("")) };
                    let (start, end, subject) = (integer("substr", start)?, integer("substr", end)?, show(subject));
                    substring(start, end, &subject).map(|out| text(&out)).map_err(|reason| failed("substr", &reason))
                })
            }),
        ),
        (
            "Replace",
            Box::new(|given| {
                with_arity("Replace", 4, given, |given| {
                    let [subject, from, to, count] = given else { return Ok(text("")) };
                    let (subject, from, to, count) = (show(subject), show(from), show(to), integer("Replace", count)?);
                    let replaced = match usize::try_from(count) {
                        Ok(count) => subject.replacen(&from, &to, count),
                        Err(_) => subject.replace(&from, &to),
                    };
                    bounded(replaced).map(|out| text(&out)).map_err(|reason| failed("Replace", &reason))
                })
            }),
        ),
    ]
}

fn from_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(flag) => Value::Bool(*flag),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(whole) => Value::Int(whole),
            None => Value::Float(number.as_f64().unwrap_or(0.0)),
        },
        serde_json::Value::String(value) => text(value),
        serde_json::Value::Array(values) => Value::List(values.iter().map(from_json).collect()),
        serde_json::Value::Object(members) => Value::Map(Arc::new(
            members.iter().map(|(name, value)| (Arc::from(name.as_str()), from_json(value))).collect(),
        )),
    }
}

fn urldecode(value: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find(['+', '%']) {
        let (before, sign) = rest.split_at_checked(at).unwrap_or((rest, ""));
        bytes.extend_from_slice(before.as_bytes());
        if let Some(after) = sign.strip_prefix('+') {
            bytes.push(b' ');
            rest = after;
            continue;
        }
        let digits = sign.get(1..3).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            return Err(format!("invalid URL escape {:?}", sign.chars().take(3).collect::<String>()));
        };
        bytes.push(byte);
        rest = sign.get(3..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64_encode(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let index = usize::try_from(group >> (18 - 6 * at) & 63).unwrap_or(0);
            let digit = ALPHABET.get(index).copied().unwrap_or(b'=');
            out.push(if at <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// With its padding, as Go's standard encoding; line ends do not count.
fn base64_decode(value: &str) -> Result<String, String> {
    let (mut bytes, mut group, mut bits, mut digits) = (Vec::new(), 0_u32, 0, 0_usize);
    let body = value.trim_end_matches('=');
    for (at, digit) in body.bytes().enumerate() {
        if matches!(digit, b'\r' | b'\n') {
            continue;
        }
        let place = ALPHABET.iter().position(|known| *known == digit);
        let place = place.ok_or_else(|| format!("illegal base64 data at input byte {at}"))?;
        group = group << 6 | u32::try_from(place).unwrap_or(0);
        bits += 6;
        digits += 1;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(group >> bits & 255).unwrap_or(0));
        }
    }
    let padding = value.len() - body.len();
    let wrong = match (digits % 4, padding) {
        (0, 0) | (2, 2) | (3, 1) => None,
        // The group that is not complete begins here.
        (open, 0) => Some(value.len() - open),
        (2, 1) => Some(value.len()),
        (2, _) => Some(body.len() + 2),
        (3, _) => Some(body.len() + 1),
        _ => Some(body.len()),
    };
    if let Some(at) = wrong {
        return Err(format!("illegal base64 data at input byte {at}"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
