//! Durations and byte sizes as LogQL writes them.

/// Reads a Go duration (`1h30m`, `1.5s`, `-2ms`), also with `d`, `w` and `y`; nanoseconds.
///
/// # Errors
/// The sentence Loki uses.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("not a valid duration string: {text:?}");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0_f64;
    let mut exact = 0_i128;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, tail) = rest.split_at_checked(digits).ok_or_else(invalid)?;
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters).ok_or_else(invalid)?;
        if number.is_empty() || unit.is_empty() {
            return Err(invalid());
        }
        let size: i64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            "w" => 604_800_000_000_000,
            "y" => 31_536_000_000_000_000,
            unknown => return Err(format!("unknown unit {unknown:?} in duration {text:?}")),
        };
        if number.contains('.') {
            let part = number.parse::<f64>().map_err(|_| invalid())? * size as f64;
            total += part;
            exact += part as i128;
        } else {
            let number: i64 = number.parse().map_err(|_| invalid())?;
            exact += i128::from(number) * i128::from(size);
            total += number as f64 * size as f64;
        }
        rest = tail;
    }
    if total > i64::MAX as f64 {
        return Err(format!("duration out of range: {text:?}"));
    }
    let value = i64::try_from(exact).map_err(|_| format!("duration out of range: {text:?}"))?;
    Ok(if negative { -value } else { value })
}

/// Writes nanoseconds so that [`parse_duration`] reads the same number back.
pub(crate) fn format_duration(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".to_owned();
    }
    let mut text = if nanos < 0 { "-".to_owned() } else { String::new() };
    let mut rest = nanos.unsigned_abs();
    for (unit, size) in [
        ("h", 3_600_000_000_000_u64),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ] {
        if rest >= size {
            text.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    text
}

/// Reads a byte size: `KB` is 1000, `KiB` 1024, any case, a plain number is bytes.
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b',')).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: f64 = number.replace(',', "").parse().ok()?;
    let size: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "ki" | "kib" => 1 << 10,
        "m" | "mb" => 1_000_000,
        "mi" | "mib" => 1 << 20,
        "g" | "gb" => 1_000_000_000,
        "gi" | "gib" => 1 << 30,
        "t" | "tb" => 1_000_000_000_000,
        "ti" | "tib" => 1 << 40,
        "p" | "pb" => 1_000_000_000_000_000,
        "pi" | "pib" => 1 << 50,
        "e" | "eb" => 1_000_000_000_000_000_000,
        "ei" | "eib" => 1 << 60,
        _ => return None,
    };
    let bytes = number * size as f64;
    (bytes < u64::MAX as f64).then_some(bytes as u64)
}

/// Reads a label's value as a number; also `inf`, `nan`, `1e3` and hexadecimal digits with a binary exponent.
///
/// # Errors
/// In the words of Go's `strconv`, which `__error_details__` shows.
pub(crate) fn read_float(text: &str) -> Result<f64, String> {
    let refused = |why: &str| format!("strconv.ParseFloat: parsing {}: {why}", quote(text));
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => hex_float(hex).ok_or_else(|| refused("invalid syntax"))?,
        // A second sign is none of Go's numbers.
        None if digits.starts_with(['+', '-']) => return Err(refused("invalid syntax")),
        None => digits.parse().map_err(|_| refused("invalid syntax"))?,
    };
    if value.is_infinite() && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(refused("value out of range"));
    }
    Ok(if negative { -value } else { value })
}

/// `1.8p3`: hexadecimal digits and a binary exponent, which is required.
fn hex_float(text: &str) -> Option<f64> {
    let (digits, exponent) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mantissa = format!("{whole}{fraction}");
    if !mantissa.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mantissa = u64::from_str_radix(&mantissa, 16).ok()?;
    let shift = i32::try_from(fraction.len()).ok()?.checked_mul(4)?;
    Some(mantissa as f64 * 2_f64.powi(exponent.parse::<i32>().ok()?.checked_sub(shift)?))
}

/// Reads a label's value as a duration; nanoseconds.
///
/// # Errors
/// In the words of Go's `time`, which `__error_details__` shows.
pub(crate) fn read_duration(text: &str) -> Result<i64, String> {
    parse_duration(text).map_err(|_| {
        let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
        while rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            let number = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
            let after = rest.get(number..).unwrap_or_default();
            let letters = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
            let (unit, tail) = after.split_at_checked(letters).unwrap_or((after, ""));
            if unit.is_empty() {
                return format!("time: missing unit in duration {}", quote(text));
            }
            if parse_duration(&format!("1{unit}")).is_err() {
                return format!("time: unknown unit {} in duration {}", quote(unit), quote(text));
            }
            rest = tail;
        }
        format!("time: invalid duration {}", quote(text))
    })
}

/// Reads a label's value as a size in bytes.
///
/// # Errors
/// In the words of the library Loki uses, which `__error_details__` shows.
pub(crate) fn read_bytes(text: &str) -> Result<u64, String> {
    parse_bytes(text).ok_or_else(|| {
        let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b',')).count();
        let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
        match read_float(&number.replace(',', "")) {
            Err(reason) => reason,
            Ok(_) if parse_bytes(&format!("1{unit}")).is_some() => format!("too large: {text}"),
            Ok(_) => format!("unhandled size name: {}", unit.trim().to_lowercase()),
        }
    })
}

