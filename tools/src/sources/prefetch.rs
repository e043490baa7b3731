//! Reading ahead of the sender: files are decoded on a thread of their own, a bounded number of batches ahead.

use std::sync::mpsc::{Receiver, sync_channel};

/// Batches that may wait for the sender.
const AHEAD_MAX: usize = 4;

/// Runs an iterator on its own thread. Dropping the result stops it at its next item.
pub fn prefetch<T: Send + 'static>(items: impl Iterator<Item = T> + Send + 'static) -> impl Iterator<Item = T> {
    let (sender, receiver) = sync_channel(AHEAD_MAX);
    std::thread::Builder::new()
        .name("reader".to_owned())
        .spawn(move || {
            for item in items {
                if sender.send(item).is_err() {
                    return;
                }
            }
        })
        .expect("the system has room for one thread");
    Prefetched { receiver }
}

struct Prefetched<T> {
    receiver: Receiver<T>,
}

impl<T> Iterator for Prefetched<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn everything_arrives_in_order() {
        assert!(prefetch(0..1000).eq(0..1000));
    }

    #[test]
    fn the_reader_is_bounded_and_stops() {
        let made = Arc::new(AtomicUsize::new(0));
        let counter = made.clone();
        let mut items = prefetch((0..).inspect(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        }));
        assert_eq!(items.next(), Some(0));
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(made.load(Ordering::Relaxed) <= AHEAD_MAX + 3);
        drop(items);
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert_eq!(Arc::strong_count(&made), 1, "the reader has ended and dropped its iterator");
    }
}
