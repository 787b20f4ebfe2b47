//! When a connection waits for several requests instead of waking up for each, as network cards do.
//!
//! A client that streams sends its next produce requests whether it has its answers or not. Then the kernel is given a *mark*: it
//! wakes the connection once so many bytes have come in. A client that only looks as if it streamed, because each of its requests is
//! answered at once, stops short of the mark: its request is read a moment later all the same, and it must send many times as many
//! before it is taken for one that streams again.

use std::time::Duration;

use tokio::time::Instant;

use super::limits::{
    MODERATED_BYTES_MAX, MODERATED_REQUESTS_MAX, MODERATION, MODERATION_COMPARED, MODERATION_FORGIVEN,
    MODERATION_PATIENCE, MODERATION_PATIENCE_FACTOR, MODERATION_PATIENCE_MAX, MODERATION_TRUST, MODERATION_WINDOW,
};

/// The mark of a connection that wakes up for whatever comes.
pub const EVERY_BYTE: usize = 1;

/// What is known of one client's stream.
#[derive(Debug)]
pub struct Moderation {
    mark: usize,
    /// When the window of requests that is looked at began.
    began: Option<Instant>,
    /// How many requests the window holds, and how long they are together.
    requests: u32,
    bytes: usize,
    /// Requests in a row that came fast enough.
    streamed: u32,
    /// As many must have before requests are waited for.
    patience: u32,
    /// Requests that came while there was a mark, since one was not reached.
    kept: u32,
    /// What the client is trusted to send without an answer.
    together_max: u32,
    /// Time from one request to the next when none is waited for; zero until that is known.
    free_pace: Duration,
    /// Requests that came with a mark since they were last compared with that, and how long they took.
    paced: (u32, Duration),
}

impl Default for Moderation {
    fn default() -> Self {
        Self {
            mark: EVERY_BYTE,
            began: None,
            requests: 0,
            bytes: 0,
            streamed: 0,
            patience: MODERATION_PATIENCE,
            kept: 0,
            together_max: MODERATED_REQUESTS_MAX,
            free_pace: Duration::ZERO,
            paced: (0, Duration::ZERO),
        }
    }
}

