use super::*;

fn cluster(objects: &[(Resource, &str)]) -> Cluster {
    let mut cluster = Cluster::default();
    for (resource, object) in objects {
        cluster.put(*resource, object).unwrap();
    }
    cluster
}

/// One line for each target: its address, its own labels, then those of its group.
fn shown(groups: &[TargetGroup]) -> String {
    let short = |labels: &signal::Labels| {
        let pairs = labels.iter().map(|(name, value)| {
            format!("{}={value}", name.trim_start_matches("__meta_kubernetes_").replace("__address__", "@"))
        });
        pairs.collect::<Vec<_>>().join(" ")
    };
    let mut lines = Vec::new();
    for group in groups {
        lines.extend(group.targets.iter().map(short));
        lines.push(format!("+ {}", short(&group.labels)));
    }
    lines.join("\n")
}

const NODE: &str = r#"{"metadata":{"name":"n1","resourceVersion":"7","labels":{"topology.kubernetes.io/zone":"eu-1"}},
    "spec":{"providerID":"aws:///i-1"},
    "status":{"addresses":[{"type":"Hostname","address":"n1.local"},{"type":"InternalIP","address":"10.0.0.1"},
      {"type":"InternalIP","address":"fd00::1"}],"daemonEndpoints":{"kubeletEndpoint":{"Port":10250}}}}"#;

const POD: &str = r#"{"metadata":{"name":"web-1","namespace":"shop","uid":"u-1","labels":{"app":"web"},
      "annotations":{"prometheus.io/scrape":"true"},
      "ownerReferences":[{"kind":"ReplicaSet","name":"web","controller":true}]},
    "spec":{"nodeName":"n1","containers":[
      {"name":"app","image":"app:1","ports":[{"name":"http","containerPort":8080,"protocol":"TCP"},
                                              {"containerPort":9000,"protocol":"TCP"}]},
      {"name":"side","image":"side:1"}],
      "initContainers":[{"name":"init","image":"init:1","ports":null}]},
    "status":{"podIP":"10.1.0.5","hostIP":"10.0.0.1","phase":"Running",
      "conditions":[{"type":"Ready","status":"True"}],
      "containerStatuses":[{"name":"app","containerID":"containerd://c1"}]}}"#;

const SERVICE: &str = r#"{"metadata":{"name":"web","namespace":"shop","labels":{"team":"a"}},
    "spec":{"type":"ClusterIP","clusterIP":"10.2.0.1","ports":[{"name":"http","port":80,"protocol":"TCP"}]}}"#;

