//! One thread starts calls when they are due and sends again what is not answered; another takes the answers and sends
//! what follows them. Calls are found by their number, so neither waits for the other.

use crate::call::{Party, Request};
use crate::report::Report;
use crate::wire;
use std::net::UdpSocket;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) struct Plan {
    pub(crate) first: Request,
    pub(crate) rate: u64,
    pub(crate) time: Duration,
    /// Requests sent again after which the run is not worth its end.
    pub(crate) most_again: u32,
}

/// After which time a request without an answer is sent again: RFC3261§17.1.1.2, the first three times.
const AGAIN: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_millis(1_500),
    Duration::from_millis(3_500),
];

/// A call without an answer by then has failed.
const PATIENCE: Duration = Duration::from_secs(4);

/// A shorter wait is not worth a sleep: the clock's own slack is 50 µs.
const LEAST_SLEEP: Duration = Duration::from_micros(30);

/// One call. Times are nanoseconds since the start of the run; 0 is not yet.
#[derive(Default)]
struct Call {
    sent: AtomicU64,
    answered: AtomicU64,
    to: OnceLock<Vec<u8>>,
    bye_sent: AtomicU64,
    bye_answered: AtomicU64,
}

struct Run<'a> {
    socket: &'a UdpSocket,
    plan: &'a Plan,
    party: Party,
    calls: Vec<Call>,
    start: Instant,
    again: AtomicU32,
    over: AtomicBool,
}

pub(crate) fn run(socket: &UdpSocket, plan: &Plan) -> std::io::Result<Report> {
    let number = (plan.rate as f64 * plan.time.as_secs_f64()) as usize;
    let run = Run {
        socket,
        plan,
        party: Party {
            local: socket.local_addr()?,
            remote: socket.peer_addr()?,
            run: std::process::id(),
        },
        calls: std::iter::repeat_with(Call::default).take(number).collect(),
        start: Instant::now(),
        again: AtomicU32::new(0),
        over: AtomicBool::new(false),
    };
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let late = thread::scope(|scope| {
        scope.spawn(|| run.receive());
        let late = run.send();
        run.over.store(true, Ordering::Relaxed);
        late
    });
    Ok(run.report(late))
}

impl Run<'_> {
    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Starts each call when it is due; gives by how much the last one was late.
    fn send(&self) -> Duration {
        let interval = Duration::from_secs(1).as_nanos() as u64 / self.plan.rate;
        let mut repeated = [0; AGAIN.len()];
        let mut late = 0;
        for (number, call) in self.calls.iter().enumerate() {
            if self.hopeless() {
                break;
            }
            let due = number as u64 * interval;
            self.wait(due, number, &mut repeated);
            let now = self.now();
            late = now.saturating_sub(due);
            call.sent.store(now.max(1), Ordering::Release);
            self.post(&self.party.request(self.plan.first, number, b""));
        }
        let number = self.calls.len();
        let end = self.now() + PATIENCE.as_nanos() as u64;
        while self.now() < end && !self.hopeless() && !self.calls.iter().all(|call| self.done(call))
        {
            self.wait(self.now() + 10_000_000, number, &mut repeated);
        }
        Duration::from_nanos(late)
    }

    fn hopeless(&self) -> bool {
        self.again.load(Ordering::Relaxed) > self.plan.most_again
    }

    fn wait(&self, due: u64, started: usize, repeated: &mut [usize; AGAIN.len()]) {
        loop {
            self.repeat(started, repeated);
            let left = Duration::from_nanos(due.saturating_sub(self.now()));
            if left < LEAST_SLEEP {
                return;
            }
            thread::sleep(left.min(Duration::from_millis(10)));
        }
    }

    /// Calls started in the order of their numbers, so each turn of repetition goes once through all.
    fn repeat(&self, started: usize, repeated: &mut [usize; AGAIN.len()]) {
        let now = self.now();
        for (next, after) in repeated.iter_mut().zip(AGAIN) {
            let due = now.saturating_sub(after.as_nanos() as u64);
            while *next < started && self.calls[*next].sent.load(Ordering::Relaxed) <= due {
                self.repeat_call(*next);
                *next += 1;
            }
        }
    }

    fn repeat_call(&self, number: usize) {
        let call = &self.calls[number];
        if self.done(call) {
            return;
        }
        let request = match call.to.get() {
            Some(to) if call.answered.load(Ordering::Relaxed) > 0 => {
                self.party.request(Request::Bye, number, to)
            }
            _ => self.party.request(self.plan.first, number, b""),
        };
        self.again.fetch_add(1, Ordering::Relaxed);
        self.post(&request);
    }

    fn done(&self, call: &Call) -> bool {
        let last = match self.plan.first {
            Request::Invite => &call.bye_answered,
            _ => &call.answered,
        };
        last.load(Ordering::Relaxed) > 0
    }

    /// What the system refuses is lost, as what the network loses: it is sent again.
    fn post(&self, octets: &[u8]) {
        let _lost = self.socket.send(octets);
    }

    fn receive(&self) {
        let mut datagram = vec![0; 65_536];
        while !self.over.load(Ordering::Relaxed) {
            if let Ok(length) = self.socket.recv(&mut datagram) {
                self.take(&datagram[..length], self.now());
            }
        }
    }

    fn take(&self, response: &[u8], now: u64) {
        let (Some(200), Some((number, letter))) =
            (wire::status(response), wire::branched(response))
        else {
            return;
        };
        let Some(call) = self.calls.get(number) else {
            return;
        };
        if letter == Request::Bye.letter() {
            first(&call.bye_answered, now);
        } else if first(&call.answered, now) && self.plan.first == Request::Invite {
            let to = wire::line(response, b"To").unwrap_or_default();
            call.bye_sent.store(self.now(), Ordering::Relaxed);
            self.post(&self.party.ack(number, to));
            self.post(&self.party.request(Request::Bye, number, to));
            let _once = call.to.set(to.to_vec());
        } else if let (Some(to), Request::Invite) = (call.to.get(), self.plan.first) {
            self.post(&self.party.ack(number, to));
        }
    }

    fn report(&self, late: Duration) -> Report {
        let done = self.calls.iter().filter(|call| self.done(call)).count();
        let pairs = self.calls.iter().flat_map(|call| {
            [
                (&call.sent, &call.answered),
                (&call.bye_sent, &call.bye_answered),
            ]
        });
        let times = pairs.filter_map(|(sent, answered)| {
            let (sent, answered) = (
                sent.load(Ordering::Relaxed),
                answered.load(Ordering::Relaxed),
            );
            (answered > 0).then(|| Duration::from_nanos(answered.saturating_sub(sent)))
        });
        Report::new(
            self.calls.len(),
            done,
            self.again.load(Ordering::Relaxed),
            late,
            times.collect(),
        )
    }
}

/// Whether this is the first answer.
fn first(answered: &AtomicU64, now: u64) -> bool {
    answered
        .compare_exchange(0, now.max(1), Ordering::Relaxed, Ordering::Relaxed)
        .is_ok()
}
