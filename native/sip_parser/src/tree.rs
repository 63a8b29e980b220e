//! The syntax tree: flat arrays of small nodes that point into the message's text.
//!
//! A node never owns text. It holds [`Span`]s, resolved by [`crate::Message::text`], and ranges of the
//! arrays here. Elements of one header stand next to one another, those of all its lines in order.

use crate::error::{Fault, Parsed};
use crate::limits;
use crate::names::{SIP_PORT, SIPS_PORT};
use smallvec::SmallVec;

/// A piece of the message's text, as octet positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Position of the first octet.
    pub start: u32,
    /// Position behind the last octet.
    pub end: u32,
}

impl Span {
    #[inline]
    pub(crate) fn new(start: usize, end: usize) -> Span {
        Span {
            start: start as u32,
            end: end as u32,
        }
    }

    /// Number of octets.
    #[inline]
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether nothing is in it.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The octets in `text`.
    #[inline]
    pub fn of(self, text: &[u8]) -> &[u8] {
        &text[self.start as usize..self.end as usize]
    }
}

/// Text that stood in quotes (or in a comment's parentheses) or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// The text without its quotes.
    pub span: Span,
    /// Whether a `\` escapes an octet in it; [`unescape`] takes it away.
    pub escaped: bool,
}

/// Removes the `\` of each `quoted-pair` (RFC 3261 §25.1).
pub fn unescape(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut octets = text.iter().copied();
    core::iter::from_fn(move || match octets.next() {
        Some(b'\\') => octets.next(),
        octet => octet,
    })
}

/// A range of one of the tree's arrays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Range {
    /// Number of nodes.
    #[inline]
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether there is no node.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    #[inline]
    fn of<T>(self, nodes: &[T]) -> &[T] {
        &nodes[self.start as usize..self.end as usize]
    }
}

/// `name`, `name=value` or `name="value"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Param {
    /// The name as sent; names are compared in any letter case.
    pub name: Span,
    /// The value, empty where there is none.
    pub value: Text,
}

/// What a URI's scheme makes of the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UriKind {
    /// `sip:` (RFC 3261 §19.1)
    Sip,
    /// `sips:`
    Sips,
    /// `tel:` (RFC 3966)
    Tel,
    /// Any other absolute URI, opaque but for its scheme.
    Other,
}

impl UriKind {
    /// The port of a URI that has none, where there may be one (RFC 3261 §19.1.2).
    #[inline]
    pub fn default_port(self) -> Option<u16> {
        match self {
            UriKind::Sip => Some(SIP_PORT),
            UriKind::Sips => Some(SIPS_PORT),
            UriKind::Tel | UriKind::Other => None,
        }
    }
}

/// A URI, cut into its components; nothing is unescaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri {
    /// Which scheme.
    pub kind: UriKind,
    /// The scheme as sent.
    pub scheme: Span,
    /// What stands between `scheme:` and the parameters; all of the rest for [`UriKind::Other`].
    pub authority: Span,
    /// User and password, without the `@`.
    pub userinfo: Option<Span>,
    /// The host without the brackets of an IPv6 reference; empty unless SIP or SIPS.
    pub host: Span,
    /// The port, where it is given.
    pub port: Option<u16>,
    /// From the first `;` on, or empty.
    pub parameters: Span,
    /// From the `?` on, or empty.
    pub headers: Span,
}

/// Number of a [`Uri`] in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UriId(pub(crate) u32);

/// A method of the CSeq or the start line.
pub type Method = Span;

/// One hop of a Via (RFC 3261 §20.42).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via {
    /// SIP-Version of the hop.
    pub version: (u16, u16),
    /// The transport as sent.
    pub transport: Span,
    /// The host of the sent-by, without brackets.
    pub host: Span,
    /// The port of the sent-by, where it is given.
    pub port: Option<u16>,
    /// `branch`, `received`, `rport` and others.
    pub params: Range,
}

/// A date in GMT (RFC 3261 §20.17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The names say it all.
pub struct Date {
    pub year: u16,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
}

