//! The thread against servers as the Internet has them.
#![allow(clippy::unwrap_used)] // a test that cannot go on ends
#![allow(clippy::disallowed_methods)] // here the test drives, by the machine's clock

use feeds::{Bounds, Fetcher, Format, Place, Settings, Snapshot, View};
use policy::Time;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long anything may take before the test gives up. No test waits this long to pass.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that answers as it is told, and keeps what it was asked.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// `answer` gets the number of the request, its head and the connection.
    fn start(answer: impl Fn(usize, &str, &mut TcpStream) + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heads = asked.clone();
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let head = head(&mut stream);
                heads.lock().unwrap().push(head.clone());
                answer(number, &head, &mut stream);
            }
        });
        Server { address, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn say(stream: &mut TcpStream, status: &str, headers: &str, body: &str) {
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    // who asked may have gone
    let _ = stream.write_all(text.as_bytes());
}

fn settings(url: String, format: Format) -> Settings {
    Settings {
        name: "list".into(),
        place: Place::Url(url),
        format,
        key_file: None,
        every: Duration::from_secs(86_400),
        ttl: Duration::from_secs(3_600),
        timeout: Duration::from_secs(20),
        bytes: 100_000,
        bounds: Bounds { entries: 1_000, widest_ipv4: 16, widest_ipv6: 32, private: false },
    }
}

/// The thread, and what it says.
struct Fetched {
    fetcher: Fetcher,
    snapshots: Receiver<Snapshot>,
}

impl Fetched {
    fn start(directory: &Path, settings: Settings) -> Fetched {
        let (sender, snapshots): (SyncSender<Snapshot>, _) = sync_channel(64);
        let clock = || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            Time::from_nanos(now.as_nanos() as u64)
        };
        let ear = move |snapshot| drop(sender.send(snapshot));
        let fetcher = Fetcher::start(directory.to_owned(), [7; 32], clock, ear).unwrap();
        fetcher.configure(vec![settings]);
        Fetched { fetcher, snapshots }
    }

    fn next(&self) -> View {
        self.snapshots.recv_timeout(PATIENCE).expect("it says something").remove(0)
    }

    /// What it says after a fetch.
    fn fetched(&self) -> View {
        loop {
            let view = self.next();
            if view.fetches != [0; 3] {
                return view;
            }
        }
    }

    fn again(&self) -> View {
        assert!(self.fetcher.refresh(None));
        self.next()
    }
}

fn networks(view: &View) -> Vec<String> {
    view.entries.iter().map(|(network, _)| network.to_string()).collect()
}

/// What is said of a server like this, whose list was never had.
fn failure(
    format: Format,
    change: impl Fn(&mut Settings),
    answer: impl Fn(usize, &str, &mut TcpStream) + Send + 'static,
) -> String {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(answer);
    let mut settings = settings(server.url("/list"), format);
    change(&mut settings);
    let view = Fetched::start(directory.path(), settings).fetched();
    assert!(view.entries.is_empty() && view.failures == 1, "{view:?}");
    view.error.unwrap()
}

#[test]
fn what_did_not_change_is_not_sent_again_and_the_last_good_list_outlives_all() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(|number, head, stream| match number {
        0 => {
            assert!(!head.to_lowercase().contains("if-none-match"));
            let marks = "ETag: \"one\"\r\nLast-Modified: Sat, 28 Nov 2026 10:00:00 GMT\r\n";
            say(stream, "200 OK", marks, "1.2.3.4\n5.6.7.0/24\n");
        }
        1 => {
            let head = head.to_lowercase();
            assert!(head.contains("if-none-match: \"one\""), "{head}");
            assert!(head.contains("if-modified-since: sat, 28 nov 2026 10:00:00 gmt"), "{head}");
            say(stream, "304 Not Modified", "", "");
        }
        2 => say(stream, "500 Oh", "Retry-After: 3\r\n", "9.9.9.9"),
        3 => say(stream, "200 OK", "", "<html>\n<body>\nPlease sign in\n</body>"),
        _ => say(stream, "200 OK", "", "8.8.4.4"),
    });
    let list = ["1.2.3.4", "5.6.7.0/24"];
    let settings = settings(server.url("/list"), Format::Lines);
    let first = Fetched::start(directory.path(), settings.clone());
    let view = first.fetched();
    assert_eq!((networks(&view), view.fetches), (list.map(String::from).to_vec(), [1, 0, 0]));
    let view = first.again();
    assert_eq!((networks(&view), view.fetches), (list.map(String::from).to_vec(), [1, 1, 0]));
    let view = first.again();
    assert_eq!(networks(&view), list);
    assert_eq!(view.error.as_deref(), Some("the server answers with 500"));
    assert!(view.due.since(view.fetched.unwrap()) >= Duration::from_secs(3));
    let view = first.again();
    assert_eq!((networks(&view), view.failures), (list.map(String::from).to_vec(), 2));
    assert!(view.error.unwrap().contains("no list"));
    // another life finds it before anything is fetched
    let second = Fetched::start(directory.path(), settings);
    let view = second.next();
    assert_eq!((networks(&view), view.fetches), (list.map(String::from).to_vec(), [0; 3]));
    assert_eq!(networks(&second.fetched()), ["8.8.4.4"]);
    assert_eq!(server.asked().len(), 5);
}

