//! Each round times every subject once, and each subject keeps its best round: a busy moment of the machine spoils
//! one round of all rather than all rounds of one.

use crate::subjects::{SUBJECTS, Subject};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// How long to measure.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    slice: Duration,
}

impl Effort {
    pub(crate) const FULL: Effort = Effort {
        rounds: 25,
        slice: Duration::from_millis(8),
    };
    pub(crate) const QUICK: Effort = Effort {
        rounds: 9,
        slice: Duration::from_millis(3),
    };
}

/// Nanoseconds of one message of one subject.
pub(crate) fn best_of(subject: &Subject, message: &[u8], effort: Effort) -> f64 {
    let prepared = [(subject.prepare)(message)];
    (0..effort.rounds)
        .map(|_| round(subject, &prepared, effort.slice))
        .fold(f64::INFINITY, f64::min)
}

/// Nanoseconds a message of each subject; none of one that refuses a message.
pub(crate) fn best(messages: &[&[u8]], effort: Effort) -> Vec<Option<f64>> {
    let prepared: Vec<Vec<Vec<u8>>> = SUBJECTS
        .iter()
        .map(|subject| {
            messages
                .iter()
                .map(|message| (subject.prepare)(message))
                .collect()
        })
        .collect();
    let mut best = vec![f64::INFINITY; SUBJECTS.len()];
    for _ in 0..effort.rounds {
        for (number, subject) in SUBJECTS.iter().enumerate() {
            best[number] = best[number].min(round(subject, &prepared[number], effort.slice));
        }
    }
    let takes_all = |subject: &Subject| messages.iter().all(|message| subject.takes(message));
    let subjects = SUBJECTS.iter().zip(best);
    subjects
        .map(|(subject, nanos)| takes_all(subject).then_some(nanos))
        .collect()
}

/// Whole passes over the messages until the time is up. The clock is read seldom: it costs as much as a header.
fn round(subject: &Subject, messages: &[Vec<u8>], slice: Duration) -> f64 {
    let passes = 200_usize.div_ceil(messages.len().max(1));
    let mut parsed = 0;
    let start = Instant::now();
    loop {
        for message in std::iter::repeat_n(messages, passes).flatten() {
            black_box((subject.parse)(black_box(message)));
        }
        parsed += passes * messages.len();
        let elapsed = start.elapsed();
        if elapsed >= slice || messages.is_empty() {
            return elapsed.as_nanos() as f64 / parsed as f64;
        }
    }
}
