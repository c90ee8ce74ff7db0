//! `log_files` and `promtail_config`: which files are followed, and what is done with their lines.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use glob::Pattern;
use ingest::Limits;
use ingest::pipeline::{Pipeline, StageFile, Surroundings};
use ingest::tail::{Start, TailJob};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;
use signal::{Labels, parse_duration};

use super::problem::Problems;
use crate::logging::chain;

/// Where the system keeps time zones.
const ZONES: &str = "/usr/share/zoneinfo";
/// How long half a line waits for its end unless told otherwise.
const HALF_LINE: Duration = Duration::from_secs(5);

/// Files that are followed alike.
#[derive(Clone, Debug)]
pub(crate) struct LogFiles {
    pub(crate) job: Arc<TailJob>,
    /// Absolute.
    pub(crate) paths: Vec<String>,
    pub(crate) exclude: Vec<Pattern>,
    /// As written: two that are equal mean the same.
    written: String,
}

impl LogFiles {
    /// Takes over the job of an earlier configuration where nothing has changed, so that its files are followed on.
    pub(crate) fn keep_job_of(&mut self, earlier: &[Self]) {
        if let Some(same) = earlier.iter().find(|known| known.written == self.written) {
            self.job = Arc::clone(&same.job);
        }
    }
}

/// One entry of `log_files`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogFilesFile {
    /// Unique; the label `job`. Required.
    job: String,
    /// Files, as patterns such as `/var/log/app/*.log`; `**` is any number of directories. Required.
    paths: Vec<String>,
    /// Patterns of files that are left out. Default none.
    #[serde(default)]
    exclude: Vec<String>,
    /// Labels of all lines, beside `job` and `filename`. Default none.
    #[serde(default)]
    labels: Labels,
    /// Where files begin that are there at the very first look: `start` or `end`. Default `start`.
    #[serde(default)]
    read_from: ReadFrom,
    /// Bytes of a line; a longer one is cut. Default and at most `limits.max_line_size`.
    max_line_size: Option<String>,
    /// How long a line may be without its end before it is taken as it is. Default `5s`.
    half_line_wait: Option<String>,
    /// Stages, as promtail's `pipeline_stages`. Default none.
    #[serde(default)]
    pipeline: Vec<StageFile>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ReadFrom {
    #[default]
    Start,
    End,
}

/// What is read of a configuration of promtail; its other sections mean nothing here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PromtailFile {
    scrape_configs: Vec<Spanned<PromtailJob>>,
}

/// One of promtail's `scrape_configs`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PromtailJob {
    job_name: String,
    static_configs: Vec<PromtailGroup>,
    pipeline_stages: Vec<StageFile>,
    relabel_configs: Option<IgnoredAny>,
    journal: Option<IgnoredAny>,
    syslog: Option<IgnoredAny>,
    docker_sd_configs: Option<IgnoredAny>,
    kubernetes_sd_configs: Option<IgnoredAny>,
    file_sd_configs: Option<IgnoredAny>,
    loki_push_api: Option<IgnoredAny>,
}

/// Files that share labels, with `__path__` and `__path_exclude__` among them. `targets` says nothing that would matter.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PromtailGroup {
    labels: BTreeMap<String, String>,
}

/// Checks all jobs; their names are unique.
pub(super) fn log_files(
    own: &[Spanned<LogFilesFile>],
    promtail: Option<&Spanned<PathBuf>>,
    base: &Path,
    limits: &Limits,
    problems: &mut Problems,
) -> Vec<LogFiles> {
    let mut checked: Vec<LogFiles> = Vec::new();
    for file in own {
        match file.value.check(base, limits) {
            Ok(files) if checked.iter().any(|known| known.job.name == files.job.name) => {
                problems.add(file, format!("job `{}` of log files is defined twice", files.job.name));
            }
            Ok(files) => checked.push(files),
            Err(reason) => problems.add(file, format!("log files of job `{}`: {reason}", file.value.job)),
        }
    }
    if let Some(file) = promtail {
        of_promtail(file, base, limits, &mut checked, problems);
    }
    checked
}

fn of_promtail(
    file: &Spanned<PathBuf>,
    base: &Path,
    limits: &Limits,
    checked: &mut Vec<LogFiles>,
    problems: &mut Problems,
) {
    let path = base.join(&file.value);
    let name = path.display().to_string();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            problems.add(file, format!("cannot read {name}: {error}"));
            return;
        }
    };
    problems.in_file(&name, |problems| match serde_saphyr::from_str::<PromtailFile>(&text) {
        Ok(file) => {
            for job in &file.scrape_configs {
                match job.value.check(limits) {
                    Ok(files) => checked.extend(files),
                    Err(reason) => problems.add(job, format!("job `{}`: {reason}", job.value.job_name)),
                }
            }
        }
        Err(error) => problems.add_yaml(&error),
    });
}

