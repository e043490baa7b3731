//! Where the tasks of a shard's thread leave what they want sent. The data plane empties it every turn.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::task::{Poll, Waker};

use engine::shard::Message;

use super::session::SessionId;
use crate::codec::Header;

/// A reply, ready to be sent: one whole frame.
pub struct Reply {
    /// Who asked.
    pub session: SessionId,
    /// What it is the reply to.
    pub request: Header,
    /// The frame.
    pub frame: Vec<u8>,
    /// True when it says what went wrong.
    pub is_error: bool,
}

/// Out-tray of the tasks of one thread, and in-tray for the answers that they wait for.
#[derive(Default)]
pub struct Mailbox {
    replies: RefCell<Vec<Reply>>,
    messages: RefCell<Vec<(usize, Message)>>,
    awaited: RefCell<HashMap<u64, Awaited>>,
    last_ticket: Cell<u64>,
}

struct Awaited {
    missing: usize,
    answers: Vec<Message>,
    waker: Option<Waker>,
}

impl Mailbox {
    /// Leaves a reply.
    pub fn reply(&self, reply: Reply) {
        self.replies.borrow_mut().push(reply);
    }

    /// Leaves a message for another participant of the mesh.
    pub fn send(&self, to: usize, message: Message) {
        self.messages.borrow_mut().push((to, message));
    }

    /// Takes all replies.
    pub fn take_replies(&self) -> Vec<Reply> {
        std::mem::take(&mut *self.replies.borrow_mut())
    }

    /// Takes all messages.
    pub fn take_messages(&self) -> Vec<(usize, Message)> {
        std::mem::take(&mut *self.messages.borrow_mut())
    }

    /// True when nothing is left in it.
    pub fn is_empty(&self) -> bool {
        self.replies.borrow().is_empty() && self.messages.borrow().is_empty()
    }

    /// A number that `answers` answers will come back under.
    pub fn expect(&self, answers: usize) -> u64 {
        assert!(answers > 0, "nothing to wait for");
        let ticket = self.last_ticket.get() + 1;
        self.last_ticket.set(ticket);
        let awaited = Awaited { missing: answers, answers: Vec::with_capacity(answers), waker: None };
        self.awaited.borrow_mut().insert(ticket, awaited);
        ticket
    }

    /// So many of the answers that were expected will not come. For the task that waits for them.
    pub fn forgo(&self, ticket: u64, answers: usize) {
        let mut all = self.awaited.borrow_mut();
        let awaited = all.get_mut(&ticket).expect("it was expected");
        awaited.missing = awaited.missing.checked_sub(answers).expect("no more than were expected");
    }

    /// Hands a message to the task that waits for it; it stands for so many of the answers that are expected.
    pub fn answer(&self, ticket: u64, answers: usize, message: Message) {
        let mut all = self.awaited.borrow_mut();
        let Some(awaited) = all.get_mut(&ticket) else { return };
        awaited.missing = awaited.missing.checked_sub(answers).expect("no more than were expected");
        awaited.answers.push(message);
        if awaited.missing == 0
            && let Some(waker) = awaited.waker.take()
        {
            waker.wake();
        }
    }

    /// Waits for all answers of `ticket`.
    pub async fn answers(self: &Rc<Self>, ticket: u64) -> Vec<Message> {
        std::future::poll_fn(|context| {
            let mut all = self.awaited.borrow_mut();
            let awaited = all.get_mut(&ticket).expect("waited for once");
            if awaited.missing > 0 {
                awaited.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(all.remove(&ticket).expect("present").answers)
        })
        .await
    }
}
