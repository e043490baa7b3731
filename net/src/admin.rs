//! The admin plane: health, readiness and metrics over HTTP, on one thread of its own that no shard waits for.
//!
//! `/healthz` says that the process is alive, from its start on; `/readyz` that it serves and has all its rows, and until
//! then, with status 503, how far it is.
//!
//! It only reads counters through [`AdminSource`]. Connections are few, short and bounded: one beyond
//! [`CONNECTIONS_MAX`] is closed at once, and each is closed after [`CONNECTION_SECONDS_MAX`].

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Sleep;

/// Connections at one time.
pub const CONNECTIONS_MAX: usize = 64;
/// Lifetime of a connection, in seconds; a scraper connects anew.
pub const CONNECTION_SECONDS_MAX: u64 = 60;

/// Whether the server answers requests, and how far it is on the way to answering with all of its rows.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Readiness {
    /// Requests are answered, and every row is there.
    pub ready: bool,
    /// Requests are answered; reads may lack the newest rows, and writes wait.
    pub serving: bool,
    /// Bytes of snapshots and WAL that are read back.
    pub done_bytes: u64,
    /// Bytes that there are to read back; 0 where that is not known yet.
    pub total_bytes: u64,
}

/// What the admin plane tells. Called on the admin thread; must not block.
pub trait AdminSource: Send + Sync + 'static {
    /// The answer of `/readyz`.
    fn readiness(&self) -> Readiness;
    /// The body of `/metrics`, in Prometheus' text format.
    fn metrics(&self) -> String;
}

/// The running admin plane; it stops when this is dropped.
pub struct AdminHandle {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl AdminHandle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it and waits for its thread.
    pub fn stop(mut self) {
        self.stop_and_join();
    }

    fn stop_and_join(&mut self) {
        // The receiver is gone where the thread has ended by itself; there is nothing to stop then.
        let _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the admin thread panicked");
        }
    }
}

impl Drop for AdminHandle {
    fn drop(&mut self) {
        self.stop_and_join();
    }
}

/// Serves `source` on `listener`, on one thread.
///
/// # Errors
/// What the operating system says where the listener or the thread cannot be set up.
pub fn spawn(listener: std::net::TcpListener, source: Arc<dyn AdminSource>) -> io::Result<AdminHandle> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let listener = {
        let _inside = runtime.enter();
        TcpListener::from_std(listener)?
    };
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        let serving = async {
            let bounded = Bounded { listener, permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
            tokio::select! {
                result = axum::serve(bounded, router(source)) => if let Err(error) = result {
                    tracing::error!(%error, "the admin plane ended");
                },
                _ = stopped => (),
            }
        };
        runtime.block_on(serving);
        // Connections that are still open are cut: the process is on its way out.
        runtime.shutdown_background();
    })?;
    Ok(AdminHandle { address, stop: Some(stop), thread: Some(thread) })
}

fn router(source: Arc<dyn AdminSource>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(source)
}

async fn readyz(State(source): State<Arc<dyn AdminSource>>) -> Response {
    let readiness = source.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::to_string(&readiness).expect("a flat struct is always JSON");
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn metrics(State(source): State<Arc<dyn AdminSource>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], source.metrics()).into_response()
}

/// A listener that holds no more than a bounded number of connections, each for a bounded time.
struct Bounded {
    listener: TcpListener,
    permits: Arc<Semaphore>,
}

impl axum::serve::Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            // axum's own accept for a TCP listener: it retries after the errors that pass.
            let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
            if let Ok(permit) = self.permits.clone().try_acquire_owned() {
                let deadline = Box::pin(tokio::time::sleep(Duration::from_secs(CONNECTION_SECONDS_MAX)));
                return (Connection { stream, deadline, _permit: permit }, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection; its reads fail once its time is over.
struct Connection {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(result) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            return Poll::Ready(result);
        }
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = Pin::new(&mut self.stream).poll_write(context, bytes) {
            return Poll::Ready(result);
        }
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[derive(Default)]
    struct Fake {
        ready: AtomicBool,
    }

    impl AdminSource for Fake {
        fn readiness(&self) -> Readiness {
            let ready = self.ready.load(Ordering::Relaxed);
            Readiness { ready, serving: true, done_bytes: 10, total_bytes: 40 }
        }

        fn metrics(&self) -> String {
            "# TYPE broadhead_rows gauge\nbroadhead_rows 3\n".to_owned()
        }
    }

    fn start() -> (AdminHandle, Arc<Fake>) {
        let source = Arc::new(Fake::default());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        (spawn(listener, source.clone()).unwrap(), source)
    }

    fn request(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn health_readiness_and_metrics_are_told() {
        let (admin, source) = start();
        assert!(request(admin.address(), "/healthz").starts_with("HTTP/1.1 200"));
        let waiting = request(admin.address(), "/readyz");
        assert!(waiting.starts_with("HTTP/1.1 503"), "{waiting}");
        assert!(waiting.ends_with(r#"{"ready":false,"serving":true,"done_bytes":10,"total_bytes":40}"#), "{waiting}");
        source.ready.store(true, Ordering::Relaxed);
        assert!(request(admin.address(), "/readyz").starts_with("HTTP/1.1 200"));
        let metrics = request(admin.address(), "/metrics");
        assert!(metrics.contains("text/plain; version=0.0.4") && metrics.ends_with("broadhead_rows 3\n"), "{metrics}");
        assert!(request(admin.address(), "/other").starts_with("HTTP/1.1 404"));
        admin.stop();
    }

    #[test]
    fn connections_are_bounded_and_stopping_frees_the_port() {
        let (admin, _source) = start();
        let address = admin.address();
        let mut idle: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| TcpStream::connect(address).unwrap()).collect();
        let mut refused = TcpStream::connect(address).unwrap();
        refused.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(refused.read(&mut [0; 1]).unwrap(), 0, "the connection beyond the bound is closed");
        idle.pop();
        let served =
            || std::panic::catch_unwind(|| request(address, "/healthz").starts_with("HTTP/1.1 200")).unwrap_or(false);
        assert!((0..50).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            served()
        }));
        drop(admin);
        std::net::TcpListener::bind(address).expect("the port is free again");
    }
}
