//! Every atom that a result can have. All are made when the library is loaded, none ever from input.

use crate::print::Order;
use crate::term::{Atom, Maker, Raw};
use once_cell::sync::OnceCell;
use sip_parser::{
    HeaderId, Level, METHODS, PROTOCOLS, ROW_COUNT, Reason, find_method, find_protocol,
};

static ATOMS: OnceCell<Atoms> = OnceCell::new();

/// The atoms, and the order in which the VM keeps them as keys.
pub(crate) struct Atoms {
    pub(crate) nil: Atom,
    pub(crate) ok: Atom,
    pub(crate) error: Atom,
    pub(crate) request: Atom,
    pub(crate) response: Atom,
    pub(crate) complete: Atom,
    pub(crate) partial: Atom,
    pub(crate) calendar: Atom,
    methods: [Atom; METHODS.len()],
    protocols: [Atom; PROTOCOLS.len()],
    reasons: [Atom; Reason::ALL.len()],
    /// Per row of the header table: the key's place among all keys, for typed headers.
    rank: [u8; ROW_COUNT],
    /// The keys of typed headers, in the VM's order.
    pub(crate) keys: Vec<Atom>,
    pub(crate) uri: Struct<8>,
    pub(crate) date: Struct<9>,
    pub(crate) request_line: Struct<4>,
    pub(crate) status_line: Struct<4>,
    pub(crate) parts: Parts,
    /// The order of the typed headers in print.
    pub(crate) order: Order,
}

/// What can be printed, and the answers other than text.
pub(crate) struct Parts {
    pub(crate) message: Atom,
    pub(crate) headers: Atom,
    pub(crate) start_line: Atom,
    pub(crate) value: Atom,
    pub(crate) uri: Atom,
    pub(crate) large: Atom,
    pub(crate) untyped: Atom,
}

/// The keys of a struct in the VM's order, and where the fields go that are given in another.
pub(crate) struct Struct<const N: usize> {
    name: Atom,
    /// The keys in the order of the fields.
    given: [Atom; N],
    keys: [Atom; N],
    /// For each key in the VM's order the number of its field; 0 is `__struct__`.
    fields: [u8; N],
}

impl<const N: usize> Struct<N> {
    fn new(maker: Maker<'_>, name: &str, fields: [&str; N]) -> Struct<N> {
        let given = fields.map(|field| maker.atom(field));
        let keys = in_order(maker, &given);
        let number = |key: Atom| given.iter().position(|other| *other == key).unwrap_or(0) as u8;
        Struct {
            name: maker.atom(name),
            given,
            keys: std::array::from_fn(|place| keys[place]),
            fields: std::array::from_fn(|place| number(keys[place])),
        }
    }

    /// Makes the struct from its fields in the order of [`Struct::new`], the first one being its name.
    #[inline]
    pub(crate) fn make<'a>(&self, maker: Maker<'a>, mut fields: [Raw<'a>; N]) -> Option<Raw<'a>> {
        fields[0] = self.name.into();
        let keys = self.keys.map(Raw::from);
        let values = self.fields.map(|field| fields[usize::from(field)]);
        maker.map(&keys, &values)
    }

    /// Whether a term is such a struct.
    #[inline]
    pub(crate) fn is<'a>(&self, maker: Maker<'a>, term: Raw<'a>) -> bool {
        matches!(self.field(maker, term, 0), Some(name) if name == self.name)
    }

    /// A field by its number.
    #[inline]
    pub(crate) fn field<'a>(
        &self,
        maker: Maker<'a>,
        term: Raw<'a>,
        number: usize,
    ) -> Option<Raw<'a>> {
        maker.field(term, self.given[number])
    }

    /// The fields of such a struct in the order of [`Struct::new`]; none of another term, nor where a field was
    /// taken away.
    #[inline]
    pub(crate) fn fields<'a>(&self, maker: Maker<'a>, term: Raw<'a>) -> Option<[Raw<'a>; N]> {
        let mut fields = [self.name.into(); N];
        if !self.is(maker, term) {
            return None;
        }
        for (field, key) in fields.iter_mut().zip(&self.given).skip(1) {
            *field = maker.field(term, *key)?;
        }
        Some(fields)
    }
}

/// Sorts atoms as the VM sorts the keys of a map. A small map tells the order; there are more headers than
/// such a map holds, so each pair is asked for.
fn in_order(maker: Maker<'_>, atoms: &[Atom]) -> Vec<Atom> {
    let mut sorted = atoms.to_vec();
    sorted.sort_by(|one, other| {
        if one == other {
            return std::cmp::Ordering::Equal;
        }
        let pair = [Raw::from(*one), Raw::from(*other)];
        let map = maker.map(&pair, &pair);
        match map.and_then(|map| maker.pairs(map)?.next()) == Some((pair[0], pair[0])) {
            true => std::cmp::Ordering::Less,
            false => std::cmp::Ordering::Greater,
        }
    });
    sorted
}

