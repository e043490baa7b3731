//! Updates: at the home of its rows each is made a write of whole rows, which is staged and logged as if a client had sent it.
//!
//! What rows there are may change with whatever is staged: an update that finds no room for what it has become is made anew when there
//! is some.

use engine::batch::BatchView;
use engine::buffers::Buffer;
use engine::filter::Filter;
use engine::region;
use engine::shard::update::{Condition, Merged, Skipped, Update, check_update};
use engine::shard::{Admission, Outcome};
use engine::wal::{HEADROOM, Payload};

use super::reactor::Reactor;
use super::session::{Frame, Held};
use super::writes::{COPY_BYTES_MAX, Refusal, Ticket, ack_of};
use crate::codec::{self, FrameError, HEADER_BYTES, Header, Opcode, Request};

/// An update that may be admitted.
enum Whole {
    /// As a frame of WRITE, with memory for it where it is long.
    Frame(Vec<u8>, Option<Buffer>, Skipped),
    /// Every row was left out.
    Nothing(Skipped),
    /// There is no room for so many bytes now.
    NoRoom(Held, usize),
}

impl Reactor {
    /// Works on an update of a client.
    pub(super) fn update_frame(&mut self, slot: u32, header: Header) {
        let frame_bytes = HEADER_BYTES + header.body_len as usize;
        let refusal = self.shard.refusal();
        let needed = frame_bytes.max(self.session_mut(slot).whole_bytes);
        if refusal.is_none()
            && let Some(why) = self.has_to_wait(&header, needed)
        {
            return self.hold(slot, why);
        }
        let (frame, large, body_crc) = match self.session_mut(slot).frame(&header) {
            Frame::Small(frame) => (frame.to_vec(), None, codec::extend_crc(0, &frame[HEADER_BYTES..])),
            Frame::Large { buffer, len, body_crc } => (Vec::new(), Some((buffer, len)), body_crc),
        };
        let bytes = large.as_ref().map_or(&frame[..], |(buffer, len)| &buffer[HEADROOM..HEADROOM + len]);
        let whole = match refusal {
            Some(error) => Err(error.into()),
            None => self.whole_of(&header, bytes, body_crc),
        };
        if let Ok(Whole::NoRoom(why, needed)) = whole {
            let session = self.session_mut(slot);
            session.whole_bytes = needed;
            if let Some((buffer, _)) = large {
                session.put_back(buffer);
            }
            return self.hold(slot, why);
        }
        let session = self.session_mut(slot);
        session.whole_bytes = 0;
        session.begin(&header);
        session.consume(&header);
        let (id, pressure) = (session.id, std::mem::take(&mut session.pressure));
        let ticket = Ticket::Client { session: id, header, pressure, skipped: Skipped::default() };
        match whole {
            Err(Refusal::Engine(engine::Error::Misplaced { .. })) => {
                if let Err(refusal) = self.scatter(id, &header, pressure, bytes) {
                    let (status, message) = refusal.describe();
                    self.refuse(id, &header, status, &message);
                }
            }
            Err(refusal) => {
                let (status, message) = refusal.describe();
                self.refuse(id, &header, status, &message);
            }
            Ok(whole) => self.submit_whole(&header, whole, ticket),
        }
    }

    /// Works on a part of an update that was forwarded. Where there is no room for it, says for want of what, and of how many bytes.
    pub(super) fn forwarded_update(
        &mut self,
        header: &Header,
        frame: &[u8],
        ticket: Ticket,
    ) -> Result<(), (Held, usize)> {
        match self.whole_of(header, frame, codec::extend_crc(0, &frame[HEADER_BYTES..])) {
            Ok(Whole::NoRoom(why, needed)) => return Err((why, needed)),
            Ok(whole) => self.submit_whole(header, whole, ticket),
            Err(Refusal::Engine(error)) => self.finish_write(ticket, Err(error)),
            Err(Refusal::Frame(_)) => {
                self.finish_write(ticket, Err(engine::Error::MalformedBatch { problem: "a peer's frame" }));
            }
        }
        Ok(())
    }

