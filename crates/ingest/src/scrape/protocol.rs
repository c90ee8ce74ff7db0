//! What is asked of a target and how its answer is to be read (`config.ScrapeProtocol`, `model/textparse`).

use serde::{Deserialize, Deserializer, de};

use crate::rejection::excerpt;

/// A format a target may answer in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScrapeProtocol {
    /// Delimited protobuf, the only one with native histograms.
    PrometheusProto,
    /// The text format before UTF-8 names.
    PrometheusText004,
    /// The text format with UTF-8 names.
    PrometheusText100,
    /// The first draft of OpenMetrics.
    OpenMetricsText001,
    /// OpenMetrics.
    OpenMetricsText100,
}

const WORDS: [(&str, ScrapeProtocol); 5] = [
    ("PrometheusProto", ScrapeProtocol::PrometheusProto),
    ("PrometheusText0.0.4", ScrapeProtocol::PrometheusText004),
    ("PrometheusText1.0.0", ScrapeProtocol::PrometheusText100),
    ("OpenMetricsText0.0.1", ScrapeProtocol::OpenMetricsText001),
    ("OpenMetricsText1.0.0", ScrapeProtocol::OpenMetricsText100),
];

impl<'de> Deserialize<'de> for ScrapeProtocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        let found = WORDS.iter().find(|(known, _)| *known == word).map(|(_, protocol)| *protocol);
        found.ok_or_else(|| {
            let known = WORDS.map(|(known, _)| format!("`{known}`")).join(", ");
            de::Error::custom(format!("unknown scrape protocol `{}`, expected one of {known}", excerpt(&word)))
        })
    }
}

/// How a target is to write names that are not plain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Escaping {
    /// As they are.
    #[default]
    AllowUtf8,
    /// With `_` for every other character.
    Underscores,
    /// With `_dot_` for dots.
    Dots,
    /// As `U__…` with code points.
    Values,
}

impl Escaping {
    fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }
}

/// Which names of metrics and labels are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NameValidation {
    /// Any UTF-8.
    #[default]
    Utf8,
    /// Letters, digits and `_`, for metrics also `:`.
    Legacy,
}

impl ScrapeProtocol {
    /// What is asked for unless told otherwise.
    pub const TEXT: [Self; 4] =
        [Self::OpenMetricsText100, Self::OpenMetricsText001, Self::PrometheusText100, Self::PrometheusText004];
    /// The same when native histograms are wanted.
    pub const PROTOBUF_FIRST: [Self; 5] = [
        Self::PrometheusProto,
        Self::OpenMetricsText100,
        Self::OpenMetricsText001,
        Self::PrometheusText100,
        Self::PrometheusText004,
    ];

    fn media(self) -> &'static str {
        match self {
            Self::PrometheusProto => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
            Self::PrometheusText004 => "text/plain;version=0.0.4",
            Self::PrometheusText100 => "text/plain;version=1.0.0",
            Self::OpenMetricsText001 => "application/openmetrics-text;version=0.0.1",
            Self::OpenMetricsText100 => "application/openmetrics-text;version=1.0.0",
        }
    }

    fn knows_escaping(self) -> bool {
        match self {
            Self::PrometheusText100 | Self::OpenMetricsText100 => true,
            Self::PrometheusProto | Self::PrometheusText004 | Self::OpenMetricsText001 => false,
        }
    }
}

/// The `Accept` header of a scrape: `protocols` in falling order of preference, then anything.
#[must_use]
pub fn accept(protocols: &[ScrapeProtocol], escaping: Escaping) -> String {
    let mut weight = WORDS.len() + 1;
    let mut header = String::new();
    for protocol in protocols {
        header.push_str(protocol.media());
        if protocol.knows_escaping() {
            header.push_str(&format!(";escaping={}", escaping.as_str()));
        }
        header.push_str(&format!(";q=0.{weight},"));
        weight = weight.saturating_sub(1).max(1);
    }
    header.push_str(&format!("*/*;q=0.{weight}"));
    header
}

/// The content type to read a page by: the target's own, or `fallback` when that is missing or unknown.
pub(super) fn content_type(stated: Option<&str>, fallback: Option<ScrapeProtocol>) -> Result<&str, String> {
    let stated = stated.unwrap_or("").trim();
    let media = stated.split(';').next().unwrap_or("").trim();
    let is_known = ["application/openmetrics-text", "application/vnd.google.protobuf", "text/plain"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(media));
    if is_known {
        return Ok(stated);
    }
    match fallback {
        Some(protocol) => Ok(protocol.media()),
        None if stated.is_empty() => {
            Err("target states no content type, and the job has no `fallback_scrape_protocol`".to_owned())
        }
        None => Err(format!(
            "target states the content type `{}`, which is no format of metrics, and the job has no \
             `fallback_scrape_protocol`",
            excerpt(stated)
        )),
    }
}

impl NameValidation {
    /// Whether metrics may have this name.
    pub(super) fn takes_metric(self, name: &str) -> bool {
        match self {
            Self::Utf8 => !name.is_empty(),
            Self::Legacy => is_plain(name, |byte| byte == b'_' || byte == b':'),
        }
    }

    /// Whether labels may have this name.
    pub(super) fn takes_label(self, name: &str) -> bool {
        match self {
            Self::Utf8 => !name.is_empty(),
            Self::Legacy => is_plain(name, |byte| byte == b'_'),
        }
    }
}

fn is_plain(name: &str, is_sign: impl Fn(u8) -> bool) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_sign(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_header_is_that_of_prometheus() {
        assert_eq!(
            accept(&ScrapeProtocol::TEXT, Escaping::AllowUtf8),
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
        let header = accept(&ScrapeProtocol::PROTOBUF_FIRST, Escaping::Underscores);
        assert!(header.starts_with(
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
             application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.5,"
        ));
        assert!(header.ends_with("text/plain;version=0.0.4;q=0.2,*/*;q=0.1"));
    }

    #[test]
    fn the_content_type_chooses_the_reader() {
        let om = Some(ScrapeProtocol::OpenMetricsText100);
        for (case, stated, fallback, want) in [
            ("stated", Some("text/plain; version=0.0.4"), None, Ok("text/plain; version=0.0.4")),
            ("any case", Some("Text/Plain"), om, Ok("Text/Plain")),
            ("unknown with fallback", Some("text/html"), om, Ok("application/openmetrics-text;version=1.0.0")),
            ("missing with fallback", None, om, Ok("application/openmetrics-text;version=1.0.0")),
            ("missing", None, None, Err("states no content type")),
            ("unknown", Some("text/html"), None, Err("states the content type `text/html`")),
        ] {
            match (content_type(stated, fallback), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{case}"),
                (Err(got), Err(want)) => assert!(got.contains(want), "{case}: {got}"),
                (got, want) => panic!("{case}: {got:?}, expected {want:?}"),
            }
        }
    }

    #[test]
    fn legacy_names_are_plain() {
        for (name, metric, label) in
            [("up", true, true), ("a:b", true, false), ("1a", false, false), ("a.b", false, false), ("", false, false)]
        {
            assert_eq!(NameValidation::Legacy.takes_metric(name), metric, "{name}");
            assert_eq!(NameValidation::Legacy.takes_label(name), label, "{name}");
        }
    }
}