impl Atoms {
    /// Makes them all; called once, by the load callback.
    pub(crate) fn load(maker: Maker<'_>) {
        ATOMS.get_or_init(|| Atoms::new(maker));
    }

    /// The atoms; they are there from the load on.
    #[inline]
    pub(crate) fn get() -> &'static Atoms {
        ATOMS.get().expect("the load callback has run")
    }

    fn new(maker: Maker<'_>) -> Atoms {
        let atom = |name: &str| maker.atom(name);
        let lower = |name: &str| maker.atom(&name.to_ascii_lowercase());
        let typed = || HeaderId::all().filter(|id| id.row().level != Level::Extension);
        let key = |id: HeaderId| lower(&id.row().name.replace('-', "_"));
        let keys = in_order(maker, &typed().map(key).collect::<Vec<_>>());
        let mut rank = [u8::MAX; ROW_COUNT];
        for id in typed() {
            let place = keys.iter().position(|other| *other == key(id));
            rank[id.index()] = place.unwrap_or(usize::MAX) as u8;
        }
        Atoms {
            nil: atom("nil"),
            ok: atom("ok"),
            error: atom("error"),
            request: atom("request"),
            response: atom("response"),
            complete: atom("complete"),
            partial: atom("partial"),
            calendar: atom("Elixir.Calendar.ISO"),
            methods: METHODS.map(lower),
            protocols: PROTOCOLS.map(|protocol| lower(protocol.name)),
            reasons: Reason::ALL.map(|reason| atom(reason.name())),
            rank,
            keys,
            uri: Struct::new(
                maker,
                "Elixir.Sippet.URI",
                [
                    "__struct__",
                    "scheme",
                    "userinfo",
                    "authority",
                    "parameters",
                    "headers",
                    "host",
                    "port",
                ],
            ),
            date: Struct::new(
                maker,
                "Elixir.NaiveDateTime",
                [
                    "__struct__",
                    "calendar",
                    "year",
                    "month",
                    "day",
                    "hour",
                    "minute",
                    "second",
                    "microsecond",
                ],
            ),
            request_line: Struct::new(
                maker,
                "Elixir.Sippet.Message.RequestLine",
                ["__struct__", "method", "request_uri", "version"],
            ),
            status_line: Struct::new(
                maker,
                "Elixir.Sippet.Message.StatusLine",
                ["__struct__", "version", "status_code", "reason_phrase"],
            ),
            parts: Parts {
                message: atom("message"),
                headers: atom("headers"),
                start_line: atom("start_line"),
                value: atom("value"),
                uri: atom("uri"),
                large: atom("large"),
                untyped: atom("untyped"),
            },
            order: Order::new(maker),
        }
    }

    /// The method that the text is, if it is a known one.
    #[inline]
    pub(crate) fn method(&self, text: &[u8]) -> Option<Atom> {
        find_method(text).map(|place| self.methods[place])
    }

    /// The transport in any letter case, and the port that a sent-by without one means.
    #[inline]
    pub(crate) fn protocol(&self, text: &[u8]) -> Option<(Atom, Option<u16>)> {
        let place = find_protocol(text)?;
        Some((self.protocols[place], PROTOCOLS[place].port))
    }

    /// What a known method is on the wire.
    #[inline]
    pub(crate) fn method_name(&self, method: Raw<'_>) -> Option<&'static str> {
        let place = self.methods.iter().position(|atom| method == *atom)?;
        Some(METHODS[place])
    }

    /// What a known transport is on the wire.
    #[inline]
    pub(crate) fn protocol_name(&self, protocol: Raw<'_>) -> Option<&'static str> {
        let place = self.protocols.iter().position(|atom| protocol == *atom)?;
        Some(PROTOCOLS[place].name)
    }

    /// Whether a sent-by without a port means one (RFC 3261 §18.2.2).
    pub(crate) fn has_default_port(&self, protocol: Raw<'_>) -> bool {
        let place = self.protocols.iter().position(|atom| protocol == *atom);
        place.is_some_and(|place| PROTOCOLS[place].port.is_some())
    }

    pub(crate) fn reason(&self, reason: Reason) -> Atom {
        let place = Reason::ALL.iter().position(|other| *other == reason);
        self.reasons[place.unwrap_or(0)]
    }

    /// The place of a typed header's key among [`Atoms::keys`].
    #[inline]
    pub(crate) fn rank(&self, id: HeaderId) -> usize {
        usize::from(self.rank[id.index()])
    }
}
