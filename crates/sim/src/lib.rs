//! The whole control loop in a seeded world: virtual clock, fake target, faulty driver, faulty disk.
//!
//! A [`Sim`] runs the real conductor, policy, limits, ledger, store, queries, detector and diagnosis single-threaded, as
//! the control thread of the binary does, and moves its clock from event to event, so an incident takes no real time.
//! Only the service and its driver are made up. It is *not* part of the product: it exists to find what goes wrong
//! between the parts, and every failure it finds is a script or a seed.
//!
//! ```
//! use aegis_sim::{Script, Sim};
//!
//! let script: Script = "world load=50 replicas=3 pool=2 service_ms=69\nuntil 30\n".parse()?;
//! let run = Sim::new(&script).run();
//! assert!(run.broken.is_empty() && run.driver.is_empty());
//! # Ok::<(), aegis_sim::ScriptError>(())
//! ```

mod answers;
mod crash;
mod laws;
mod parallel;
mod rng;
mod run;
mod script;
mod sim;
mod target;
mod telemetry;
mod traffic;
mod world;

pub use crash::CrashPoint;
pub use parallel::each;
pub use rng::Rng;
pub use run::Run;
pub use script::{DiskFault, DriverFault, Script, ScriptError, SourceFault, Step, Stop};
pub use sim::Sim;
pub use target::{Call, WorldSettings};
