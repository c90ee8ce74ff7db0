//! Decompression that stops at a limit instead of filling the memory.

use std::io::Read;
use std::sync::{Mutex, PoisonError};

use crate::Limits;

/// Why a compressed body was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecompressError {
    /// More compressed bytes than allowed.
    #[error("compressed body has {found} bytes, more than the limit of {limit} (max_compressed_bytes)")]
    CompressedTooLarge {
        /// Bytes received.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The body would grow past the limit.
    #[error("body has {found} bytes after decompression, more than the limit of {limit} (max_decoded_bytes)")]
    TooLarge {
        /// Bytes it declares, or bytes seen when we stopped.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not a snappy block.
    #[error("body is not a snappy block")]
    Snappy(#[source] snap::Error),
    /// Not gzip, or damaged.
    #[error("body is not gzip")]
    Gzip(#[source] std::io::Error),
}

/// Opens a snappy *block* (the format of remote write and Loki push, not the framed one).
///
/// # Errors
/// `DecompressError` when it is damaged or declares more than `max` bytes; nothing is allocated in that case.
pub fn snappy_block(body: &[u8], max: usize) -> Result<Vec<u8>, DecompressError> {
    let mut opened = vec![0; snappy_length(body, max)?];
    snap::raw::Decoder::new().decompress(body, &mut opened).map_err(DecompressError::Snappy)?;
    Ok(opened)
}

/// The bytes a snappy block opens to, as far as that is credible and allowed.
fn snappy_length(body: &[u8], max: usize) -> Result<usize, DecompressError> {
    let declared = snap::raw::decompress_len(body).map_err(DecompressError::Snappy)?;
    if declared > max {
        return Err(DecompressError::TooLarge { found: declared, limit: max });
    }
    // A block copies at most 64 bytes per 3-byte element, so a longer claim cannot be true and is not worth allocating.
    if declared > body.len().saturating_mul(64) {
        let got_len = body.len().saturating_mul(64) as u64;
        return Err(DecompressError::Snappy(snap::Error::HeaderMismatch { expected_len: declared as u64, got_len }));
    }
    Ok(declared)
}

/// Opens gzip, also of several members; reads at most one byte past `max`.
///
/// # Errors
/// `DecompressError` when it is damaged or holds more than `max` bytes.
pub fn gzip(body: &[u8], max: usize) -> Result<Vec<u8>, DecompressError> {
    let mut opened = Vec::with_capacity(body.len().saturating_mul(2).min(max));
    let cap = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    flate2::read::MultiGzDecoder::new(body).take(cap).read_to_end(&mut opened).map_err(DecompressError::Gzip)?;
    if opened.len() > max {
        return Err(DecompressError::TooLarge { found: opened.len(), limit: max });
    }
    Ok(opened)
}

/// Checks the received size and opens the snappy block.
pub(crate) fn snappy_within(body: &[u8], limits: &Limits) -> Result<Vec<u8>, DecompressError> {
    compressed_within(body, limits)?;
    snappy_block(body, limits.max_decoded_bytes)
}

fn compressed_within(body: &[u8], limits: &Limits) -> Result<(), DecompressError> {
    let (found, limit) = (body.len(), limits.max_compressed_bytes);
    if found > limit { Err(DecompressError::CompressedTooLarge { found, limit }) } else { Ok(()) }
}

/// Buffers that are kept.
const KEPT_BUFFERS: usize = 8;

/// Bytes of a buffer that is kept; a larger one served an unusual request and is given back.
const KEPT_BYTES: usize = 4 << 20;

/// Memory for opened bodies that is used again: fresh memory costs more than the decompression.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// Like [`snappy_within`], and hands the opened body to `read`.
    pub(crate) fn snappy_within<T>(
        &self,
        body: &[u8],
        limits: &Limits,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, DecompressError> {
        compressed_within(body, limits)?;
        let length = snappy_length(body, limits.max_decoded_bytes)?;
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        let opened = buffer.get_mut(..length).unwrap_or_default();
        let result = snap::raw::Decoder::new().decompress(body, opened).map_err(DecompressError::Snappy);
        let result = result.map(|_| read(opened));
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.capacity() <= KEPT_BYTES && kept.len() < KEPT_BUFFERS {
            kept.push(buffer);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn stops_at_the_limit() {
        let zeros = vec![0_u8; 100_000];
        let snappy = snap::raw::Encoder::new().compress_vec(&zeros).unwrap();
        assert_eq!(snappy_block(&snappy, 100_000).unwrap().len(), 100_000);
        assert_eq!(gzip(&gzipped(&zeros), 100_000).unwrap().len(), 100_000);
        for (case, error, want) in [
            (
                "snappy bomb",
                snappy_block(&snappy, 99_999).unwrap_err(),
                "body has 100000 bytes after decompression, more than the limit of 99999 (max_decoded_bytes)",
            ),
            (
                "gzip bomb",
                gzip(&gzipped(&zeros), 1000).unwrap_err(),
                "body has 1001 bytes after decompression, more than the limit of 1000 (max_decoded_bytes)",
            ),
            ("not snappy", snappy_block(b"\xff\xff\xff", 10).unwrap_err(), "body is not a snappy block"),
            ("a lie", snappy_block(b"\xff\xff\xff\x07", 1 << 30).unwrap_err(), "body is not a snappy block"),
            ("not gzip", gzip(b"plain", 10).unwrap_err(), "body is not gzip"),
        ] {
            assert_eq!(error.to_string(), want, "{case}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_open_or_err(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = snappy_block(&bytes, 1000);
            let _ = gzip(&bytes, 1000);
        }

        #[test]
        fn both_round_trip(bytes in proptest::collection::vec(0_u8..4, 0..2000)) {
            let snappy = snap::raw::Encoder::new().compress_vec(&bytes).unwrap();
            prop_assert_eq!(&snappy_block(&snappy, 2000).unwrap(), &bytes);
            let buffers = Buffers::default();
            for _ in 0..2 {
                let longer = snap::raw::Encoder::new().compress_vec(&[7; 500]).unwrap();
                buffers.snappy_within(&longer, &Limits::default(), |opened| assert_eq!(opened, [7; 500])).unwrap();
                let opened = buffers.snappy_within(&snappy, &Limits::default(), <[u8]>::to_vec);
                prop_assert_eq!(&opened.unwrap(), &bytes);
                prop_assert!(buffers.snappy_within(&snappy[..snappy.len() - 1], &Limits::default(), |_| ()).is_err() || bytes.is_empty());
            }
            prop_assert_eq!(buffers.0.lock().unwrap().len(), 1);
            prop_assert_eq!(&gzip(&gzipped(&bytes), 2000).unwrap(), &bytes);
        }
    }
}
