//! The header section: which line comes where, and one or many lines for a header of several values.

use super::{HEADERS, Place, Printed, Printer, Stop, Stopped, Wanted};
use crate::term::Raw;
use sip_parser::{HeaderId, Repeat, Shape};
use smallvec::SmallVec;

/// Pairs up to which a map comes in the order of its keys.
const SORTED: usize = 32;

const LINES: Wanted = Wanted::Words("raw text or a list of it");

/// Headers without a type, with the text of their names.
type RawHeaders<'a> = SmallVec<[(&'a [u8], Raw<'a>, Raw<'a>); 16]>;

impl<'a> Printer<'a> {
    /// All lines, a line end before each of them. Content-Length is always made of `octets`; what stands in
    /// `headers` for it is passed over.
    pub(super) fn headers(&mut self, headers: Raw<'a>, octets: u64) -> Printed {
        let wanted = Wanted::Words("a map");
        self.place = Place::Words("the headers");
        let Some(size) = self.make.map_size(headers) else {
            return self.refuse(wanted, headers);
        };
        if size > HEADERS && !self.patient {
            return Err(self.large());
        }
        let order = &self.atoms.order;
        let mut typed = [headers; 64];
        let mut present = 0u64;
        let mut raw: RawHeaders<'a> = SmallVec::new();
        for (key, value) in self.make.pairs(headers).into_iter().flatten() {
            match order.place(key) {
                Some(place) => {
                    typed[place] = value;
                    present |= 1 << place;
                }
                None => raw.push((self.name(key)?, key, value)),
            }
        }
        if size > SORTED {
            raw.sort_unstable_by_key(|(name, _, _)| *name);
        }
        self.typed_lines(&typed, present & order.first())?;
        for (name, key, value) in raw {
            self.raw_lines(name, key, value)?;
        }
        self.typed_lines(&typed, present & order.last())?;
        self.put(b"\r\nContent-Length: ");
        self.number(octets);
        Ok(())
    }

    /// The text of a raw header's name.
    fn name(&mut self, key: Raw<'a>) -> Result<&'a [u8], Stopped> {
        if let Some(name) = self.make.octets(key) {
            return Ok(name);
        }
        let mut name = [0; 256];
        if self.make.atom_name(key, &mut name).is_some() {
            self.stop = Some(Stop::Untyped(key));
            return Err(Stopped);
        }
        self.place = Place::Words("a header name");
        Err(self.refused(Wanted::Words("an atom or a string"), key))
    }

    fn typed_lines(&mut self, values: &[Raw<'a>; 64], mut present: u64) -> Printed {
        while present != 0 {
            let place = present.trailing_zeros() as usize;
            let (id, prefix) = self.atoms.order.line(place);
            let start = self.out.len();
            if self.lines(id, prefix, values[place]).is_err() {
                self.lines_by_kind(id, prefix, values[place], start)?;
            }
            present &= present - 1;
        }
        Ok(())
    }

    /// RFC3261§7.3.1 - the values of the four authentication headers must not be combined. A Via or Route has a
    /// line for each value too: one that was added or taken off is then a line that was added or taken off.
    fn lines(&mut self, id: HeaderId, prefix: &'static [u8], value: Raw<'a>) -> Printed {
        self.place = Place::Header(id);
        let row = id.row();
        match (row.repeat, row.shape) {
            (Repeat::One, _) => {
                self.put(prefix);
                self.element(id, value)
            }
            (_, Shape::Via | Shape::Route | Shape::Auth) => {
                let mut rest = value;
                while let Some((value, others)) = self.make.cell(rest) {
                    self.put(prefix);
                    self.element(id, value)?;
                    rest = others;
                }
                match self.make.is_empty_list(rest) {
                    true => Ok(()),
                    false => self.refuse(Wanted::Words("a list"), value),
                }
            }
            (Repeat::List | Repeat::Lines, _) if self.make.is_empty_list(value) => Ok(()),
            _ => {
                self.put(prefix);
                self.value(id, value)
            }
        }
    }

    /// The value of one header as it stands behind its name, in one line.
    pub(super) fn whole_value(&mut self, id: HeaderId, value: Raw<'a>) -> Printed {
        self.place = Place::Header(id);
        let start = self.out.len();
        match self.value(id, value) {
            Ok(()) => Ok(()),
            Err(Stopped) => self.value_by_kind(id, value, start),
        }
    }

    fn value(&mut self, id: HeaderId, value: Raw<'a>) -> Printed {
        let row = id.row();
        match (row.repeat, row.shape) {
            (Repeat::One, _) => self.element(id, value),
            (Repeat::List0, _) if self.make.is_empty_list(value) => Ok(()),
            (_, Shape::Contact) if self.make.is_text(value, b"*") => {
                self.put(b"*");
                Ok(())
            }
            (_, Shape::Auth) => match self.make.cell(value) {
                Some((first, rest)) if self.make.is_empty_list(rest) => self.element(id, first),
                Some(_) => {
                    let one = "one value, as several must stand on lines of their own";
                    self.refuse(Wanted::Words(one), value)
                }
                None => self.refuse(Wanted::Shape(row.shape), value),
            },
            (_, shape) => self.list(value, shape, b", ", |printer, value| {
                printer.element(id, value)
            }),
        }
    }

    /// One element at least, and `separator` between them.
    pub(super) fn list(
        &mut self,
        whole: Raw<'a>,
        shape: Shape,
        separator: &[u8],
        print: impl Fn(&mut Self, Raw<'a>) -> Printed,
    ) -> Printed {
        let Some((first, mut rest)) = self.make.cell(whole) else {
            return self.refuse(Wanted::Shape(shape), whole);
        };
        print(self, first)?;
        while let Some((value, others)) = self.make.cell(rest) {
            self.put(separator);
            print(self, value)?;
            rest = others;
        }
        match self.make.is_empty_list(rest) {
            true => Ok(()),
            false => self.refuse(Wanted::Shape(shape), whole),
        }
    }

    /// A header without a type: its text stands as it is, line by line.
    fn raw_lines(&mut self, name: &'a [u8], key: Raw<'a>, value: Raw<'a>) -> Printed {
        // "Content-Length" and "l"; no other name needs the look into the table.
        if matches!(name.len(), 1 | 14) && HeaderId::find(name) == Some(HeaderId::CONTENT_LENGTH) {
            return Ok(());
        }
        self.place = Place::Words("a header name");
        if !super::octets::is_token(name) {
            return self.refuse(Wanted::Words("a token"), key);
        }
        self.place = Place::Raw(key);
        let start = self.out.len();
        match self.raw_values(name, value) {
            Ok(()) => Ok(()),
            Err(Stopped) => self.raw_by_kind(name, key, value, start),
        }
    }

    fn raw_values(&mut self, name: &[u8], value: Raw<'a>) -> Printed {
        if self.make.octets(value).is_some() {
            return self.raw_line(name, value);
        }
        let mut rest = value;
        while let Some((line, others)) = self.make.cell(rest) {
            self.raw_line(name, line)?;
            rest = others;
        }
        match self.make.is_empty_list(rest) {
            true => Ok(()),
            false => self.refuse(LINES, value),
        }
    }

    fn raw_line(&mut self, name: &[u8], line: Raw<'a>) -> Printed {
        self.put(b"\r\n");
        self.put(name);
        self.put(b": ");
        self.line_text(line, LINES)
    }
}