    /// Makes an update a write of whole rows.
    fn whole_of(&mut self, header: &Header, frame: &[u8], body_crc: u32) -> Result<Whole, Refusal> {
        codec::check_body_crc(header, body_crc)?;
        // The one that batches are taken for: what the update becomes has all of its columns.
        let collection = self.shard.partition.borrow().member(header.collection)?.collection.clone();
        let update = update_of(header, &frame[HEADER_BYTES..], &collection.spec.schema)?;
        let Merged { message, skipped } = self.shard.merge(&update, HEADER_BYTES)?;
        let Some(mut whole) = message else { return Ok(Whole::Nothing(skipped)) };
        if !self.shard.has_room(whole.len()) {
            return Ok(Whole::NoRoom(Held::Log, whole.len()));
        }
        let is_long = whole.len() > COPY_BYTES_MAX;
        let buffer = if is_long { self.arena.take(HEADROOM + whole.len()) } else { None };
        if is_long && buffer.is_none() {
            return Ok(Whole::NoRoom(Held::Buffers, whole.len()));
        }
        self.admit(header, whole.len())?;
        let written =
            Header { flags: header.flags, ..Header::request(Opcode::Write, header.request_id, header.collection) };
        codec::seal_frame(&mut whole, Header { fingerprint: collection.spec.schema.fingerprint(), ..written });
        self.copied_bytes += whole.len() as u64;
        Ok(Whole::Frame(whole, buffer, skipped))
    }

    /// Stages and logs what an update has become.
    fn submit_whole(&mut self, header: &Header, whole: Whole, mut ticket: Ticket) {
        let (frame, buffer) = match whole {
            Whole::Nothing(skipped) => {
                *ticket.skipped_mut() = skipped;
                return self.finish_write(ticket, Ok((Outcome::default(), 0)));
            }
            Whole::Frame(frame, buffer, skipped) => {
                *ticket.skipped_mut() = skipped;
                (frame, buffer)
            }
            Whole::NoRoom(..) => unreachable!("it was held back"),
        };
        let written =
            frame.first_chunk::<HEADER_BYTES>().and_then(|head| Header::decode(head).ok()).expect("made here");
        let staged = super::writes::stage(&mut self.shard, &written, &frame, written.body_crc, None);
        let (staged, crc) = match staged {
            Ok(staged) => staged,
            Err(Refusal::Engine(error)) => return self.finish_write(ticket, Err(error)),
            Err(Refusal::Frame(error)) => unreachable!("a frame made here: {error}"),
        };
        let payload = match buffer {
            Some(mut buffer) => {
                buffer[HEADROOM..HEADROOM + frame.len()].copy_from_slice(&frame);
                self.copied_bytes += frame.len() as u64;
                Payload::Whole { buffer, len: frame.len() }
            }
            None => Payload::Copy(&frame),
        };
        let spare = ticket.clone();
        match self.shard.submit(staged, payload, crc, ack_of(header), ticket) {
            Ok(Admission::Waiting) => {}
            Ok(Admission::Acknowledged(ticket, rows, lsn)) => {
                self.finish_write(ticket, Ok((Outcome { rows, ..Outcome::default() }, lsn)));
            }
            Err(error) => self.finish_write(spare, Err(error)),
        }
    }
}

/// What the body of an update asks for.
pub(super) fn update_of<'a>(
    header: &Header,
    body: &'a [u8],
    schema: &engine::schema::Schema,
) -> Result<Update<'a>, Refusal> {
    let Request::Update(asked) = Request::decode(header, body)? else {
        return Err(FrameError::UnknownOpcode { opcode: header.opcode }.into());
    };
    let filter = if asked.filter.is_empty() { None } else { Some(Filter::parse(asked.filter, schema)?.into()) };
    let newer = asked.newer.map(usize::from);
    Ok(Update {
        collection: header.collection,
        fingerprint: header.fingerprint,
        columns: asked.columns.indices(schema.columns().len()).collect(),
        batch: asked.message,
        missing: asked.missing,
        condition: Condition { filter, newer, skips: asked.skips_unmet },
    })
}

/// Cuts an update by the homes of its rows: the shard, and a frame to be sealed, of each part.
pub(super) fn split_update(
    header: &Header,
    body: &[u8],
    schema: &engine::schema::Schema,
    shards: usize,
) -> Result<Vec<(usize, Vec<u8>)>, Refusal> {
    let update = update_of(header, body, schema)?;
    let partial = check_update(&update, schema)?;
    let batch = BatchView::parse(&partial, update.batch)?;
    // Here, because a part that was accepted elsewhere cannot be taken back.
    region::check_vectors(&batch)?;
    batch.check_json()?;
    let Request::Update(asked) = Request::decode(header, body)? else { unreachable!("it was decoded") };
    let part = |part: engine::batch::ShardBatch| {
        let mut frame = vec![0; HEADER_BYTES];
        codec::Update { message: &part.message, ..asked }.encode(&mut frame);
        (part.shard, frame)
    };
    Ok(batch.split(shards, 0)?.into_iter().map(part).collect())
}
