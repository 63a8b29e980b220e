//! What a call costs, as a number that is the same in every run: how often the code's regions were entered.
//!
//! The compiler counts them where the crate is built with `-Cinstrument-coverage --cfg counted`; in other builds
//! nothing is counted. The standard library is compiled without counters, so that what it does costs the call alone;
//! the parser's own loops are all counted.

/// Whether this build counts.
pub const COUNTED: bool = cfg!(counted);

/// Regions that may be entered for each octet of the input, and [`CALL`] on top for a call.
///
/// The dearest input found, one Contact after the other with a dozen parameters each, takes a third of it; an ordinary
/// message takes a tenth. Work that grows with the square of a part of the input is far over it at a few thousand
/// octets.
const OCTET: u64 = 128;

/// What a call may cost without any input.
const CALL: u64 = 4_096;

/// Makes the call, which must cost no more than is linear in `octets`.
#[track_caller]
pub fn bounded<T>(octets: usize, call: impl FnOnce() -> T) -> T {
    let (result, cost) = cost(call);
    let most = CALL + OCTET * octets as u64;
    assert!(
        cost <= most,
        "{cost} regions entered for {octets} octets, at most {most} are linear"
    );
    result
}

/// Makes the call; gives what it cost, too, or 0 where nothing is counted.
pub fn cost<T>(call: impl FnOnce() -> T) -> (T, u64) {
    let before = entered();
    let result = call();
    (result, entered() - before)
}

#[cfg(not(counted))]
fn entered() -> u64 {
    0
}

/// The sum of all counters of this program.
#[cfg(counted)]
#[allow(unsafe_code)]
fn entered() -> u64 {
    // The names are those of LLVM's InstrProfiling.h.
    unsafe extern "C" {
        fn __llvm_profile_begin_counters() -> *const u64;
        fn __llvm_profile_end_counters() -> *const u64;
    }
    // SAFETY: the two bound one array of the program, which lives as long as that runs, and which no other thread
    // writes to: the fuzzer has one, and the replay runs one test at a time.
    let counters = unsafe {
        let (begin, end) = (
            __llvm_profile_begin_counters(),
            __llvm_profile_end_counters(),
        );
        core::slice::from_raw_parts(begin, end.offset_from_unsigned(begin))
    };
    counters.iter().sum()
}
