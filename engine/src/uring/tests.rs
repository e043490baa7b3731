use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use rustix::event::{EventfdFlags, eventfd};

use super::*;
use crate::buffers::{BLOCK_BYTES, Buffer};

const SECOND: Duration = Duration::from_secs(1);

fn ring() -> Ring {
    Ring::new(8).unwrap()
}

/// Waits for `count` completions.
fn complete(ring: &mut Ring, count: usize) -> Vec<Completion> {
    let mut completions = Vec::new();
    let deadline = Instant::now() + 10 * SECOND;
    while completions.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} completions", completions.len());
        ring.wait(SECOND).unwrap();
        ring.reap(usize::MAX, &mut completions);
    }
    completions
}

fn pair() -> (Rc<OwnedFd>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (Rc::new(listener.accept().unwrap().0.into()), client)
}

fn heap(bytes: &[u8]) -> Memory {
    Memory::Heap(bytes.into())
}

fn recv(socket: &Rc<OwnedFd>, len: usize, wait_all: bool) -> Op {
    Op::Recv { socket: Rc::clone(socket), memory: heap(&vec![0; len]), start: 0, end: len, wait_all }
}

#[test]
fn accept_carries_the_connection() {
    let mut ring = ring();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    ring.push(Op::Accept { listener: Rc::new(listener.into()) }, 7);
    ring.submit().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    let completion = complete(&mut ring, 1).pop().unwrap();
    assert_eq!((completion.token, ring.in_flight()), (7, 0));
    let server = completion.accepted.unwrap();
    assert_eq!(completion.result.unwrap(), server.as_raw_fd() as u32);
    TcpStream::from(server).write_all(b"hello").unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
}

#[test]
fn receive_waits_for_all_or_not_and_sees_the_end() {
    let mut ring = ring();
    let (socket, mut client) = pair();
    client.write_all(b"abc").unwrap();
    ring.push(recv(&socket, 10, false), 1);
    let part = complete(&mut ring, 1).pop().unwrap();
    assert_eq!((part.result.unwrap(), &part.memory.unwrap().bytes()[..3]), (3, &b"abc"[..]));

    ring.push(recv(&socket, 6, true), 2);
    ring.submit().unwrap();
    client.write_all(b"def").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    ring.wait(Duration::from_millis(50)).unwrap();
    assert_eq!(ring.reap(8, &mut Vec::new()), 0, "half of it is not all of it");
    client.write_all(b"ghi").unwrap();
    let whole = complete(&mut ring, 1).pop().unwrap();
    assert_eq!((whole.result.unwrap(), whole.memory.unwrap().bytes()), (6, &b"defghi"[..]));

    client.shutdown(Shutdown::Write).unwrap();
    ring.push(recv(&socket, 6, true), 3);
    assert_eq!(complete(&mut ring, 1).pop().unwrap().result.unwrap(), 0);
}

#[test]
fn send_is_whole_and_a_broken_peer_is_an_error() {
    let mut ring = ring();
    let (socket, mut client) = pair();
    let arena = Arena::new(64 * BLOCK_BYTES, 64 * BLOCK_BYTES).unwrap();
    let mut buffer = arena.take(64 * BLOCK_BYTES).unwrap();
    buffer.fill(9);
    let end = buffer.len();
    let send = |memory| Op::Send { socket: Rc::clone(&socket), memory, start: 1, end };
    ring.push(send(Memory::Shared(Rc::new(buffer))), 1);
    ring.submit().unwrap();
    let mut received = vec![0; end - 1];
    client.read_exact(&mut received).unwrap();
    assert!(received.iter().all(|byte| *byte == 9));
    let sent = complete(&mut ring, 1).pop().unwrap();
    assert_eq!(sent.result.unwrap() as usize, end - 1);
    drop(client);
    let mut memory = sent.memory.unwrap();
    for _ in 0..2 {
        ring.push(send(memory), 2);
        let completion = complete(&mut ring, 1).pop().unwrap();
        memory = completion.memory.unwrap();
        if completion.result.is_err() {
            return;
        }
    }
    panic!("two sends to a closed peer went well");
}

