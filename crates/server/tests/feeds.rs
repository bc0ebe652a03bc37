//! Feeds from a server to what becomes of a datagram.
#![allow(clippy::unwrap_used)] // a test that cannot go on ends

#[allow(dead_code)] // each file of tests takes what it needs of it
mod common;

use common::{Edge, Socket, answer, request};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};

const LISTED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// A server whose list may change; without one it answers 500.
struct Lists {
    port: u16,
    text: Arc<Mutex<Option<String>>>,
}

impl Lists {
    fn start(text: &str) -> Lists {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let text = Arc::new(Mutex::new(Some(text.to_owned())));
        let given = text.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|it| it == 1)
                {
                    head.push(byte[0]);
                }
                let (status, body) = match given.lock().unwrap().clone() {
                    Some(text) => ("200 OK", text),
                    None => ("500 Oh", String::new()),
                };
                let length = body.len();
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n");
                let _ = stream.write_all((head + &body).as_bytes());
            }
        });
        Lists { port, text }
    }

    fn set(&self, text: Option<&str>) {
        *self.text.lock().unwrap() = text.map(str::to_owned);
    }

    fn feed(&self, more: &str) -> String {
        let port = self.port;
        format!(
            "shards: 2\nfeeds:\n  - {{ name: list, url: \"http://127.0.0.1:{port}/\", private: true, {more} }}"
        )
    }
}

/// Whether an OPTIONS from there reaches the PBX: it, or that of a witness who sends behind it.
fn reaches_the_pbx(edge: &Edge, phone: &Socket, branch: &str) -> bool {
    let witness = Socket::bind(Ipv4Addr::new(127, 0, 0, 200), 0);
    phone.send((edge.ip, 5060), &request("OPTIONS", phone.address(), branch, "UDP"));
    // Another shard may be faster than this one's: what is asked of all shards comes after.
    edge.ask("GET", "/api/v1/sources", "");
    let after = format!("{branch}-witness");
    witness.send((edge.ip, 5060), &request("OPTIONS", witness.address(), &after, "UDP"));
    let mut reached = false;
    loop {
        let (text, from) = edge.pbx.receive();
        edge.pbx.send(from, &answer(&text, "200 OK"));
        match text {
            text if text.contains(&format!("Call-ID: {after}@test")) => return reached,
            text => reached |= text.contains(&format!("Call-ID: {branch}@test")),
        }
    }
}

/// Waits until the shards have what the last fetch brought.
fn await_sifted(edge: &Edge, metric: &str) {
    edge.await_metric(metric);
    // the shards are told before the sieve is through
    edge.await_metric("ringfence_feed_refused{feed=\"list\",reason=\"trusted\"} 1");
    edge.ask("GET", "/api/v1/sources", "");
}

#[test]
fn a_listed_source_is_dropped_a_trusted_one_is_not_and_the_list_outlives_its_server() {
    let lists = Lists::start("");
    let mut edge = Edge::start(&lists.feed("action: ban"));
    edge.await_metric("ringfence_feed_fetches_total{feed=\"list\",result=\"fresh\"} 1");
    lists.set(Some(&format!("# a list\n{LISTED}\n127.5.0.0/24\n{}\n", edge.ip)));
    let phone = Socket::bind(LISTED, 0);
    assert!(reaches_the_pbx(&edge, &phone, "before"));
    let (code, said, _) = edge.command(&["feeds", "refresh", "list"]);
    assert_eq!((code, said.as_str()), (0, "fetching list\n"));
    await_sifted(&edge, "ringfence_feed_entries{feed=\"list\"} 3");
    assert!(!reaches_the_pbx(&edge, &phone, "listed"));
    edge.await_metric_at_least("ringfence_feed_hits_total{feed=\"list\",result=\"dropped\"}", 1);
    edge.await_metric_at_least(
        "ringfence_requests_total{transport=\"udp\",method=\"none\",verdict=\"drop\",reason=\"listed\"}",
        1,
    );
    assert_eq!(edge.ask("GET", "/api/v1/status", "").1["bans"], 0, "it is in no table of bans");
    let (_, said, _) = edge.command(&["explain", "127.0.0.9"]);
    assert!(said.contains("listed by the feed list (ban): dropped"), "{said}");
    let (_, said, _) = edge.command(&["feeds", "list"]);
    assert!(said.starts_with("list (ban, enforce): 3 entries, "), "{said}");

    // the server is away, and the edge restarts
    lists.set(None);
    edge.signal(libc::SIGTERM);
    assert!(edge.wait().success());
    edge.restart();
    await_sifted(&edge, "ringfence_feed_entries{feed=\"list\"} 3");
    edge.await_metric("ringfence_feed_fetches_total{feed=\"list\",result=\"failed\"} 1");
    assert!(!reaches_the_pbx(&edge, &phone, "again"));
    let (code, ..) = edge.command(&["bans", "lift", "127.0.0.9", "--trust", "1h"]);
    assert_eq!(code, 0);
    assert!(reaches_the_pbx(&edge, &phone, "trusted"));
    edge.await_metric_at_least("ringfence_feed_hits_total{feed=\"list\",result=\"spared\"}", 1);
}

#[test]
fn a_feed_can_be_watched_first_and_taken_away_by_a_reload() {
    let lists = Lists::start("");
    let edge = Edge::start(&lists.feed("action: ban, mode: observe"));
    lists.set(Some(&format!("{LISTED}\n{}\n", edge.ip)));
    edge.command(&["feeds", "refresh"]);
    await_sifted(&edge, "ringfence_feed_entries{feed=\"list\"} 2");
    let phone = Socket::bind(LISTED, 0);
    assert!(reaches_the_pbx(&edge, &phone, "observed"));
    edge.await_metric_at_least("ringfence_feed_hits_total{feed=\"list\",result=\"observed\"}", 1);
    edge.configure("shards: 2");
    edge.reload();
    let (code, said, _) = edge.command(&["feeds", "list"]);
    assert_eq!((code, said.as_str()), (0, "there are no feeds\n"));
    let (code, _, said) = edge.command(&["feeds", "refresh", "list"]);
    assert_eq!(code, 1, "{said}");
}
