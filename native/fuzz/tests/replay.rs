//! The inputs that the fuzzer has kept, given to the targets again: `script/fuzz --keep` makes them.

use sippet_fuzz::{COUNTED, TARGETS, bounded, cost};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::{fs, hint};

/// The counters are those of the whole program, so one test runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone<T>(test: impl FnOnce() -> T) -> T {
    let _guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    test()
}

fn replay(target: &str) {
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(
        files.len() > 100,
        "{} has {} inputs",
        folder.display(),
        files.len()
    );
    alone(|| {
        for file in &files {
            // The name stands in the output of a test that fails, behind the panic.
            println!("{}", file.display());
            run(&fs::read(file).unwrap());
        }
    });
}

#[test]
fn messages() {
    replay("message");
}

#[test]
fn uris() {
    replay("uri");
}

#[test]
fn values() {
    replay("values");
}

#[test]
fn streams() {
    replay("stream");
}

#[test]
fn grammar() {
    replay("grammar");
}

#[test]
fn long_inputs() {
    replay("linear");
}

#[test]
fn nothing_at_all() {
    alone(|| {
        for (_, run) in TARGETS {
            run(b"");
            run(b"\0");
        }
    });
}

/// As many steps as there are pairs of octets.
fn pairs(octets: usize) -> usize {
    let mut pairs = 0;
    for one in 0..octets {
        for other in 0..one {
            pairs += hint::black_box(other & 1);
        }
    }
    pairs
}

#[test]
fn work_is_counted_and_the_same_each_time() {
    alone(|| {
        let costs = [100, 200, 200].map(|octets| cost(|| pairs(octets)).1);
        if !COUNTED {
            println!("SKIPPED: this build counts no work; script/test makes one that does");
            assert_eq!(costs, [0, 0, 0]);
            return;
        }
        assert_eq!(costs[1], costs[2]);
        assert!(
            costs[1] > 3 * costs[0] && costs[1] < 5 * costs[0],
            "{costs:?}"
        );
        bounded(100, || pairs(100));
        assert!(std::panic::catch_unwind(|| bounded(4_096, || pairs(4_096))).is_err());
    });
}
