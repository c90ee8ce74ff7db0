//! Starting, standing beside others, refusing to start, stopping.

use crate::http;
use crate::server::{Server, printed, run};
use crate::wire::{Span, export};

#[test]
fn two_servers_stand_side_by_side() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (Server::start(one.path()), Server::start(two.path()));
    assert_ne!(first.address, second.address);
    for (server, dir) in [(&first, &one), (&second, &two)] {
        let ready = server.get("/-/ready");
        assert_eq!((ready.status, ready.text().as_str()), (200, "Aegis is Ready.\n"));
        let noted = std::fs::read_to_string(dir.path().join("listen")).unwrap();
        assert_eq!(noted.trim(), server.address, "the address is noted for scripts");
        assert!(server.get("/").text().contains("<html"), "the status page");
        assert!(server.get("/metrics").text().contains("# TYPE"), "own metrics");
    }
    first.push(&serde_json::json!({"job": "one"}), &[(1_706_189_400_000_000_000, "mine".to_owned())]);
    let found = |server: &Server| server.lines("{job=~\".+\"}", "1706189000", "1706190000");
    assert_eq!(found(&first), ["mine"]);
    assert_eq!(found(&second), [""; 0], "they share nothing");
}

#[test]
fn a_start_that_cannot_work_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut server = Server::start(&data);
    let config = |name: &str, text: &str| {
        let file = dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let wrong_value = config("value.yaml", "global:\n  scrape_interval: 5 minutes\n");
    let unknown_key = config("key.yaml", "store:\n  retention: 2d\n  retain: 5d\n");
    let wrong_policy = config("policy.yaml", "policy:\n  files: [act.cedar]\n");
    config("act.cedar", "permit (principal, action == Action::\"scale_upp\", resource);\n");
    let (data, other) = (data.display().to_string(), dir.path().join("other").display().to_string());
    let address = server.address.clone();
    let free = "127.0.0.1:0";
    for (case, data_dir, listen, more, says) in [
        ("data directory in use", &data, free, vec![], format!("data directory `{data}` is in use by another process")),
        (
            "port taken",
            &other,
            &address,
            vec![],
            format!("cannot listen on {address}; choose another address with --listen"),
        ),
        (
            "port taken for OTLP",
            &other,
            free,
            vec!["--otlp-http", &address],
            format!("cannot listen on {address}; choose another address with --otlp-http"),
        ),
        ("no configuration", &other, free, vec!["--config", "/nowhere.yaml"], "cannot read /nowhere.yaml".to_owned()),
        (
            "wrong value",
            &other,
            free,
            vec!["--config", &wrong_value],
            format!("{wrong_value}:2:20: not a valid duration"),
        ),
        ("unknown key", &other, free, vec!["--config", &unknown_key], format!("{unknown_key}:3:3: ")),
        ("wrong policy", &other, free, vec!["--config", &wrong_policy], "act.cedar:1:".to_owned()),
    ] {
        let mut args = vec!["serve", "--otlp-grpc", "off"];
        if !more.contains(&"--otlp-http") {
            args.extend(["--otlp-http", "off"]);
        }
        args.extend(["--data-dir", data_dir.as_str(), "--listen", listen]);
        args.extend(&more);
        let output = run(&args);
        let said = printed(&output);
        assert_eq!(output.status.code(), Some(1), "{case}: {said}");
        assert!(said.contains(&says), "{case}: expected `{says}` in:\n{said}");
        if let [.., "--config", file] = more.as_slice() {
            let output = run(&["check", "config", file]);
            let said = printed(&output);
            assert_eq!(output.status.code(), Some(1), "{case}: {said}");
            assert!(said.contains(&says), "{case}, checked: expected `{says}` in:\n{said}");
        }
    }
    assert_eq!(server.get("/-/ready").status, 200, "the first one was not disturbed");
    assert_eq!(server.terminate().code(), Some(0));
    assert!(!std::path::Path::new(&data).join("listen").exists(), "no address is left behind");
    drop(server);
    drop(Server::start(std::path::Path::new(&data)));
}

#[test]
fn exporters_find_ports_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let any = "127.0.0.1:0";
    let server = Server::with(dir.path(), &["--otlp-grpc", any, "--otlp-http", any]);
    let log = server.log();
    for (flag, number) in [("--otlp-grpc", 1), ("--otlp-http", 2)] {
        let line = log.lines().find(|line| line.contains(flag)).unwrap_or_else(|| panic!("{flag} in {log}"));
        let address = line.split_once("listen=").unwrap().1.split_whitespace().next().unwrap();
        let id = format!("{number:032x}");
        let span =
            Span { id: "00000000000000aa", parent: "", name: "work", start_ns: 1, duration_ms: 5, is_error: false };
        let body = export("shop", &id, &[span]).to_string();
        let headers = [("Content-Type", "application/json")];
        let reply = http::request(address, "POST", "/v1/traces", &headers, body.as_bytes());
        assert_eq!((reply.status, reply.text().as_str()), (200, "{}"), "{flag}");
        assert_eq!(server.get(&format!("/api/traces/{id}")).status, 200, "{flag}");
        let elsewhere = http::request(address, "GET", "/api/v1/query?query=up", &[], b"");
        assert_eq!(elsewhere.status, 404, "{flag}: nothing but OTLP is served there");
    }
}
