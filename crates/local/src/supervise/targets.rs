//! Endpoint files: which replicas may get requests, in the format of Prometheus' file service discovery.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use policy::Target;
use serde::Serialize;

use super::instance::Instance;
use super::state::{Deployment, State};
use crate::process::replace;

/// Where the ready endpoints of `target` are listed: `targets-<namespace>-<name>.json`.
#[must_use]
pub fn targets_file(run_dir: &Path, target: &Target) -> PathBuf {
    run_dir.join(format!("targets-{}-{}.json", target.namespace, target.name))
}

/// What was last written, so that files change only when endpoints do.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    written: BTreeMap<Target, String>,
}

#[derive(Serialize)]
struct Group {
    targets: [String; 1],
    labels: BTreeMap<String, String>,
}

impl Endpoints {
    /// Brings every file up to date; a deployment that is no more gets an empty list.
    pub(super) fn write(&mut self, run_dir: &Path, state: &State, fleet: &[Instance]) {
        let mut wanted: BTreeMap<Target, String> =
            self.written.keys().map(|known| (known.clone(), "[]".into())).collect();
        for deployment in &state.deployments {
            let target = deployment.spec.target();
            let ready = fleet.iter().filter(|one| one.target == target && one.is_ready());
            let groups: Vec<Group> = ready.filter_map(|one| group(deployment, one)).collect();
            // Texts and maps of texts always have a JSON form.
            wanted.insert(target, serde_json::to_string_pretty(&groups).unwrap_or_else(|_| "[]".to_owned()));
        }
        for (target, text) in wanted {
            if self.written.get(&target) == Some(&text) {
                continue;
            }
            match replace(&targets_file(run_dir, &target), text.as_bytes(), false) {
                Ok(()) => {
                    self.written.insert(target, text);
                }
                // Tried again at the next tick.
                Err(error) => tracing::error!(%error, "cannot write the list of endpoints"),
            }
        }
    }
}

fn group(deployment: &Deployment, instance: &Instance) -> Option<Group> {
    let spec = &deployment.spec;
    let own = [
        ("job", spec.service.clone()),
        ("namespace", spec.namespace.clone()),
        ("deployment", spec.name.clone()),
        ("instance", instance.name.clone()),
        ("revision", instance.revision.to_string()),
    ];
    let template = deployment.template(instance.revision).unwrap_or(&spec.template);
    let mut labels = template.labels.clone();
    labels.extend(own.map(|(name, value)| (name.to_owned(), value)));
    Some(Group { targets: [instance.address()?], labels })
}
