//! Connections of a shard: accepting them, passing them on to the shard that they ask for, forgetting them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use engine::shard::Message;
use engine::uring::{Completion, Op};
use rustix::net::sockopt;

use super::reactor::{Reactor, SLOT_BITS, TOKEN_ACCEPT};
use super::session::{Session, SessionId};

impl Reactor {
    pub(super) fn accept_more(&mut self) {
        if let Some(listener) = &self.listener
            && !self.accepting
            && !self.stopping
        {
            let op = Op::Accept { listener: listener.clone() };
            self.accepting = true;
            self.push(op, TOKEN_ACCEPT);
        }
    }

    pub(super) fn accepted(&mut self, completion: Completion) {
        match completion.accepted {
            Some(socket) => {
                self.accepting = false;
                if self.stopping {
                    return;
                }
                if self.context.server.connections() >= self.connections_max {
                    tracing::warn!(limit = self.connections_max, "a connection was refused: the limit is reached");
                    return;
                }
                self.open(socket, &[]);
            }
            // Out of descriptors, most likely. The next heartbeat tries again.
            None if !self.stopping => {
                self.accept_failed = true;
                let error = completion.result.err();
                tracing::warn!(error = error.map(tracing::field::display), "a connection could not be accepted");
            }
            None => {}
        }
    }

    pub(super) fn open(&mut self, socket: OwnedFd, rest: &[u8]) -> u32 {
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.sessions.push(None);
            self.is_active.push(false);
            self.sessions.len() as u32 - 1
        });
        assert!(slot < 1 << SLOT_BITS);
        self.generation = self.generation.wrapping_add(1);
        let id = SessionId { slot, generation: self.generation };
        if let Err(error) = set_socket_options(socket.as_fd(), self.peer_timeout) {
            tracing::debug!(%error, "options of a connection");
        }
        self.sessions[slot as usize] = Some(Session::new(id, socket, rest));
        self.context.metrics.connections.set(self.context.metrics.connections.get() + 1);
        self.activate(slot);
        slot
    }

    pub(super) fn close(&mut self, slot: u32) -> Session {
        let session = self.sessions[slot as usize].take().expect("open");
        self.free_slots.push(slot);
        self.held.retain(|&held| held != slot);
        self.context.metrics.connections.set(self.context.metrics.connections.get() - 1);
        session
    }

    /// Gives a connection that asked for it to another shard.
    pub(super) fn pass_on(&mut self, slot: u32, to: usize, request: u64) {
        let session = self.close(slot);
        let rest = session.rest().into();
        let socket = session.into_socket().expect("nothing is in flight while its frame is worked on");
        self.outbound[to].push_back(Message::Adopt { socket, request, rest });
    }

    /// Which shard serves a connection that does not mind.
    pub(super) fn next_shard(&mut self) -> usize {
        self.next_shard = (self.next_shard + 1) % self.context.shards;
        self.next_shard
    }
}

fn set_socket_options(socket: BorrowedFd<'_>, peer_timeout: Duration) -> rustix::io::Result<()> {
    // Replies are small and one behind the other: without this, each would wait for the last one's acknowledgement.
    sockopt::set_tcp_nodelay(socket, true)?;
    // A peer that is gone without a word is found out, and one that reads nothing gives back the memory of its replies.
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_user_timeout(socket, u32::try_from(peer_timeout.as_millis()).unwrap_or(u32::MAX))
}
