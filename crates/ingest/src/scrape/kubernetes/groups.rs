//! Objects to groups of targets.

use std::collections::BTreeMap;

use signal::{Labels, LabelsBuilder};

use super::objects::{
    Container, ContainerPort, EndpointAddress, Endpoints, Ingress, Metadata, Node, Pod, Port, Reference, Service,
    Slice, SliceEndpoint,
};
use super::{Cluster, Role};
use crate::scrape::sd::{AttachFile, TargetGroup};

/// The label of a slice that names its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Kinds of a node's addresses, the best first.
const ADDRESSES: [&str; 6] = ["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname"];

pub(super) fn of(cluster: &Cluster, role: Role, attach: AttachFile) -> Vec<TargetGroup> {
    let maker = Maker { cluster, attach };
    match role {
        Role::Node => cluster.nodes.values().filter_map(|node| maker.node(node)).collect(),
        Role::Pod => cluster.pods.values().map(|pod| maker.pod(pod)).collect(),
        Role::Service => cluster.services.values().map(|service| maker.service(service)).collect(),
        Role::Endpoints => cluster.endpoints.values().map(|endpoints| maker.endpoints(endpoints)).collect(),
        Role::EndpointSlice => cluster.slices.values().map(|slice| maker.slice(slice)).collect(),
        Role::Ingress => cluster.ingresses.values().map(|ingress| maker.ingress(ingress)).collect(),
    }
}

/// Meta labels being collected.
#[derive(Default)]
struct Meta(LabelsBuilder);

impl Meta {
    fn at(address: &str) -> Self {
        let mut meta = Self::default();
        meta.0.set("__address__", address);
        meta
    }

    fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.0.set(&format!("__meta_kubernetes_{name}"), value);
        self
    }

    fn set_some(&mut self, name: &str, value: Option<&String>) -> &mut Self {
        if let Some(value) = value {
            self.set(name, value);
        }
        self
    }

    fn labels(&mut self, kind: &str, labels: &BTreeMap<String, String>) -> &mut Self {
        for (name, value) in labels {
            let name = sanitized(name);
            self.set(&format!("{kind}_label_{name}"), value).set(&format!("{kind}_labelpresent_{name}"), "true");
        }
        self
    }

    fn annotations(&mut self, kind: &str, annotations: &BTreeMap<String, String>) -> &mut Self {
        for (name, value) in annotations {
            let name = sanitized(name);
            self.set(&format!("{kind}_annotation_{name}"), value)
                .set(&format!("{kind}_annotationpresent_{name}"), "true");
        }
        self
    }

    fn object(&mut self, kind: &str, metadata: &Metadata) -> &mut Self {
        self.labels(kind, &metadata.labels)
            .annotations(kind, &metadata.annotations)
            .set(&format!("{kind}_name"), &metadata.name)
    }

    fn build(self) -> Labels {
        self.0.build()
    }
}

/// A pod that endpoints lead to, with the ports they name.
struct Seen<'a> {
    pod: &'a Pod,
    ports: Vec<u16>,
}

struct Maker<'a> {
    cluster: &'a Cluster,
    attach: AttachFile,
}

impl<'a> Maker<'a> {
    fn node(&self, node: &Node) -> Option<TargetGroup> {
        let address_of = |kind: &str| node.status.addresses.iter().find(|address| address.kind == kind);
        let address = ADDRESSES.iter().find_map(|kind| address_of(kind))?;
        let port = node.status.daemon_endpoints.kubelet_endpoint.port;
        let mut meta = Meta::at(&host_port(&address.address, port));
        meta.0.set("instance", &node.metadata.name);
        // The first of each kind counts.
        for address in node.status.addresses.iter().rev() {
            meta.set(&format!("node_address_{}", sanitized(&address.kind)), &address.address);
        }
        let mut shared = Meta::default();
        shared.object("node", &node.metadata).set("node_provider_id", &node.spec.provider_id);
        Some(TargetGroup { targets: vec![meta.build()], labels: shared.build() })
    }

