use std::path::Path;
use std::time::Duration;

use ingest::scrape::Discovery;

use super::{ConfigError, parse};

fn problems(text: &str) -> String {
    match parse("aegis.yaml", text, Path::new("/nowhere")) {
        Ok(_) => String::new(),
        Err(ConfigError::Problems(found)) => found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        Err(ConfigError::Unreadable { .. }) => "unreadable".to_owned(),
    }
}

#[test]
fn an_empty_file_is_a_careful_configuration() {
    let config = parse("aegis.yaml", "", Path::new("/nowhere")).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:4300");
    assert_eq!(config.control.verify.window, Duration::from_secs(60));
    assert!(config.local_run_dir.is_none());
    assert_eq!(config.policies.len(), 1, "the built-in policy, which permits nothing");
}

#[test]
fn scrape_jobs_inherit_and_are_resolved() {
    let text = "global: {scrape_interval: 5s}\nscrape_configs:\n  - job_name: backend\n    file_sd_configs: [{files: [t.json]}]\n";
    let config = parse("aegis.yaml", text, Path::new("/etc/aegis")).unwrap();
    assert_eq!(config.jobs[0].interval, Duration::from_secs(5));
    assert_eq!(config.jobs[0].timeout, Duration::from_secs(5));
    let [Discovery::File(files)] = &config.jobs[0].discovery[..] else { panic!("no files") };
    assert_eq!(files.files, [Path::new("/etc/aegis/t.json")]);
    assert_eq!(config.detect_window, Duration::from_secs(20));
}

#[test]
fn every_problem_is_reported_with_its_place() {
    let text = "listen: nowhere\nstore:\n  retention: 5 days\n  max_size: 1MiB\n  fsync: maybe\nglobal:\n  scrape_interval: 10ms\n\
                scrape_configs:\n  - job_name: a\n  - job_name: a\n  - job_name: b\n    scheme: ftp\npolicy:\n  \
                files: [missing.cedar]\n  limits: {max_replicas: 0}\nsources:\n  metrics: {url: prometheus}\n";
    insta::assert_snapshot!(problems(text), @r"
    aegis.yaml:1:9: `nowhere` is not an address: write 127.0.0.1:4300
    aegis.yaml:3:14: not a valid duration string: `5 days`; expected something like `5m`, `1h30m` or `250ms`
    aegis.yaml:4:13: `1MiB` is too small: at least 64MiB
    aegis.yaml:5:10: `maybe` is not known: `always` or `never`
    aegis.yaml:7:20: `10ms` is too short: at least 1s
    aegis.yaml:10:5: job `a` is defined twice
    aegis.yaml:11:5: `scheme` of job `b` is `ftp`; expected `http` or `https`
    aegis.yaml:14:11: cannot read policy file /nowhere/missing.cedar: No such file or directory (os error 2)
    aegis.yaml:15:26: 0 is too small: at least 1
    aegis.yaml:17:18: `prometheus` is not a URL: it must begin with http:// or https://
    ");
}

#[test]
fn shapes_that_do_not_fit_name_their_place() {
    for (case, text, want) in [
        ("unknown key", "global:\n  scrape_intervall: 5s\n", "aegis.yaml:2:"),
        ("wrong type", "listen: a\nscrape_configs: 5\n", "aegis.yaml:2:"),
        ("not YAML", "global: [\n", "aegis.yaml:"),
        ("key given twice", "listen: a\nlisten: b\n", "aegis.yaml:2:"),
    ] {
        let found = problems(text);
        assert!(found.starts_with(want), "{case}: {found}");
    }
}