#[test]
fn an_endless_body_ends_at_its_bound() {
    let said = failure(
        Format::Lines,
        |_| {},
        |_, _, stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
            while stream.write_all(&b"1.2.3.4\n".repeat(1_000)).is_ok() {}
        },
    );
    assert_eq!(said, "it is longer than 100000 bytes");
}

#[test]
fn who_sends_a_byte_now_and_then_is_waited_for_no_longer_than_said() {
    let said = failure(
        Format::Lines,
        |settings| settings.timeout = Duration::from_secs(1),
        |_, _, stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1");
            // until the other side goes
            let _ = stream.read(&mut [0]);
        },
    );
    assert!(said.contains("timeout"), "{said}");
}

#[test]
fn redirects_are_followed_and_not_for_ever() {
    let said = failure(
        Format::Lines,
        |_| {},
        |_, _, stream| {
            say(stream, "302 Found", "Location: /again\r\n", "");
        },
    );
    assert!(said.contains("redirect"), "{said}");
    let server = Server::start(|number, _, stream| match number {
        0 => say(stream, "301 Moved", "Location: /there\r\n", ""),
        _ => say(stream, "200 OK", "", "1.2.3.4"),
    });
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(server.url("/list"), Format::Lines);
    let view = Fetched::start(directory.path(), settings).fetched();
    assert_eq!(networks(&view), ["1.2.3.4"]);
}

#[test]
fn what_is_packed_is_not_unpacked() {
    let said = failure(
        Format::Lines,
        |_| {},
        |_, head, stream| {
            assert!(!head.to_lowercase().contains("gzip"), "nobody asked for it: {head}");
            // the first bytes of a gzip file that would unpack to gigabytes
            let bomb = "\u{1f}\u{8b}\u{8}\n\0\0\0\n\u{2}\u{3}\nx";
            say(stream, "200 OK", "Content-Encoding: gzip\r\n", bomb);
        },
    );
    assert!(said.contains("no list"), "{said}");
}

#[test]
fn a_list_that_is_cut_off_is_none() {
    let said = failure(
        Format::Lines,
        |_| {},
        |_, _, stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n1.2.3.4\n");
        },
    );
    assert!(!said.is_empty());
    let said = failure(
        Format::Lines,
        |_| {},
        |_, _, stream| {
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n");
        },
    );
    assert!(!said.is_empty());
}

