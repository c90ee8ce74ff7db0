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
        let is_known = known.len() == sd.names.len() || problems.is_empty();
        publisher.tell(problems.join("; "));
        if is_known || !known.is_empty() {
            let groups =
                known.values().map(|targets| TargetGroup { targets: targets.clone(), ..TargetGroup::default() });
            publisher.publish(groups.collect());
        }
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
