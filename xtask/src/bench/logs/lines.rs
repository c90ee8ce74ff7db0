//! Lines as services write them: JSON of two kinds, logfmt, and the access log of a web server.

use std::fmt::Write;

use super::super::load::Random;

/// How the lines of a service look.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Format {
    Json,
    Logfmt,
    Plain,
}

impl Format {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Logfmt => "logfmt",
            Self::Plain => "plain",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// JSON, flat.
    Requests,
    /// JSON with objects and a list inside.
    Tasks,
    /// logfmt.
    Engine,
    /// What web servers write for each request.
    Access,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    pub(super) name: &'static str,
    kind: Kind,
    /// Its share of the lines.
    pub(super) weight: usize,
}

const fn service(name: &'static str, kind: Kind, weight: usize) -> Service {
    Service { name, kind, weight }
}

pub(super) const SERVICES: [Service; 12] = [
    service("checkout", Kind::Requests, 6),
    service("orders", Kind::Requests, 5),
    service("catalog", Kind::Requests, 5),
    service("payment", Kind::Requests, 4),
    service("mailer", Kind::Tasks, 2),
    service("invoices", Kind::Tasks, 2),
    service("tables", Kind::Engine, 5),
    service("login", Kind::Engine, 4),
    service("planner", Kind::Engine, 3),
    service("edge", Kind::Access, 7),
    service("shop", Kind::Access, 3),
    service("static", Kind::Access, 2),
];

/// What is known about a line, to check answers with.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub(super) struct Facts {
    pub(super) level: &'static str,
    /// Its trace, if it is JSON.
    pub(super) trace: Option<u128>,
    /// `duration_ms` of JSON, `took_ms` of logfmt.
    pub(super) ms: f64,
    /// JSON that fits `TIMEOUTS`.
    pub(super) is_timeout: bool,
    /// A line of an access log that fits `REFUSED`.
    pub(super) is_refused: bool,
}

/// Fits lines of JSON services.
pub(super) const TIMEOUTS: &str = "timeout calling (payment|inventory)";
/// Fits lines of access logs.
pub(super) const REFUSED: &str = r#""(PUT|DELETE) /api/v2/[a-z]+/[0-9]+ HTTP/1\.1" 50[0-9]"#;
/// Stands in few lines of access logs, in the middle of a word.
pub(super) const RARE: &str = "satzteil-991";
/// One line of an access log in so many is such a line; the first comes after half of it.
pub(super) const RARE_EVERY: u64 = 50_000;

/// Level, message, share. `#` is a number.
type Said = (&'static str, &'static str, u64);

const REQUESTS: [Said; 14] = [
    ("info", "request completed", 34),
    ("info", "request started", 12),
    ("info", "cache hit for key user:#:profile", 8),
    ("info", "order # created with # items", 6),
    ("info", "session of user # refreshed", 5),
    ("info", "connection pool: active=# idle=#", 4),
    ("debug", "query took # us: SELECT id, total FROM orders WHERE customer = #", 8),
    ("debug", "flag new-checkout evaluated for tenant #", 6),
    ("warn", "retrying call to inventory, attempt # of 5", 5),
    ("warn", "rate limit of tenant # approached", 3),
    ("error", "timeout calling payment: deadline exceeded after # ms", 2),
    ("error", "timeout calling inventory: upstream answered #", 1),
    ("error", "timeout calling search: no answer after # ms", 1),
    ("error", "order # not stored: duplicate key", 1),
];
const TASKS: [Said; 6] = [
    ("info", "task # done", 50),
    ("info", "task # taken from queue", 30),
    ("debug", "heartbeat #", 10),
    ("warn", "task # takes long", 6),
    ("error", "task # failed: template # has no field", 3),
    ("error", "timeout calling inventory: task # given up", 1),
];
const ENGINE: [Said; 7] = [
    ("info", "compaction of level # finished", 25),
    ("info", "checkpoint # written", 20),
    ("info", "token of client # renewed", 15),
    ("debug", "cache miss for block #", 20),
    ("warn", "slow read of # pages", 12),
    ("warn", "clock differs by # us", 4),
    ("error", "lease # lost, election begins", 4),
];
const PATHS: [&str; 6] =
    ["/api/v1/orders/#", "/api/v1/users/#/basket", "/api/v1/items/#", "/api/v1/search", "/ready", "/api/v2/parts/#"];
