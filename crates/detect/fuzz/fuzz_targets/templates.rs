//! Lines mined into templates, saved and restored between.

#![no_main]

use aegis_detect::templates::{Miner, MinerLimits};
use aegis_signal::Nanos;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let limits = MinerLimits { templates: 16, bytes: 64 << 10 };
    let mut miner = Miner::new(limits);
    for line in text.split('\n') {
        let found = miner.observe(Nanos(0), line);
        let (id, parameters) = (found.id, found.parameters().count());
        if let Some(template) = miner.template(id) {
            assert_eq!(template.text.matches("<*>").count(), parameters);
        }
        assert!(miner.len() <= limits.templates);
    }
    let state = serde_json::to_vec(&miner.save()).expect("a state can be written");
    let again = Miner::restore(serde_json::from_slice(&state).expect("it can be read"), limits).expect("same version");
    assert_eq!(miner.save(), again.save());
});
