//! Everything that is not a write: what is answered in the turn, and what is given to a task or to the control thread.

use std::sync::Arc;

use engine::collection::CollectionOptions;
use engine::limits;
use engine::probes;
use engine::schema::Schema;
use engine::shard::message::ControlRequest;

use super::deletions;
use super::mailbox::Reply;
use super::reactor::Reactor;
use super::searches;
use super::session::{Frame, SessionId};
use super::tallies;
use super::tasks;
use super::traversals;
use super::writes::Refusal;
use crate::codec::{self, Create, HEADER_BYTES, Header, Hello, Opcode, Request, Status, Welcome, flags};

/// What is to be done with a request whose bytes have been looked at.
enum Plan {
    /// It was answered, or will be by a task.
    Begun,
    /// The connection is greeted, here or by another shard.
    Greet(u16),
}

/// Choices of a collection; 0 stands for the default.
fn options_of(create: &Create<'_>) -> CollectionOptions {
    let default = CollectionOptions::default();
    let or = |value, default| if value == 0 { default } else { value };
    CollectionOptions {
        m: or(create.m, default.m),
        ef_construction: or(create.ef_construction, default.ef_construction),
        evictable: create.evictable,
    }
}

impl Reactor {
    /// Works on one frame of a session.
    pub(super) fn frame(&mut self, slot: u32, header: Header) {
        probes::frame_received(self.context.index, slot, header.request_id, header.opcode, header.body_len);
        let greeted = self.session_mut(slot).greeted;
        let opcode = Opcode::from_code(header.opcode);
        let is_hello = opcode == Ok(Opcode::Hello);
        if greeted == is_hello {
            let session = self.session_mut(slot);
            codec::encode_error(
                Some(&header),
                Status::UnexpectedFrame,
                if greeted { "the connection is greeted already" } else { "HELLO comes first" },
                session.output(),
            );
            session.closing = true;
            return;
        }
        match opcode {
            Ok(Opcode::Write | Opcode::Delete) if !header.is_reply() => self.write_frame(slot, header),
            Ok(Opcode::Update) if !header.is_reply() => self.update_frame(slot, header),
            _ => self.other_frame(slot, header),
        }
    }

    fn other_frame(&mut self, slot: u32, mut header: Header) {
        // Noted before anything is read: what comes later into the shards may be missed.
        if !self.context.server.progress.is_complete() {
            header.flags |= flags::RECOVERING;
        }
        let session = self.sessions[slot as usize].as_mut().expect("open");
        session.begin(&header);
        let id = session.id;
        // A request that is not a write is small, as a rule; the copy lets its task outlive the buffer.
        let body: Box<[u8]> = match session.frame(&header) {
            Frame::Small(frame) => frame[HEADER_BYTES..].into(),
            Frame::Large { buffer, len, .. } => {
                buffer[engine::wal::HEADROOM + HEADER_BYTES..engine::wal::HEADROOM + len].into()
            }
        };
        session.consume(&header);
        match self.begin(id, &header, &body) {
            Ok(Plan::Begun) => {}
            Ok(Plan::Greet(wanted)) => self.greet(slot, &header, wanted),
            Err(refusal) => {
                let (status, message) = refusal.describe();
                self.refuse(id, &header, status, &message);
                let session = self.session_mut(slot);
                session.closing |= !session.greeted;
            }
        }
    }

