//! A real supervisor with real children: what it promises, end to end.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use aegis_local::{
    Client, DeploymentSpec, DeploymentStatus, LocalDriver, Phase, Port, Progress, Template, targets_file,
};
use diagnose::ChangeKind;
use policy::{Action, Decision, Leave, LimitSettings, Limits, Policy, Proposal, ProposalId, Target};
use remediate::Outcome;
use signal::{Severity, Timestamp};

const LONG: Duration = Duration::from_secs(20);

/// A run directory, the supervisor in it, and ways to ask it. Everything ends when dropped.
struct World {
    run_dir: tempfile::TempDir,
    supervisor: Child,
    client: Client,
    driver: LocalDriver,
}

impl World {
    fn new() -> Self {
        Self::with_owner(std::process::id())
    }

    fn with_owner(owner: u32) -> Self {
        let run_dir = tempfile::tempdir().unwrap();
        let supervisor = start(run_dir.path(), owner);
        let (client, driver) = (Client::new(run_dir.path()), LocalDriver::new(run_dir.path()));
        Self { run_dir, supervisor, client, driver }
    }

    fn deployment(&self) -> DeploymentStatus {
        self.client.status().unwrap().into_iter().next().unwrap()
    }

    fn apply(&self, spec: &DeploymentSpec) -> Outcome {
        settled(self.client.apply(spec, "test", LONG).unwrap())
    }

    fn pids(&self) -> BTreeSet<u32> {
        self.deployment().instances.iter().filter_map(|one| one.pid).collect()
    }

    /// Waits until `holds`; real processes take the time they take.
    fn eventually(&self, what: &str, holds: impl Fn(&DeploymentStatus) -> bool) {
        wait_until(what, || holds(&self.deployment()));
    }

    fn changes(&self, kind: ChangeKind) -> Vec<String> {
        let workloads = self.driver.workloads().unwrap();
        let changes = workloads.first().unwrap().changes.iter();
        changes.filter(|change| change.kind == kind).map(|change| change.text.clone()).collect()
    }

    fn endpoints(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(targets_file(self.run_dir.path(), &target())).unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.client.shutdown(Duration::from_secs(5));
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

fn program() -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    deps.ancestors().nth(2).unwrap().join("examples/supervised")
}

fn start(run_dir: &Path, owner: u32) -> Child {
    let supervisor = Command::new(program()).arg("supervise").arg(run_dir).arg(owner.to_string()).spawn().unwrap();
    let client = Client::new(run_dir);
    wait_until("the supervisor listens", || client.status().is_ok());
    supervisor
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    panic!("{what}: did not happen");
}

fn spec(version: &str, replicas: u32, health: &str) -> DeploymentSpec {
    let program = program().display().to_string();
    let mut template = Template::new(version, [program.as_str(), "serve", health], Port::Reported);
    template.drain_s = 2;
    DeploymentSpec { namespace: "production".into(), name: "shop".into(), service: "shop".into(), replicas, template }
}

fn target() -> Target {
    Target { namespace: "production".into(), name: "shop".into() }
}

fn proposal(id: &str, action: Action) -> Proposal {
    Proposal {
        id: ProposalId(id.into()),
        service: "shop".into(),
        target: target(),
        action,
        cause: "test".into(),
        confidence: 1.0,
        severity: Severity::High,
        evidence_at: Timestamp(0),
        reason: "test".into(),
    }
}

fn all_permitted() -> Policy {
    Policy::load(&[("all.cedar", "permit (principal, action, resource);")]).unwrap()
}

fn leave(id: &str, action: Action) -> Leave {
    let mut limits = Limits::new(LimitSettings::default());
    leave_from(all_permitted().decide(&proposal(id, action), &mut limits, Timestamp(0)))
}

fn leave_from(decision: Decision) -> Leave {
    match decision {
        Decision::Permitted(permit) => permit.redeem(Timestamp(0)).unwrap(),
        Decision::NeedsApproval { reason, .. } | Decision::Denied { reason, .. } => panic!("{reason}"),
    }
}

fn settled(progress: Progress) -> Outcome {
    match progress {
        Progress::Settled(outcome) => outcome,
        Progress::Running | Progress::NeverSeen => panic!("{progress:?}"),
    }
}

fn numbers(outcome: &Outcome) -> (u64, u64) {
    match outcome {
        Outcome::Done { was, is, .. } => (*was, *is),
        other => panic!("{other}"),
    }
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with('Z'))
}

