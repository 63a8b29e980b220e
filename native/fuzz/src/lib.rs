//! What must hold of the SIP parser whatever it reads. Each function takes what a fuzzer makes up, and panics
//! where something does not hold; `tests/replay.rs` gives them the inputs that a fuzzer has kept.

#[path = "../../sip_parser/tests/common/mod.rs"]
mod common;
#[path = "../../sip_parser/tests/properties/grammar.rs"]
#[allow(dead_code)] // The crate's own tests need more of it.
mod grammar;
#[path = "../../sip_parser/tests/properties/letter.rs"]
mod letter;
#[path = "../../sip_parser/tests/properties/pen.rs"]
mod pen;

mod print;
mod stream;
mod target;
mod work;

pub use stream::stream;
pub use target::{grammar, linear, message, uri, values};
pub use work::{COUNTED, bounded, cost};

/// What a fuzzer calls.
pub type Target = fn(&[u8]);

/// The targets by name, in the order in which they run.
pub const TARGETS: [(&str, Target); 6] = [
    ("message", message),
    ("uri", uri),
    ("values", values),
    ("stream", stream),
    ("grammar", grammar),
    ("linear", linear),
];
