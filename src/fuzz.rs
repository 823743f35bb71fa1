//! What the fuzz targets in `fuzz/` run: each takes any bytes, must not panic, and checks what holds for all input.
//!
//! A test of this file replays the committed corpus. Compiled with the simulator only.

use std::str::FromStr;

use crate::names::Destination;

/// The body of a target: it panics if the input shows a fault.
pub type FuzzTarget = fn(&[u8]);

/// The targets by name.
pub const TARGETS: [(&str, FuzzTarget); 9] = [
    ("frames", frames),
    ("handshake", crate::channel::fuzz::handshake),
    ("mux", crate::mux::fuzz::mux),
    ("known_hosts", crate::jump::fuzz::known_hosts),
    ("host_keys", crate::jump::fuzz::host_keys),
    ("ssh_settings", crate::jump::fuzz::ssh_settings),
    ("config", crate::config::fuzz::config),
    ("xml", crate::aws::fuzz::xml),
    ("names", names),
];

fn frames(data: &[u8]) {
    crate::channel::fuzz::frames(crate::clock::now(), data);
}

/// A target's name is parsed, and what it is printed as means the same.
fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(destination) = Destination::from_str(text) {
        let printed = destination.to_string();
        assert_eq!(Destination::from_str(&printed).as_ref(), Ok(&destination), "{text:?} as {printed:?}");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_corpus_passes() {
        for (name, target) in TARGETS {
            let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
            let entries: Vec<_> = fs::read_dir(&folder).expect("a corpus").collect();
            assert!(!entries.is_empty(), "{name}");
            for entry in entries {
                let data = fs::read(entry.expect("an entry").path()).expect("a file");
                // Inputs that end early and inputs that are damaged find more than whole ones.
                (0..data.len().min(400)).for_each(|end| target(&data[..end]));
                for at in 0..data.len().min(400) {
                    let mut damaged = data.clone();
                    damaged[at] ^= 0x41;
                    target(&damaged);
                }
                target(&data);
            }
        }
    }

    #[test]
    fn every_target_has_a_shim() {
        for (name, _) in TARGETS {
            let shim = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
            let shim = fs::read_to_string(shim.join(name).with_extension("rs")).expect("a shim");
            assert!(shim.contains(&format!("\"{name}\"")), "{name}");
        }
    }
}
