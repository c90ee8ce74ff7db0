//! Addresses in text: a single one, a network, or a range.

use std::net::IpAddr;

/// A set of addresses: from the first to the last, as numbers of one family.
#[derive(Debug)]
pub(crate) struct IpMatcher {
    is_v4: bool,
    first: u128,
    last: u128,
}

impl IpMatcher {
    /// Reads `10.0.0.1`, `10.0.0.0/8` or `10.0.0.1-10.0.0.9`; also of version 6.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        let invalid = || format!("ip: invalid pattern: {pattern:?}");
        let trimmed = pattern.trim();
        if let Some((first, last)) = trimmed.split_once('-') {
            let (is_v4, first) = number(first.trim()).ok_or_else(invalid)?;
            let (last_is_v4, last) = number(last.trim()).ok_or_else(invalid)?;
            return if is_v4 == last_is_v4 && first <= last { Ok(Self { is_v4, first, last }) } else { Err(invalid()) };
        }
        if let Some((address, bits)) = trimmed.split_once('/') {
            let (is_v4, address) = number(address).ok_or_else(invalid)?;
            let width = if is_v4 { 32 } else { 128 };
            let bits: u32 = bits.parse().ok().filter(|bits| *bits <= width).ok_or_else(invalid)?;
            let host = if bits == width { 0 } else { u128::MAX >> (128 - (width - bits)) };
            return Ok(Self { is_v4, first: address & !host, last: address | host });
        }
        let (is_v4, address) = number(trimmed).ok_or_else(invalid)?;
        Ok(Self { is_v4, first: address, last: address })
    }

    /// Whether an address of the set stands anywhere in `text`. As in Loki, an address is looked for where the next few
    /// characters look like the beginning of one, and is as long as its characters go.
    pub(super) fn occurs_in(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        let mut at = 0;
        while let Some(ahead) = bytes.get(at..).filter(|ahead| ahead.len() > 3) {
            let belongs: fn(&u8) -> bool = if begins_v4(ahead) {
                |byte| byte.is_ascii_digit() || *byte == b'.'
            } else if begins_v6(ahead) {
                |byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')
            } else {
                at += 1;
                continue;
            };
            let length = ahead.iter().take_while(|byte| belongs(byte)).count();
            // Unlike Loki also one that ends a sentence.
            let run = text.get(at..at + length).unwrap_or_default();
            let found = number(run).or_else(|| number(run.trim_end_matches(['.', ':'])));
            if found.is_some_and(|(is_v4, address)| is_v4 == self.is_v4 && (self.first..=self.last).contains(&address))
            {
                return true;
            }
            at += length + 1;
        }
        false
    }
}

/// `1.`, `12.` or `123.`
fn begins_v4(ahead: &[u8]) -> bool {
    ahead.first().is_some_and(u8::is_ascii_digit) && ahead.iter().skip(1).take(3).any(|byte| *byte == b'.')
}

/// `::` and a digit, or up to four digits and a colon.
fn begins_v6(ahead: &[u8]) -> bool {
    if ahead.len() <= 4 {
        return false;
    }
    let digits = ahead.iter().take(4).take_while(|byte| byte.is_ascii_hexdigit()).count();
    match digits {
        0 => ahead.starts_with(b"::") && ahead.get(2).is_some_and(u8::is_ascii_hexdigit),
        _ => ahead.get(digits) == Some(&b':'),
    }
}

fn number(text: &str) -> Option<(bool, u128)> {
    match text.parse::<IpAddr>().ok()? {
        IpAddr::V4(address) => Some((true, u128::from(u32::from(address)))),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => Some((true, u128::from(u32::from(address)))),
            None => Some((false, u128::from(address))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_text() {
        for (pattern, text, want) in [
            ("192.168.4.5", "from 192.168.4.5 to x", true),
            ("192.168.4.5", "from 192.168.4.55 to x", false),
            ("192.168.4.0/24", "addr=192.168.4.77:8080,", true),
            ("192.168.4.5-192.168.4.20", "ip 192.168.4.21.", false),
            ("192.168.4.5-192.168.4.20", "ip 192.168.4.20.", true),
            ("2001:db8::/32", "[2001:db8::7]:443", true),
            ("0.0.0.0/0", "2001:db8::7", false),
            ("10.0.0.1/32", "10.0.0.1", true),
            ("10.0.0.1", "hosts 10.0.0.1 10.0.0.2", true),
            ("10.0.0.2", "10.0.0.1,10.0.0.2", true),
            ("::1", "on [::1]:80", true),
            ("fe80::1", "from fe80::1 to", true),
            ("fe80::1", "fe80:: fe80::1", true),
            ("10.0.0.1", "1 2 3 10.0.0.1é", true),
        ] {
            assert_eq!(IpMatcher::new(pattern).unwrap().occurs_in(text), want, "{pattern} in {text}");
        }
        for bad in ["", "b", "1.1.1.1/33", "1.1.1.1-", "2.0.0.0-1.0.0.0", "1.1.1"] {
            assert_eq!(IpMatcher::new(bad).unwrap_err(), format!("ip: invalid pattern: {bad:?}"));
        }
    }
}
