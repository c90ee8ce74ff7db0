//! The configuration that the demo writes for Aegis.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The policies under which Aegis may act on the sample application.
pub(crate) const POLICY: &str = include_str!("demo.cedar");

/// Files of one run.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    pub(crate) root: PathBuf,
}

impl Paths {
    pub(crate) fn run_dir(&self) -> PathBuf {
        self.root.join("run")
    }

    pub(crate) fn targets(&self) -> PathBuf {
        self.run_dir().join("targets-production-backend.json")
    }

    pub(crate) fn policy(&self) -> PathBuf {
        self.root.join("demo.cedar")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("users.db")
    }

    pub(crate) fn config(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.yaml"))
    }

    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.log"))
    }
}

/// Where Aegis finds the telemetry that it judges by; what is not elsewhere is in its own store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Signals {
    /// The server that scrapes the application and answers PromQL.
    pub(crate) metrics: Option<SocketAddr>,
    /// The server to which the application sends logs and traces, and which answers LogQL and TraceQL.
    pub(crate) others: Option<SocketAddr>,
}

/// The whole configuration of the Aegis that watches and acts.
pub(crate) fn main_config(listen: SocketAddr, paths: &Paths, signals: Signals) -> String {
    let jobs = if signals.metrics.is_none() { backend_job(paths) } else { String::new() };
    let places = [("metrics", signals.metrics), ("logs", signals.others), ("traces", signals.others)];
    let elsewhere: String = places
        .iter()
        .filter_map(|(name, address)| Some((name, (*address)?)))
        .map(|(name, address)| format!("  {name}: {{ url: {} }}\n", quoted(&format!("http://{address}"))))
        .collect();
    let sources = if elsewhere.is_empty() { "sources: {}\n".to_owned() } else { format!("sources:\n{elsewhere}") };
    format!(
        r#"listen: {listen}
otlp: {{ grpc: "off", http: "off" }}
global: {{ scrape_interval: 5s }}
scrape_configs:
{jobs}{own}detect: {{ interval: 5s, window: 30s }}
policy:
  namespace: production
  files: [{policy}]
  limits: {{ max_replicas: 10, cool_down: 60s, actions_per_hour_target: 6, actions_per_hour_total: 20 }}
drivers:
  local: {{ run_dir: {run_dir} }}
{sources}"#,
        own = own_job(listen),
        policy = path(&paths.policy()),
        run_dir = path(&paths.run_dir()),
    )
}

/// The configuration of an Aegis that only stores telemetry, for the one at `aegis` to read. Without `scrapes` it gets logs
/// and traces only.
pub(crate) fn upstream_config(listen: SocketAddr, aegis: SocketAddr, paths: &Paths, scrapes: bool) -> String {
    let jobs = if scrapes { format!("\n{}", scraped(aegis, paths)) } else { " []\n".to_owned() };
    format!(
        r#"listen: {listen}
otlp: {{ grpc: "off", http: "off" }}
global: {{ scrape_interval: 5s }}
scrape_configs:{jobs}"#
    )
}

/// The configuration of a Prometheus that stores the metrics, for the Aegis at `aegis` to read.
pub(crate) fn prometheus_config(aegis: SocketAddr, paths: &Paths) -> String {
    format!("global: {{ scrape_interval: 5s }}\nscrape_configs:\n{}", scraped(aegis, paths))
}

/// The jobs of a server that scrapes for Aegis. Aegis itself is one: alert rules ask about its metrics too.
fn scraped(aegis: SocketAddr, paths: &Paths) -> String {
    format!("{}{}", backend_job(paths), own_job(aegis))
}

fn backend_job(paths: &Paths) -> String {
    format!(
        "  - job_name: backend\n    file_sd_configs: [{{ files: [{}], refresh_interval: 1s }}]\n",
        path(&paths.targets())
    )
}

fn own_job(listen: SocketAddr) -> String {
    format!("  - job_name: aegis\n    static_configs: [{{ targets: [{}] }}]\n", quoted(&listen.to_string()))
}