impl Moderation {
    /// A produce request of so many bytes came in.
    pub const fn on_request(&mut self, bytes: usize) {
        self.requests = self.requests.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Bytes to wait for, now that all that came in is answered; the last of it came in at `now`.
    pub fn mark(&mut self, now: Instant) -> usize {
        match self.began {
            Some(began) if self.requests < MODERATION_WINDOW || now <= began => return self.mark,
            Some(began) => self.judge(now - began),
            None => {}
        }
        (self.began, self.requests, self.bytes) = (Some(now), 0, 0);
        self.mark
    }

    /// Looks at a window of requests that came within this time.
    fn judge(&mut self, time: Duration) {
        if self.mark > EVERY_BYTE {
            self.kept = self.kept.saturating_add(self.requests);
            if self.slows_the_client(time) {
                self.stop();
                self.lose_patience();
                return;
            }
        } else {
            let pace = time / self.requests;
            self.free_pace = if self.free_pace.is_zero() { pace } else { (self.free_pace + pace) / 2 };
        }
        if self.kept >= MODERATION_TRUST {
            self.kept = MODERATION_FORGIVEN;
            self.together_max = MODERATED_REQUESTS_MAX.min(self.together_max + 1);
        }
        // Rounded: one and a half counts as two.
        let together = (2 * MODERATION.as_nanos() * u128::from(self.requests) / time.as_nanos()).div_ceil(2);
        let together = usize::try_from(together).unwrap_or(usize::MAX).min(self.together_max as usize);
        let request = self.bytes / self.requests as usize;
        // They are not all of one length: the last one need not be there as a whole.
        let mark = request.saturating_mul(together).saturating_sub(request / 8).min(MODERATED_BYTES_MAX);
        if together < 2 || mark < request + request / 2 {
            self.stop();
            return;
        }
        self.streamed = self.streamed.saturating_add(self.requests);
        if self.streamed >= self.patience {
            self.mark = mark;
        }
    }

    /// A client that has its answers late and may send no more without them sends fewer: where the way there and back takes as long as
    /// it sends, the mark holds it up though it is reached each time.
    fn slows_the_client(&mut self, time: Duration) -> bool {
        self.paced = (self.paced.0 + self.requests, self.paced.1 + time);
        if self.paced.0 < MODERATION_COMPARED {
            return false;
        }
        let (requests, time) = std::mem::take(&mut self.paced);
        time / requests > self.free_pace + self.free_pace / 5
    }

    fn lose_patience(&mut self) {
        self.patience = self.patience.saturating_mul(MODERATION_PATIENCE_FACTOR).min(MODERATION_PATIENCE_MAX);
        self.paced = (0, Duration::ZERO);
    }

    /// The mark was not reached in time: so many bytes were there.
    pub fn on_overdue(&mut self, found: usize) {
        let streamed = self.streamed;
        self.stop();
        if found == 0 {
            // The client has made a pause, and no request has waited.
            self.streamed = streamed;
            return;
        }
        if self.kept >= MODERATION_FORGIVEN {
            self.patience = MODERATION_PATIENCE;
        } else {
            self.lose_patience();
            if self.together_max > 2 {
                self.together_max -= 1;
            }
        }
        self.kept = 0;
    }

    /// As if a stream had led to this mark.
    #[cfg(test)]
    pub const fn expect(&mut self, mark: usize) {
        self.mark = mark;
    }

    /// What comes in is no stream of produce requests, or they are not answered at once.
    pub const fn stop(&mut self) {
        self.mark = EVERY_BYTE;
        self.began = None;
        self.streamed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: usize = 16_346;

    /// A client, and when its last request came.
    struct Client {
        moderation: Moderation,
        now: Instant,
        /// Requests that it sends without an answer.
        in_flight: usize,
        /// How often a request was kept waiting.
        kept_waiting: u32,
    }

    impl Client {
        fn new(in_flight: usize) -> Self {
            Self { moderation: Moderation::default(), now: Instant::now(), in_flight, kept_waiting: 0 }
        }

        /// Sends requests at this distance of each other, in so far as it does not wait for answers.
        fn send(&mut self, count: u32, bytes: usize, distance: Duration) {
            let mut waiting = 0;
            for _ in 0..count {
                self.now += distance;
                waiting += 1;
                let mark = self.moderation.mark;
                if waiting * bytes < mark {
                    if waiting < self.in_flight {
                        continue;
                    }
                    self.kept_waiting += 1;
                    self.moderation.on_overdue(waiting * bytes);
                }
                (0..waiting).for_each(|_| self.moderation.on_request(bytes));
                waiting = 0;
                self.moderation.mark(self.now);
            }
        }

        fn requests_waited_for(&self) -> usize {
            self.moderation.mark.div_ceil(REQUEST)
        }
    }

    const fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn a_client_that_streams_is_read_several_requests_at_a_time() {
        let mut client = Client::new(5);
        client.send(MODERATION_PATIENCE - 1, REQUEST, micros(100));
        assert_eq!(client.moderation.mark, EVERY_BYTE, "it may be a short burst");
        client.send(1000, REQUEST, micros(100));
        assert_eq!(client.requests_waited_for(), 4);
        client.send(1000, REQUEST, micros(200));
        assert_eq!(client.requests_waited_for(), 2, "the time that a request waits stays the same");
        assert_eq!(client.kept_waiting, 0);
    }

    #[test]
    fn a_client_that_sends_request_after_answer_is_kept_waiting_a_few_times_in_a_million() {
        let mut client = Client::new(1);
        client.send(1000, REQUEST, micros(50));
        assert_eq!(client.kept_waiting, 2, "it looked as if it streamed");
        client.send(1_000_000, REQUEST, micros(50));
        assert!(client.kept_waiting <= 20, "{}", client.kept_waiting);
    }

    #[test]
    fn requests_a_millisecond_apart_never_wait() {
        let mut client = Client::new(5);
        client.send(10_000, REQUEST, Duration::from_millis(1));
        client.send(10_000, 100, micros(400));
        assert_eq!((client.kept_waiting, client.moderation.mark), (0, EVERY_BYTE));
    }

    #[test]
    fn a_stream_that_slows_down_is_waited_for_no_more() {
        let mut client = Client::new(5);
        client.send(1000, REQUEST, micros(100));
        client.send(3 * MODERATION_WINDOW, REQUEST, micros(900));
        assert_eq!(client.moderation.mark, EVERY_BYTE);
    }

    #[test]
    fn what_a_client_sends_without_an_answer_is_found_out() {
        let mut client = Client::new(2);
        client.send(20_000, REQUEST, micros(50));
        assert_eq!(client.requests_waited_for(), 2);
        assert_eq!(client.kept_waiting, 2, "with four and with three");
    }

    #[test]
    fn after_a_pause_that_no_request_has_waited_for_a_stream_is_taken_up_at_once() {
        let mut client = Client::new(5);
        client.send(1000, REQUEST, micros(100));
        client.now += Duration::from_secs(1);
        client.moderation.on_overdue(0);
        assert_eq!(client.moderation.mark, EVERY_BYTE);
        client.send(MODERATION_WINDOW + 1, REQUEST, micros(100));
        assert_eq!(client.requests_waited_for(), 4);
    }

    #[test]
    fn a_stall_within_a_long_stream_is_forgiven() {
        let mut client = Client::new(5);
        for _ in 0..20 {
            client.send(2 * MODERATION_FORGIVEN, REQUEST, micros(100));
            client.moderation.on_overdue(REQUEST);
        }
        client.send(2 * MODERATION_PATIENCE, REQUEST, micros(100));
        assert_eq!(client.requests_waited_for(), 4);
        // Stalls that come one after the other are not.
        for _ in 0..4 {
            client.send(2 * MODERATION_PATIENCE, REQUEST, micros(100));
            client.moderation.on_overdue(REQUEST);
        }
        client.send(8 * MODERATION_PATIENCE, REQUEST, micros(100));
        assert_eq!(client.moderation.mark, EVERY_BYTE);
    }

    #[test]
    fn a_client_that_is_slowed_down_by_it_is_left_alone() {
        let mut client = Client::new(5);
        client.send(1000, REQUEST, micros(100));
        let mut with_mark = 0;
        for _ in 0..1000 {
            let has_mark = client.moderation.mark > EVERY_BYTE;
            with_mark += u32::from(has_mark);
            // The answers of some come a way there and back later.
            client.send(MODERATION_WINDOW, REQUEST, micros(if has_mark { 140 } else { 100 }));
        }
        assert!(with_mark * MODERATION_WINDOW < 8 * MODERATION_COMPARED, "{with_mark}");
    }

    #[test]
    fn long_requests_come_one_by_one() {
        let mut client = Client::new(5);
        client.send(10_000, MODERATED_BYTES_MAX, micros(60));
        assert_eq!(client.moderation.mark, EVERY_BYTE);
    }

    #[test]
    fn another_request_in_between_begins_anew() {
        let mut client = Client::new(5);
        client.send(1000, REQUEST, micros(100));
        client.moderation.stop();
        assert_eq!(client.moderation.mark, EVERY_BYTE);
        client.send(MODERATION_PATIENCE - 1, REQUEST, micros(100));
        assert_eq!(client.moderation.mark, EVERY_BYTE);
    }
}
