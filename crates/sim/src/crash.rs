//! Where exactly Aegis can stop.

/// A place between two steps of the loop, named by the ledger record that is being made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrashPoint {
    /// Decided, nothing written.
    BeforeWrite {
        /// Sequence number the record would have had.
        record: u64,
    },
    /// The power goes during the write; a part of the line stays.
    DuringWrite {
        /// Sequence number the record would have had.
        record: u64,
    },
    /// Written, nothing carried out: right before the first effect.
    AfterWrite {
        /// Sequence number of the record.
        record: u64,
    },
    /// Carried out up to and including one effect, whose result nobody hears.
    AfterEffect {
        /// Sequence number of the record.
        record: u64,
        /// Which effect of it.
        effect: usize,
    },
}
