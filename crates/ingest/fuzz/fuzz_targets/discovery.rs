//! What names targets: lists in JSON, and objects of a Kubernetes cluster.

#![no_main]

use aegis_ingest::scrape::kubernetes::{Cluster, Resource, Role};
use aegis_ingest::scrape::{AttachFile, parse_target_groups};
use libfuzzer_sys::fuzz_target;

const RESOURCES: [Resource; 7] = [
    Resource::Nodes,
    Resource::Pods,
    Resource::Services,
    Resource::Endpoints,
    Resource::EndpointSlices,
    Resource::Ingresses,
    Resource::Namespaces,
];
const ROLES: [Role; 6] = [Role::Node, Role::Pod, Role::Service, Role::Endpoints, Role::EndpointSlice, Role::Ingress];

fuzz_target!(|bytes: &[u8]| {
    let _ = parse_target_groups(bytes);
    let Ok(text) = str::from_utf8(bytes) else { return };
    let mut cluster = Cluster::default();
    // One object a line, as every kind there is.
    for object in text.lines() {
        for resource in RESOURCES {
            let _ = cluster.put(resource, object);
        }
    }
    let attach = AttachFile { node: true, namespace: true };
    for role in ROLES {
        let _ = cluster.groups(role, attach);
    }
    for resource in RESOURCES {
        for object in text.lines() {
            let _ = cluster.remove(resource, object);
        }
    }
});
