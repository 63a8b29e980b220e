//! What a run has measured, as one line of numbers.

use std::fmt;
use std::time::Duration;

/// Printed as `calls failed again late median p99 p999 max`: numbers of calls, those without an answer to all of their
/// requests, requests sent again; then microseconds: by how much the last call started late, and the times from a request
/// to its final response.
pub(crate) struct Report {
    calls: usize,
    failed: usize,
    again: u32,
    late: Duration,
    times: Vec<Duration>,
}

impl Report {
    pub(crate) fn new(
        calls: usize,
        done: usize,
        again: u32,
        late: Duration,
        mut times: Vec<Duration>,
    ) -> Report {
        times.sort_unstable();
        let failed = calls - done;
        Report {
            calls,
            failed,
            again,
            late,
            times,
        }
    }

    fn quantile(&self, share: f64) -> u128 {
        let last = self.times.len().saturating_sub(1);
        let index = (last as f64 * share).ceil() as usize;
        self.times.get(index).map_or(0, Duration::as_micros)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report {
            calls,
            failed,
            again,
            late,
            ..
        } = self;
        write!(to, "{calls} {failed} {again} {}", late.as_micros())?;
        for share in [0.5, 0.99, 0.999, 1.0] {
            write!(to, " {}", self.quantile(share))?;
        }
        Ok(())
    }
}
