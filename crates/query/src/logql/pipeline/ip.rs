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

    /// Whether `text` is an address of the set.
    pub(super) fn is_in(&self, text: &str) -> bool {
        number(text).is_some_and(|(is_v4, address)| is_v4 == self.is_v4 && (self.first..=self.last).contains(&address))
    }

    /// Whether an address of the set stands anywhere in `text`.
    pub(super) fn occurs_in(&self, text: &str) -> bool {
        let belongs = |c: char| c.is_ascii_hexdigit() || c == '.' || c == ':';
        text.split(|c| !belongs(c)).any(|run| {
            if run.len() < 2 {
                return false;
            }
            // Around an address stand a port or the point that ends a sentence.
            let trimmed = run.trim_end_matches(['.', ':']);
            let without_port = trimmed.rsplit_once(':').map_or(trimmed, |(address, _)| address);
            let after_key = trimmed.split_once(':').map_or(trimmed, |(_, address)| address);
            [trimmed, without_port, after_key].into_iter().any(|candidate| self.is_in(candidate))
        })
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
        ] {
            assert_eq!(IpMatcher::new(pattern).unwrap().occurs_in(text), want, "{pattern} in {text}");
        }
        for bad in ["", "b", "1.1.1.1/33", "1.1.1.1-", "2.0.0.0-1.0.0.0", "1.1.1"] {
            assert_eq!(IpMatcher::new(bad).unwrap_err(), format!("ip: invalid pattern: {bad:?}"));
        }
    }
}
