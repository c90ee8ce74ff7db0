//! Rule files, with the expressions and templates in them.

#![no_main]

use aegis_rules::{Group, RuleFile, Surroundings};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match RuleFile::parse("fuzz.yaml", text) {
        Ok(file) => {
            assert!(file.duplicates().len() <= file.rule_count());
            for group in &file.groups {
                let state = Group::new(group, "fuzz.yaml", &Surroundings::default());
                assert_eq!(state.rules().len(), group.rules.len());
            }
        }
        Err(error) => assert!(!error.problems.is_empty()),
    }
});