#[test]
fn nodes_are_targets_at_their_kubelet() {
    let cluster = cluster(&[(Resource::Nodes, NODE)]);
    insta::assert_snapshot!(shown(&cluster.groups(Role::Node, AttachFile::default())), @r"
    @=10.0.0.1:10250 node_address_Hostname=n1.local node_address_InternalIP=10.0.0.1 instance=n1
    + node_label_topology_kubernetes_io_zone=eu-1 node_labelpresent_topology_kubernetes_io_zone=true node_name=n1 node_provider_id=aws:///i-1
    ");
}

#[test]
fn pods_are_targets_at_each_port_of_each_container() {
    let attach = AttachFile { node: true, namespace: true };
    let namespace = r#"{"metadata":{"name":"shop","labels":{"env":"prod"}}}"#;
    let cluster = cluster(&[(Resource::Pods, POD), (Resource::Nodes, NODE), (Resource::Namespaces, namespace)]);
    insta::assert_snapshot!(shown(&cluster.groups(Role::Pod, attach)), @r"
    @=10.1.0.5:8080 pod_container_id=containerd://c1 pod_container_image=app:1 pod_container_init=false pod_container_name=app pod_container_port_name=http pod_container_port_number=8080 pod_container_port_protocol=TCP
    @=10.1.0.5:9000 pod_container_id=containerd://c1 pod_container_image=app:1 pod_container_init=false pod_container_name=app pod_container_port_number=9000 pod_container_port_protocol=TCP
    @=10.1.0.5 pod_container_image=side:1 pod_container_init=false pod_container_name=side
    @=10.1.0.5 pod_container_image=init:1 pod_container_init=true pod_container_name=init
    + namespace=shop namespace_label_env=prod namespace_labelpresent_env=true node_label_topology_kubernetes_io_zone=eu-1 node_labelpresent_topology_kubernetes_io_zone=true node_name=n1 pod_annotation_prometheus_io_scrape=true pod_annotationpresent_prometheus_io_scrape=true pod_controller_kind=ReplicaSet pod_controller_name=web pod_host_ip=10.0.0.1 pod_ip=10.1.0.5 pod_label_app=web pod_labelpresent_app=true pod_name=web-1 pod_node_name=n1 pod_phase=Running pod_ready=true pod_uid=u-1
    ");
}

#[test]
fn services_are_targets_by_name() {
    let external = r#"{"metadata":{"name":"db","namespace":"shop"},
        "spec":{"type":"ExternalName","externalName":"db.example.com","ports":[{"port":5432}]}}"#;
    let balanced = r#"{"metadata":{"name":"edge","namespace":"shop"},
        "spec":{"type":"LoadBalancer","clusterIP":"10.2.0.9","loadBalancerIP":"1.2.3.4","ports":[{"port":443}]}}"#;
    let cluster =
        cluster(&[(Resource::Services, SERVICE), (Resource::Services, external), (Resource::Services, balanced)]);
    insta::assert_snapshot!(shown(&cluster.groups(Role::Service, AttachFile::default())), @r"
    @=db.shop.svc:5432 service_external_name=db.example.com service_port_number=5432 service_type=ExternalName
    + namespace=shop service_name=db
    @=edge.shop.svc:443 service_cluster_ip=10.2.0.9 service_loadbalancer_ip=1.2.3.4 service_port_number=443 service_type=LoadBalancer
    + namespace=shop service_name=edge
    @=web.shop.svc:80 service_cluster_ip=10.2.0.1 service_port_name=http service_port_number=80 service_port_protocol=TCP service_type=ClusterIP
    + namespace=shop service_label_team=a service_labelpresent_team=true service_name=web
    ");
}

#[test]
fn endpoints_know_their_pods_and_their_service() {
    let endpoints = r#"{"metadata":{"name":"web","namespace":"shop"},"subsets":[
        {"addresses":[{"ip":"10.1.0.5","nodeName":"n1","targetRef":{"kind":"Pod","name":"web-1","namespace":"shop"}}],
         "notReadyAddresses":[{"ip":"10.9.9.9","hostname":"h"}],
         "ports":[{"name":"http","port":8080,"protocol":"TCP"}]}]}"#;
    let cluster = cluster(&[(Resource::Endpoints, endpoints), (Resource::Pods, POD), (Resource::Services, SERVICE)]);
    let groups = cluster.groups(Role::Endpoints, AttachFile::default());
    let lines = shown(&groups);
    let lines: Vec<_> = lines.lines().collect();
    assert!(lines[0].starts_with("@=10.1.0.5:8080 endpoint_address_target_kind=Pod endpoint_address_target_name=web-1 endpoint_node_name=n1 endpoint_port_name=http endpoint_port_protocol=TCP endpoint_ready=true pod_annotation"), "{lines:?}");
    assert!(lines[0].contains("pod_container_port_number=8080") && lines[0].contains("pod_name=web-1"), "{lines:?}");
    assert_eq!(
        lines[1],
        "@=10.9.9.9:8080 endpoint_hostname=h endpoint_port_name=http endpoint_port_protocol=TCP endpoint_ready=false"
    );
    assert!(lines[2].starts_with("@=10.1.0.5:9000 pod_annotation"), "a port no endpoint names: {lines:?}");
    assert_eq!(
        lines[3],
        "+ endpoints_name=web namespace=shop service_label_team=a service_labelpresent_team=true service_name=web"
    );
}

