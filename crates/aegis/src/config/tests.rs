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
    assert_eq!(config.store.max_samples_per_second, None);
    let limited = parse("aegis.yaml", "store: {max_samples_per_second: 1}", Path::new("/nowhere")).unwrap();
    assert_eq!(limited.store.max_samples_per_second, Some(1));
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
fn a_configuration_of_prometheus_works_as_it_is() {
    let text = "global:\n  scrape_interval: 15s\n  scrape_timeout: 10s\n  body_size_limit: 10MB\n  sample_limit: 5000\n  \
                scrape_protocols: [OpenMetricsText1.0.0, PrometheusText0.0.4]\n  metric_name_validation_scheme: legacy\n\
                scrape_configs:\n- job_name: node\n  honor_labels: true\n  scheme: https\n  \
                tls_config: {ca_file: ca.pem, insecure_skip_verify: false, server_name: node}\n  \
                basic_auth:\n    username: prometheus\n    password_file: secret\n  \
                params:\n    collect[]: [cpu, meminfo]\n  body_size_limit: 0\n  sample_limit: 10\n  \
                static_configs:\n  - targets: ['a:9100', b:9100]\n    labels: {rack: 7, zone: eu}\n  \
                relabel_configs:\n  - source_labels: [__address__]\n    target_label: instance\n    action: Replace\n\
                - job_name: pods\n  scrape_native_histograms: true\n  kubernetes_sd_configs:\n  - role: pod\n    \
                namespaces: {names: [shop]}\n    selectors: [{role: pod, label: app=web}]\n    \
                attach_metadata: {node: true}\n  - role: endpointslice\n    api_server: https://k:6443\n    \
                authorization: {credentials_file: token}\n\
                - job_name: found\n  follow_redirects: false\n  enable_http2: false\n  enable_compression: false\n  \
                dns_sd_configs: [{names: [_x._tcp.example.com]}, {names: [h], type: A, port: 80}]\n  \
                http_sd_configs: [{url: 'http://sd/list', refresh_interval: 30s, bearer_token: x}]\n  \
                file_sd_configs: [{files: ['t/*.json', t.yml]}]\n  oauth2:\n    client_id: c\n    \
                client_secret_file: s\n    token_url: https://t/token\n    scopes: [a]\n";
    let config = parse("prometheus.yml", text, Path::new("/etc/p")).map_err(|error| error.to_string()).unwrap();
    let [node, pods, found] = &config.jobs[..] else { panic!("{} jobs", config.jobs.len()) };
    assert_eq!((node.limits.body_size, node.limits.samples), (10 << 20, 10));
    assert_eq!(node.static_targets[0].labels.to_string(), r#"{rack="7", zone="eu"}"#);
    assert_eq!(node.http.transport.tls.ca_file.as_deref(), Some(Path::new("/etc/p/ca.pem")));
    assert!(pods.native_histograms && pods.discovery.len() == 2);
    assert!(found.http.transport.http1_only && !found.compressed && found.discovery.len() == 4);
}

#[test]
fn empty_and_foreign_sections_of_prometheus_do_no_harm() {
    let text = "global:\nalerting:\n  alertmanagers:\n  - static_configs:\n    - targets: ['localhost:9093']\nrule_files:\n\
                scrape_configs:\n  - job_name: node\n    params:\n    relabel_configs:\n    static_configs:\n    \
                - targets: ['localhost:9100']\n      labels:\nremote_write: [{url: 'http://x'}]\nruntime: {gogc: 75}\n";
    let config = parse("prometheus.yml", text, Path::new("/etc/p")).map_err(|error| error.to_string()).unwrap();
    assert_eq!(config.jobs.len(), 1);
    assert_eq!(config.ignored, ["alerting", "remote_write", "runtime"]);
}

#[test]
fn jobs_stand_in_further_files_too() {
    let dir = tempfile::tempdir().unwrap();
    let job =
        |name: &str| format!("scrape_configs:\n  - job_name: {name}\n    file_sd_configs: [{{files: [t.json]}}]\n");
    std::fs::write(dir.path().join("one.yml"), job("one")).unwrap();
    std::fs::write(dir.path().join("two.yml"), job("two")).unwrap();
    let text = job("own") + "scrape_config_files: ['*.yml']\n";
    let names = |config: &super::Config| config.jobs.iter().map(|job| job.job_name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&parse("p.yaml", &text, dir.path()).unwrap()), ["own", "one", "two"]);
    std::fs::write(dir.path().join("two.yml"), job("own")).unwrap();
    std::fs::write(dir.path().join("three.yml"), "scrape_configs:\n  - job_nam: x\n").unwrap();
    let Err(ConfigError::Problems(found)) = parse("p.yaml", &text, dir.path()) else { panic!("it is fine") };
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    let dir = dir.path().display();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with(&format!("{dir}/three.yml:2:5: unknown field")), "{found:?}");
    assert_eq!(found[1], format!("{dir}/two.yml:2:5: job `own` is defined twice"));
}

