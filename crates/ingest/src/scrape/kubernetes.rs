//! Targets of Kubernetes clusters: what the API server says of its objects, turned into groups with Prometheus' labels
//! (`discovery/kubernetes`). Asking the server is the shell's business.

mod groups;
mod objects;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::sd::{AttachFile, TargetGroup};
use objects::{Endpoints, Ingress, Metadata, Namespace, Node, Pod, Service, Slice};

/// Which objects become targets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// One target for each node.
    Node,
    /// One for each port of each container.
    Pod,
    /// One for each port of each service.
    Service,
    /// One for each port of each address of endpoints.
    Endpoints,
    /// One for each port of each address of endpoint slices.
    EndpointSlice,
    /// One for each path of each ingress.
    Ingress,
}

/// A kind of object that is asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Resource {
    /// Nodes.
    Nodes,
    /// Pods.
    Pods,
    /// Services.
    Services,
    /// Endpoints.
    Endpoints,
    /// Endpoint slices.
    EndpointSlices,
    /// Ingresses.
    Ingresses,
    /// Namespaces.
    Namespaces,
}

/// Label and field selectors by the role they narrow.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selectors(BTreeMap<Role, (String, String)>);

impl Selectors {
    /// False when there is one already.
    pub(super) fn add(&mut self, role: Role, label: String, field: String) -> bool {
        self.0.insert(role, (label, field)).is_none()
    }

    /// Label and field selector for a resource; empty texts select everything.
    #[must_use]
    pub fn of(&self, resource: Resource) -> (&str, &str) {
        let role = match resource {
            Resource::Nodes => Role::Node,
            Resource::Pods => Role::Pod,
            Resource::Services => Role::Service,
            Resource::Endpoints => Role::Endpoints,
            Resource::EndpointSlices => Role::EndpointSlice,
            Resource::Ingresses => Role::Ingress,
            Resource::Namespaces => return ("", ""),
        };
        self.0.get(&role).map_or(("", ""), |(label, field)| (label, field))
    }
}

impl Role {
    /// Kubernetes' word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Pod => "pod",
            Self::Service => "service",
            Self::Endpoints => "endpoints",
            Self::EndpointSlice => "endpointslice",
            Self::Ingress => "ingress",
        }
    }

    /// Whether a selector for `other` has an effect.
    pub(super) fn selects(self, other: Self) -> bool {
        match self {
            Self::Endpoints | Self::EndpointSlice => {
                other == self || matches!(other, Self::Pod | Self::Service | Self::Node)
            }
            Self::Pod => matches!(other, Self::Pod | Self::Node),
            Self::Node | Self::Service | Self::Ingress => other == self,
        }
    }

    /// What has to be known for targets of this role.
    #[must_use]
    pub fn resources(self, attach: AttachFile) -> Vec<Resource> {
        let mut resources = match self {
            Self::Node => return vec![Resource::Nodes],
            Self::Pod => vec![Resource::Pods],
            Self::Service => vec![Resource::Services],
            Self::Endpoints => vec![Resource::Endpoints, Resource::Services, Resource::Pods],
            Self::EndpointSlice => vec![Resource::EndpointSlices, Resource::Services, Resource::Pods],
            Self::Ingress => vec![Resource::Ingresses],
        };
        if attach.node && matches!(self, Self::Pod | Self::Endpoints | Self::EndpointSlice) {
            resources.push(Resource::Nodes);
        }
        if attach.namespace {
            resources.push(Resource::Namespaces);
        }
        resources
    }
}

impl Resource {
    /// Whether its objects belong to namespaces.
    #[must_use]
    pub fn is_namespaced(self) -> bool {
        !matches!(self, Self::Nodes | Self::Namespaces)
    }

    /// The path of the list of its objects.
    #[must_use]
    pub fn path(self, namespace: Option<&str>) -> String {
        let (api, name) = match self {
            Self::Nodes => ("/api/v1", "nodes"),
            Self::Pods => ("/api/v1", "pods"),
            Self::Services => ("/api/v1", "services"),
            Self::Endpoints => ("/api/v1", "endpoints"),
            Self::Namespaces => ("/api/v1", "namespaces"),
            Self::EndpointSlices => ("/apis/discovery.k8s.io/v1", "endpointslices"),
            Self::Ingresses => ("/apis/networking.k8s.io/v1", "ingresses"),
        };
        match namespace.filter(|_| self.is_namespaced()) {
            Some(namespace) => format!("{api}/namespaces/{namespace}/{name}"),
            None => format!("{api}/{name}"),
        }
    }
}

/// A page of a list.
#[derive(Debug, Deserialize)]
pub struct ListPage<'a> {
    /// Where it stands.
    #[serde(default)]
    pub metadata: ListMetadata,
    /// Objects, to be handed to [`Cluster::put`].
    #[serde(borrow, default, deserialize_with = "super::or_default")]
    pub items: Vec<&'a RawValue>,
}

