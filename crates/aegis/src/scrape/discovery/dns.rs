//! Targets found by name.

use std::collections::BTreeMap;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{RData, RecordType};
use ingest::scrape::{DnsRecord, DnsSd, TargetGroup};
use signal::Labels;

use super::Publisher;

pub(super) async fn follow(sd: DnsSd, mut publisher: Publisher) {
    let mut known: BTreeMap<String, Vec<Labels>> = BTreeMap::new();
    loop {
        let mut problems = Vec::new();
        // Read anew each time: a machine that moves between networks has other servers afterwards.
        match TokioResolver::builder_tokio().and_then(|mut builder| {
            // Answers are to be as old as the interval says, not older.
            builder.options_mut().cache_size = 0;
            builder.build()
        }) {
            Ok(resolver) => problems = look_up(&resolver, &sd, &mut known).await,
            Err(error) => problems.push(format!("cannot read the resolver's configuration: {error}")),
        }
        publisher.tell(problems.join("; "));
        let groups = known.values().map(|targets| TargetGroup { targets: targets.clone(), ..TargetGroup::default() });
        publisher.publish(groups.collect());
        tokio::time::sleep(sd.refresh).await;
    }
}

/// Asks for all names side by side; a name nobody can answer for keeps what was known of it.
async fn look_up(resolver: &TokioResolver, sd: &DnsSd, known: &mut BTreeMap<String, Vec<Labels>>) -> Vec<String> {
    let questions = sd.names.iter().map(|name| async move { (name, targets(resolver, sd, name).await) });
    let mut problems = Vec::new();
    for (name, answer) in futures_util::future::join_all(questions).await {
        match answer {
            Ok(targets) => {
                known.insert(name.clone(), targets);
            }
            Err(problem) => problems.push(format!("{name}: {problem}")),
        }
    }
    problems
}