impl LogFilesFile {
    fn check(&self, base: &Path, limits: &Limits) -> Result<LogFiles, String> {
        if self.job.is_empty() {
            return Err("`job` is empty".to_owned());
        }
        let max_line_bytes = match &self.max_line_size {
            None => limits.max_line_bytes,
            Some(text) => super::size::parse_size(text)
                .and_then(|bytes| usize::try_from(bytes).ok())
                .filter(|bytes| (1..=limits.max_line_bytes).contains(bytes))
                .ok_or_else(|| {
                    format!(
                        "`max_line_size` is `{text}`; a size of at most {} bytes is expected",
                        limits.max_line_bytes
                    )
                })?,
        };
        let half_line_wait = match &self.half_line_wait {
            None => HALF_LINE,
            Some(text) => parse_duration(text).map_err(|error| error.to_string())?,
        };
        let labels = self.labels.with("job", &self.job);
        label_names(&labels)?;
        let job = TailJob {
            name: self.job.clone(),
            labels,
            start: match self.read_from {
                ReadFrom::Start => Start::Beginning,
                ReadFrom::End => Start::End,
            },
            pipeline: pipeline(&self.pipeline, max_line_bytes)?,
            max_line_bytes,
            half_line_wait,
        };
        files(job, base, &self.paths, &self.exclude, &format!("{self:?} {limits:?}"))
    }
}

impl PromtailJob {
    fn check(&self, limits: &Limits) -> Result<Vec<LogFiles>, String> {
        let others = [
            ("relabel_configs", &self.relabel_configs),
            ("journal", &self.journal),
            ("syslog", &self.syslog),
            ("docker_sd_configs", &self.docker_sd_configs),
            ("kubernetes_sd_configs", &self.kubernetes_sd_configs),
            ("file_sd_configs", &self.file_sd_configs),
            ("loki_push_api", &self.loki_push_api),
        ];
        if let Some((key, _)) = others.into_iter().find(|(_, section)| section.is_some()) {
            return Err(format!("`{key}` is not done here: only the files of `static_configs` are followed"));
        }
        let mut all = Vec::new();
        for (at, group) in self.static_configs.iter().enumerate() {
            let path = group.labels.get("__path__").ok_or("the labels of a group have no `__path__`")?;
            let exclude: Vec<String> = group.labels.get("__path_exclude__").cloned().into_iter().collect();
            let labels = Labels::from_pairs(group.labels.iter().filter(|(name, _)| !name.starts_with("__")));
            label_names(&labels)?;
            let job = TailJob {
                name: format!("promtail/{}/{at}", self.job_name),
                labels,
                start: Start::Beginning,
                pipeline: pipeline(&self.pipeline_stages, limits.max_line_bytes)?,
                max_line_bytes: limits.max_line_bytes,
                half_line_wait: HALF_LINE,
            };
            let written = format!("{} {at} {group:?} {:?} {limits:?}", self.job_name, self.pipeline_stages);
            all.push(files(job, Path::new("/"), std::slice::from_ref(path), &exclude, &written)?);
        }
        Ok(all)
    }
}

fn files(job: TailJob, base: &Path, paths: &[String], exclude: &[String], written: &str) -> Result<LogFiles, String> {
    if paths.is_empty() {
        return Err("`paths` is empty".to_owned());
    }
    let absolute = |path: &String| base.join(path).display().to_string();
    let pattern = |path: &String| {
        let path = absolute(path);
        Pattern::new(&path).map_err(|error| format!("`{path}` is not a pattern: {error}"))
    };
    paths.iter().try_for_each(|path| pattern(path).map(|_| ()))?;
    Ok(LogFiles {
        job: Arc::new(job),
        paths: paths.iter().map(absolute).collect(),
        exclude: exclude.iter().map(pattern).collect::<Result<_, _>>()?,
        written: format!("{written} {}", base.display()),
    })
}

pub(super) fn pipeline(stages: &[StageFile], max_line_bytes: usize) -> Result<Pipeline, String> {
    Pipeline::new(stages, Surroundings { zone: &zone, max_line_bytes }).map_err(|error| chain(&error))
}

