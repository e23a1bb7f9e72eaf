//! The server of the page: a few fixed addresses, read only, over HTTP/1.1 on a thread of its own.
//!
//! Nothing that a client does holds up the thread that reads the serial port: the state is locked
//! while an event is written to memory, a millisecond at most, never while one is sent. A client is
//! owed one event at a time, made when it has taken the one before; if reports were forgotten
//! meanwhile, that is the whole state. Who takes nothing at all is cut off by the kernel.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::channel::{Channel, Sender};
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::Board;

/// Connections served at a time; further ones wait.
const CONNECTIONS: usize = 64;
/// Of these, streams of events; further ones are refused.
const STREAMS: usize = 32;
/// How long a client may take to send its request, and to take what it asked for.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the kernel holds of an answer that the client has not taken yet, bytes.
const SEND_BUFFER: usize = 128 * 1024;
/// The shortest time between two events of a stream.
const PACE: Duration = Duration::from_millis(200);
/// The longest, in multiples of that.
const HEARTBEAT: u32 = 5;

/// What every answer says: nothing but this server's own files runs or is loaded, and nobody else
/// may show, embed or keep them.
const HEADERS: [(header::HeaderName, HeaderValue); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        header::HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        header::HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// The files of the page: path, type, content.
const FILES: [(&str, &str, &str); 6] = [
    ("/", "text/html; charset=utf-8", include_str!("page.html")),
    (
        "/style.css",
        "text/css; charset=utf-8",
        include_str!("style.css"),
    ),
    (
        "/script.js",
        "text/javascript; charset=utf-8",
        include_str!("script.js"),
    ),
    (
        "/timeline.js",
        "text/javascript; charset=utf-8",
        include_str!("timeline.js"),
    ),
    (
        "/words.js",
        "text/javascript; charset=utf-8",
        include_str!("words.js"),
    ),
    ("/icon.svg", "image/svg+xml", include_str!("icon.svg")),
];

/// Why the page cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebError {
    /// The address is taken, not this machine's, or needs more rights.
    #[error(
        "cannot serve the page on {address}: {error}; give another address or port, 127.0.0.1:0 for any free one"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The system has no thread or no event queue left.
    #[error("cannot serve the page: {0}")]
    Start(io::Error),
}

/// Begins to serve the page of `board` at `address`, for as long as the program runs. Gives the
/// address with the port that was chosen if that was 0.
///
/// # Errors
/// If nothing can be served there.
pub fn serve(address: SocketAddr, board: Board) -> Result<SocketAddr, WebError> {
    let bind = |error| WebError::Bind { address, error };
    let listener = TcpListener::bind(address).map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    listener.set_nonblocking(true).map_err(bind)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(WebError::Start)?;
    let site = Arc::new(Site {
        board: Arc::new(board),
        loopback: address.ip().is_loopback(),
        streams: Arc::new(Semaphore::new(STREAMS)),
    });
    std::thread::Builder::new()
        .name("web".into())
        .spawn(move || {
            if let Err(error) = runtime.block_on(accept(listener, site)) {
                tracing::error!("the page is served no longer: {error}");
            }
        })
        .map_err(WebError::Start)?;
    Ok(address)
}

/// The address of the page for a browser on this machine.
#[must_use]
pub fn url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    format!("http://{}/", SocketAddr::new(ip, address.port()))
}

type Body = Either<Full<Bytes>, Channel<Bytes>>;

struct Site {
    board: Arc<Board>,
    /// Whether only this machine's own programs can connect.
    loopback: bool,
    streams: Arc<Semaphore>,
}