const METHODS: [&str; 7] = ["GET", "GET", "GET", "POST", "POST", "PUT", "DELETE"];
const BROWSERS: [&str; 5] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/131.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Mobile Safari/604.1",
    "curl/8.11.0",
    "kube-probe/1.31",
];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Service {
    pub(super) fn format(self) -> Format {
        match self.kind {
            Kind::Requests | Kind::Tasks => Format::Json,
            Kind::Engine => Format::Logfmt,
            Kind::Access => Format::Plain,
        }
    }

    /// A line of that time; `is_rare` makes it one of the few that have `RARE` in it.
    pub(super) fn line(
        self,
        out: &mut String,
        at_ns: i64,
        random: &mut Random,
        is_rare: bool,
    ) -> Result<Facts, std::fmt::Error> {
        match self.kind {
            Kind::Requests => request(out, at_ns, random),
            Kind::Tasks => task(out, at_ns, random),
            Kind::Engine => engine(out, at_ns, random),
            Kind::Access => access(out, at_ns, random, is_rare),
        }
    }
}

fn request(out: &mut String, at_ns: i64, random: &mut Random) -> Result<Facts, std::fmt::Error> {
    let (level, message) = said(&REQUESTS, random);
    let (trace, tenths) = (trace(random), tenths(random));
    write!(out, "{{\"time\":\"{}\",\"level\":\"{level}\",\"msg\":\"", Moment(at_ns))?;
    filled(out, message, random)?;
    write!(out, "\",\"trace_id\":\"{trace:032x}\",\"span_id\":\"{:016x}\"", random.next())?;
    write!(out, ",\"method\":\"{}\",\"path\":\"", random.one_of(&METHODS))?;
    filled(out, random.one_of(&PATHS), random)?;
    let status = match level {
        "error" => ["500", "503", "504"].as_slice(),
        "warn" => &["200", "429"],
        _ => &["200", "200", "200", "200", "201", "204", "304", "404"],
    };
    write!(out, "\",\"status\":{},\"duration_ms\":{}", random.one_of(status), Tenths(tenths))?;
    write!(out, ",\"bytes\":{},\"user\":\"u-{}\"}}", random.below(40_000), user(random))?;
    let is_timeout = message.starts_with("timeout calling payment") || message.starts_with("timeout calling inventory");
    Ok(Facts { level, trace: Some(trace), ms: tenths as f64 / 10.0, is_timeout, is_refused: false })
}

fn task(out: &mut String, at_ns: i64, random: &mut Random) -> Result<Facts, std::fmt::Error> {
    let (level, message) = said(&TASKS, random);
    let (trace, tenths) = (trace(random), tenths(random));
    write!(out, "{{\"level\":\"{level}\",\"time\":\"{}\",\"msg\":\"", Moment(at_ns))?;
    filled(out, message, random)?;
    let (host, slot) = (random.below(12), random.below(8));
    write!(out, "\",\"trace_id\":\"{trace:032x}\",\"worker\":{{\"host\":\"worker-{host}\",\"slot\":{slot}}}")?;
    let queue = random.one_of(&["mail.fast", "mail.slow", "invoices"]);
    let (id, attempt) = (random.next() >> 16, 1 + random.below(3));
    write!(out, ",\"task\":{{\"id\":\"{id:012x}\",\"queue\":\"{queue}\",\"attempt\":{attempt}}}")?;
    let region = random.one_of(&["eu", "us"]);
    write!(out, ",\"duration_ms\":{},\"tags\":[\"{region}\",\"batch\"]}}", Tenths(tenths))?;
    let is_timeout = message.starts_with("timeout calling inventory");
    Ok(Facts { level, trace: Some(trace), ms: tenths as f64 / 10.0, is_timeout, is_refused: false })
}