#[test]
fn every_problem_is_reported_with_its_place() {
    let text = "listen: nowhere\nstore:\n  retention: 5 days\n  max_size: 1MiB\n  fsync: maybe\n  max_samples_per_second: 0\nglobal:\n  scrape_interval: 0s\n\
                scrape_configs:\n  - job_name: a\n  - job_name: a\n  - job_name: b\n    scheme: ftp\npolicy:\n  \
                files: [missing.cedar]\n  limits: {max_replicas: 0}\nsources:\n  metrics: {url: prometheus}\n";
    insta::assert_snapshot!(problems(text), @r"
    aegis.yaml:1:9: `nowhere` is not an address: write 127.0.0.1:4300
    aegis.yaml:3:14: not a valid duration string: `5 days`; expected something like `5m`, `1h30m` or `250ms`
    aegis.yaml:4:13: `1MiB` is too small: at least 64MiB
    aegis.yaml:5:10: `maybe` is not known: `always` or `never`
    aegis.yaml:6:27: 0 is too small: at least 1
    aegis.yaml:8:20: `0s` is too short: at least 1ms
    aegis.yaml:11:5: job `a` is defined twice
    aegis.yaml:12:5: `scheme` of job `b` is `ftp`; expected `http` or `https`
    aegis.yaml:15:11: cannot read policy file /nowhere/missing.cedar: No such file or directory (os error 2)
    aegis.yaml:16:26: 0 is too small: at least 1
    aegis.yaml:18:18: `prometheus` is not a URL: it must begin with http:// or https://
    ");
}

#[test]
fn lines_are_kept_by_their_stream() {
    let text = "store:\n  retention: 30d\n  log_deletion_delay: 0s\n  log_retention:\n    \
                - {selector: '{level=\"debug\"}', keep: 7d}\n    - {selector: '{level=~\"audit|fatal\"}', keep: unlimited}\n";
    let config = parse("aegis.yaml", text, Path::new("/nowhere")).unwrap();
    let kept: Vec<String> =
        config.store.log_retention.iter().map(|rule| format!("{:?} {:?}", rule.matchers, rule.keep)).collect();
    let forever = Duration::MAX;
    assert_eq!(kept, [r#"[level="debug"] 604800s"#.to_owned(), format!(r#"[level=~"audit|fatal"] {forever:?}"#)]);
    assert_eq!(config.store.log_deletion_delay, Duration::ZERO);
    let text = "store:\n  log_retention:\n    - selector: level=debug\n      keep: 1s\n    - {selector: '{a=~\"(\"}', keep: 7d}\n";
    insta::assert_snapshot!(problems(text), @r#"
    aegis.yaml:3:17: `level=debug` is not a stream selector: parse error at line 1, col 1: syntax error: unexpected IDENTIFIER, expecting {
    aegis.yaml:4:13: `1s` is too short: at least 1h
    aegis.yaml:5:18: `{a=~"("}` is not a stream selector: parse error : error parsing regexp: missing closing ): `(`
    "#);
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

#[test]
fn rules_come_from_the_files_that_the_patterns_match() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let rules = |name: &str| format!("groups:\n- name: {name}\n  rules:\n  - {{record: a, expr: b}}\n");
    write("two.rules", &rules("two"));
    write("one.rules", &rules("one"));
    let text = "global: {evaluation_interval: 30s, rule_query_offset: 5s, external_labels: {zone: eu}}\n\
                rule_files: ['*.rules', one.rules, 'none-*']\n";
    let config = parse("p.yaml", text, dir.path()).map_err(|error| error.to_string()).unwrap();
    let groups: Vec<&str> = config.rules.files.iter().map(|(_, file)| file.groups[0].name.as_str()).collect();
    assert_eq!(groups, ["one", "two"], "each once");
    let around = &config.rules.surroundings;
    assert_eq!((around.interval, around.query_offset), (Duration::from_secs(30), Duration::from_secs(5)));
    assert_eq!((around.external_labels["zone"].as_str(), config.rule_interval), ("eu", Duration::from_secs(30)));
    let without = parse("p.yaml", "", dir.path()).unwrap();
    assert_eq!(
        (without.rules.surroundings.interval, without.rule_interval),
        (Duration::from_secs(60), Duration::from_secs(15))
    );

    write("two.rules", "groups:\n- name: two\n  rules:\n  - {record: a, expr: 'sum('}\n  - {alert: b}\n");
    let Err(ConfigError::Problems(found)) = parse("p.yaml", &text.replace("30s", "soon"), dir.path()) else {
        panic!("fine")
    };
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(found[0].starts_with("p.yaml:1:31: not a valid duration"), "{found:?}");
    let file = dir.path().join("two.rules").display().to_string();
    assert!(found[1].starts_with(&format!("{file}:4:23: group \"two\", rule 1, \"a\": could not parse")), "{found:?}");
    assert!(found[2].starts_with(&format!("{file}:5:5: group \"two\", rule 2, \"b\": field `expr`")), "{found:?}");
}
