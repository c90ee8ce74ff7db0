//! What reading and admitting a usual Loki push costs: 40 streams with 115 lines of about 270 bytes each.
//!
//! `cargo bench -p aegis-ingest --bench loki_push` prints nanoseconds of processor time per line, the least of several
//! rounds.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a benchmark reports to a person, stops at the first surprise and measures time"
)]

use std::hint::black_box;
use std::time::Instant;

use aegis_ingest::loki_push::{self, PushDecoder};
use aegis_ingest::{Intake, Limits, compression};
use prost::encoding::{int32, int64, string};
use signal::Timestamp;

const STREAMS: u64 = 40;
const LINES: u64 = 115;
/// The time of every line, in seconds.
const NOW: i64 = 1_706_189_400;
const ROUNDS: usize = 200;
const REQUESTS: u64 = 4;

fn main() {
    let limits = Limits::default();
    for (case, metadata) in [("lines alone", 0), ("with 3 pairs of metadata each", 3)] {
        let plain: Vec<Vec<u8>> = (0..REQUESTS).map(|seed| request(seed, metadata)).collect();
        let bodies: Vec<Vec<u8>> = plain.iter().map(|message| snappy(message)).collect();
        println!(
            "{case}: {} bytes a request, {} packed",
            plain.first().map_or(0, Vec::len),
            bodies.first().map_or(0, Vec::len)
        );
        measure("snappy alone", &bodies, |body| {
            compression::snappy_block(body, limits.max_decoded_bytes).expect("a block").len()
        });
        measure("every request for itself", &bodies, |body| {
            loki_push::decode_protobuf(body, &limits).expect("a push").batch.streams.len()
        });
        let decoder = PushDecoder::new(limits, 42);
        measure("labels remembered", &bodies, |body| {
            decoder.decode_protobuf(body).expect("a push").batch.batch().streams.len()
        });
        let mut intake = Intake::new(limits);
        measure("labels remembered, and admission", &bodies, |body| {
            let push = decoder.decode_protobuf(body).expect("a push");
            intake.admit(push.batch, Timestamp(NOW * 1000)).batch.streams.len()
        });
        let limited = Limits { max_stream_bytes_per_second: Some(1 << 60), ..limits };
        let mut intake = Intake::new(limited);
        let decoder = PushDecoder::new(limited, 42);
        measure("the same with a rate per stream", &bodies, |body| {
            let push = decoder.decode_protobuf(body).expect("a push");
            intake.admit(push.batch, Timestamp(NOW * 1000)).batch.streams.len()
        });
    }
}

fn measure(what: &str, bodies: &[Vec<u8>], mut read: impl FnMut(&[u8]) -> usize) {
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for body in bodies {
            black_box(read(black_box(body)));
        }
        let lines = (STREAMS * LINES * REQUESTS) as f64;
        least = least.min(begun.elapsed().as_secs_f64() * 1e9 / lines);
    }
    println!("  {what:40} {least:8.1} ns/line");
}

fn snappy(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(message).expect("a small message")
}

fn nested(number: u32, content: &[u8], out: &mut Vec<u8>) {
    prost::encoding::bytes::encode(number, &content.to_vec(), out);
}

fn request(seed: u64, metadata: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for number in 0..STREAMS {
        let mut stream = Vec::new();
        let labels = format!(
            r#"{{cluster="prod-{}", env="prod", job="checkout", level="info", pod="checkout-{number:08x}", service="svc-{}"}}"#,
            number % 4,
            number % 10
        );
        string::encode(1, &labels, &mut stream);
        for line in 0..LINES {
            let id = (seed * 1_000_003 + number * 1009 + line).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut entry = Vec::new();
            let mut time = Vec::new();
            int64::encode(1, &NOW, &mut time);
            int32::encode(2, &i32::try_from(id % 1_000_000_000).expect("less than 2^31"), &mut time);
            nested(1, &time, &mut entry);
            let text = format!(
                r#"{{"timestamp":"2024-01-25T13:30:00.{:06}Z","level":"info","service":"svc-{}","message":"request served","method":"GET","path":"/api/v1/orders/{}","status":200,"duration_ms":{}.{},"trace_id":"{id:016x}{:016x}","user_id":"u-{}","region":"eu-west-1"}}"#,
                id % 1_000_000,
                number % 10,
                id % 9973,
                id % 977,
                id % 10,
                id.rotate_left(17),
                id % 50_021,
            );
            string::encode(2, &text, &mut entry);
            for pair in 0..metadata {
                let mut label = Vec::new();
                string::encode(1, &format!("key_{pair}"), &mut label);
                string::encode(2, &format!("{:x}", id >> (8 * pair)), &mut label);
                nested(3, &label, &mut entry);
            }
            nested(2, &entry, &mut stream);
        }
        nested(1, &stream, &mut out);
    }
    out
}
