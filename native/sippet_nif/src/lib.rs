//! The door between the SIP parser and the BEAM.
rustler::init!("Elixir.Sippet.Parser");
