//! Deployments of plain processes on this machine, and the driver that acts on them.
//!
//! Two halves. [`supervise`] runs in a process of its own and keeps what it was told: replicas, revisions, rolling updates,
//! restarts after crashes, a file of ready endpoints for whoever scrapes or balances. [`LocalDriver`] carries out what
//! policy gave leave for, by asking the supervisor over a Unix socket; [`Client`] is for people and tools who deploy. This
//! crate does *not* decide anything: a guard that does not hold refuses, a repeated request answers what it answered before.
//!
//! What a child process gets: the environment variables `AEGIS_INSTANCE`, `AEGIS_NAMESPACE`, `AEGIS_DEPLOYMENT`,
//! `AEGIS_REVISION`, `AEGIS_PORT_FILE` and, when its port is [`Port::Fixed`], `PORT`. With [`Port::Reported`] it listens on a port
//! of its choice and writes the number to `AEGIS_PORT_FILE` (see [`report_port`]). SIGTERM asks it to drain.
//!
//! ```
//! use aegis_local::{DeploymentSpec, Port, Template};
//!
//! let spec = DeploymentSpec {
//!     namespace: "production".to_owned(),
//!     name: "shop".to_owned(),
//!     service: "shop".to_owned(),
//!     replicas: 3,
//!     template: Template::new("1.0.0", ["shop-server", "--name", "{instance}"], Port::Reported),
//! };
//! assert_eq!(spec.target().to_string(), "production/shop");
//! assert!(spec.check().is_ok());
//! ```

mod client;
mod clock;
mod driver;
mod process;
mod spec;
mod supervise;
mod wire;

pub use client::{Client, ClientError};
pub use driver::{DriverError, LocalDriver};
pub use process::{LaunchError, launch, report_port};
pub use spec::{DeploymentSpec, Port, SpecError, Template};
pub use supervise::{SuperviseError, SuperviseOptions, supervise, targets_file};
pub use wire::{DeploymentStatus, InstanceStatus, Phase, Progress};