    fn begin(&mut self, session: SessionId, header: &Header, body: &[u8]) -> Result<Plan, Refusal> {
        codec::check_body(header, body)?;
        let context = self.context.clone();
        let reply = *header;
        match Request::decode(header, body)? {
            Request::Hello(Hello { wanted_shard, client_version, client_name }) => {
                tracing::debug!(shard = wanted_shard, client = client_name, version = client_version, "connection");
                return Ok(Plan::Greet(wanted_shard));
            }
            Request::Ping(echo) => {
                let mut frame = Vec::new();
                codec::encode_frame(header.reply(), &mut frame, |out| out.extend_from_slice(echo));
                self.reply(Reply { session, request: *header, frame, is_error: false });
            }
            Request::List => self.answer(session, header, tasks::list),
            Request::Describe(name) => {
                let collection = context.collection_named(name)?;
                self.answer(session, header, |_, out| tasks::describe(&collection, out));
            }
            Request::Stats => self.answer(session, header, tasks::stats),
            Request::CreateCollection(create) => {
                let request = ControlRequest::Create {
                    name: create.name.to_owned(),
                    schema: Arc::new(Schema::from_bytes(create.schema)?),
                    options: options_of(&create),
                    if_not_exists: create.if_not_exists,
                };
                tasks::spawn_control(&context, session, reply, request);
            }
            Request::AlterCollection(alter) => {
                let schema = Box::new(Schema::from_bytes(alter.schema)?);
                let request = ControlRequest::Alter { name: alter.name.to_owned(), schema };
                tasks::spawn_control(&context, session, reply, request);
            }
            Request::PutNamespace(put) => {
                let codec::PutNamespace { name, quota, is_new } = put;
                let request = ControlRequest::PutNamespace { name: name.to_owned(), quota, is_new };
                tasks::spawn_control(&context, session, reply, request);
            }
            Request::DropNamespace(name) => {
                tasks::spawn_control(&context, session, reply, ControlRequest::DropNamespace { name: name.to_owned() });
            }
            Request::ListNamespaces => {
                tasks::spawn_control(&context, session, reply, ControlRequest::ListNamespaces);
            }
            Request::DropCollection(name) => {
                tasks::spawn_control(&context, session, reply, ControlRequest::Drop { name: name.to_owned() });
            }
            Request::Snapshot => {
                if header.collection != 0 {
                    context.collection(header.collection)?;
                }
                tasks::spawn_control(&context, session, reply, ControlRequest::Snapshot);
            }
            Request::Search(search) => searches::spawn_search(&context, session, reply, search)?,
            Request::Get(get) => tasks::spawn_get(&context, session, reply, get)?,
            Request::Scan(scan) => tasks::spawn_scan_rows(&context, session, reply, scan)?,
            Request::DeleteWhere(asked) => deletions::spawn_delete_where(&context, session, reply, asked)?,
            Request::Traverse(traverse) => traversals::spawn_traverse_edges(&context, session, reply, traverse)?,
            Request::Count(count) => tallies::spawn_count(&context, session, reply, count)?,
            Request::Facets(facets) => tallies::spawn_facets(&context, session, reply, facets)?,
            Request::WaitIndexed(wait) => {
                let collection = context.collection(header.collection)?;
                tasks::spawn_wait_indexed(&context, session, reply, collection, wait.timeout_ms);
            }
            Request::Write(_) | Request::Delete(_) | Request::Update(_) => unreachable!("writes go another way"),
        }
        Ok(Plan::Begun)
    }

    fn answer(
        &mut self,
        session: SessionId,
        header: &Header,
        body: impl FnOnce(&super::context::Context, &mut Vec<u8>),
    ) {
        let mut frame = Vec::new();
        let context = self.context.clone();
        codec::encode_frame(header.reply(), &mut frame, |out| body(&context, out));
        self.reply(Reply { session, request: *header, frame, is_error: false });
    }

    /// Greets a connection here, or passes it to the shard that it asks for.
    fn greet(&mut self, slot: u32, header: &Header, wanted: u16) {
        self.session_mut(slot).end(header);
        let shard = match usize::from(wanted) {
            any if any == usize::from(codec::handshake::ANY_SHARD) => self.next_shard(),
            shard => shard,
        };
        if shard >= self.context.shards {
            let message = format!("there is no shard {shard}: the server has {}", self.context.shards);
            let session = self.session_mut(slot);
            codec::encode_error(Some(header), Status::LimitExceeded, &message, session.output());
            session.closing = true;
            return;
        }
        if shard == self.context.index {
            self.welcome(slot, header);
        } else {
            self.pass_on(slot, shard, header.request_id);
        }
    }

    /// Answers HELLO.
    pub(super) fn welcome(&mut self, slot: u32, header: &Header) {
        let welcome = Welcome {
            protocol_version: codec::VERSION,
            shards: self.context.shards as u16,
            shard: self.context.index as u16,
            placement: codec::handshake::PLACEMENT,
            frame_body_bytes_max: limits::FRAME_BODY_BYTES_MAX,
            requests_max: limits::REQUESTS_IN_FLIGHT_MAX as u32,
            bytes_max: limits::REQUEST_BYTES_IN_FLIGHT_MAX,
            server_version: env!("CARGO_PKG_VERSION"),
        };
        let session = self.session_mut(slot);
        session.greeted = true;
        codec::encode_frame(header.reply(), session.output(), |out| welcome.encode(out));
    }
}
