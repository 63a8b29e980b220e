//! Start lines and whole messages.

use super::{BODY, Place, Printed, Printer, Wanted};
use crate::term::Raw;

impl<'a> Printer<'a> {
    pub(super) fn message(&mut self, line: Raw<'a>, headers: Raw<'a>, body: Raw<'a>) -> Printed {
        let text = match self.make.octets(body) {
            Some(text) => text,
            None if body == self.atoms.nil => &[],
            None => {
                self.place = Place::Words("the body");
                return self.refuse(Wanted::Words("a binary"), body);
            }
        };
        if text.len() > BODY && !self.patient {
            return Err(self.large());
        }
        self.start_line(line)?;
        self.headers(headers, text.len() as u64)?;
        self.out.reserve_exact(4 + text.len());
        self.put(b"\r\n\r\n");
        self.put(text);
        Ok(())
    }

    pub(super) fn start_line(&mut self, line: Raw<'a>) -> Printed {
        let make = self.make;
        if let Some([_, method, uri, version]) = self.atoms.request_line.fields(make, line) {
            self.request_line(method, uri, version)
        } else if let Some([_, version, status, reason]) = self.atoms.status_line.fields(make, line)
        {
            self.status_line(version, status, reason)
        } else {
            self.place = Place::Words("the start line");
            self.refuse(Wanted::Words("a RequestLine or a StatusLine"), line)
        }
    }

    fn request_line(&mut self, method: Raw<'a>, uri: Raw<'a>, version: Raw<'a>) -> Printed {
        self.place = Place::RequestLine;
        self.method(method)?;
        self.out.push(b' ');
        if !self.atoms.uri.is(self.make, uri) {
            return self.refuse(Wanted::Words("a URI"), uri);
        }
        self.uri(uri)?;
        self.put(b" SIP/");
        self.version(version)
    }

    fn status_line(&mut self, version: Raw<'a>, status: Raw<'a>, reason: Raw<'a>) -> Printed {
        self.place = Place::Words("the status line");
        self.put(b"SIP/");
        self.version(version)?;
        self.out.push(b' ');
        match self.make.unsigned(status) {
            Some(number @ 100..=699) => self.number(number),
            _ => return self.refuse(Wanted::Words("a status code in 100..699"), status),
        }
        self.out.push(b' ');
        self.text(reason)
    }
}