    fn pod(&self, pod: &Pod) -> TargetGroup {
        let ip = &pod.status.pod_ip;
        // A pod that starts or was evicted has none.
        if ip.is_empty() {
            return TargetGroup::default();
        }
        let mut shared = Meta::default();
        self.pod_labels(pod, &mut shared);
        self.namespace(&pod.metadata.namespace, &mut shared);
        if self.attach.node {
            self.node_labels(Some(&pod.spec.node_name), &mut shared);
        }
        let mut targets = Vec::new();
        for (container, is_init) in containers(pod) {
            let statuses = if is_init { &pod.status.init_container_statuses } else { &pod.status.container_statuses };
            let status = statuses.iter().find(|status| status.name == container.name);
            let id = status.map_or("", |status| &status.container_id);
            if container.ports.is_empty() {
                let mut meta = Meta::at(ip);
                container_labels(container, is_init, &mut meta);
                meta.set("pod_container_id", id);
                targets.push(meta.build());
            }
            for port in &container.ports {
                let mut meta = Meta::at(&host_port(ip, port.container_port));
                container_labels(container, is_init, &mut meta);
                port_labels(port, &mut meta);
                meta.set("pod_container_id", id);
                targets.push(meta.build());
            }
        }
        TargetGroup { targets, labels: shared.build() }
    }

    fn service(&self, service: &Service) -> TargetGroup {
        let mut shared = Meta::default();
        service_labels(service, &mut shared);
        self.namespace(&service.metadata.namespace, &mut shared);
        let host = format!("{}.{}.svc", service.metadata.name, service.metadata.namespace);
        let spec = &service.spec;
        let target = |port: &Port| {
            let number = port.port.unwrap_or(0);
            let mut meta = Meta::at(&host_port(&host, number));
            meta.set_some("service_port_name", port.name.as_ref())
                .set("service_port_number", &number.to_string())
                .set_some("service_port_protocol", port.protocol.as_ref())
                .set("service_type", &spec.kind);
            match spec.kind.as_str() {
                "ExternalName" => meta.set("service_external_name", &spec.external_name),
                "LoadBalancer" => meta
                    .set("service_cluster_ip", &spec.cluster_ip)
                    .set("service_loadbalancer_ip", &spec.load_balancer_ip),
                _ => meta.set("service_cluster_ip", &spec.cluster_ip),
            };
            meta.build()
        };
        TargetGroup { targets: spec.ports.iter().map(target).collect(), labels: shared.build() }
    }

    fn endpoints(&self, endpoints: &Endpoints) -> TargetGroup {
        let mut shared = Meta::default();
        let namespace = &endpoints.metadata.namespace;
        self.namespace(namespace, &mut shared);
        if let Some(service) = self.cluster.services.get(&endpoints.metadata.key()) {
            service_labels(service, &mut shared);
        }
        shared.object("endpoints", &endpoints.metadata);
        let mut targets = Vec::new();
        let mut seen = BTreeMap::new();
        for subset in &endpoints.subsets {
            for port in &subset.ports {
                for (addresses, is_ready) in [(&subset.addresses, "true"), (&subset.not_ready_addresses, "false")] {
                    for address in addresses {
                        targets.push(self.endpoint(address, port, is_ready, &mut seen));
                    }
                }
            }
        }
        targets.extend(self.other_ports(&seen));
        TargetGroup { targets, labels: shared.build() }
    }

    fn endpoint(
        &self,
        address: &EndpointAddress,
        port: &Port,
        is_ready: &str,
        seen: &mut BTreeMap<(String, String), Seen<'a>>,
    ) -> Labels {
        let mut meta = Meta::at(&host_port(&address.ip, port.port.unwrap_or(0)));
        meta.set_some("endpoint_port_name", port.name.as_ref())
            .set_some("endpoint_port_protocol", port.protocol.as_ref())
            .set("endpoint_ready", is_ready)
            .set_some("endpoint_node_name", address.node_name.as_ref())
            .set_some("endpoint_hostname", address.hostname.as_ref());
        if let Some(target) = &address.target_ref {
            meta.set("endpoint_address_target_kind", &target.kind).set("endpoint_address_target_name", &target.name);
        }
        if self.attach.node {
            let node = address.target_ref.as_ref().filter(|target| target.kind == "Node").map(|target| &target.name);
            self.node_labels(node.or(address.node_name.as_ref()), &mut meta);
        }
        self.behind(address.target_ref.as_ref(), port, &mut meta, seen);
        meta.build()
    }

