//! The client against a helper that the test plays.

use super::*;
use std::sync::Mutex;
use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

const NOW: Time = Time::ZERO;
const CAPACITY: usize = 3_000;

fn network(n: u32) -> Network {
    Network::new((0x0a00_0000 + n).to_be_bytes().into(), 32)
}

fn until(seconds: u64) -> Time {
    NOW + Duration::from_secs(seconds)
}

/// A client that runs, and the place where its helper will be.
struct Play {
    sender: Sender,
    enforcing: watch::Sender<bool>,
    listener: UnixListener,
    reports: Arc<Mutex<Vec<Report>>>,
    _directory: tempfile::TempDir,
    _client: JoinHandle<()>,
}

/// The client begins when `before` is done.
fn play(queue: usize, before: impl FnOnce(&Sender)) -> Play {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let (sender, updates) = client(queue);
    before(&sender);
    let enforcing = watch::Sender::new(true);
    let client = Client::new(path, updates, enforcing.subscribe(), CAPACITY, || NOW);
    let reports: Arc<Mutex<Vec<Report>>> = Arc::default();
    let heard = reports.clone();
    let client = tokio::spawn(client.run(move |report| heard.lock().unwrap().push(report)));
    Play { sender, enforcing, listener, reports, _directory: directory, _client: client }
}

/// The helper's end of a connection.
struct Helper {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Play {
    async fn accept(&self) -> Helper {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        stream.write_all(&PREFACE).await.unwrap();
        let mut preface = [0; 8];
        stream.read_exact(&mut preface).await.unwrap();
        assert_eq!(preface, PREFACE);
        Helper { stream, buffer: Vec::new() }
    }

    fn has(&self, report: &Report) -> bool {
        self.reports.lock().unwrap().contains(report)
    }
}

impl Helper {
    async fn next(&mut self) -> Request {
        loop {
            if let Some((request, length)) = Request::parse(&self.buffer).unwrap() {
                self.buffer.drain(..length);
                return request;
            }
            assert!(self.stream.read_buf(&mut self.buffer).await.unwrap() > 0, "it has gone");
        }
    }

    async fn answer(&mut self, number: u32) {
        let mut out = Vec::new();
        Answer::Done { number, results: Results::default() }.write(&mut out);
        self.stream.write_all(&out).await.unwrap();
    }

    /// Takes a full list, answering all of it.
    async fn list(&mut self) -> Vec<Wish> {
        assert_eq!(self.next().await, Request::ListBegin);
        let mut all = Vec::new();
        loop {
            match self.next().await {
                Request::Changes { number, wishes } => {
                    all.extend(wishes);
                    self.answer(number).await;
                }
                Request::ListEnd { number } => {
                    self.answer(number).await;
                    return all;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Takes the next changes, and answers them.
    async fn changes(&mut self) -> Vec<Wish> {
        match self.next().await {
            Request::Changes { number, wishes } => {
                self.answer(number).await;
                wishes
            }
            other => panic!("{other:?}"),
        }
    }
}

fn ban(n: u32, seconds: u64) -> Wish {
    Wish::Ban(Entry { network: network(n), remaining: Duration::from_secs(seconds) })
}

#[tokio::test]
async fn the_helper_gets_a_full_list_and_then_what_changes() {
    let play = play(100, |_| {});
    let mut helper = play.accept().await;
    assert_eq!(helper.list().await, []);
    play.sender.ban(network(1), until(60));
    assert_eq!(helper.changes().await, [ban(1, 60)]);
    play.sender.lift(network(1));
    assert_eq!(helper.changes().await, [Wish::Lift(network(1))]);
    play.sender.lift(network(7));
    play.sender.ban(network(2), until(60));
    assert_eq!(helper.changes().await, [ban(2, 60)], "who was not banned is not lifted");
    drop(helper);
    let mut helper = play.accept().await;
    assert_eq!(helper.list().await, [ban(2, 60)]);
    assert!(play.has(&Report::Absent("it has closed the connection".into())));
}

#[tokio::test]
async fn a_lift_that_got_lost_empties_the_kernel() {
    let play = play(2, |sender| {
        assert!(sender.ban(network(1), until(60)));
        assert!(sender.ban(network(2), until(60)));
        assert!(!sender.lift(network(1)), "the queue holds two");
        assert!(!sender.ban(network(3), until(60)));
    });
    let mut helper = play.accept().await;
    while !play.has(&Report::Forgotten) {
        tokio::task::yield_now().await;
    }
    assert!(play.sender.ban(network(4), until(60)));
    // lists before and after the loss, as it comes: the last word is what holds
    let mut kernel = HashSet::new();
    while !kernel.contains(&network(4)) {
        match helper.next().await {
            Request::ListBegin => kernel.clear(),
            Request::Changes { number, wishes } => {
                for wish in wishes {
                    match wish {
                        Wish::Ban(entry) => kernel.insert(entry.network),
                        Wish::Lift(network) => kernel.remove(&network),
                    };
                }
                helper.answer(number).await;
            }
            Request::ListEnd { number } => helper.answer(number).await,
            Request::Ask => panic!("it asks nothing"),
        }
    }
    assert_eq!(kernel, [network(4)].into());
}

#[tokio::test]
async fn no_more_than_a_window_is_on_the_way_and_no_frame_is_too_long() {
    let play = play(1 << 14, |_| {});
    let mut helper = play.accept().await;
    assert_eq!(helper.list().await, []);
    for n in 0..CAPACITY as u32 {
        assert!(play.sender.ban(network(n), until(60)));
    }
    play.sender.ban(network(9_999), until(60));
    let mut told = 0;
    let mut numbers = Vec::new();
    while told < CAPACITY {
        let Request::Changes { number, wishes } = helper.next().await else { panic!("no changes") };
        assert!(wishes.len() <= RECORDS_MAX);
        told += wishes.len();
        numbers.push(number);
        if numbers.len() == WINDOW {
            // nothing more comes until something is answered
            assert!(helper.buffer.is_empty());
            helper.answer(numbers.remove(0)).await;
        }
    }
    assert!(play.has(&Report::NoRoom(1)), "the list has a bound");
}

#[tokio::test]
async fn in_observe_the_list_is_empty_and_comes_back_whole() {
    let play = play(100, |_| {});
    let mut helper = play.accept().await;
    assert_eq!(helper.list().await, []);
    play.sender.ban(network(1), until(60));
    assert_eq!(helper.changes().await, [ban(1, 60)]);
    play.enforcing.send(false).unwrap();
    assert_eq!(helper.list().await, []);
    play.enforcing.send(true).unwrap();
    assert_eq!(helper.list().await, [ban(1, 60)]);
}

#[tokio::test]
async fn another_language_or_a_wrong_answer_ends_the_connection() {
    let play = play(100, |_| {});
    let (mut stream, _) = play.listener.accept().await.unwrap();
    stream.write_all(b"RNGFNCE\x02").await.unwrap();
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard).await;
    let mut helper = play.accept().await;
    assert!(play.has(&Report::Absent(Malformed::Preface.to_string())));
    assert_eq!(helper.list().await, []);
    helper.answer(77).await;
    let mut helper = play.accept().await;
    assert_eq!(helper.list().await, [], "it comes again");
}