async fn targets(resolver: &TokioResolver, sd: &DnsSd, name: &str) -> Result<Vec<Labels>, String> {
    let kind = match sd.kind {
        DnsRecord::Srv => RecordType::SRV,
        DnsRecord::A => RecordType::A,
        DnsRecord::Aaaa => RecordType::AAAA,
        DnsRecord::Mx => RecordType::MX,
        DnsRecord::Ns => RecordType::NS,
    };
    let answer = match resolver.lookup(name, kind).await {
        Ok(answer) => answer,
        // The name does not exist, or has no such records: that is an answer.
        Err(error) if error.is_no_records_found() || error.is_nx_domain() => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    Ok(answer.answers().iter().filter_map(|record| target(sd, name, &record.data)).collect())
}

fn target(sd: &DnsSd, name: &str, data: &RData) -> Option<Labels> {
    let port = sd.port;
    let bare = |host: String| host.trim_end_matches('.').to_owned();
    let mut pairs = vec![("__meta_dns_name", name.to_owned())];
    // An alias on the way to the records is no target.
    let address = match (sd.kind, data) {
        (DnsRecord::Srv, RData::SRV(srv)) => {
            let (host, port) = (srv.target.to_string(), srv.port);
            pairs.push(("__meta_dns_srv_record_target", host.clone()));
            pairs.push(("__meta_dns_srv_record_port", port.to_string()));
            format!("{}:{port}", bare(host))
        }
        (DnsRecord::Mx, RData::MX(mx)) => {
            let host = mx.exchange.to_string();
            pairs.push(("__meta_dns_mx_record_target", host.clone()));
            format!("{}:{port}", bare(host))
        }
        (DnsRecord::Ns, RData::NS(ns)) => {
            let host = ns.0.to_string();
            pairs.push(("__meta_dns_ns_record_target", host.clone()));
            format!("{}:{port}", bare(host))
        }
        (DnsRecord::A, RData::A(a)) => format!("{}:{port}", a.0),
        (DnsRecord::Aaaa, RData::AAAA(aaaa)) => format!("[{}]:{port}", aaaa.0),
        _ => return None,
    };
    pairs.push(("__address__", address));
    Some(Labels::from_pairs(pairs))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use hickory_resolver::config::{NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use tokio::net::UdpSocket;

    use super::*;

    /// `name` as it stands in a message.
    fn wire(name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in name.split('.').filter(|part| !part.is_empty()) {
            bytes.push(u8::try_from(part.len()).unwrap());
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes.push(0);
        bytes
    }

    /// What a server with a small zone answers: a code and records.
    fn zone(question: &[u8]) -> (u8, Vec<Vec<u8>>) {
        let (name, kind) = question.split_at(question.len() - 4);
        let kind = u16::from_be_bytes([kind[0], kind[1]]);
        let records = [
            ("_web._tcp.shop.test.", 33, [&[0, 1, 0, 2, 0x1f, 0x90][..], &wire("a.shop.test")].concat()),
            ("_web._tcp.shop.test.", 33, [&[0, 1, 0, 2, 0x1f, 0x91][..], &wire("b.shop.test")].concat()),
            ("a.shop.test.", 1, vec![10, 0, 0, 1]),
            ("a.shop.test.", 28, vec![0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            ("shop.test.", 15, [&[0, 5][..], &wire("mail.shop.test")].concat()),
            ("shop.test.", 2, wire("ns.shop.test")),
        ];
        let of_name: Vec<_> = records.iter().filter(|(owner, ..)| wire(owner) == name).collect();
        if of_name.is_empty() {
            return (if name == wire("broken.test.") { 2 } else { 3 }, Vec::new());
        }
        let fitting = of_name.iter().filter(|(_, of, _)| *of == kind);
        let record = |data: &Vec<u8>| {
            let length = u16::try_from(data.len()).unwrap().to_be_bytes();
            [&[0xc0, 12][..], &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 60], &length, data].concat()
        };
        (0, fitting.map(|(.., data)| record(data)).collect())
    }

    /// A resolver that asks a server of ours.
    async fn resolver() -> TokioResolver {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let message = &buffer[..length];
                let end = 12 + message[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
                let question = message[12..end].to_ascii_lowercase();
                let (code, records) = zone(&question);
                let count = u8::try_from(records.len()).unwrap();
                let head = [message[0], message[1], 0x84, code, 0, 1, 0, count, 0, 0, 0, 0];
                let answer = [&head[..], &message[12..end], &records.concat()].concat();
                let _ = socket.send_to(&answer, from).await;
            }
        });
        let mut server = NameServerConfig::udp(IpAddr::V4(Ipv4Addr::LOCALHOST));
        server.connections[0].port = port;
        let config = ResolverConfig::from_name_servers(vec![server]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.options_mut().cache_size = 0;
        builder.build().unwrap()
    }

    #[tokio::test]
    async fn each_kind_of_record_becomes_targets() {
        let resolver = resolver().await;
        for (name, kind, want) in [
            (
                "_web._tcp.shop.test",
                DnsRecord::Srv,
                r#"[{__address__="a.shop.test:8080", __meta_dns_name="_web._tcp.shop.test", __meta_dns_srv_record_port="8080", __meta_dns_srv_record_target="a.shop.test."}, {__address__="b.shop.test:8081", __meta_dns_name="_web._tcp.shop.test", __meta_dns_srv_record_port="8081", __meta_dns_srv_record_target="b.shop.test."}]"#,
            ),
            ("a.shop.test", DnsRecord::A, r#"[{__address__="10.0.0.1:9", __meta_dns_name="a.shop.test"}]"#),
            ("a.shop.test", DnsRecord::Aaaa, r#"[{__address__="[fd00::1]:9", __meta_dns_name="a.shop.test"}]"#),
            (
                "shop.test",
                DnsRecord::Mx,
                r#"[{__address__="mail.shop.test:9", __meta_dns_mx_record_target="mail.shop.test.", __meta_dns_name="shop.test"}]"#,
            ),
            (
                "shop.test",
                DnsRecord::Ns,
                r#"[{__address__="ns.shop.test:9", __meta_dns_name="shop.test", __meta_dns_ns_record_target="ns.shop.test."}]"#,
            ),
            ("shop.test", DnsRecord::A, "[]"),
            ("nowhere.test", DnsRecord::A, "[]"),
        ] {
            let sd = DnsSd { names: Vec::new(), kind, port: 9, refresh: Duration::from_secs(1) };
            let mut found = targets(&resolver, &sd, name).await.unwrap();
            found.sort();
            assert_eq!(format!("{found:?}"), want, "{name}");
        }
    }

    #[tokio::test]
    async fn a_name_nobody_answers_for_keeps_what_was_known() {
        let resolver = resolver().await;
        let names = vec!["a.shop.test".to_owned(), "broken.test".to_owned()];
        let sd = DnsSd { names, kind: DnsRecord::A, port: 9, refresh: Duration::from_secs(1) };
        let before = Labels::from_pairs([("__address__", "10.9.9.9:9")]);
        let mut known = BTreeMap::from([("broken.test".to_owned(), vec![before])]);
        let problems = look_up(&resolver, &sd, &mut known).await;
        assert!(problems.len() == 1 && problems[0].starts_with("broken.test: "), "{problems:?}");
        let addresses: Vec<_> =
            known.values().flatten().map(|target| target.get_or_empty("__address__").to_owned()).collect();
        assert_eq!(addresses, ["10.0.0.1:9", "10.9.9.9:9"]);
    }
}
