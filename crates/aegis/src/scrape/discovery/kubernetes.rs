//! Targets of Kubernetes clusters: lists what is there, then watches it change.

use std::sync::Arc;
use std::time::Duration;

use ingest::scrape::KubernetesSd;
use ingest::scrape::kubernetes::{Cluster, ListPage, ObjectError, Resource, WatchKind, WatchLine};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Publisher;
use super::kubernetes_api::{Api, ApiError, Gone};

/// Changes within this time are shown together.
const TOGETHER: Duration = Duration::from_millis(200);
/// Changes on their way; a server that tells more waits.
const QUEUE: usize = 256;
/// Objects of one page of a list.
const PAGE: usize = 500;
/// The first pause after a failure, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// What one watcher has to tell.
enum Change {
    /// These are all objects there are.
    Listed(Vec<String>),
    Put(String),
    Removed(String),
    /// It could not go on, and tries again.
    Failed(String),
}

/// A kind of object in one namespace, or everywhere.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Place {
    resource: Resource,
    namespace: Option<String>,
}

pub(super) async fn follow(sd: KubernetesSd, mut publisher: Publisher) {
    let mut pause = PAUSES.0;
    let api = loop {
        match Api::open(&sd.server) {
            Ok(api) => break Arc::new(api),
            Err(error) => publisher.tell(error.to_string()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    };
    let mut namespaces: Vec<Option<String>> = sd.namespaces.iter().cloned().map(Some).collect();
    if sd.own_namespace {
        match api.namespace() {
            Some(own) if !sd.namespaces.contains(&own) => namespaces.push(Some(own)),
            Some(_) => {}
            None => publisher.tell("`own_namespace` is set, and we are in no pod of the cluster".to_owned()),
        }
    }
    if namespaces.is_empty() {
        namespaces.push(None);
    }
    let mut places = Vec::new();
    for resource in sd.role.resources(sd.attach) {
        if resource.is_namespaced() {
            let in_each = namespaces.iter().map(|namespace| Place { resource, namespace: namespace.clone() });
            places.extend(in_each);
        } else {
            places.push(Place { resource, namespace: None });
        }
    }
    let (changes, heard) = mpsc::channel(QUEUE);
    // Dropped with this future, and the watchers with it.
    let mut watchers = JoinSet::new();
    for (at, place) in places.iter().enumerate() {
        let (label, field) = sd.selectors.of(place.resource);
        let watcher = Watcher {
            api: Arc::clone(&api),
            path: place.resource.path(place.namespace.as_deref()),
            selectors: selectors(label, field),
            at,
            changes: changes.clone(),
        };
        watchers.spawn(watcher.run());
    }
    drop(changes);
    keep(&sd, &places, heard, &mut publisher).await;
}

/// Enters what watchers tell, and publishes once everything has been listed.
async fn keep(
    sd: &KubernetesSd,
    places: &[Place],
    mut heard: mpsc::Receiver<(usize, Change)>,
    publisher: &mut Publisher,
) {
    let mut cluster = Cluster::default();
    let mut listed = vec![false; places.len()];
    let mut problems = vec![String::new(); places.len()];
    while let Some(first) = heard.recv().await {
        let mut next = Some(first);
        tokio::time::sleep(TOGETHER).await;
        while let Some((at, change)) = next.take() {
            next = heard.try_recv().ok();
            let (Some(place), Some(listed), Some(problem)) = (places.get(at), listed.get_mut(at), problems.get_mut(at))
            else {
                continue;
            };
            *listed |= matches!(change, Change::Listed(_));
            *problem = enter(&mut cluster, place, change).err().unwrap_or_default();
        }
        let told: Vec<&str> = problems.iter().map(String::as_str).filter(|problem| !problem.is_empty()).collect();
        publisher.tell(told.join("; "));
        if listed.iter().all(|listed| *listed) {
            publisher.publish(cluster.groups(sd.role, sd.attach));
        }
    }
}

/// An object that cannot be read is left out and told of.
fn enter(cluster: &mut Cluster, place: &Place, change: Change) -> Result<(), String> {
    let resource = place.resource;
    let told = |error: ObjectError| crate::logging::chain(&error);
    match change {
        Change::Listed(objects) => {
            cluster.clear(resource, place.namespace.as_deref());
            let mut outcome = Ok(());
            for object in objects {
                if let Err(error) = cluster.put(resource, &object) {
                    outcome = Err(told(error));
                }
            }
            outcome
        }
        Change::Put(object) => cluster.put(resource, &object).map(drop).map_err(told),
        Change::Removed(object) => cluster.remove(resource, &object).map(drop).map_err(told),
        Change::Failed(problem) => Err(problem),
    }
}

fn selectors(label: &str, field: &str) -> Vec<(&'static str, String)> {
    let pairs = [("labelSelector", label), ("fieldSelector", field)];
    pairs.into_iter().filter(|(_, text)| !text.is_empty()).map(|(name, text)| (name, text.to_owned())).collect()
}

/// Lists one kind of object and watches it.
struct Watcher {
    api: Arc<Api>,
    path: String,
    selectors: Vec<(&'static str, String)>,
    at: usize,
    changes: mpsc::Sender<(usize, Change)>,
}

impl Watcher {
    async fn run(self) {
        let mut pause = PAUSES.0;
        // Empty: a list is needed first.
        let mut version = String::new();
        loop {
            let outcome = if version.is_empty() {
                self.list().await.map(|at| version = at)
            } else {
                self.watch(&mut version).await
            };
            match outcome {
                Ok(()) => {
                    pause = PAUSES.0;
                    continue;
                }
                // What happened since is forgotten there; only a new list helps, and that at once.
                Err(ApiError::Gone(Gone)) => version.clear(),
                Err(error) => {
                    let problem = format!("{}: {error}", self.path);
                    if self.changes.send((self.at, Change::Failed(problem))).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
            if self.changes.is_closed() {
                return;
            }
        }
    }

    /// Tells of everything there is; the version it was true for.
    async fn list(&self) -> Result<String, ApiError> {
        let mut objects = Vec::new();
        let mut next = String::new();
        loop {
            let mut query = self.selectors.clone();
            query.push(("limit", PAGE.to_string()));
            if !next.is_empty() {
                query.push(("continue", next));
            }
            let body = self.api.list(&self.path, &query).await?;
            let page: ListPage<'_> = serde_json::from_slice(&body).map_err(|_| ApiError::Shape)?;
            objects.extend(page.items.iter().map(|item| item.get().to_owned()));
            if page.metadata.next.is_empty() {
                self.tell(Change::Listed(objects)).await;
                return Ok(page.metadata.resource_version);
            }
            next = page.metadata.next;
        }
    }

    /// Tells of changes after `version`, until the server ends the answer.
    async fn watch(&self, version: &mut String) -> Result<(), ApiError> {
        let mut query = self.selectors.clone();
        query.push(("watch", "1".to_owned()));
        query.push(("allowWatchBookmarks", "true".to_owned()));
        query.push(("resourceVersion", version.clone()));
        let mut lines = self.api.watch(&self.path, query).await?;
        while let Some(line) = lines.next().await? {
            let line: WatchLine<'_> = serde_json::from_slice(&line).map_err(|_| ApiError::Shape)?;
            let object = line.object.get().to_owned();
            if line.kind == WatchKind::Error {
                return Err(ApiError::of_status(&object));
            }
            if let Some(at) = version_of(&object) {
                *version = at;
            }
            match line.kind {
                WatchKind::Added | WatchKind::Modified => self.tell(Change::Put(object)).await,
                WatchKind::Deleted => self.tell(Change::Removed(object)).await,
                WatchKind::Bookmark | WatchKind::Error => {}
            }
        }
        Ok(())
    }

    async fn tell(&self, change: Change) {
        // Nobody hears any more: the discovery is going down, and this task with it.
        let _ = self.changes.send((self.at, change)).await;
    }
}

fn version_of(object: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        metadata: ingest::scrape::kubernetes::ListMetadata,
    }
    let read: Versioned = serde_json::from_str(object).ok()?;
    Some(read.metadata.resource_version).filter(|version| !version.is_empty())
}
