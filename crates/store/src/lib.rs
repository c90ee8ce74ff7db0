//! Keeps metrics, logs and traces on disk and hands out consistent [`Snapshot`]s.
//!
//! One directory per signal holds append-only segments, and blocks to which metrics and logs move from there; traces, and
//! what has not moved yet, are also in memory. A write is on disk before it is acknowledged. This crate does *not* judge
//! what it is given (that is `ingest`), does not compute (that is `query`) and reads no clock.
//!
//! ```
//! use aegis_store::Store;
//! use signal::{Labels, Matcher, Sample, SeriesWrite, TimeRange, Timestamp, WriteBatch};
//!
//! let store = Store::in_memory();
//! let up = Labels::from_pairs([("__name__", "up"), ("job", "api")]);
//! let samples = vec![Sample { at: Timestamp(1_000), value: 1.0 }];
//! let batch = WriteBatch { series: vec![SeriesWrite::new(up, samples)], ..WriteBatch::default() };
//! store.append(&[batch])?;
//!
//! let found = store.snapshot().select(&[Matcher::equal("job", "api")], TimeRange::all());
//! assert_eq!(found[0].samples[0].value, 1.0);
//! # Ok::<(), aegis_store::AppendError>(())
//! ```

mod block;
mod block_file;
mod blocks;
mod chunk;
mod codec;
mod column;
mod deletion;
mod disk;
mod errors;
mod head;
mod index;
mod intake;
mod journal;
mod log_block;
mod manifest;
mod pages;
mod replay;
mod retention;
mod rows;
mod segment;
mod snapshot;
mod status;
mod store;
mod wire;
mod writer;

pub use column::{Rows, Texts};
pub use deletion::{LineDeletion, LineFilter, LineFilterError, LineFilterOp};
pub use disk::{Disk, DiskFile, DiskLock, Fault, MemoryDisk, OsDisk};
pub use errors::{Amounts, AppendError, Conflict, FlushError, OpenError, OverLimit, Receipt, RetainError, Retained};
pub use retention::LogRetention;
pub use rows::{Field, Line, Needle, RowGroup, RowsError, Shape, ShapeKind, Slot, SlotKind};
pub use snapshot::{Latest, LinePart, PartRows, Series, SeriesReader, Snapshot, Stream, StreamReader, Trace};
pub use status::{Problem, SignalStatus, StoreStatus};
pub use store::{Fsync, LineSelection, Maintained, Store, StoreSettings};
