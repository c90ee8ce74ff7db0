//! `syslog`: a receiver of syslog messages.

use std::net::SocketAddr;

use ingest::Limits;
use ingest::pipeline::{Pipeline, StageFile};
use serde::Deserialize;
use serde_saphyr::Spanned;
use signal::Labels;

use super::log_files::{label_names, pipeline};
use super::problem::Problems;

/// The `syslog:` section.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SyslogFile {
    /// Address for TCP. Default: off.
    tcp: Option<Spanned<String>>,
    /// Address for UDP. Default: off.
    udp: Option<Spanned<String>>,
    /// The label `job`. Default `syslog`.
    job: Option<String>,
    /// Labels of all lines. Default none.
    labels: Option<Spanned<Labels>>,
    /// Whether a message's own time is used, where it says it with a zone. Default true.
    use_incoming_timestamp: Option<bool>,
    /// Stages, as for log files. Default none.
    pipeline: Option<Spanned<Vec<StageFile>>>,
}

/// Where syslog messages come in, and what becomes of them.
#[derive(Clone, Debug)]
pub(crate) struct SyslogSettings {
    pub(crate) tcp: Option<SocketAddr>,
    pub(crate) udp: Option<SocketAddr>,
    /// Of every line, `job` among them.
    pub(crate) labels: Labels,
    pub(crate) uses_sent_time: bool,
    pub(crate) pipeline: Pipeline,
    /// Bytes of a message.
    pub(crate) max_bytes: usize,
}

impl SyslogFile {
    pub(super) fn check(&self, limits: &Limits, problems: &mut Problems) -> SyslogSettings {
        let mut address = |text: Option<&Spanned<String>>| {
            let text = text.filter(|text| text.value != "off")?;
            let parsed = text.value.parse().ok();
            if parsed.is_none() {
                problems.add(text, format!("`{}` is not an address: write 127.0.0.1:1514", text.value));
            }
            parsed
        };
        let (tcp, udp) = (address(self.tcp.as_ref()), address(self.udp.as_ref()));
        let labels = self.labels.as_ref().map(|labels| labels.value.clone()).unwrap_or_default();
        if let (Err(reason), Some(place)) = (label_names(&labels), &self.labels) {
            problems.add(place, reason);
        }
        let mut stages = Pipeline::default();
        if let Some(file) = &self.pipeline {
            match pipeline(&file.value, limits.max_line_bytes) {
                Ok(built) => stages = built,
                Err(reason) => problems.add(file, reason),
            }
        }
        SyslogSettings {
            tcp,
            udp,
            labels: labels.with("job", self.job.as_deref().unwrap_or("syslog")),
            uses_sent_time: self.use_incoming_timestamp.unwrap_or(true),
            pipeline: stages,
            max_bytes: limits.max_line_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{ConfigError, parse};

    #[test]
    fn it_is_off_until_it_has_an_address() {
        let config = parse("a.yaml", "", Path::new("/")).unwrap();
        assert_eq!((config.syslog.tcp, config.syslog.udp), (None, None));
        let text = "syslog: {tcp: '127.0.0.1:1514', udp: off, job: net, labels: {site: a}, use_incoming_timestamp: false, pipeline: [{labeldrop: [app]}]}\n";
        let syslog = parse("a.yaml", text, Path::new("/")).unwrap().syslog;
        assert_eq!((syslog.tcp.map(|tcp| tcp.port()), syslog.udp), (Some(1514), None));
        assert_eq!(syslog.labels.to_string(), r#"{job="net", site="a"}"#);
        assert!(!syslog.uses_sent_time && !syslog.pipeline.is_empty());
        let text = "syslog:\n  udp: here\n  labels: {a-b: c}\n  pipeline: [{output: {source: ''}}]\n";
        let Err(ConfigError::Problems(found)) = parse("a.yaml", text, Path::new("/")) else { panic!("fine") };
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "a.yaml:2:8: `here` is not an address: write 127.0.0.1:1514",
                "a.yaml:3:11: `a-b` is not a label name",
                "a.yaml:4:13: stage 1 (`output`): `source` is empty",
            ]
        );
    }
}
