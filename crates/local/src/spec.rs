//! What a deployment should be.

use std::collections::BTreeMap;

use policy::Target;
use serde::{Deserialize, Serialize};

/// More replicas than this are refused whatever anybody permits: they share one machine.
pub(crate) const MAX_REPLICAS: u32 = 64;
const MAX_NAME: usize = 40;

/// A number of equal processes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentSpec {
    /// Where it lives, such as `production`: lower-case letters, digits and dashes.
    pub namespace: String,
    /// Its name there, same alphabet.
    pub name: String,
    /// The service it runs; becomes the `job` label of its endpoints.
    pub service: String,
    /// How many, 0 to 64.
    pub replicas: u32,
    /// How to run one.
    pub template: Template,
}

/// How to run one replica. A change of anything in here makes a new revision.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Release name shown to people.
    pub version: String,
    /// Program and arguments; `{instance}`, `{namespace}`, `{deployment}`, `{revision}` and `{port_file}` are replaced.
    pub command: Vec<String>,
    /// Added to the supervisor's own environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where it listens.
    pub port: Port,
    /// Path that answers 2xx when the replica may get requests. Default `/healthz`.
    #[serde(default = "default_readiness")]
    pub readiness: String,
    /// Seconds between SIGTERM and SIGKILL. Default 10.
    #[serde(default = "default_drain")]
    pub drain_s: u32,
    /// Seconds after which a change that is not ready counts as failed. Default 60.
    #[serde(default = "default_ready_within")]
    pub ready_within_s: u32,
    /// Further labels of its endpoints.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Where a replica listens, on 127.0.0.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Port {
    /// On a port of its choice, which it writes to the file named by `AEGIS_PORT_FILE`.
    Reported,
    /// On this one; only sensible for a single replica.
    Fixed(u16),
}

/// Why a specification is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpecError {
    /// Names become file names and labels.
    #[error("`{name}` is not a name: 1 to 40 lower-case letters, digits and dashes")]
    Name {
        /// What was given.
        name: String,
    },
    /// Too many.
    #[error("{replicas} replicas are more than {MAX_REPLICAS}")]
    Replicas {
        /// What was given.
        replicas: u32,
    },
    /// Nothing to run.
    #[error("the command is empty")]
    Command,
    /// Not a path.
    #[error("readiness `{path}` is not a path such as `/healthz`")]
    Readiness {
        /// What was given.
        path: String,
    },
    /// A fixed port cannot be shared.
    #[error("{replicas} replicas cannot share the fixed port {port}")]
    SharedPort {
        /// How many.
        replicas: u32,
        /// Which port.
        port: u16,
    },
}

impl DeploymentSpec {
    /// Namespace and name.
    #[must_use]
    pub fn target(&self) -> Target {
        Target { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// Whether it can be run.
    ///
    /// # Errors
    /// `SpecError` names the first thing that is wrong.
    pub fn check(&self) -> Result<(), SpecError> {
        for name in [&self.namespace, &self.name, &self.service] {
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_plain) {
                return Err(SpecError::Name { name: name.chars().take(2 * MAX_NAME).collect() });
            }
        }
        self.check_replicas(self.replicas)?;
        if self.template.command.first().is_none_or(String::is_empty) {
            return Err(SpecError::Command);
        }
        let path = &self.template.readiness;
        if !path.starts_with('/') || path.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(SpecError::Readiness { path: path.clone() });
        }
        Ok(())
    }

    /// Whether so many of it can be run.
    pub(crate) fn check_replicas(&self, replicas: u32) -> Result<(), SpecError> {
        if replicas > MAX_REPLICAS {
            return Err(SpecError::Replicas { replicas });
        }
        match self.template.port {
            Port::Fixed(port) if replicas > 1 => Err(SpecError::SharedPort { replicas, port }),
            Port::Fixed(_) | Port::Reported => Ok(()),
        }
    }
}

impl Template {
    /// A template with the defaults for everything that has one.
    #[must_use]
    pub fn new<S: Into<String>>(version: &str, command: impl IntoIterator<Item = S>, port: Port) -> Self {
        Self {
            version: version.to_owned(),
            command: command.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            port,
            readiness: default_readiness(),
            drain_s: default_drain(),
            ready_within_s: default_ready_within(),
            labels: BTreeMap::new(),
        }
    }
}

fn default_readiness() -> String {
    "/healthz".to_owned()
}

fn default_drain() -> u32 {
    10
}

fn default_ready_within() -> u32 {
    60
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_run_is_refused() {
        let fine = DeploymentSpec {
            namespace: "production".into(),
            name: "shop".into(),
            service: "shop".into(),
            replicas: 3,
            template: Template::new("1", ["shop"], Port::Reported),
        };
        assert_eq!(fine.check(), Ok(()));
        let with = |change: &dyn Fn(&mut DeploymentSpec)| {
            let mut spec = fine.clone();
            change(&mut spec);
            spec.check().map_err(|error| error.to_string()).unwrap_err()
        };
        for (case, change, want) in [
            (
                "path in a name",
                &(|s: &mut DeploymentSpec| s.name = "../x".into()) as &dyn Fn(&mut DeploymentSpec),
                "`../x` is not a name: 1 to 40 lower-case letters, digits and dashes",
            ),
            ("too many", &|s| s.replicas = 65, "65 replicas are more than 64"),
            ("nothing", &|s| s.template.command.clear(), "the command is empty"),
            (
                "header injection",
                &|s| s.template.readiness = "/x\r\nY: z".into(),
                "readiness `/x\r\nY: z` is not a path such as `/healthz`",
            ),
            ("shared port", &|s| s.template.port = Port::Fixed(80), "3 replicas cannot share the fixed port 80"),
        ] {
            assert_eq!(with(change), want, "{case}");
        }
    }
}
