//! A name server on loopback that answers, lies, stammers or keeps silent, as it is told.

use hickory_resolver::proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, CNAME, NAPTR, SOA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// What it does with a question.
#[derive(Clone, Debug, Default)]
pub enum Habit {
    /// Answers with the records.
    #[default]
    Honest,
    /// Says nothing.
    Silent,
    /// Says nothing the first `n` times.
    SilentAtFirst(usize),
    /// Fails.
    Fails(ResponseCode),
    /// Sends bytes that are no message.
    Garbage,
    /// Answers under another number, with another address, before the honest answer.
    WrongIdFirst,
    /// Answers another question than the one that was asked.
    OtherQuestion,
    /// Puts records of another owner into the answer.
    OtherOwner,
    /// Truncated over UDP, whole over TCP.
    TruncatedByUdp,
    /// Truncated by whatever way.
    TruncatedAlways,
    /// There is no such name, for as long as its SOA says.
    NoName(u32),
}

type Entry = (Habit, Vec<Record>);

/// The server; it ends with its runtime.
#[derive(Clone)]
pub struct Liar {
    pub address: SocketAddr,
    entries: Arc<Mutex<HashMap<(String, RecordType), Entry>>>,
    asked: Arc<Mutex<Vec<(&'static str, String)>>>,
}

pub fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

pub fn a(owner: &str, ttl: u32, address: [u8; 4]) -> Record {
    Record::from_rdata(name(owner), ttl, RData::A(A(address.into())))
}

pub fn alias(owner: &str, ttl: u32, target: &str) -> Record {
    Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(target))))
}

pub fn srv(owner: &str, ttl: u32, port: u16, target: &str) -> Record {
    Record::from_rdata(name(owner), ttl, RData::SRV(SRV::new(1, 1, port, name(target))))
}

pub fn naptr(owner: &str, ttl: u32, services: &str, replacement: &str) -> Record {
    let bytes = |text: &str| text.as_bytes().into();
    let data = NAPTR::new(1, 1, bytes("s"), bytes(services), bytes(""), name(replacement));
    Record::from_rdata(name(owner), ttl, RData::NAPTR(data))
}

impl Liar {
    pub async fn start() -> Self {
        let (udp, tcp) = loop {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let liar = Liar {
            address: tcp.local_addr().unwrap(),
            entries: Arc::default(),
            asked: Arc::default(),
        };
        tokio::spawn(liar.clone().serve_udp(udp));
        tokio::spawn(liar.clone().serve_tcp(tcp));
        liar
    }

    /// From now on this is what it does with that question.
    pub fn set(&self, owner: &str, kind: RecordType, habit: Habit, records: Vec<Record>) {
        self.entries.lock().unwrap().insert((owner.into(), kind), (habit, records));
    }

    /// How often this was asked, and by which way.
    pub fn asked(&self, way: &str, owner: &str, kind: RecordType) -> usize {
        let what = format!("{kind} {owner}");
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(by, question)| *by == way && *question == what).count()
    }

    async fn serve_udp(self, socket: UdpSocket) {
        let mut bytes = [0; 4_096];
        while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
            for answer in self.answers("udp", &bytes[..length]) {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    }

    async fn serve_tcp(self, listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let liar = self.clone();
            tokio::spawn(async move {
                while let Ok(length) = stream.read_u16().await {
                    let mut bytes = vec![0; length.into()];
                    if stream.read_exact(&mut bytes).await.is_err() {
                        return;
                    }
                    for answer in liar.answers("tcp", &bytes) {
                        let length = u16::try_from(answer.len()).unwrap();
                        let framed = [&length.to_be_bytes()[..], &answer].concat();
                        let _ = stream.write_all(&framed).await;
                    }
                }
            });
        }
    }

    fn answers(&self, way: &'static str, bytes: &[u8]) -> Vec<Vec<u8>> {
        let asked = Message::from_vec(bytes).unwrap();
        let question = asked.queries[0].clone();
        let owner = question.name().to_ascii().trim_end_matches('.').to_lowercase();
        let kind = question.query_type();
        self.asked.lock().unwrap().push((way, format!("{kind} {owner}")));
        let (habit, records) = {
            let mut entries = self.entries.lock().unwrap();
            let Some((habit, records)) = entries.get_mut(&(owner.clone(), kind)) else {
                return vec![none(&asked, ResponseCode::NXDomain, 900)];
            };
            let now = habit.clone();
            if let Habit::SilentAtFirst(left) = habit {
                *habit = left.checked_sub(1).map_or(Habit::Honest, Habit::SilentAtFirst);
            }
            (now, records.clone())
        };
        let whole = reply(&asked, &question, records.clone()).to_vec().unwrap();
        match habit {
            Habit::Honest | Habit::SilentAtFirst(0) => vec![whole],
            Habit::Silent | Habit::SilentAtFirst(_) => vec![],
            Habit::Fails(code) => vec![none(&asked, code, 0)],
            Habit::NoName(ttl) => vec![none(&asked, ResponseCode::NXDomain, ttl)],
            Habit::Garbage => vec![b"no message".to_vec()],
            Habit::WrongIdFirst => {
                let mut lie = reply(&asked, &question, vec![a(&owner, 300, [6, 6, 6, 6])]);
                lie.metadata.id = asked.metadata.id.wrapping_add(1);
                vec![lie.to_vec().unwrap(), whole]
            }
            Habit::OtherQuestion => {
                let other = Query::query(name("other.example"), kind);
                let lie = reply(&asked, &other, vec![a("other.example", 300, [6, 6, 6, 6])]);
                vec![lie.to_vec().unwrap()]
            }
            Habit::OtherOwner => {
                let mut lies = vec![a("other.example", 300, [6, 6, 6, 6])];
                lies.extend(records);
                vec![reply(&asked, &question, lies).to_vec().unwrap()]
            }
            Habit::TruncatedByUdp if way == "tcp" => vec![whole],
            Habit::TruncatedByUdp | Habit::TruncatedAlways => {
                let mut short = reply(&asked, &question, vec![]);
                short.metadata.truncation = true;
                vec![short.to_vec().unwrap()]
            }
        }
    }
}

fn reply(asked: &Message, question: &Query, records: Vec<Record>) -> Message {
    let mut message = Message::new(asked.metadata.id, MessageType::Response, OpCode::Query);
    message.metadata.recursion_available = true;
    message.add_query(question.clone());
    message.add_answers(records);
    message
}

fn none(asked: &Message, code: ResponseCode, ttl: u32) -> Vec<u8> {
    let mut message = reply(asked, &asked.queries[0], vec![]);
    message.metadata.response_code = code;
    let soa = SOA::new(name("ns.example"), name("post.example"), 1, 1, 1, 1, ttl);
    if ttl > 0 {
        message.add_authority(Record::from_rdata(name("example"), ttl, RData::SOA(soa)));
    }
    message.to_vec().unwrap()
}
