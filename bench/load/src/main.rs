//! Sends calls, or OPTIONS, at a fixed rate, and takes the time of each answer in microseconds.
//!
//! * `load call|options HOST:PORT RATE SECONDS [AGAIN]` prints one line: see [`report::Report`]. With more than `AGAIN`
//!   requests sent again it gives up; what is not answered by then has failed.
//! * `load answer HOST:PORT` answers as the servers under measurement do, and nothing more: the sender's own limit.
//!
//! The rate is kept whatever the server does: who is late is late for all that follows, and that is measured.

mod answer;
mod call;
mod report;
mod sender;
mod wire;

use socket2::{Domain, Protocol, Socket, Type};
use std::error::Error;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

const USAGE: &str =
    "usage: load call|options HOST:PORT RATE SECONDS [AGAIN] | load answer HOST:PORT";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["answer", address] => answer::run(&socket(address.parse()?)?)?,
        [scenario, address, rate, seconds, ref rest @ ..] if rest.len() <= 1 => {
            let plan = sender::Plan {
                first: call::first(scenario).ok_or(USAGE)?,
                rate: rate.parse()?,
                time: Duration::from_secs(seconds.parse()?),
                most_again: rest.first().map_or(Ok(u32::MAX), |most| most.parse())?,
            };
            let socket = socket("127.0.0.1:0".parse()?)?;
            socket.connect(address.parse::<SocketAddr>()?)?;
            println!("{}", sender::run(&socket, &plan)?);
        }
        _ => return Err(USAGE.into()),
    }
    Ok(())
}

/// The default buffer of a socket holds some 150 datagrams: what is lost there would be the server's loss.
fn socket(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(4 << 20)?;
    socket.set_send_buffer_size(1 << 20)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}
