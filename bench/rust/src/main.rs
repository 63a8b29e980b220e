//! What the Rust parser costs beside the published crates, as ratios of one run.
//!
//! `cargo run --release` times every subject on every set of messages; `-- --quick` does it with fewer rounds.
//! With `--features c` libosip2 and sofia-sip are there too, which `bench/install-c-parsers` installs.
//! `-- count SUBJECT MESSAGES TIMES` only parses a set of messages, by its name in the table, a fixed number of times,
//! and prints how many messages there are: what a counter of instructions wants (`bench/instructions`).

mod ours;
mod rounds;
mod sets;
mod subjects;

use rounds::Effort;
use sets::Set;
use std::hint::black_box;
use std::iter::repeat_n;
use subjects::SUBJECTS;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => compare(Effort::FULL),
        ["--quick"] => compare(Effort::QUICK),
        ["count", subject, messages, times] => return count(subject, messages, times.parse()?),
        _ => return Err("usage: parse_bench [--quick | count SUBJECT MESSAGES TIMES]".into()),
    }
    Ok(())
}

fn count(name: &str, messages: &str, times: usize) -> Result<(), Box<dyn std::error::Error>> {
    let subject = SUBJECTS
        .iter()
        .find(|subject| subject.name == name)
        .ok_or("no such subject")?;
    let sets = sets::all();
    let set = sets
        .iter()
        .find(|set| set.name == messages)
        .ok_or("no such messages")?;
    let inputs: Vec<Vec<u8>> = set
        .kept()
        .into_iter()
        .map(|message| (subject.prepare)(message))
        .collect();
    for input in repeat_n(&inputs, times).flatten() {
        black_box((subject.parse)(black_box(input)));
    }
    println!("{}", inputs.len());
    Ok(())
}

fn compare(effort: Effort) {
    println!(
        "Nanoseconds a message, the best of {} rounds; `-` refuses some of these messages.\n",
        effort.rounds
    );
    let names: Vec<&str> = SUBJECTS.iter().map(|subject| subject.name).collect();
    println!(
        "| messages | number | octets | {} | ours to the best crate |",
        names.join(" | ")
    );
    println!("|{}", "---|".repeat(names.len() + 4));
    for set in sets::all() {
        row(&set, effort);
    }
    println!("\nOurs, by the size of one request.\n");
    println!("| octets | nanoseconds | an octet |\n|---|---|---|");
    for message in sets::growing() {
        let nanos = rounds::best_of(&SUBJECTS[0], &message, effort);
        let octets = message.len();
        println!("| {octets} | {nanos:.0} | {:.2} |", nanos / octets as f64);
    }
}

fn row(set: &Set, effort: Effort) {
    let kept = set.kept();
    let octets: usize = kept.iter().map(|message| message.len()).sum();
    let nanos: Vec<Option<f64>> = rounds::best(&kept, effort);
    let of = |name: &str| {
        SUBJECTS
            .iter()
            .position(|subject| subject.name == name)
            .and_then(|number| nanos[number])
    };
    print!(
        "| {} | {} | {} |",
        set.name,
        kept.len(),
        octets / kept.len().max(1)
    );
    for time in &nanos {
        match time {
            Some(time) => print!(" {time:.0} |"),
            None => print!(" - |"),
        }
    }
    let crates = of("rsip")
        .unwrap_or(f64::INFINITY)
        .min(of("rsipstack").unwrap_or(f64::INFINITY));
    println!(" {:.3} |", of("ours").unwrap_or(f64::NAN) / crates);
}
