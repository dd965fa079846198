//! axum PORT HEARTBEAT_SECONDS. POST sends its body to all clients. Each client has one task. The buffers are small: with
//! those of the crate, an idle client takes more than 128 KB.
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::State;
use axum::response::Response;
use axum::routing::any;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::{interval_at, Instant};

#[derive(Clone)]
struct Shared {
    messages: broadcast::Sender<Utf8Bytes>,
    heartbeat: Duration,
}

async fn publish(State(shared): State<Shared>, body: String) {
    let _ = shared.messages.send(body.into());
}

async fn connect(State(shared): State<Shared>, upgrade: WebSocketUpgrade) -> Response {
    let receiver = shared.messages.subscribe();
    upgrade
        .read_buffer_size(1024)
        .write_buffer_size(0)
        .on_upgrade(move |socket| serve(socket, receiver, shared.heartbeat))
}

async fn serve(mut socket: WebSocket, mut messages: broadcast::Receiver<Utf8Bytes>, heartbeat: Duration) {
    let mut ticks = interval_at(Instant::now() + heartbeat, heartbeat);
    loop {
        let sent = tokio::select! {
            Ok(text) = messages.recv() => socket.send(Message::Text(text)).await,
            _ = ticks.tick() => socket.send(Message::Ping(Default::default())).await,
            received = socket.recv() => match received {
                Some(Ok(_)) => Ok(()),
                _ => return,
            },
        };
        if sent.is_err() {
            return;
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let heartbeat = Duration::from_secs_f64(arguments[2].parse().unwrap());
    let shared = Shared { messages: broadcast::channel(64).0, heartbeat };
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(format!("127.0.0.1:{}", arguments[1]).parse().unwrap()).unwrap();
    let listener = socket.listen(4096).unwrap();
    let router = axum::Router::new().route("/", any(connect).post(publish)).with_state(shared);
    axum::serve(listener, router).await.unwrap();
}