#[test]
fn apibans_batches_are_followed_and_the_key_is_in_no_message() {
    let directory = tempfile::tempdir().unwrap();
    let key_file = directory.path().join("key");
    std::fs::write(&key_file, "s3cret\n").unwrap();
    let server = Server::start(|number, head, stream| {
        let path = head.split(' ').nth(1).unwrap();
        match number {
            0 => {
                assert_eq!(path, "/api/s3cret/banned");
                say(stream, "200 OK", "", r#"{"ipaddress":["1.2.3.4","1.2.3.5"],"ID":"100"}"#);
            }
            1 => {
                assert_eq!(path, "/api/s3cret/banned/100");
                say(stream, "200 OK", "", r#"{"ipaddress":["1.2.3.6"],"ID":"101"}"#);
            }
            2 => {
                assert_eq!(path, "/api/s3cret/banned/101");
                say(stream, "400 Bad", "", r#"{"ipaddress":["no new bans"],"ID":"none"}"#);
            }
            _ => say(stream, "403 No", "", r#"{"ipaddress":"none","ID":"unauthorized"}"#),
        }
    });
    let mut settings = settings(server.url("/api/{key}"), Format::Apiban);
    settings.key_file = Some(key_file);
    let fetched = Fetched::start(directory.path(), settings);
    let view = fetched.fetched();
    assert_eq!(networks(&view), ["1.2.3.4", "1.2.3.5", "1.2.3.6"]);
    let view = fetched.again();
    assert_eq!(view.entries.len(), 3, "the last good list holds");
    assert!(!view.error.unwrap().contains("s3cret"));
}

#[test]
fn crowdsec_is_asked_for_all_first_and_then_for_what_changed() {
    let directory = tempfile::tempdir().unwrap();
    let key_file = directory.path().join("key");
    std::fs::write(&key_file, "bouncer-key").unwrap();
    let decision = |value: &str| {
        format!(
            r#"{{"duration":"3h59m57.1s","id":1,"origin":"cscli","scenario":"x","scope":"Ip","type":"ban","value":"{value}"}}"#
        )
    };
    let (first, second) = (decision("1.2.3.4"), decision("5.6.7.8"));
    let server = Server::start(move |number, head, stream| {
        assert!(head.to_lowercase().contains("x-api-key: bouncer-key"), "{head}");
        let path = head.split(' ').nth(1).unwrap();
        match number {
            0 => {
                assert_eq!(path, "/v1/decisions/stream?startup=true");
                say(stream, "200 OK", "", &format!(r#"{{"new":[{first}],"deleted":null}}"#));
            }
            1 => {
                assert_eq!(path, "/v1/decisions/stream?startup=false");
                let body = format!(r#"{{"new":[{second}],"deleted":[{first}]}}"#);
                say(stream, "200 OK", "", &body);
            }
            _ => say(stream, "302 Found", "Location: http://127.0.0.1:1/\r\n", ""),
        }
    });
    let mut settings = settings(server.url("/"), Format::Crowdsec);
    settings.key_file = Some(key_file);
    let fetched = Fetched::start(directory.path(), settings);
    assert_eq!(networks(&fetched.fetched()), ["1.2.3.4"]);
    assert_eq!(networks(&fetched.again()), ["5.6.7.8"]);
    let view = fetched.again();
    assert!(view.error.is_some(), "its key goes to no other server");
    assert_eq!(networks(&view), ["5.6.7.8"]);
}

#[test]
fn a_file_is_read_again_when_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("list.txt");
    std::fs::write(&file, "1.2.3.4\n").unwrap();
    let mut settings = settings(String::new(), Format::Lines);
    settings.place = Place::File(file.clone());
    let fetched = Fetched::start(&directory.path().join("kept"), settings);
    assert_eq!(fetched.fetched().fetches, [1, 0, 0]);
    assert_eq!(fetched.again().fetches, [1, 1, 0]);
    std::fs::write(&file, "1.2.3.4\n5.6.7.8 # another\n").unwrap();
    let view = fetched.again();
    assert_eq!((networks(&view).len(), view.fetches), (2, [2, 1, 0]));
    std::fs::remove_file(&file).unwrap();
    let view = fetched.again();
    assert_eq!((networks(&view).len(), view.fetches), (2, [2, 1, 1]));
}

#[test]
fn who_is_told_of_bans_is_logged_in_at_again_when_its_token_runs_out() {
    let directory = tempfile::tempdir().unwrap();
    let password_file = directory.path().join("password");
    std::fs::write(&password_file, "s3cret\n").unwrap();
    let server = Server::start(|number, head, stream| {
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        match number {
            0 | 3 => {
                assert_eq!(path, "/v1/watchers/login");
                assert!(
                    body.contains("s3cret") && body.contains("\"machine_id\":\"us\""),
                    "{body}"
                );
                let token = format!(r#"{{"code":200,"expire":"x","token":"t{number}"}}"#);
                say(stream, "200 OK", "", &token);
            }
            1 => {
                assert_eq!(path, "/v1/alerts");
                assert!(head.contains("authorization: bearer t0"), "{head}");
                say(stream, "500 Oh", "", "{}");
            }
            2 => say(stream, "401 Unauthorized", "", "{}"),
            _ => {
                assert!(head.contains("authorization: bearer t3"), "{head}");
                assert!(body.contains("\"value\":\"1.2.3.4\""), "{body}");
                say(stream, "201 Created", "", "[\"1\"]");
            }
        }
    });
    let settings =
        feeds::PushSettings { url: server.url("/"), machine: "us".into(), password_file };
    let now = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Time::from_nanos(now.as_nanos() as u64)
    };
    let pusher = feeds::Pusher::start(settings, now).unwrap();
    let (network, until) = ("1.2.3.4".parse().unwrap(), now() + Duration::from_secs(600));
    pusher.push(feeds::Push { network, why: "refused".into(), until, evidence: 2 });
    let counts = pusher.counts();
    for _ in 0..1_500 {
        if counts.pushed.load(std::sync::atomic::Ordering::Relaxed) == 1 {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(counts.failed.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(server.asked().len(), 5);
}
