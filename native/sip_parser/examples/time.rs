//! Times the parser alone: `cargo run --release --example time -- FILE…` prints the file, its octets and the
//! nanoseconds of one parse, the best of several rounds. `bench/parse.exs` reads these lines.

use sip_parser::Parser;
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 7;
const NANOS_PER_ROUND: u128 = 20_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1) {
        let input = std::fs::read(&path)?;
        let best = (0..ROUNDS).map(|_| round(&input)).fold(f64::MAX, f64::min);
        println!("{path}\t{}\t{best:.0}", input.len());
    }
    Ok(())
}

fn round(input: &[u8]) -> f64 {
    let mut parser = Parser::new();
    let start = Instant::now();
    let mut count = 0u32;
    while start.elapsed().as_nanos() < NANOS_PER_ROUND {
        for _ in 0..100 {
            let _ = black_box(parser.parse(black_box(input)));
        }
        count += 100;
    }
    start.elapsed().as_nanos() as f64 / f64::from(count)
}
