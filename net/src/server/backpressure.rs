//! Holding connections back and letting them go on: nothing is read from a connection whose next frame has no room, and its
//! next write tells the client why.

use std::time::{Duration, Instant};

use engine::probes;

use super::reactor::Reactor;
use super::session::Held;
use crate::codec::HEADER_BYTES;

/// How often a shard that holds writers back for the indexers of others looks at how far these are.
pub const INDEX_LOOK: Duration = Duration::from_millis(1);

impl Reactor {
    /// Reads no more from a session until [`Reactor::release_held`] finds that it may go on.
    pub(super) fn hold(&mut self, slot: u32, why: Held) {
        self.context.metrics.backpressure.add(1);
        let session = self.session_mut(slot);
        session.held = Some(why);
        session.held_since = Instant::now();
        session.pressure = session.pressure | why.pressure();
        probes::session_held(self.context.index, slot, why.number());
        self.held.push(slot);
    }

    /// Lets sessions try again that waited for what may be there now.
    pub(super) fn release_held(&mut self) {
        for slot in std::mem::take(&mut self.held) {
            let Some(why) = self.sessions[slot as usize].as_ref().and_then(|session| session.held) else { continue };
            if !self.may_go_on(why) {
                self.held.push(slot);
                continue;
            }
            self.session_mut(slot).held = None;
            probes::session_released(self.context.index, slot);
            let session = self.session_mut(slot);
            let held_us = session.held_since.elapsed().as_micros() as u64;
            let metrics = &self.context.metrics;
            match why {
                Held::Log => metrics.held_disk_us.add(held_us),
                Held::Buffers => metrics.held_buffers_us.add(held_us),
                Held::Recovery => metrics.held_recovery_us.add(held_us),
                Held::IndexLag(_) => metrics.held_index_lag_us.add(held_us),
                Held::Credits => {}
            }
            self.activate(slot);
        }
    }

    fn may_go_on(&self, why: Held) -> bool {
        // A log that refuses everything has no room either; who waits for anything is to be told.
        let is_refusing = self.shard.refusal().is_some();
        match why {
            Held::Recovery => !self.is_replaying(),
            Held::IndexLag(collection) => is_refusing || !self.is_index_behind(collection),
            Held::Log | Held::Buffers => is_refusing || self.shard.has_room(HEADER_BYTES),
            Held::Credits => true,
        }
    }

    /// Whether more rows of a collection wait for the indexer than may.
    pub(super) fn is_index_behind(&self, collection: u32) -> bool {
        let Some(lag_max) = self.index_lag_max else { return false };
        self.context.collection(collection).is_ok_and(|collection| collection.index_backlog() > lag_max)
    }

    /// Whether writers wait for the indexer once too many rows do.
    pub fn limits_index_lag(&self) -> bool {
        self.index_lag_max.is_some()
    }

    /// True while writers wait for the indexer, which may be that of another shard: nothing wakes this one when it is through.
    pub fn waits_for_index(&self) -> bool {
        self.index_lag_max.is_some()
            && self.held.iter().any(|&slot| {
                let session = self.sessions[slot as usize].as_ref();
                session.is_some_and(|session| matches!(session.held, Some(Held::IndexLag(_))))
            })
    }
}
