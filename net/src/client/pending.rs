//! A request on its way.

use std::time::Instant;

use super::connection::{Reply, Ticket};
use crate::error::Result;

type Finish<T> = Box<dyn FnOnce(Vec<Reply>) -> Result<T> + Send>;

/// A request that was sent, in one or several parts. Dropping it gives up the answer, not the request.
#[must_use = "the outcome is not known before wait"]
pub struct Pending<T> {
    tickets: Vec<Ticket>,
    finish: Finish<T>,
}

impl<T> Pending<T> {
    pub(super) fn new(tickets: Vec<Ticket>, finish: impl FnOnce(Vec<Reply>) -> Result<T> + Send + 'static) -> Self {
        assert!(!tickets.is_empty(), "something was sent");
        Self { tickets, finish: Box::new(finish) }
    }

    /// Waits for all parts. The first error, in the order of the parts, stands for all; other parts may have been carried out.
    pub fn wait(self) -> Result<T> {
        self.wait_timed().map(|(value, _)| value)
    }

    /// As [`Pending::wait`], with the moment at which the last reply was read from the socket.
    pub fn wait_timed(self) -> Result<(T, Instant)> {
        let timeout = self.tickets[0].timeout();
        let deadline = Instant::now() + timeout;
        let replies: Vec<Result<Reply>> = self.tickets.into_iter().map(|ticket| ticket.wait_until(deadline)).collect();
        let replies = replies.into_iter().collect::<Result<Vec<_>>>()?;
        let at = replies.iter().map(|reply| reply.at).max().expect("at least one part");
        Ok(((self.finish)(replies)?, at))
    }

    /// Whether [`Pending::wait`] would return at once.
    pub fn is_ready(&self) -> bool {
        self.tickets.iter().all(Ticket::is_ready)
    }
}