/// One element of a typed header, by shape.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)] // The fields bear the names of the grammar's rules.
pub enum Item {
    Address {
        display: Text,
        uri: UriId,
        params: Range,
    },
    Auth {
        scheme: Span,
        params: Range,
        token68: Option<Span>,
    },
    Cseq {
        number: u32,
        method: Method,
    },
    Date(Date),
    Integer(u32),
    IntegerParams {
        value: u32,
        params: Range,
    },
    Media {
        main: Span,
        sub: Span,
        params: Range,
    },
    Params(Range),
    Rack {
        response: u32,
        cseq: u32,
        method: Method,
    },
    RetryAfter {
        seconds: u32,
        comment: Text,
        params: Range,
    },
    Star,
    Text(Span),
    Timestamp {
        time: f64,
        delay: f64,
    },
    Token(Span),
    TokenParams {
        token: Span,
        params: Range,
    },
    UriParams {
        uri: UriId,
        params: Range,
    },
    Version {
        major: u16,
        minor: u16,
    },
    Via(Via),
    Warning {
        code: u16,
        agent: Span,
        text: Text,
    },
    WordParams {
        word: Text,
        params: Range,
    },
}

/// The arrays of nodes. Their inline sizes hold an ordinary message without the heap.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) items: SmallVec<[Item; 64]>,
    pub(crate) params: SmallVec<[Param; 64]>,
    pub(crate) uris: SmallVec<[Uri; 16]>,
    /// How many nodes the arrays have together, with those that were taken out again.
    nodes: usize,
}

/// What a URI counts: with its text it costs a reader twice as much as an element or a parameter.
const URI_NODES: usize = 2;

/// Where the arrays ended: what a failed header has added is taken back to here.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    items: usize,
    params: usize,
    uris: usize,
    nodes: usize,
}

impl Tree {
    pub(crate) fn clear(&mut self) {
        self.items.clear();
        self.params.clear();
        self.uris.clear();
        self.nodes = 0;
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            items: self.items.len(),
            params: self.params.len(),
            uris: self.uris.len(),
            nodes: self.nodes,
        }
    }

    pub(crate) fn reset(&mut self, mark: Mark) {
        self.items.truncate(mark.items);
        self.params.truncate(mark.params);
        self.uris.truncate(mark.uris);
        self.nodes = mark.nodes;
    }

    #[inline]
    pub(crate) fn push_uri(&mut self, uri: Uri) -> UriId {
        self.nodes += URI_NODES;
        let id = UriId(self.uris.len() as u32);
        self.uris.push(uri);
        id
    }

    #[inline]
    pub(crate) fn push_param(&mut self, param: Param) -> Parsed<()> {
        self.count(param.name.start as usize)?;
        self.params.push(param);
        Ok(())
    }

    #[inline]
    pub(crate) fn push_item(&mut self, item: Item, at: usize) -> Parsed<()> {
        self.count(at)?;
        self.items.push(item);
        Ok(())
    }

    /// Counts one node more, whose text stands at `at`. A URI has an element, and is counted with that.
    #[inline]
    fn count(&mut self, at: usize) -> Parsed<()> {
        self.nodes += 1;
        match self.nodes <= limits::NODES {
            true => Ok(()),
            false => Err(Fault::TooManyElements(at)),
        }
    }

    #[inline]
    pub(crate) fn params_from(&self, start: usize) -> Range {
        Range {
            start: start as u32,
            end: self.params.len() as u32,
        }
    }

    #[inline]
    pub(crate) fn items_from(&self, mark: Mark) -> Range {
        Range {
            start: mark.items as u32,
            end: self.items.len() as u32,
        }
    }

    #[inline]
    pub(crate) fn items_of(&self, range: Range) -> &[Item] {
        range.of(&self.items)
    }

    #[inline]
    pub(crate) fn params_of(&self, range: Range) -> &[Param] {
        range.of(&self.params)
    }

    #[inline]
    pub(crate) fn uri(&self, id: UriId) -> &Uri {
        &self.uris[id.0 as usize]
    }
}
