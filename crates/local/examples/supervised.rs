//! The three roles of a supervised world in one small program, used by the tests: `supervise`, `launch` and `serve`.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};

use aegis_local::{SuperviseOptions, launch, report_port, supervise};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ended = match arguments.split_first().map(|(role, rest)| (role.as_str(), rest)) {
        Some(("supervise", [run_dir, rest @ ..])) => run(run_dir, rest.first().and_then(|pid| pid.parse().ok())),
        Some(("launch", command)) => Err(Box::new(launch(command)).into()),
        Some(("serve", [health])) => serve(health),
        _ => Err("usage: supervised supervise DIR [OWNER] | launch COMMAND… | serve STATUS".into()),
    };
    if let Err(error) = ended {
        let _ = writeln!(std::io::stderr(), "{error}");
        std::process::exit(1);
    }
}

fn run(run_dir: &str, owner: Option<u32>) -> Result<(), Box<dyn std::error::Error>> {
    let program = std::env::current_exe()?.display().to_string();
    let launcher = vec![program, "launch".to_owned()];
    Ok(supervise(&SuperviseOptions { run_dir: run_dir.into(), owner, launcher })?)
}

/// Answers `/healthz` with the given status and exits with status 3 at `/crash`.
fn serve(health: &str) -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    report_port(listener.local_addr()?.port())?;
    writeln!(std::io::stdout(), "listening")?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)?;
        if line.starts_with("GET /crash") {
            std::process::exit(3);
        }
        // Whoever asked may have gone already.
        let _ = write!(stream, "HTTP/1.1 {health} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    Ok(())
}