pub(super) fn label_names(labels: &Labels) -> Result<(), String> {
    let is_good = |name: &str| {
        !name.starts_with(|first: char| first.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match labels.iter().find(|(name, _)| !is_good(name)) {
        Some((name, _)) => Err(format!("`{name}` is not a label name")),
        None => Ok(()),
    }
}

/// The system's file for a time zone.
fn zone(name: &str) -> Option<Vec<u8>> {
    let is_name = !name.contains("..")
        && !name.starts_with('/')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte));
    is_name.then(|| std::fs::read(Path::new(ZONES).join(name)).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{ConfigError, parse};

    fn problems(text: &str, base: &Path) -> String {
        match parse("a.yaml", text, base) {
            Err(ConfigError::Problems(found)) => found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn files_are_named_with_labels_and_stages() {
        let text = "log_files:\n  - job: shop\n    paths: [logs/*.log, /var/log/shop/**/*.log]\n    exclude: [logs/debug-*]\n    \
                    labels: {env: prod}\n    read_from: end\n    max_line_size: 64KiB\n    half_line_wait: 1s\n    pipeline:\n      \
                    - cri: {}\n      - json:\n          expressions: {level: , msg: message}\n      - labels: {level: }\n      \
                    - timestamp: {source: time, format: RFC3339, location: UTC}\n      - drop: {source: level, value: debug}\n      \
                    - match:\n          selector: '{job=\"shop\"} |= \"x\"'\n          stages: [{docker: }]\n";
        let config = parse("a.yaml", text, Path::new("/etc/aegis")).map_err(|error| error.to_string()).unwrap();
        let [files] = &config.log_files[..] else { panic!("one job") };
        assert_eq!(files.paths, ["/etc/aegis/logs/*.log", "/var/log/shop/**/*.log"]);
        assert!(files.exclude[0].matches("/etc/aegis/logs/debug-1.log"));
        assert_eq!(files.job.labels.to_string(), r#"{env="prod", job="shop"}"#);
        assert_eq!((files.job.max_line_bytes, files.job.half_line_wait.as_secs()), (64 << 10, 1));
    }

    #[test]
    fn what_is_wrong_has_its_place() {
        let text = "log_files:\n  - {job: a, paths: []}\n  - {job: b, paths: ['[']}\n  - {job: c, paths: [x], pipeline: [{regex: {expression: '('}}]}\n  \
                    - {job: d, paths: [x], max_line_size: 1GiB}\n  - {job: e, paths: [x]}\n  - {job: e, paths: [y]}\n  \
                    - {job: f, paths: [x], labels: {a-b: c}}\npromtail_config: none.yml\n";
        insta::assert_snapshot!(problems(text, Path::new("/nowhere")), @r"
        a.yaml:2:5: log files of job `a`: `paths` is empty
        a.yaml:3:5: log files of job `b`: `/nowhere/[` is not a pattern: Pattern syntax error near position 9: invalid range pattern
        a.yaml:4:5: log files of job `c`: stage 1 (`regex`): error parsing regexp: missing closing ): `(`
        a.yaml:5:5: log files of job `d`: `max_line_size` is `1GiB`; a size of at most 262144 bytes is expected
        a.yaml:7:5: job `e` of log files is defined twice
        a.yaml:8:5: log files of job `f`: `a-b` is not a label name
        a.yaml:9:18: cannot read /nowhere/none.yml: No such file or directory (os error 2)
        ");
        let text = "log_files:\n  - job: a\n    paths: [x]\n    pipeline:\n      - regex: {expresion: x}\n";
        assert!(problems(text, Path::new("/")).starts_with("a.yaml:5:17: "), "{}", problems(text, Path::new("/")));
    }

    #[test]
    fn a_configuration_of_promtail_works_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let promtail = "server: {http_listen_port: 9080}\npositions: {filename: /tmp/positions.yaml}\nclients:\n  \
                        - url: http://loki:3100/loki/api/v1/push\nscrape_configs:\n- job_name: system\n  static_configs:\n  \
                        - targets: [localhost]\n    labels:\n      job: varlogs\n      __path__: /var/log/*log\n      \
                        __path_exclude__: /var/log/x*\n  pipeline_stages:\n  - regex: {expression: '^(?P<ip>\\S+)'}\n  \
                        - structured_metadata: {ip: }\n";
        std::fs::write(dir.path().join("promtail.yml"), promtail).unwrap();
        let config = parse("a.yaml", "promtail_config: promtail.yml\n", dir.path()).unwrap();
        let [files] = &config.log_files[..] else { panic!("one job") };
        assert_eq!(
            (files.paths.join(" "), files.job.labels.to_string()),
            ("/var/log/*log".to_owned(), r#"{job="varlogs"}"#.to_owned())
        );
        std::fs::write(dir.path().join("promtail.yml"), format!("{promtail}- job_name: j\n  journal: {{}}\n")).unwrap();
        let found = problems("promtail_config: promtail.yml\n", dir.path());
        assert!(found.ends_with("promtail.yml:16:3: job `j`: `journal` is not done here: only the files of `static_configs` are followed"), "{found}");
    }
}
