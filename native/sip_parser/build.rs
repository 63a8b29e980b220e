//! Turns `headers.tbl` and `names.tbl` into the static tables that the crate is driven by.

use std::fmt::Write;
use std::{env, fs, path::Path};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    generate("headers.tbl", "table.rs", headers);
    generate("names.tbl", "names.rs", names);
}

/// Writes the Rust code that `code_of` makes of a table and its rows.
fn generate(table: &str, target: &str, code_of: fn(&str, &[Vec<&str>]) -> String) {
    println!("cargo::rerun-if-changed={table}");
    let text = fs::read_to_string(table).unwrap_or_else(|error| panic!("{table}: {error}"));
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();

    let out = Path::new(&env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join(target);
    fs::write(out, code_of(&text, &rows)).expect("OUT_DIR is writable");
}

fn headers(text: &str, rows: &[Vec<&str>]) -> String {
    let mut code = String::new();
    writeln!(
        code,
        "/// CRC-32 of `headers.tbl`: both sides of the border compare it."
    )
    .unwrap();
    writeln!(
        code,
        "pub const TABLE_HASH: u32 = {};",
        crc32(text.as_bytes())
    )
    .unwrap();
    writeln!(code, "/// How many rows the table has.").unwrap();
    writeln!(code, "pub const ROW_COUNT: usize = {};", rows.len()).unwrap();
    writeln!(code, "/// The table itself, in the order of `headers.tbl`.").unwrap();
    writeln!(code, "pub static ROWS: [Row; ROW_COUNT] = [").unwrap();
    for row in rows {
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
    code
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

/// The names by their kind. What the parser does not need of a row is not made into code.
fn names(text: &str, rows: &[Vec<&str>]) -> String {
    let mut methods = Vec::new();
    let mut protocols = Vec::new();
    let mut schemes = Vec::new();
    for row in rows {
        match row[..] {
            ["method", name] => methods.push(name),
            ["protocol", name, port, _carrier, _secure] => protocols.push((name, port_of(port))),
            ["scheme", name, protocol] => schemes.push((name, protocol)),
            _ => panic!("names.tbl: no kind has the columns of {row:?}"),
        }
    }

    let mut code = String::new();
    writeln!(
        code,
        "/// CRC-32 of `names.tbl`: both sides of the border compare it."
    )
    .unwrap();
    writeln!(
        code,
        "pub const NAMES_HASH: u32 = {};",
        crc32(text.as_bytes())
    )
    .unwrap();
    writeln!(code, "/// The known methods, in the order of `names.tbl`.").unwrap();
    writeln!(
        code,
        "pub const METHODS: [&str; {}] = {methods:?};",
        methods.len()
    )
    .unwrap();
    writeln!(
        code,
        "/// The known transport protocols, in the order of `names.tbl`."
    )
    .unwrap();
    writeln!(
        code,
        "pub const PROTOCOLS: [Protocol; {}] = [",
        protocols.len()
    )
    .unwrap();
    for (name, port) in &protocols {
        writeln!(code, "    Protocol {{ name: {name:?}, port: {port:?} }},").unwrap();
    }
    writeln!(code, "];").unwrap();
    for (scheme, protocol) in schemes {
        let constant = scheme.to_ascii_uppercase();
        let port = protocols.iter().find(|(name, _)| *name == protocol);
        let port = port.and_then(|(_, port)| *port);
        let port = port.unwrap_or_else(|| panic!("names.tbl: {scheme} has no default port"));
        writeln!(code, "/// The port of a `{scheme}:` URI that has none.").unwrap();
        writeln!(code, "pub const {constant}_PORT: u16 = {port};").unwrap();
    }
    code
}

fn port_of(text: &str) -> Option<u16> {
    (text != "-").then(|| text.parse().expect("names.tbl: a port or - wanted"))
}

/// CRC-32 as IEEE 802.3 has it, the one that `:erlang.crc32/1` computes.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & 0u32.wrapping_sub(crc & 1))
        })
    })
}