fn engine(out: &mut String, at_ns: i64, random: &mut Random) -> Result<Facts, std::fmt::Error> {
    let (level, message) = said(&ENGINE, random);
    let tenths = tenths(random);
    let caller = random.one_of(&["compact.go:221", "reader.go:88", "lease.go:417", "tokens.go:59"]);
    write!(out, "ts={} level={level} caller={caller} msg=\"", Moment(at_ns))?;
    filled(out, message, random)?;
    let (tenant, one, other) = (random.below(300), random.next(), random.next());
    let shard = random.below(64);
    write!(out, "\" tenant=t-{tenant:03} request_id={:08x}-{:04x}-{other:016x} shard={shard}", one >> 32, one as u16)?;
    let cache = random.one_of(&["hit", "hit", "hit", "miss"]);
    let (pages, bytes) = (random.below(900), random.below(1 << 24));
    write!(
        out,
        " took_ms={} pages={pages} bytes={bytes} cache={cache} peer=10.20.{}.{}:7946",
        Tenths(tenths),
        tenant % 8,
        shard
    )?;
    write!(out, " table=events_{:04}", random.below(2_000))?;
    Ok(Facts { level, ms: tenths as f64 / 10.0, ..Facts::default() })
}

fn access(out: &mut String, at_ns: i64, random: &mut Random, is_rare: bool) -> Result<Facts, std::fmt::Error> {
    let client = random.next();
    write!(out, "{}.{}.{}.{} - ", 11 + client % 180, client >> 8 & 255, client >> 16 & 255, client >> 24 & 255)?;
    match client >> 32 & 3 {
        0 => write!(out, "u-{}", user(random))?,
        _ => out.push('-'),
    }
    let method = random.one_of(&METHODS);
    write!(out, " [{}] \"{method} ", Stamp(at_ns))?;
    let kind = random.below(10);
    let number = random.below(100_000);
    match kind {
        _ if is_rare => write!(out, "/shop/er{RARE}{:02}/view", number % 100)?,
        0..=3 => write!(out, "/api/v2/{}/{number}", random.one_of(&["items", "stock", "prices"]))?,
        4..=6 => write!(out, "/shop/{}/{number}?page={}", random.one_of(&["tools", "wood", "paint"]), number % 30)?,
        _ => write!(out, "/assets/{:012x}.js", random.next() >> 16)?,
    }
    let status = random.one_of(&["200", "200", "200", "200", "200", "200", "304", "302", "404", "502", "503"]);
    let bytes = random.below(90_000);
    let browser = random.one_of(&BROWSERS);
    let referer = random.one_of(&["tools", "wood", "paint", "basket"]);
    write!(out, " HTTP/1.1\" {status} {bytes} \"https://shop.example.com/{referer}?ref={}\"", number % 977)?;
    write!(out, " \"{browser}\" {:.3} backend-{}", random.burst() * 0.08, client >> 40 & 7)?;
    let is_refused = !is_rare && kind <= 3 && status.starts_with("50") && matches!(method, "PUT" | "DELETE");
    Ok(Facts { is_refused, ..Facts::default() })
}

fn said(from: &[Said], random: &mut Random) -> (&'static str, &'static str) {
    let mut at = random.below(from.iter().map(|(_, _, share)| share).sum());
    for (level, message, share) in from {
        if at < *share {
            return (level, message);
        }
        at -= share;
    }
    ("info", "")
}

/// `#` becomes a number, mostly a small one.
fn filled(out: &mut String, text: &str, random: &mut Random) -> std::fmt::Result {
    for (at, part) in text.split('#').enumerate() {
        if at > 0 {
            let digits = 1 + random.below(5) as u32;
            write!(out, "{}", random.below(10_u64.pow(digits)))?;
        }
        out.push_str(part);
    }
    Ok(())
}

fn trace(random: &mut Random) -> u128 {
    u128::from(random.next()) << 64 | u128::from(random.next())
}

/// Few users do most.
fn user(random: &mut Random) -> u64 {
    (50_000.0 * random.unit().powf(2.5)) as u64
}

/// Tenths of a millisecond, with a long tail.
fn tenths(random: &mut Random) -> u64 {
    ((3.2 + 1.3 * random.noise()).exp() * 10.0) as u64
}

struct Tenths(u64);