fn path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// A JSON string is a YAML string, whatever is in it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_files_and_limits() {
        let paths = Paths { root: PathBuf::from("/tmp/a \"b\"") };
        let listen = "127.0.0.1:4300".parse().unwrap();
        insta::assert_snapshot!(main_config(listen, &paths, Signals::default()), @r#"
        listen: 127.0.0.1:4300
        otlp: { grpc: "off", http: "off" }
        global: { scrape_interval: 5s }
        scrape_configs:
          - job_name: backend
            file_sd_configs: [{ files: ["/tmp/a \"b\"/run/targets-production-backend.json"], refresh_interval: 1s }]
          - job_name: aegis
            static_configs: [{ targets: ["127.0.0.1:4300"] }]
        detect: { interval: 5s, window: 30s }
        policy:
          namespace: production
          files: ["/tmp/a \"b\"/demo.cedar"]
          limits: { max_replicas: 10, cool_down: 60s, actions_per_hour_target: 6, actions_per_hour_total: 20 }
        drivers:
          local: { run_dir: "/tmp/a \"b\"/run" }
        sources: {}
        "#);
        let address: SocketAddr = "127.0.0.1:4310".parse().unwrap();
        let upstream = Signals { metrics: Some(address), others: Some(address) };
        insta::assert_snapshot!(main_config(listen, &paths, upstream), @r#"
        listen: 127.0.0.1:4300
        otlp: { grpc: "off", http: "off" }
        global: { scrape_interval: 5s }
        scrape_configs:
          - job_name: aegis
            static_configs: [{ targets: ["127.0.0.1:4300"] }]
        detect: { interval: 5s, window: 30s }
        policy:
          namespace: production
          files: ["/tmp/a \"b\"/demo.cedar"]
          limits: { max_replicas: 10, cool_down: 60s, actions_per_hour_target: 6, actions_per_hour_total: 20 }
        drivers:
          local: { run_dir: "/tmp/a \"b\"/run" }
        sources:
          metrics: { url: "http://127.0.0.1:4310" }
          logs: { url: "http://127.0.0.1:4310" }
          traces: { url: "http://127.0.0.1:4310" }
        "#);
        insta::assert_snapshot!(upstream_config(address, listen, &paths, true), @r#"
        listen: 127.0.0.1:4310
        otlp: { grpc: "off", http: "off" }
        global: { scrape_interval: 5s }
        scrape_configs:
          - job_name: backend
            file_sd_configs: [{ files: ["/tmp/a \"b\"/run/targets-production-backend.json"], refresh_interval: 1s }]
          - job_name: aegis
            static_configs: [{ targets: ["127.0.0.1:4300"] }]
        "#);
        insta::assert_snapshot!(prometheus_config(listen, &paths), @r#"
        global: { scrape_interval: 5s }
        scrape_configs:
          - job_name: backend
            file_sd_configs: [{ files: ["/tmp/a \"b\"/run/targets-production-backend.json"], refresh_interval: 1s }]
          - job_name: aegis
            static_configs: [{ targets: ["127.0.0.1:4300"] }]
        "#);
    }

    #[test]
    fn each_signal_is_read_where_it_is_stored() {
        let paths = Paths { root: PathBuf::from("/tmp/a") };
        let listen = "127.0.0.1:4300".parse().unwrap();
        let only_metrics = Signals { metrics: Some("127.0.0.1:9090".parse().unwrap()), others: None };
        let text = main_config(listen, &paths, only_metrics);
        assert!(!text.contains("job_name: backend"), "{text}");
        assert!(text.ends_with("sources:\n  metrics: { url: \"http://127.0.0.1:9090\" }\n"), "{text}");
        let text = upstream_config("127.0.0.1:4310".parse().unwrap(), listen, &paths, false);
        assert!(text.ends_with("scrape_configs: []\n"), "{text}");
    }

    #[test]
    fn the_policy_permits_what_the_scenarios_need_and_no_more() {
        let policy = policy::Policy::load(&[("demo.cedar", POLICY)]).unwrap().in_namespace("production");
        for (case, action, resource, context, allowed) in [
            ("as asked by hand", "scale_up", "deployment:backend", r#"{"severity":"high","automated":true}"#, true),
            (
                "sure",
                "scale_up",
                "deployment:production/backend",
                r#"{"severity":"high","automated":true,"confidence":80}"#,
                true,
            ),
            (
                "unsure",
                "scale_up",
                "deployment:backend",
                r#"{"severity":"high","automated":true,"confidence":40}"#,
                false,
            ),
            ("mild", "scale_up", "deployment:backend", r#"{"severity":"low","automated":true,"confidence":80}"#, false),
            (
                "elsewhere",
                "scale_up",
                "deployment:staging/backend",
                r#"{"severity":"high","automated":true,"confidence":80}"#,
                false,
            ),
            ("down", "scale_down", "deployment:backend", r#"{"severity":"high","automated":true}"#, false),
            (
                "taking back",
                "scale_down",
                "deployment:backend",
                r#"{"severity":"high","automated":true,"undo":true}"#,
                true,
            ),
            (
                "bad deploy",
                "roll_back",
                "deployment:backend",
                r#"{"severity":"high","automated":true,"confidence":80,"cause":"bad_deploy"}"#,
                true,
            ),
            (
                "other cause",
                "roll_back",
                "deployment:backend",
                r#"{"severity":"high","automated":true,"confidence":80,"cause":"unknown"}"#,
                false,
            ),
            (
                "restart",
                "restart",
                "deployment:backend",
                r#"{"severity":"critical","automated":true,"confidence":99}"#,
                false,
            ),
        ] {
            let question = policy::Question {
                principal: None,
                action: action.to_owned(),
                resource: resource.to_owned(),
                context: serde_json::from_str(context).unwrap(),
            };
            let evaluation = policy.evaluate(&question);
            assert_eq!(evaluation.allowed, allowed, "{case}: {}", evaluation.reason);
        }
    }
}