#[test]
fn write_reaches_the_file_from_heap_arena_and_registered_arena() {
    let file = tempfile::tempfile().unwrap();
    let handle = Rc::new(OwnedFd::from(file.try_clone().unwrap()));
    let mut ring = ring();
    let arena = Arena::new(2 * BLOCK_BYTES, 2 * BLOCK_BYTES).unwrap();
    let filled = |byte: u8| -> Buffer {
        let mut buffer = arena.take(1).unwrap();
        buffer.fill(byte);
        buffer
    };
    let write = |offset, memory| Op::Write { file: Rc::clone(&handle), offset, memory, start: 10, end: 14 };
    ring.push(write(0, heap(&[1; 14])), 0);
    ring.push(write(4, Memory::Arena(filled(2))), 1);
    complete(&mut ring, 2);
    ring.register_arena(&arena).unwrap();
    ring.push(write(8, Memory::Arena(filled(3))), 2);
    ring.push(write(12, Memory::Shared(Rc::new(filled(4)))), 3);
    for completion in complete(&mut ring, 2) {
        assert_eq!(completion.result.unwrap(), 4);
    }
    let mut content = [0; 16];
    file.read_exact_at(&mut content, 0).unwrap();
    assert_eq!(content, [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4]);
    assert_eq!(arena.free_bytes(), 2 * BLOCK_BYTES);
}

#[test]
fn cancel_ends_a_receive_and_says_when_there_is_none() {
    let mut ring = ring();
    let (socket, _client) = pair();
    ring.push(recv(&socket, 6, true), 1);
    ring.submit().unwrap();
    ring.push(Op::Cancel { token: 1 }, 2);
    ring.push(Op::Cancel { token: 77 }, 3);
    let mut completions = complete(&mut ring, 3);
    completions.sort_by_key(|completion| completion.token);
    let errors: Vec<_> =
        completions.iter().map(|c| c.result.as_ref().err().and_then(io::Error::raw_os_error)).collect();
    assert_eq!(errors, [Some(libc::ECANCELED), None, Some(libc::ENOENT)]);
    assert!(completions[0].memory.is_some() && completions[1].memory.is_none());
}

#[test]
fn more_operations_than_entries_are_all_done() {
    let mut ring = ring();
    let file = Rc::new(OwnedFd::from(tempfile::tempfile().unwrap()));
    for token in 0..500 {
        let memory = heap(&[token as u8; 3]);
        ring.push(Op::Write { file: Rc::clone(&file), offset: token * 3, memory, start: 0, end: 3 }, token);
    }
    assert_eq!(ring.in_flight(), 500);
    let mut tokens: Vec<_> = complete(&mut ring, 500).into_iter().map(|completion| completion.token).collect();
    tokens.sort_unstable();
    assert_eq!(tokens, (0..500).collect::<Vec<_>>());
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn the_eventfd_counts_completions() {
    let mut ring = ring();
    let event = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    ring.register_eventfd(event.as_fd()).unwrap();
    let (socket, mut client) = pair();
    ring.push(recv(&socket, 1, true), 1);
    ring.submit().unwrap();
    client.write_all(b"x").unwrap();
    let mut count = [0; 8];
    rustix::io::read(&event, &mut count).unwrap();
    assert_eq!(u64::from_ne_bytes(count), 1);
    assert_eq!(ring.reap(8, &mut Vec::new()), 1);
}

#[test]
fn dropping_a_ring_gives_its_memory_back() {
    let mut ring = ring();
    let (socket, mut client) = pair();
    let arena = Arena::new(4 * BLOCK_BYTES, 4 * BLOCK_BYTES).unwrap();
    ring.register_arena(&arena).unwrap();
    for token in 0..4 {
        let memory = Memory::Arena(arena.take(1).unwrap());
        ring.push(Op::Recv { socket: Rc::clone(&socket), memory, start: 0, end: 9, wait_all: true }, token);
    }
    ring.submit().unwrap();
    assert_eq!(arena.free_bytes(), 0);
    let start = Instant::now();
    drop(ring);
    assert!(start.elapsed() < SECOND, "cancelling four receives took {:?}", start.elapsed());
    assert_eq!(arena.free_bytes(), 4 * BLOCK_BYTES);
    let buffers: Vec<Buffer> = (0..4).map(|_| arena.take(1).unwrap()).collect();
    client.write_all(&[1; 36]).unwrap();
    assert!(buffers.iter().all(|buffer| buffer[..9] == [0; 9]), "a cancelled receive wrote all the same");
}

#[test]
#[should_panic(expected = "memory that others read")]
fn receiving_into_shared_memory_is_a_bug() {
    let (socket, _client) = pair();
    let arena = Arena::new(1, 1).unwrap();
    let memory = Memory::Shared(Rc::new(arena.take(1).unwrap()));
    ring().push(Op::Recv { socket, memory, start: 0, end: 1, wait_all: false }, 0);
}

#[test]
fn refusals_have_names() {
    let named = |code| refused("set up", 4096, io::Error::from_raw_os_error(code));
    for code in [libc::ENOSYS, libc::EPERM, libc::EACCES] {
        assert!(matches!(named(code), Error::IoUringForbidden { .. }));
    }
    assert!(matches!(named(libc::ENOMEM), Error::MemlockTooSmall { needed: 4096, .. }));
    assert!(matches!(named(libc::EINVAL), Error::Io { .. }));
}