    fn slice(&self, slice: &Slice) -> TargetGroup {
        let mut shared = Meta::default();
        let namespace = &slice.metadata.namespace;
        self.namespace(namespace, &mut shared);
        shared.set("endpointslice_address_type", &slice.address_type).object("endpointslice", &slice.metadata);
        let service = slice.metadata.labels.get(SERVICE_NAME).map(|name| (namespace.clone(), name.clone()));
        if let Some(service) = service.and_then(|key| self.cluster.services.get(&key)) {
            service_labels(service, &mut shared);
        }
        let mut targets = Vec::new();
        let mut seen = BTreeMap::new();
        for endpoint in &slice.endpoints {
            for port in &slice.ports {
                for address in &endpoint.addresses {
                    targets.push(self.slice_endpoint(address, endpoint, port, &mut seen));
                }
            }
        }
        targets.extend(self.other_ports(&seen));
        TargetGroup { targets, labels: shared.build() }
    }

    fn slice_endpoint(
        &self,
        address: &str,
        endpoint: &SliceEndpoint,
        port: &Port,
        seen: &mut BTreeMap<(String, String), Seen<'a>>,
    ) -> Labels {
        let mut meta = match port.port {
            Some(number) => Meta::at(&host_port(address, number)),
            None => Meta::at(address),
        };
        meta.set_some("endpointslice_port_name", port.name.as_ref())
            .set_some("endpointslice_port_protocol", port.protocol.as_ref())
            .set_some("endpointslice_port_app_protocol", port.app_protocol.as_ref())
            .set_some("endpointslice_port", port.port.map(|number| number.to_string()).as_ref())
            .set_some("endpointslice_endpoint_hostname", endpoint.hostname.as_ref())
            .set_some("endpointslice_endpoint_node_name", endpoint.node_name.as_ref())
            .set_some("endpointslice_endpoint_zone", endpoint.zone.as_ref());
        let conditions = endpoint.conditions;
        for (name, holds) in
            [("ready", conditions.ready), ("serving", conditions.serving), ("terminating", conditions.terminating)]
        {
            let name = format!("endpointslice_endpoint_conditions_{name}");
            meta.set_some(&name, holds.map(|holds| holds.to_string()).as_ref());
        }
        if let Some(target) = &endpoint.target_ref {
            meta.set("endpointslice_address_target_kind", &target.kind)
                .set("endpointslice_address_target_name", &target.name);
        }
        for (name, value) in &endpoint.deprecated_topology {
            let name = sanitized(name);
            meta.set(&format!("endpointslice_endpoint_topology_{name}"), value)
                .set(&format!("endpointslice_endpoint_topology_present_{name}"), "true");
        }
        if self.attach.node {
            let node = endpoint.target_ref.as_ref().filter(|target| target.kind == "Node").map(|target| &target.name);
            self.node_labels(node.or(endpoint.node_name.as_ref()), &mut meta);
        }
        self.behind(endpoint.target_ref.as_ref(), port, &mut meta, seen);
        meta.build()
    }

    /// What is known of the pod behind an endpoint.
    fn behind(
        &self,
        target: Option<&Reference>,
        port: &Port,
        meta: &mut Meta,
        seen: &mut BTreeMap<(String, String), Seen<'a>>,
    ) {
        let Some(target) = target.filter(|target| target.kind == "Pod") else { return };
        let key = (target.namespace.clone(), target.name.clone());
        let Some(pod) = self.cluster.pods.get(&key) else { return };
        self.pod_labels(pod, meta);
        let seen = seen.entry(key).or_insert_with(|| Seen { pod, ports: Vec::new() });
        let Some(number) = port.port else { return };
        seen.ports.push(number);
        for (container, is_init) in containers(pod) {
            if let Some(found) = container.ports.iter().find(|found| found.container_port == number) {
                container_labels(container, is_init, meta);
                port_labels(found, meta);
            }
        }
    }

    /// Ports of the pods that no endpoint names are targets too.
    fn other_ports(&self, seen: &BTreeMap<(String, String), Seen<'a>>) -> Vec<Labels> {
        let mut targets = Vec::new();
        for Seen { pod, ports } in seen.values().filter(|seen| !seen.pod.status.pod_ip.is_empty()) {
            for (container, is_init) in containers(pod) {
                for port in container.ports.iter().filter(|port| !ports.contains(&port.container_port)) {
                    let mut meta = Meta::at(&host_port(&pod.status.pod_ip, port.container_port));
                    self.pod_labels(pod, &mut meta);
                    container_labels(container, is_init, &mut meta);
                    port_labels(port, &mut meta);
                    if self.attach.node {
                        self.node_labels(Some(&pod.spec.node_name), &mut meta);
                    }
                    targets.push(meta.build());
                }
            }
        }
        targets
    }

