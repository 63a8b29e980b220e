//! Turns `headers.tbl` into the static table that the crate is driven by.

use std::fmt::Write;
use std::{env, fs, path::Path};

fn main() {
    println!("cargo::rerun-if-changed=headers.tbl");
    println!("cargo::rerun-if-changed=build.rs");
    let table = fs::read_to_string("headers.tbl").expect("headers.tbl is readable");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();

    let mut code = String::new();
    writeln!(
        code,
        "/// CRC-32 of `headers.tbl`: both sides of the border compare it."
    )
    .unwrap();
    writeln!(
        code,
        "pub const TABLE_HASH: u32 = {};",
        crc32(table.as_bytes())
    )
    .unwrap();
    writeln!(code, "/// How many rows the table has.").unwrap();
    writeln!(code, "pub const ROW_COUNT: usize = {};", rows.len()).unwrap();
    writeln!(code, "/// The table itself, in the order of `headers.tbl`.").unwrap();
    writeln!(code, "pub static ROWS: [Row; ROW_COUNT] = [").unwrap();
    for row in &rows {
        writeln!(code, "    {},", row_literal(row)).unwrap();
    }
    writeln!(code, "];").unwrap();
    writeln!(code, "impl HeaderId {{").unwrap();
    for (index, row) in rows.iter().enumerate() {
        let constant = row[0].to_ascii_uppercase().replace('-', "_");
        writeln!(code, "    /// `{}`", row[0]).unwrap();
        writeln!(
            code,
            "    pub const {constant}: HeaderId = HeaderId({index});"
        )
        .unwrap();
    }
    writeln!(code, "}}").unwrap();

    let out = Path::new(&env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join("table.rs");
    fs::write(out, code).expect("OUT_DIR is writable");
}

fn row_literal(row: &[&str]) -> String {
    let [name, compact, shape, repeat, level, rfc] = row else {
        panic!("headers.tbl: six columns wanted in {row:?}");
    };
    let compact = if *compact == "-" {
        0
    } else {
        compact.as_bytes()[0]
    };
    format!(
        "Row {{ name: {name:?}, compact: {compact}, shape: Shape::{}, repeat: Repeat::{}, level: Level::{}, rfc: {rfc:?} }}",
        camel(shape),
        camel(repeat),
        camel(level),
    )
}

fn camel(word: &str) -> String {
    word.split('_')
        .map(|part| part[..1].to_ascii_uppercase() + &part[1..])
        .collect()
}

/// CRC-32 as IEEE 802.3 has it, the one that `:erlang.crc32/1` computes.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & 0u32.wrapping_sub(crc & 1))
        })
    })
}
