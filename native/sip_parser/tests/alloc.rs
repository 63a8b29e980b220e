//! An ordinary message is parsed without the heap: a counting allocator says so.

mod common;

use common::{fixture, fixtures, project};
use sip_parser::{HeaderId, Parser, StartLine, parse_uri};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::hint::black_box;

thread_local! {
    /// Of this thread, as the tests run side by side.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    ALLOCATIONS.with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is passed on to the system's allocator as it came; the counter allocates nothing, as a
// constant and without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    // The table's index is built once for the process.
    HeaderId::find(b"Via");
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// Of a new parser for this one message, which must be good.
fn of_a_new_parser(input: &[u8]) -> usize {
    allocations(|| {
        let mut parser = Parser::new();
        assert!(black_box(parser.parse(black_box(input))).is_ok());
    })
}

fn bench_messages() -> Vec<(String, Vec<u8>)> {
    let mut messages: Vec<(String, Vec<u8>)> = fs::read_dir(project().join("bench/messages"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    messages.sort();
    assert_eq!(messages.len(), 6);
    messages
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(black_box(Box::new(1)))), 1);
    assert_eq!(allocations(|| drop(black_box(vec![0u8; 10]))), 1);
    assert_eq!(allocations(|| ()), 0);
}

#[test]
fn messages_of_the_benchmark() {
    for (name, input) in bench_messages() {
        assert_eq!(of_a_new_parser(&input), 0, "{name}");
    }
}

#[test]
fn messages_of_real_clients() {
    for name in fixtures("clients") {
        assert_eq!(of_a_new_parser(&fixture(&name)), 0, "{name}");
    }
}

/// Folds are what is copied, once for all that follows.
#[test]
fn a_folded_message_and_then_a_larger_one() {
    let (folded, long) = (fixture("rfc4475/wsinv"), fixture("rfc4475/longreq"));
    let many = [
        b"OPTIONS sip:h SIP/2.0\r\n".as_slice(),
        &b"Via: SIP/2.0/UDP h;a;b;c\r\n".repeat(500),
        b"\r\n",
    ]
    .concat();
    let mut parser = Parser::new();
    for input in [&folded, &long, &many] {
        assert!(parser.parse(input).is_ok());
    }
    for input in [&folded, &long, &many] {
        assert_eq!(allocations(|| assert!(parser.parse(input).is_ok())), 0);
    }
    assert!(of_a_new_parser(&folded) > 0 && of_a_new_parser(&many) > 0);
}

#[test]
fn refusals_and_uris() {
    for name in [
        "rfc4475/quotbal",
        "rfc4475/mcl01",
        "rfc4475/bigcode",
        "rfc4475/ncl",
    ] {
        let input = fixture(name);
        let found = allocations(|| assert!(Parser::new().parse(&input).is_err()));
        assert_eq!(found, 0, "{name}");
    }
    let uri = b"sip:alice;day=tuesday@[2001:db8:::192.0.2.1]:5060;lr?a=b";
    assert_eq!(allocations(|| assert!(parse_uri(uri).is_ok())), 0);
}

/// What a message gives is looked at without the heap too.
#[test]
fn the_tree_is_borrowed() {
    let (_, input) = bench_messages().remove(2);
    let mut parser = Parser::new();
    let message = parser.parse(&input).unwrap();
    let found = allocations(|| {
        assert!(matches!(message.start_line(), StartLine::Request { .. }));
        for header in message.headers() {
            black_box(message.values(header).count());
            black_box(message.items(header).map(<[_]>::len));
        }
        black_box(message.body());
    });
    assert_eq!(found, 0);
}