/// Where a list stands.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListMetadata {
    /// Watching goes on from here.
    pub resource_version: String,
    /// Where the next page begins; empty at the end.
    #[serde(rename = "continue")]
    pub next: String,
}

/// One line of a watch.
#[derive(Debug, Deserialize)]
pub struct WatchLine<'a> {
    /// What happened.
    #[serde(rename = "type")]
    pub kind: WatchKind,
    /// To which object; for an error, the status.
    #[serde(borrow)]
    pub object: &'a RawValue,
}

/// What happened to an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum WatchKind {
    /// It is new.
    Added,
    /// It has changed.
    Modified,
    /// It is gone.
    Deleted,
    /// Nothing; time has passed.
    Bookmark,
    /// The watch cannot go on.
    Error,
}

/// Why an object is of no use.
#[derive(Debug, thiserror::Error)]
#[error("cannot read an object of {}", resource.path(None))]
pub struct ObjectError {
    /// What it was to be.
    resource: Resource,
    source: serde_json::Error,
}

type Key = (String, String);
type Objects<T> = BTreeMap<Key, T>;

/// What is known of a cluster.
#[derive(Debug, Default)]
pub struct Cluster {
    nodes: Objects<Node>,
    pods: Objects<Pod>,
    services: Objects<Service>,
    endpoints: Objects<Endpoints>,
    slices: Objects<Slice>,
    ingresses: Objects<Ingress>,
    namespaces: Objects<Namespace>,
}

/// What any object says about itself.
#[derive(Debug, Deserialize)]
struct Named {
    metadata: Metadata,
}

impl Cluster {
    /// Adds or replaces an object; its resource version.
    ///
    /// # Errors
    /// `ObjectError` when it does not look like one.
    pub fn put(&mut self, resource: Resource, object: &str) -> Result<String, ObjectError> {
        let error = |source| ObjectError { resource, source };
        match resource {
            Resource::Nodes => put(&mut self.nodes, object, |node| &node.metadata),
            Resource::Pods => put(&mut self.pods, object, |pod| &pod.metadata),
            Resource::Services => put(&mut self.services, object, |service| &service.metadata),
            Resource::Endpoints => put(&mut self.endpoints, object, |endpoints| &endpoints.metadata),
            Resource::EndpointSlices => put(&mut self.slices, object, |slice| &slice.metadata),
            Resource::Ingresses => put(&mut self.ingresses, object, |ingress| &ingress.metadata),
            Resource::Namespaces => put(&mut self.namespaces, object, |namespace| &namespace.metadata),
        }
        .map_err(error)
    }

    /// Forgets an object; its resource version.
    ///
    /// # Errors
    /// `ObjectError` when it does not look like one.
    pub fn remove(&mut self, resource: Resource, object: &str) -> Result<String, ObjectError> {
        let named: Named = serde_json::from_str(object).map_err(|source| ObjectError { resource, source })?;
        let key = named.metadata.key();
        match resource {
            Resource::Nodes => drop(self.nodes.remove(&key)),
            Resource::Pods => drop(self.pods.remove(&key)),
            Resource::Services => drop(self.services.remove(&key)),
            Resource::Endpoints => drop(self.endpoints.remove(&key)),
            Resource::EndpointSlices => drop(self.slices.remove(&key)),
            Resource::Ingresses => drop(self.ingresses.remove(&key)),
            Resource::Namespaces => drop(self.namespaces.remove(&key)),
        }
        Ok(named.metadata.resource_version)
    }

    /// Forgets all objects of a kind, those of one namespace when it is given: before a new list.
    pub fn clear(&mut self, resource: Resource, namespace: Option<&str>) {
        match resource {
            Resource::Nodes => clear(&mut self.nodes, namespace),
            Resource::Pods => clear(&mut self.pods, namespace),
            Resource::Services => clear(&mut self.services, namespace),
            Resource::Endpoints => clear(&mut self.endpoints, namespace),
            Resource::EndpointSlices => clear(&mut self.slices, namespace),
            Resource::Ingresses => clear(&mut self.ingresses, namespace),
            Resource::Namespaces => clear(&mut self.namespaces, namespace),
        }
    }

    /// One group for each object of the role that has targets.
    #[must_use]
    pub fn groups(&self, role: Role, attach: AttachFile) -> Vec<TargetGroup> {
        let mut groups = groups::of(self, role, attach);
        groups.retain(|group| !group.targets.is_empty());
        groups
    }
}

fn put<'a, T: Deserialize<'a>>(
    objects: &mut Objects<T>,
    object: &'a str,
    metadata: impl Fn(&T) -> &Metadata,
) -> Result<String, serde_json::Error> {
    let read: T = serde_json::from_str(object)?;
    let about = metadata(&read);
    let (key, version) = (about.key(), about.resource_version.clone());
    objects.insert(key, read);
    Ok(version)
}

fn clear<T>(objects: &mut Objects<T>, namespace: Option<&str>) {
    match namespace {
        Some(namespace) => objects.retain(|(of, _), _| of != namespace),
        None => objects.clear(),
    }
}

#[cfg(test)]
mod tests;