async fn accept(listener: TcpListener, site: Arc<Site>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return Ok(());
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let site = Arc::clone(&site);
                tokio::spawn(async move {
                    connection(stream, site).await;
                    drop(permit);
                });
            }
            // Of this one client, or because the system is short of something for a while.
            Err(error) => {
                tracing::debug!("a client of the page was lost: {error}");
                sleep(PACE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, site: Arc<Site>) {
    let socket = SockRef::from(&stream);
    let limited = socket
        .set_tcp_user_timeout(Some(PATIENCE))
        .and_then(|()| socket.set_send_buffer_size(SEND_BUFFER));
    if let Err(error) = limited {
        tracing::debug!("a client of the page cannot be limited: {error}");
        return;
    }
    let service = service_fn(move |request| {
        let response = site.answer(&request);
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        // A request a connection: nobody holds one of them idly.
        .keep_alive(false)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!("a client of the page was lost: {error}");
    }
}

impl Site {
    fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let mut response = self.route(request);
        response
            .headers_mut()
            .extend(HEADERS.map(|(name, value)| (Some(name), value)));
        response
    }

    fn route(&self, request: &Request<Incoming>) -> Response<Body> {
        // A page from elsewhere whose name was made to point to this machine (DNS rebinding) is
        // told apart by the name that the browser asks for.
        if self.loopback && !names_loopback(request) {
            return error(
                StatusCode::MISDIRECTED_REQUEST,
                "This page is served to http://localhost and http://127.0.0.1 only.\n",
            );
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut refusal = error(
                StatusCode::METHOD_NOT_ALLOWED,
                "Nothing can be changed here.\n",
            );
            let allow = HeaderValue::from_static("GET, HEAD");
            refusal.headers_mut().insert(header::ALLOW, allow);
            return refusal;
        }
        let path = request.uri().path();
        if let Some((_, kind, content)) = FILES.iter().find(|(name, ..)| *name == path) {
            return found(kind, Bytes::from_static(content.as_bytes()));
        }
        match path {
            "/state" => found("application/json", self.board.state().into()),
            "/events" => self.events(request.method() == Method::HEAD),
            _ => match picture(path).and_then(|id| self.board.picture(id)) {
                Some(png) => found("image/png", png.into()),
                None => error(StatusCode::NOT_FOUND, "There is nothing here.\n"),
            },
        }
    }

    fn events(&self, head: bool) -> Response<Body> {
        let Ok(permit) = Arc::clone(&self.streams).try_acquire_owned() else {
            return error(
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many pages are open.\n",
            );
        };
        let (sender, body) = Channel::new(1);
        if !head {
            let board = Arc::clone(&self.board);
            tokio::spawn(async move {
                stream(&board, sender).await;
                drop(permit);
            });
        }
        let mut response = Response::new(Either::Right(body));
        let kind = HeaderValue::from_static("text/event-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

/// Sends what is new, as often as the client takes it: first everything, then what came since.
async fn stream(board: &Board, mut sender: Sender<Bytes>) {
    let mut seen = None;
    loop {
        let (event, place) = board.event(seen);
        seen = Some(place);
        if sender.send_data(event.into()).await.is_err() {
            return;
        }
        // However long nothing comes, a page is to know that it is connected.
        for _ in 0..HEARTBEAT {
            sleep(PACE).await;
            if board.is_news(place) {
                break;
            }
        }
    }
}

fn names_loopback(request: &Request<Incoming>) -> bool {
    let named = request.headers().get(header::HOST);
    let authority = named.and_then(|name| name.to_str().ok()?.parse::<Authority>().ok());
    authority.is_some_and(|authority| {
        let name = authority.host();
        name.eq_ignore_ascii_case("localhost")
            || name
                .trim_matches(['[', ']'])
                .parse::<IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
    })
}

/// The frame whose picture is asked for.
fn picture(path: &str) -> Option<u64> {
    path.strip_prefix("/frames/")?
        .strip_suffix(".png")?
        .parse()
        .ok()
}

fn found(kind: &'static str, content: Bytes) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(content)));
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn error(status: StatusCode, words: &'static str) -> Response<Body> {
    let mut response = found(
        "text/plain; charset=utf-8",
        Bytes::from_static(words.as_bytes()),
    );
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use shared::triage::{Cause, Thresholds};

    use super::*;

    #[test]
    fn the_page_knows_every_cause_with_its_limit_in_order() {
        let words = include_str!("words.js");
        let mut place = 0;
        for (cause, (limit, _)) in Cause::ALL.into_iter().zip(Thresholds::OFF.named()) {
            let line = words.lines().position(|line| {
                line.trim_start().starts_with(&format!("'{cause}': ["))
                    && line.contains(&format!("'{limit}'"))
            });
            let line = line.unwrap_or_else(|| panic!("{cause} with {limit} is missing"));
            assert!(line > place, "{cause}");
            place = line;
        }
    }

    #[test]
    fn pictures_have_numbers() {
        assert_eq!(picture("/frames/12.png"), Some(12));
        for path in [
            "/frames/.png",
            "/frames/-1.png",
            "/frames/1.jpg",
            "/frames/../1.png",
        ] {
            assert_eq!(picture(path), None, "{path}");
        }
    }

    #[test]
    fn a_browser_on_this_machine_is_told_where_to_look() {
        for (address, expected) in [
            ("0.0.0.0:80", "http://127.0.0.1:80/"),
            ("[::1]:8080", "http://[::1]:8080/"),
            ("192.0.2.7:9", "http://192.0.2.7:9/"),
        ] {
            assert_eq!(url(address.parse().expect("an address")), expected);
        }
    }
}
