//! What decoding a usual remote-write request costs: 2,000 series with 277 bytes of labels and one sample each.
//!
//! `cargo bench -p aegis-ingest` prints nanoseconds of processor time per sample, the least of several rounds.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a benchmark reports to a person, stops at the first surprise and measures time"
)]

use std::hint::black_box;
use std::time::Instant;

use aegis_ingest::remote_write::{self, RemoteWriteDecoder};
use aegis_ingest::{Intake, Limits, compression, exposition};
use prost::encoding::{double, int64, string, uint32, varint};
use signal::Timestamp;

const SERIES: u64 = 2_000;
/// The time of every sample.
const NOW: i64 = 1_706_189_400_000;
const ROUNDS: usize = 200;
const HOSTS: u64 = 10;

fn main() {
    let requests: Vec<Vec<u8>> = (0..HOSTS).map(|host| snappy(&request(host))).collect();
    let plain = request(0);
    let limits = Limits::default();
    println!("{} bytes a request, {} packed", plain.len(), requests.first().map_or(0, Vec::len));

    measure("snappy alone", &requests, |body| {
        compression::snappy_block(body, limits.max_decoded_bytes).expect("a block").len()
    });
    measure("1.0, every request for itself", &requests, |body| {
        remote_write::decode(body, &limits).expect("a request").batch.series.len()
    });
    let decoder = RemoteWriteDecoder::new(limits, 42);
    measure("1.0, labels remembered", &requests, |body| {
        decoder.decode(body).expect("a request").batch.batch().series.len()
    });
    let mut intake = Intake::new(limits);
    measure("1.0, labels remembered, and admission", &requests, |body| {
        let write = decoder.decode(body).expect("a request");
        intake.admit(write.batch, Timestamp(NOW)).batch.series.len()
    });

    let requests: Vec<Vec<u8>> = (0..HOSTS).map(|host| snappy(&request_v2(host))).collect();
    println!("2.0: {} bytes a request, {} packed", request_v2(0).len(), requests.first().map_or(0, Vec::len));
    measure("2.0, every request for itself", &requests, |body| {
        remote_write::decode_v2(body, &limits).expect("a request").batch.series.len()
    });
    measure("2.0, labels remembered", &requests, |body| {
        decoder.decode_v2(body).expect("a request").batch.batch().series.len()
    });

    let pages: Vec<Vec<u8>> = (0..HOSTS).map(page).collect();
    measure("exposition text", &pages, |page| {
        exposition::parse(page, None, Timestamp(0), &limits).expect("a page").series.len()
    });
}

fn measure(what: &str, bodies: &[Vec<u8>], mut read: impl FnMut(&[u8]) -> usize) {
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for body in bodies {
            black_box(read(black_box(body)));
        }
        let samples = (SERIES * HOSTS) as f64;
        least = least.min(begun.elapsed().as_secs_f64() * 1e9 / samples);
    }
    println!("{what:40} {least:8.1} ns/sample");
}

fn snappy(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(message).expect("a small message")
}

fn labels(host: u64, series: u64) -> Vec<(String, String)> {
    let pairs = [
        ("__name__", format!("node_subsystem_{}_operations_total", series % 40)),
        ("cluster", format!("prod-{}", host % 4)),
        ("device", format!("nvme{}n1", series / 40)),
        ("env", "prod".to_owned()),
        ("instance", format!("host-{host:03}:9100")),
        ("job", "checkout".to_owned()),
        ("pod", format!("checkout-{:08x}", host.wrapping_mul(2_654_435_761) & 0xffff_ffff)),
        ("region", "eu-west-1".to_owned()),
        ("service", "checkout".to_owned()),
        ("team", "core".to_owned()),
        ("version", format!("v1.{}.{}", host % 5, host % 7)),
        ("zone", "eu-west-1a".to_owned()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn nested(number: u32, content: &[u8], out: &mut Vec<u8>) {
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, out);
    varint::encode_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

fn sample(series: u64) -> Vec<u8> {
    let mut sample = Vec::new();
    double::encode(1, &(series as f64 * 1.25), &mut sample);
    int64::encode(2, &NOW, &mut sample);
    sample
}

fn request(host: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for number in 0..SERIES {
        let mut series = Vec::new();
        for (name, value) in labels(host, number) {
            let mut label = Vec::new();
            string::encode(1, &name, &mut label);
            string::encode(2, &value, &mut label);
            nested(1, &label, &mut series);
        }
        nested(2, &sample(number), &mut series);
        nested(1, &series, &mut out);
    }
    out
}

fn request_v2(host: u64) -> Vec<u8> {
    let mut symbols = vec![String::new()];
    let mut out = Vec::new();
    for number in 0..SERIES {
        let mut refs = Vec::new();
        for text in labels(host, number).into_iter().flat_map(|(name, value)| [name, value]) {
            let at = symbols.iter().position(|known| *known == text).unwrap_or_else(|| {
                symbols.push(text);
                symbols.len() - 1
            });
            refs.push(u32::try_from(at).expect("few symbols"));
        }
        let mut series = Vec::new();
        uint32::encode_packed(1, &refs, &mut series);
        nested(2, &sample(number), &mut series);
        nested(5, &series, &mut out);
    }
    string::encode_repeated(4, &symbols, &mut out);
    out
}

fn page(host: u64) -> Vec<u8> {
    let mut page = String::new();
    for number in 0..SERIES {
        let labels = labels(host, number);
        let (name, rest) = labels.split_first().expect("a name");
        let pairs: Vec<_> = rest.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        page += &format!("{}{{{}}} {}\n", name.1, pairs.join(","), number as f64 * 1.25);
    }
    page.into_bytes()
}
