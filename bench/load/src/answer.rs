//! What costs a server next to nothing: OPTIONS and BYE get 200, INVITE 180 and 200, without any state.

use crate::wire;
use std::net::UdpSocket;

/// Ends with the process.
pub(crate) fn run(socket: &UdpSocket) -> std::io::Result<()> {
    let mut datagram = vec![0; 65_536];
    println!("listening");
    loop {
        let (length, source) = socket.recv_from(&mut datagram)?;
        let request = &datagram[..length];
        if request.starts_with(b"ACK ") {
            continue;
        }
        if request.starts_with(b"INVITE ") {
            socket.send_to(&response("180 Ringing", request), source)?;
        }
        socket.send_to(&response("200 OK", request), source)?;
    }
}

fn response(status: &str, request: &[u8]) -> Vec<u8> {
    let mut response = format!("SIP/2.0 {status}\r\n").into_bytes();
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        if let Some(line) = wire::line(request, name.as_bytes()) {
            response.extend_from_slice(line);
            if name == "To" && !line.windows(5).any(|window| window == b";tag=") {
                response.extend_from_slice(b";tag=answer");
            }
            response.extend_from_slice(b"\r\n");
        }
    }
    response.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    response
}