    fn ingress(&self, ingress: &Ingress) -> TargetGroup {
        let mut shared = Meta::default();
        shared
            .object("ingress", &ingress.metadata)
            .set_some("ingress_class_name", ingress.spec.ingress_class_name.as_ref());
        self.namespace(&ingress.metadata.namespace, &mut shared);
        let mut targets = Vec::new();
        for rule in &ingress.spec.rules {
            let mut encrypted = ingress.spec.tls.iter().flat_map(|tls| &tls.hosts);
            let scheme = if encrypted.any(|pattern| matches_host(pattern, &rule.host)) { "https" } else { "http" };
            let paths = match &rule.http {
                Some(http) => http.paths.iter().map(|path| path.path.as_str()).collect(),
                None => vec!["/"],
            };
            for path in paths {
                let mut meta = Meta::at(&rule.host);
                meta.set("ingress_scheme", scheme)
                    .set("ingress_host", &rule.host)
                    .set("ingress_path", if path.is_empty() { "/" } else { path });
                targets.push(meta.build());
            }
        }
        TargetGroup { targets, labels: shared.build() }
    }

    fn namespace(&self, name: &str, meta: &mut Meta) {
        meta.set("namespace", name);
        if self.attach.namespace
            && let Some(namespace) = self.cluster.namespaces.get(&(String::new(), name.to_owned()))
        {
            meta.labels("namespace", &namespace.metadata.labels)
                .annotations("namespace", &namespace.metadata.annotations);
        }
    }

    fn node_labels(&self, name: Option<&String>, meta: &mut Meta) {
        let node = name.and_then(|name| self.cluster.nodes.get(&(String::new(), name.clone())));
        if let Some(node) = node {
            meta.set("node_name", &node.metadata.name).labels("node", &node.metadata.labels);
        }
    }

    fn pod_labels(&self, pod: &Pod, meta: &mut Meta) {
        let ready = pod.status.conditions.iter().find(|condition| condition.kind == "Ready");
        let ready = ready.map_or("unknown", |condition| &condition.status).to_ascii_lowercase();
        meta.object("pod", &pod.metadata)
            .set("pod_ip", &pod.status.pod_ip)
            .set("pod_ready", &ready)
            .set("pod_phase", &pod.status.phase)
            .set("pod_node_name", &pod.spec.node_name)
            .set("pod_host_ip", &pod.status.host_ip)
            .set("pod_uid", &pod.metadata.uid);
        if let Some(owner) = pod.metadata.owner_references.iter().find(|owner| owner.controller) {
            meta.set("pod_controller_kind", &owner.kind).set("pod_controller_name", &owner.name);
        }
    }
}

fn service_labels(service: &Service, meta: &mut Meta) {
    meta.object("service", &service.metadata).set("namespace", &service.metadata.namespace);
}

fn container_labels(container: &Container, is_init: bool, meta: &mut Meta) {
    meta.set("pod_container_name", &container.name)
        .set("pod_container_image", &container.image)
        .set("pod_container_init", if is_init { "true" } else { "false" });
}

fn port_labels(port: &ContainerPort, meta: &mut Meta) {
    meta.set("pod_container_port_name", &port.name)
        .set("pod_container_port_number", &port.container_port.to_string())
        .set("pod_container_port_protocol", &port.protocol);
}

/// The containers, then those that run first, marked.
fn containers(pod: &Pod) -> impl Iterator<Item = (&Container, bool)> {
    let ordinary = pod.spec.containers.iter().map(|container| (container, false));
    ordinary.chain(pod.spec.init_containers.iter().map(|container| (container, true)))
}

fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A `*` as the first part of the pattern stands for one part.
fn matches_host(pattern: &str, host: &str) -> bool {
    let tail = |text: &str| text.split_once('.').map(|(_, tail)| tail.to_owned());
    pattern == host || (pattern.starts_with("*.") && tail(pattern) == tail(host))
}

/// With `_` for everything that a plain label name cannot hold.
fn sanitized(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() || letter == '_' { letter } else { '_' }).collect()
}
