//! The requests of a call, one after the other, as in the scenarios for SIPp.

use crate::wire;
use std::net::SocketAddr;

const BODY: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Options,
    Invite,
    Bye,
}

/// The first request of a scenario.
pub(crate) fn first(scenario: &str) -> Option<Request> {
    match scenario {
        "call" => Some(Request::Invite),
        "options" => Some(Request::Options),
        _ => None,
    }
}

impl Request {
    /// Its letter in the branch.
    pub(crate) fn letter(self) -> u8 {
        match self {
            Request::Options => b'o',
            Request::Invite => b'i',
            Request::Bye => b'b',
        }
    }
}

/// What the texts of one run have in common.
pub(crate) struct Party {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) run: u32,
}

impl Party {
    /// A request of a call; a BYE repeats the To line of the 200.
    pub(crate) fn request(&self, request: Request, call: usize, to: &[u8]) -> Vec<u8> {
        match request {
            Request::Options => self.write("OPTIONS", 1, b'o', call, &self.to(), None),
            Request::Invite => self.write("INVITE", 1, b'i', call, &self.to(), Some(BODY)),
            Request::Bye => self.write("BYE", 2, b'b', call, to, None),
        }
    }

    /// RFC3261§13.2.2.4 - the ACK of a 2xx has a branch of its own and the INVITE's number
    pub(crate) fn ack(&self, call: usize, to: &[u8]) -> Vec<u8> {
        self.write("ACK", 1, b'a', call, to, None)
    }

    fn to(&self) -> Vec<u8> {
        format!("To: <sip:bench@{}>", self.remote).into_bytes()
    }

    fn write(
        &self,
        method: &str,
        cseq: u32,
        letter: u8,
        call: usize,
        to: &[u8],
        body: Option<&str>,
    ) -> Vec<u8> {
        let Party { local, remote, run } = self;
        let branch = wire::branch(call, letter, *run);
        let to = String::from_utf8_lossy(to);
        let (described, body) = match body {
            Some(body) => (
                format!("Contact: <sip:load@{local}>\r\nContent-Type: application/sdp\r\n"),
                body,
            ),
            None => (String::new(), ""),
        };
        let length = body.len();
        format!(
            "{method} sip:bench@{remote} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {local};branch={branch}\r\n\
             From: <sip:load@{local}>;tag={run}T{call}\r\n\
             {to}\r\n\
             Call-ID: {call}-{run}@127.0.0.1\r\n\
             CSeq: {cseq} {method}\r\n\
             Max-Forwards: 70\r\n\
             {described}Content-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}
