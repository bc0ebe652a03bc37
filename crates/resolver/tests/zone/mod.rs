//! A DNS without a network: records by name, and a word for what fails.

use resolver::{Answer, Client, Failure, Kind, Naptr, Question, Record, Srv};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::service_fn;
use tower::util::BoxCloneSyncService;

type Answers = HashMap<(String, Kind), Result<Answer, Failure>>;

/// Answers from a table; what is not in it does not exist. Clones are the same zone.
#[derive(Clone, Default)]
pub struct Zone {
    answers: Arc<Mutex<Answers>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Zone {
    pub fn naptr(&self, name: &str, records: &[(u16, u16, &str, &str, &str)]) -> &Self {
        let record =
            |(order, preference, flags, services, replacement): &(u16, u16, &str, &str, &str)| {
                Record::Naptr(Naptr {
                    order: *order,
                    preference: *preference,
                    flags: flags.as_bytes().into(),
                    services: services.as_bytes().into(),
                    replacement: (*replacement).into(),
                })
            };
        self.put(name, Kind::Naptr, records.iter().map(record).collect())
    }

    pub fn srv(&self, name: &str, records: &[(u16, u16, u16, &str)]) -> &Self {
        let record = |(priority, weight, port, target): &(u16, u16, u16, &str)| {
            let (priority, weight, port) = (*priority, *weight, *port);
            Record::Srv(Srv { priority, weight, port, target: (*target).into() })
        };
        self.put(name, Kind::Srv, records.iter().map(record).collect())
    }

    pub fn host(&self, name: &str, addresses: &[&str]) -> &Self {
        let addresses = addresses.iter().map(|ip| ip.parse::<std::net::IpAddr>().unwrap());
        let (four, six): (Vec<_>, Vec<_>) = addresses.partition(std::net::IpAddr::is_ipv4);
        for (kind, ips) in [(Kind::A, four), (Kind::Aaaa, six)] {
            if !ips.is_empty() {
                self.put(name, kind, ips.into_iter().map(Record::Address).collect());
            }
        }
        self
    }

    /// From now on this question fails.
    pub fn fail(&self, name: &str, kind: Kind, failure: Failure) -> &Self {
        self.answers.lock().unwrap().insert((name.into(), kind), Err(failure));
        self
    }

    fn put(&self, name: &str, kind: Kind, records: Vec<Record>) -> &Self {
        let answer = Answer { records, ttl: Duration::from_secs(300), stale: None };
        self.answers.lock().unwrap().insert((name.into(), kind), Ok(answer));
        self
    }

    pub fn answer(&self, question: &Question) -> Result<Answer, Failure> {
        let kind = question.kind;
        self.asked.lock().unwrap().push(format!("{kind:?} {}", question.name));
        let none = Answer { records: Vec::new(), ttl: Duration::from_secs(900), stale: None };
        let answers = self.answers.lock().unwrap();
        answers.get(&(question.name.to_string(), kind)).cloned().unwrap_or(Ok(none))
    }

    /// What was asked since the last time.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    pub fn client(&self) -> Client {
        let zone = self.clone();
        BoxCloneSyncService::new(service_fn(move |question: Question| {
            let answer = zone.answer(&question);
            async move { answer }
        }))
    }
}