#[test]
fn slices_know_their_pods_and_their_service() {
    let slice = r#"{"metadata":{"name":"web-x","namespace":"shop","labels":{"kubernetes.io/service-name":"web"}},
        "addressType":"IPv4","endpoints":[{"addresses":["10.1.0.5"],"conditions":{"ready":true,"serving":null},
          "nodeName":"n1","zone":"eu-1","targetRef":{"kind":"Pod","name":"web-1","namespace":"shop"}}],
        "ports":[{"name":"http","port":8080,"protocol":"TCP","appProtocol":"http"},{"name":"any"}]}"#;
    let attach = AttachFile { node: true, namespace: false };
    let cluster = cluster(&[
        (Resource::EndpointSlices, slice),
        (Resource::Pods, POD),
        (Resource::Services, SERVICE),
        (Resource::Nodes, NODE),
    ]);
    let lines = shown(&cluster.groups(Role::EndpointSlice, attach));
    let lines: Vec<_> = lines.lines().collect();
    assert!(lines[0].starts_with("@=10.1.0.5:8080 endpointslice_address_target_kind=Pod endpointslice_address_target_name=web-1 endpointslice_endpoint_conditions_ready=true endpointslice_endpoint_node_name=n1 endpointslice_endpoint_zone=eu-1 endpointslice_port=8080 endpointslice_port_app_protocol=http endpointslice_port_name=http endpointslice_port_protocol=TCP node_label_topology"), "{lines:?}");
    assert!(lines[1].starts_with("@=10.1.0.5 endpointslice_address_target_kind=Pod"), "{lines:?}");
    assert!(lines[2].starts_with("@=10.1.0.5:9000 node_label"), "{lines:?}");
    assert_eq!(
        lines[3],
        "+ endpointslice_address_type=IPv4 endpointslice_label_kubernetes_io_service_name=web \
         endpointslice_labelpresent_kubernetes_io_service_name=true endpointslice_name=web-x namespace=shop \
         service_label_team=a service_labelpresent_team=true service_name=web"
    );
}

#[test]
fn ingresses_are_targets_at_each_path() {
    let ingress = r#"{"metadata":{"name":"edge","namespace":"shop"},"spec":{"ingressClassName":"nginx",
        "tls":[{"hosts":["*.example.com"]}],"rules":[
          {"host":"a.example.com","http":{"paths":[{"path":"/x"},{"path":""}]}},
          {"host":"b.a.example.com"}]}}"#;
    let cluster = cluster(&[(Resource::Ingresses, ingress)]);
    insta::assert_snapshot!(shown(&cluster.groups(Role::Ingress, AttachFile::default())), @r"
    @=a.example.com ingress_host=a.example.com ingress_path=/x ingress_scheme=https
    @=a.example.com ingress_host=a.example.com ingress_path=/ ingress_scheme=https
    @=b.a.example.com ingress_host=b.a.example.com ingress_path=/ ingress_scheme=http
    + ingress_class_name=nginx ingress_name=edge namespace=shop
    ");
}

#[test]
fn what_is_gone_is_forgotten() {
    let mut cluster = cluster(&[(Resource::Nodes, NODE), (Resource::Pods, POD)]);
    assert_eq!(cluster.remove(Resource::Nodes, NODE).unwrap(), "7");
    assert!(cluster.groups(Role::Node, AttachFile::default()).is_empty());
    cluster.clear(Resource::Pods, Some("other"));
    assert_eq!(cluster.groups(Role::Pod, AttachFile::default()).len(), 1);
    cluster.clear(Resource::Pods, Some("shop"));
    assert!(cluster.groups(Role::Pod, AttachFile::default()).is_empty());
    assert!(cluster.put(Resource::Pods, "7").is_err());
}

#[test]
fn lists_and_watches_are_read() {
    let page: ListPage<'_> = serde_json::from_str(
        r#"{"kind":"PodList","metadata":{"resourceVersion":"9","continue":"abc"},"items":[{"metadata":{}}]}"#,
    )
    .unwrap();
    assert_eq!(
        (page.metadata.resource_version.as_str(), page.metadata.next.as_str(), page.items.len()),
        ("9", "abc", 1)
    );
    let line: WatchLine<'_> = serde_json::from_str(r#"{"type":"ERROR","object":{"code":410}}"#).unwrap();
    assert_eq!((line.kind, line.object.get()), (WatchKind::Error, r#"{"code":410}"#));
    assert_eq!(Resource::EndpointSlices.path(Some("a")), "/apis/discovery.k8s.io/v1/namespaces/a/endpointslices");
    assert_eq!(Resource::Nodes.path(Some("a")), "/api/v1/nodes");
}

proptest::proptest! {
    #[test]
    fn any_object_is_read_or_refused(text in "\\PC{0,60}") {
        let mut cluster = Cluster::default();
        for resource in [Resource::Nodes, Resource::Pods, Resource::Services, Resource::Ingresses] {
            let _ = cluster.put(resource, &text);
            let _ = cluster.remove(resource, &text);
        }
    }
}