fn get(address: &str, path: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn scales_once_per_key_and_refuses_a_changed_world() {
    let world = World::new();
    assert_eq!(numbers(&world.apply(&spec("1", 2, "200"))), (0, 1));
    assert_eq!(world.endpoints().len(), 2);

    let up = leave("incident-1/1", Action::Scale { from: 2, to: 4 });
    let done = world.driver.perform(&up, LONG);
    assert_eq!(numbers(&done), (2, 4));
    assert_eq!(world.driver.perform(&up, LONG), done, "asked again");
    assert_eq!(world.driver.inspect(&ProposalId("incident-1/1".into())), done);
    assert_eq!(world.driver.inspect(&ProposalId("incident-9/1".into())), Outcome::NeverStarted);
    assert_eq!(world.changes(ChangeKind::Scale), ["scaled 2 -> 4"]);
    let status = world.deployment();
    assert_eq!((status.desired, status.ready, status.is_settled), (4, 4, true));
    let endpoints = world.endpoints();
    assert_eq!(endpoints.len(), 4);
    assert_eq!(endpoints[0]["labels"]["job"], "shop");
    assert_eq!(endpoints[0]["labels"]["revision"], "1");

    let stale = world.driver.perform(&leave("incident-1/2", Action::Scale { from: 2, to: 5 }), LONG);
    let reason = "production/shop has 4 replicas, not 2 as was thought".to_owned();
    assert_eq!(stale, Outcome::Refused { reason });

    let before = world.pids();
    assert_eq!(numbers(&world.driver.perform(&leave("incident-1/3", Action::Scale { from: 4, to: 2 }), LONG)), (4, 2));
    world.eventually("the others have left", |status| status.instances.len() == 2);
    assert_eq!(before.iter().filter(|pid| is_alive(**pid)).count(), 2);
    assert_eq!(world.endpoints().len(), 2);
}

#[test]
fn restarts_what_crashes() {
    let world = World::new();
    world.apply(&spec("1", 1, "200"));
    let before = world.deployment().instances.remove(0);
    get(before.address.as_deref().unwrap(), "/crash");
    world.eventually("it runs again", |status| status.instances[0].restarts == 1 && status.ready == 1);
    let after = world.deployment().instances.remove(0);
    assert_eq!(after.name, before.name);
    assert_ne!(after.pid, before.pid);
    assert_eq!(world.changes(ChangeKind::Crash), ["shop-1-1 exited with status 3; restart 1 in 0.5 s"]);
}

#[test]
fn rolls_forward_and_back_without_a_gap() {
    let world = World::new();
    world.apply(&spec("1", 2, "200"));
    assert_eq!(world.client.apply(&spec("2", 2, "200"), "test", Duration::ZERO).unwrap(), Progress::Running);
    world.eventually("revision 2 is complete", |status| {
        assert!(status.ready >= 2, "{status:?}");
        let staying = status.instances.iter().filter(|one| one.phase != Phase::Leaving).count();
        assert!(staying <= 3, "{status:?}");
        status.is_settled && status.revision == 2
    });

    let (policy, mut limits) = (all_permitted(), Limits::new(LimitSettings::default()));
    let back = proposal("incident-1/1", Action::RollBack { from: 2, to: 1 });
    let permit = leave_from(policy.decide(&back, &mut limits, Timestamp(0)));
    assert_eq!(numbers(&world.driver.perform(&permit, LONG)), (2, 3));
    assert_eq!(world.deployment().version, "1");
    let undo = leave_from(policy.decide_undo(&back, &mut limits, Timestamp(0)));
    assert_eq!(numbers(&world.driver.perform(&undo, LONG)), (3, 4));
    assert_eq!(world.deployment().version, "2");

    let before = world.pids();
    assert_eq!(numbers(&world.driver.perform(&leave("incident-1/2", Action::Restart { revision: 4 }), LONG)), (4, 4));
    world.eventually("the old ones have left", |status| status.instances.len() == 2);
    assert!(world.pids().is_disjoint(&before));
}

#[test]
fn a_revision_that_never_gets_ready_fails_and_harms_nobody() {
    let world = World::new();
    world.apply(&spec("1", 2, "200"));
    let before = world.pids();
    let mut bad = spec("2", 2, "503");
    bad.template.ready_within_s = 1;
    assert!(matches!(world.apply(&bad), Outcome::Failed { .. }));
    let status = world.deployment();
    assert_eq!((status.ready, status.revision), (2, 2));
    assert!(before.is_subset(&world.pids()));
    assert_eq!(
        numbers(&world.driver.perform(&leave("incident-1/1", Action::RollBack { from: 2, to: 1 }), LONG)),
        (2, 3)
    );
}

#[test]
fn a_program_that_cannot_start_is_tried_again_later() {
    let world = World::new();
    let mut missing = spec("1", 1, "200");
    missing.template.command = vec!["/nonexistent/shop".to_owned()];
    missing.template.ready_within_s = 1;
    assert!(matches!(world.apply(&missing), Outcome::Failed { .. }));
    assert!(!world.changes(ChangeKind::Crash).is_empty());
    assert_eq!(numbers(&world.apply(&spec("2", 1, "200"))), (1, 2));
}

#[test]
fn shutdown_leaves_no_process() {
    let world = World::new();
    world.apply(&spec("1", 3, "200"));
    let pids = world.pids();
    assert_eq!(pids.len(), 3);
    assert!(world.client.shutdown(LONG).unwrap());
    assert_eq!(pids.into_iter().filter(|pid| is_alive(*pid)).count(), 0);
    assert!(world.client.status().is_err());
    assert_eq!(world.endpoints().len(), 0);
}

#[test]
fn killed_it_takes_its_children_along_and_resumes() {
    let mut world = World::new();
    world.apply(&spec("1", 2, "200"));
    let up = leave("incident-1/1", Action::Scale { from: 2, to: 3 });
    let done = world.driver.perform(&up, LONG);
    let pids = world.pids();
    world.supervisor.kill().unwrap();
    world.supervisor.wait().unwrap();
    wait_until("children died with it", || pids.iter().all(|pid| !is_alive(*pid)));
    assert!(matches!(world.driver.inspect(&ProposalId("incident-1/1".into())), Outcome::Unknown { .. }));
    assert!(matches!(world.driver.perform(&up, LONG), Outcome::Failed { .. }), "nobody was asked");

    world.supervisor = start(world.run_dir.path(), std::process::id());
    assert_eq!(world.driver.perform(&up, LONG), done, "remembered, not repeated");
    world.eventually("all are back", |status| status.is_settled && status.ready == 3);
    assert_eq!(world.changes(ChangeKind::Scale).len(), 1);
}

#[test]
fn stops_everything_when_its_owner_dies() {
    let mut owner = Command::new(program()).args(["serve", "200"]).spawn().unwrap();
    let mut world = World::with_owner(owner.id());
    world.apply(&spec("1", 2, "200"));
    let pids = world.pids();
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until("the supervisor ended", || !is_alive(world.supervisor.id()));
    assert!(world.supervisor.wait().unwrap().success());
    assert!(pids.into_iter().all(|pid| !is_alive(pid)));
}

#[test]
fn one_supervisor_for_one_user_and_no_nonsense() {
    let world = World::new();
    let socket = world.run_dir.path().join("supervisor.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(world.run_dir.path()).unwrap().permissions().mode() & 0o777, 0o700);
    let second = Command::new(program()).arg("supervise").arg(world.run_dir.path()).output().unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8(second.stderr).unwrap().starts_with("another supervisor runs in"));
    for nonsense in ["nonsense", "{}", r#"{"request":"explode"}"#, r#"{"request":"status","x":1}"#] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        writeln!(stream, "{nonsense}").unwrap();
        let mut answer = String::new();
        BufReader::new(&stream).read_line(&mut answer).unwrap();
        assert!(answer.starts_with(r#"{"response":"error""#), "{nonsense}: {answer}");
    }
    assert_eq!(world.client.status().unwrap(), Vec::new());
}
