//! Brokers that are asked for a page.

use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex};

use harness::broker::{self, Broker};
use harness::echo::Echo;
use harness::wait;

use super::checked;

/// A server of pages: what it answers, and what it was asked.
struct Pages {
    server: Broker,
    answer: Arc<Mutex<&'static str>>,
    asked: Arc<Mutex<String>>,
}

impl Pages {
    fn start(answer: &'static str) -> Self {
        let answer = Arc::new(Mutex::new(answer));
        let asked = Arc::new(Mutex::new(String::new()));
        let (say, heard) = (Arc::clone(&answer), Arc::clone(&asked));
        let server = Broker::start(move |mut stream| {
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") {
                if stream.read_exact(&mut byte).is_err() {
                    return;
                }
                request.push(byte[0]);
            }
            let answer = *say.lock().expect("nobody panics");
            *heard.lock().expect("nobody panics") = String::from_utf8_lossy(&request).into_owned();
            stream.write_all(answer.as_bytes()).ok();
            // The check may have heard enough before all is written.
            stream.read_exact(&mut byte).ok();
        });
        Self {
            server,
            answer,
            asked,
        }
    }

    fn say(&self, answer: &'static str) {
        *self.answer.lock().expect("nobody panics") = answer;
    }

    fn asked(&self) -> String {
        self.asked.lock().expect("nobody panics").clone()
    }

    fn port(&self) -> String {
        format!("port = {}", self.server.address().port())
    }
}

const READY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"status\": \"ready\"} ";
const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nrea\r\n2\r\ndy\r\n0\r\n\r\n";
const STARTING: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nstarting";
const NOT_NOW: &str = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n";

#[test]
fn a_page_says_how_its_broker_is() {
    let (pages, echo) = (Pages::start(READY), Echo::start());
    let daemon = checked("http")
        .health(&pages.port())
        .health(r#"path = "/ready?deep=1""#)
        .health(r#"body = "ready""#)
        .health(r#"timeout = "200ms""#)
        .backend("broker", echo.address)
        .start();
    wait::until("it has been asked", || !pages.asked().is_empty());
    assert!(pages.asked().starts_with("GET /ready?deep=1 HTTP/1.1\r\n"));

    for (bad, trouble) in [
        (NOT_NOW, "answered with status 503"),
        (STARTING, "its page lacks the text that was asked for"),
        (
            "SSH-2.0-OpenSSH\r\n",
            "answered with something else than HTTP",
        ),
    ] {
        pages.say(bad);
        daemon.until_backend_is("broker", "down");
        assert_eq!(daemon.backend("broker")["trouble"], trouble);
        pages.say(CHUNKED);
        daemon.until_backend_is("broker", "up");
    }
    // A page that never ends is read no further than it takes.
    pages.say("HTTP/1.1 200 OK\r\n\r\nnothing");
    daemon.until_backend_is("broker", "down");
    let trouble = daemon.backend("broker")["trouble"].to_string();
    assert!(trouble.contains("no answer in time"), "{trouble}");
}

#[test]
fn other_statuses_may_pass() {
    let (pages, echo) = (Pages::start(NOT_NOW), Echo::start());
    let daemon = checked("http")
        .health(&pages.port())
        .health("status = [200, 503]")
        .backend("broker", echo.address)
        .backend("nobody", broker::refusing())
        .start();

    wait::until("it has been asked", || !pages.asked().is_empty());
    pages.say("HTTP/1.1 500 No\r\n\r\n");
    daemon.until_backend_is("broker", "down");
    pages.say(NOT_NOW);
    daemon.until_backend_is("broker", "up");
}

#[test]
fn each_kind_of_broker_is_asked_for_its_own_page() {
    for (check, path) in [
        ("emqx", "/status"),
        ("hivemq", "/api/v1/health/readiness"),
        ("vernemq", "/health"),
        ("rabbitmq", "/api/health/checks/protocol-listener/mqtt"),
    ] {
        let (pages, echo) = (Pages::start(READY), Echo::start());
        let _daemon = checked(check)
            .health(&pages.port())
            .health(r#"user_name = "guest""#)
            .backend("broker", echo.address)
            .start();

        wait::until("it has been asked", || !pages.asked().is_empty());
        let asked = pages.asked();
        assert!(
            asked.starts_with(&format!("GET {path} HTTP/1.1\r\n")),
            "{asked}"
        );
        // guest and no password, in base64.
        assert!(
            asked.contains("Authorization: Basic Z3Vlc3Q6\r\n"),
            "{asked}"
        );
    }
}