impl std::fmt::Display for Tenths {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(out, "{}.{}", self.0 / 10, self.0 % 10)
    }
}

/// Year, month and day of a day since 1970, by the Gregorian calendar.
fn date(day: i64) -> (i64, i64, i64) {
    // Counted from the first of March of the year 0, so that leap days come last.
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, of_month)
}

/// Nanoseconds since 1970 as `2026-11-23T04:50:12.123Z`.
pub(super) struct Moment(pub(super) i64);

impl std::fmt::Display for Moment {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        let second = self.0 / 1_000_000_000;
        let (year, month, day) = date(second / 86_400);
        let (hour, minute) = (second / 3600 % 24, second / 60 % 60);
        let ms = self.0 / 1_000_000 % 1000;
        write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{ms:03}Z", second % 60)
    }
}

/// The same as `23/Nov/2026:04:50:12 +0000`.
struct Stamp(i64);

impl std::fmt::Display for Stamp {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        let second = self.0 / 1_000_000_000;
        let (year, month, day) = date(second / 86_400);
        let month = MONTHS.get(month as usize - 1).copied().unwrap_or_default();
        let (hour, minute) = (second / 3600 % 24, second / 60 % 60);
        write!(out, "{day:02}/{month}/{year}:{hour:02}:{minute:02}:{:02} +0000", second % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (second, moment, stamp) in [
            (0, "1970-01-01T00:00:00.000Z", "01/Jan/1970:00:00:00 +0000"),
            (951_782_399, "2000-02-28T23:59:59.000Z", "28/Feb/2000:23:59:59 +0000"),
            (951_782_400, "2000-02-29T00:00:00.000Z", "29/Feb/2000:00:00:00 +0000"),
            (1_795_409_412, "2026-11-23T04:50:12.000Z", "23/Nov/2026:04:50:12 +0000"),
        ] {
            assert_eq!(Moment(second * 1_000_000_000).to_string(), moment);
            assert_eq!(Stamp(second * 1_000_000_000).to_string(), stamp);
        }
    }

    #[test]
    fn lines_are_what_their_facts_say() {
        let mut random = Random(7);
        let (mut bytes, mut timeouts, mut refused) = (0, 0, 0);
        const EACH: usize = 2_000;
        for service in SERVICES {
            for number in 0..EACH {
                let mut line = String::new();
                let is_rare = number == 5;
                let facts = service.line(&mut line, 1_795_409_412_123_456_789, &mut random, is_rare).unwrap();
                bytes += line.len();
                assert_eq!(line.contains(RARE), is_rare && service.format() == Format::Plain, "{line}");
                match service.format() {
                    Format::Json => {
                        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
                        assert_eq!(read["level"], facts.level);
                        assert_eq!(read["duration_ms"].as_f64().unwrap(), facts.ms);
                        assert_eq!(read["trace_id"], format!("{:032x}", facts.trace.unwrap()));
                        let said = read["msg"].as_str().unwrap();
                        let fits =
                            ["payment", "inventory"].map(|name| said.contains(&format!("timeout calling {name}")));
                        assert_eq!(fits.contains(&true), facts.is_timeout, "{line}");
                    }
                    Format::Logfmt => {
                        let read = |key: &str| line.split(' ').find_map(|pair| pair.strip_prefix(key));
                        assert_eq!(read("level="), Some(facts.level), "{line}");
                        assert_eq!(read("took_ms=").unwrap().parse::<f64>().unwrap(), facts.ms);
                    }
                    Format::Plain => {
                        let (_, rest) = line.split_once("] \"").unwrap();
                        let words: Vec<&str> = rest.split(' ').collect();
                        let fits = matches!(words[0], "PUT" | "DELETE")
                            && words[1].starts_with("/api/v2/")
                            && words[3].starts_with("50");
                        assert_eq!(fits, facts.is_refused, "{line}");
                    }
                }
                timeouts += usize::from(facts.is_timeout);
                refused += usize::from(facts.is_refused);
            }
        }
        assert!((200..300).contains(&(bytes / EACH / SERVICES.len())), "{}", bytes / EACH / SERVICES.len());
        assert!(timeouts > 0 && refused > 0);
    }
}