/// Quotes a text so that the lexer reads the same text back.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Resolves the escapes of a Go string literal (without its quotes); `None` when one is not valid.
pub(crate) fn unescape(body: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(body.len());
    let mut chars = body.chars();
    let mut buffer = [0; 4];
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
            continue;
        }
        let escape = chars.next()?;
        let mut number = |digits: usize, radix: u32, first: Option<char>| -> Option<u32> {
            let mut value = match first {
                Some(first) => first.to_digit(radix)?,
                None => 0,
            };
            for _ in 0..digits {
                value = value.checked_mul(radix)?.checked_add(chars.next()?.to_digit(radix)?)?;
            }
            Some(value)
        };
        let resolved = match escape {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '\\' | '"' | '\'' => escape,
            'u' => char::from_u32(number(4, 16, None)?)?,
            'U' => char::from_u32(number(8, 16, None)?)?,
            'x' => {
                bytes.push(u8::try_from(number(2, 16, None)?).ok()?);
                continue;
            }
            '0'..='7' => {
                bytes.push(u8::try_from(number(2, 8, Some(escape))?).ok()?);
                continue;
            }
            _ => return None,
        };
        bytes.extend_from_slice(resolved.encode_utf8(&mut buffer).as_bytes());
    }
    Some(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go_and_longer() {
        for (text, want) in [
            ("5m", Some(300_000_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("-2ms", Some(-2_000_000)),
            ("1d", Some(86_400_000_000_000)),
            ("3600000000000ns", Some(3_600_000_000_000)),
            ("7µs", Some(7_000)),
            ("0", Some(0)),
            ("5", None),
            ("", None),
            ("5minutes", None),
            ("1..5s", None),
            ("999999999y", None),
        ] {
            assert_eq!(parse_duration(text).ok(), want, "{text}");
        }
        assert_eq!(parse_duration("5minutes").unwrap_err(), "unknown unit \"minutes\" in duration \"5minutes\"");
        assert_eq!(format_duration(5_400_000_000_001), "1h30m1ns");
    }

    #[test]
    fn sizes_know_both_thousands() {
        for (text, want) in [
            ("1KB", Some(1000)),
            ("1kib", Some(1024)),
            ("1.5MB", Some(1_500_000)),
            ("42", Some(42)),
            ("2 GiB", Some(2 << 30)),
            ("x", None),
            ("1XB", None),
        ] {
            assert_eq!(parse_bytes(text), want, "{text}");
        }
    }

    #[test]
    fn values_are_refused_in_the_words_of_go() {
        let words = |text: &str| {
            let float = read_float(text).map_or_else(|reason| reason, |value| value.to_string());
            let duration = read_duration(text).map_or_else(|reason| reason, |value| value.to_string());
            let bytes = read_bytes(text).map_or_else(|reason| reason, |value| value.to_string());
            [float, duration, bytes]
        };
        let syntax = |text: &str| format!("strconv.ParseFloat: parsing \"{text}\": invalid syntax");
        for (text, float, duration, bytes) in [
            ("", syntax(""), "time: invalid duration \"\"", syntax("")),
            ("x", syntax("x"), "time: invalid duration \"x\"", syntax("")),
            ("5", "5".to_owned(), "time: missing unit in duration \"5\"", "5".to_owned()),
            ("-2", "-2".to_owned(), "time: missing unit in duration \"-2\"", syntax("")),
            ("5ms", syntax("5ms"), "5000000", "unhandled size name: ms".to_owned()),
            ("1kB", syntax("1kB"), "time: unknown unit \"kB\" in duration \"1kB\"", "1000".to_owned()),
            ("+1e3", "1000".to_owned(), "time: unknown unit \"e\" in duration \"+1e3\"", syntax("")),
            ("+-1", syntax("+-1"), "time: invalid duration \"+-1\"", syntax("")),
            (
                "1e999",
                "strconv.ParseFloat: parsing \"1e999\": value out of range".to_owned(),
                "time: unknown unit \"e\" in duration \"1e999\"",
                "unhandled size name: e999".to_owned(),
            ),
            (
                "0x1p4",
                "16".to_owned(),
                "time: unknown unit \"x\" in duration \"0x1p4\"",
                "unhandled size name: x1p4".to_owned(),
            ),
            ("99EB", syntax("99EB"), "time: unknown unit \"EB\" in duration \"99EB\"", "too large: 99EB".to_owned()),
            ("-Inf", "-inf".to_owned(), "time: invalid duration \"-Inf\"", syntax("")),
        ] {
            assert_eq!(words(text), [float, duration.to_owned(), bytes], "{text}");
        }
    }

    #[test]
    fn quoting_is_undone_by_unescaping() {
        for text in ["", "plain", "a\"b\\c\n\t\r\u{1}", "é\u{7f}"] {
            let quoted = quote(text);
            assert_eq!(unescape(&quoted[1..quoted.len() - 1]).as_deref(), Some(text));
        }
        assert_eq!(unescape("\\x41\\101\\u00e9").as_deref(), Some("AAé"));
        assert_eq!(unescape("\\d"), None);
    }
}
