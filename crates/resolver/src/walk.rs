//! RFC 3263's walk by `rsip-dns`, and what is settled around it.
//!
//! `rsip-dns` asks lazily and joins records to targets; that is what it is here for. Around it:
//!
//! - Numeric hosts never reach it: it forgets their port. `maddr`, `transport=tls`, `sips` and IPv6
//!   are read by [`Wanted`]: it ignores, downgrades, refuses and cannot read them.
//! - It keeps the order in which it is answered, so records are put in order here ([`crate::by_priority`],
//!   [`crate::by_service`]); its own `sorted` overflows and ignores weights.
//! - It takes a NAPTR record's transport from the name of the replacement and rebuilds that name.
//!   So it gets a stand-in that says what the service field says, and the true name is asked.
//! - It goes on with SRV and addresses when NAPTR or SRV records were there (RFC 3263 asks for
//!   that only where there are none), and gives targets twice. Each step is a walk of its own here,
//!   and the next is taken only if there was nothing.
//! - A target of its says nothing of the SRV record that led there. It asks for a record's addresses
//!   just before it gives them, and by a stand-in that says which record it is.
//! - It takes a failed question for "there is none", and knows no TTL: the journal does.

use crate::client::Client;
use crate::memory::STALE_TTL;
use crate::order::{by_priority, by_service};
use crate::question::{Answer, Failure, Kind, Question, Record, Srv};
use crate::wanted::{Place, Target, Wanted};
use async_trait::async_trait;
use policy::Rank;
use rsip_dns::records::SrvRecord;
use rsip_dns::records::{AddrRecord, NaptrEntry, NaptrFlags, NaptrRecord, NaptrServices, SrvEntry};
use rsip_dns::resolvables::{ResolvableAddrRecord, ResolvableNaptrRecord, ResolvableSrvRecord};
use rsip_dns::{DnsClient, ResolvableExt, SrvDomain};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tower::ServiceExt;
use wire::Transport;

/// Questions that one walk may ask; then it goes on as if there were no more records.
pub const QUESTIONS_MAX: usize = 64;
/// Records of one answer that are used, the first in their order.
pub const RECORDS_MAX: usize = 32;
/// Targets of one walk; the others are left out.
const TARGETS_MAX: usize = 256;

/// Where something is to be sent to, and for how long that is so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// In the order in which they are to be tried (RFC 3263 §4.3), but for the lots among SRV records
    /// of one priority. Empty: the DNS says that there are none.
    pub targets: Vec<Target>,
    /// The least TTL of all that was answered.
    pub ttl: Duration,
    /// The last question that failed. It was answered from memory, or passed over.
    pub stale: Option<Failure>,
}

/// Finds the targets of what is wanted.
///
/// # Errors
/// When there is no target, and a question failed: nothing is known then.
pub async fn resolve(dns: &Client, wanted: &Wanted) -> Result<Resolved, Failure> {
    if let Some(target) = wanted.literal() {
        return Ok(Resolved { targets: vec![target], ttl: Duration::MAX, stale: None });
    }
    let mut walk = Walk { adapter: Adapter::new(dns, wanted), targets: Vec::new() };
    walk.go(wanted).await;
    let journal = walk.adapter.journal();
    match journal.failed {
        Some(failure) if walk.targets.is_empty() => Err(failure),
        stale => Ok(Resolved { targets: walk.targets.clone(), ttl: journal.ttl, stale }),
    }
}

struct Walk {
    adapter: Adapter,
    targets: Vec<Target>,
}

impl Walk {
    async fn go(&mut self, wanted: &Wanted) {
        match &wanted.host {
            Place::Address(_) => {}
            Place::Service(name) => self.service(name).await,
            Place::Name(name) if wanted.port.is_some() => self.host(name, wanted).await,
            Place::Name(name) => {
                if wanted.transport.is_none() {
                    self.naptr(name).await;
                }
                if !self.adapter.journal().naptr {
                    self.services(name, wanted.transports()).await;
                }
                if !self.adapter.journal().is_service() {
                    self.host(name, wanted).await;
                }
            }
        }
    }

    async fn naptr(&mut self, name: &str) {
        let known = [Transport::Udp, Transport::Tcp, Transport::Tls].map(foreign).to_vec();
        let adapter = self.adapter.clone();
        self.take(ResolvableNaptrRecord::new(adapter, name.into(), known)).await;
    }

    async fn services(&mut self, name: &str, transports: &[Transport]) {
        for transport in transports {
            let secure = *transport == Transport::Tls;
            let protocol = foreign(*transport).protocol();
            let service = SrvDomain { domain: name.into(), protocol, secure };
            self.take(ResolvableSrvRecord::new(self.adapter.clone(), service)).await;
        }
    }

    /// SRV records by their own name; its labels say the transport.
    async fn service(&mut self, name: &str) {
        let transport = match name {
            _ if name.starts_with("_sips.") || name.contains("._tls.") => Transport::Tls,
            _ if name.contains("._tcp.") => Transport::Tcp,
            _ => Transport::Udp,
        };
        let stand_in = self.adapter.journal().stand_in(name, transport);
        self.take(ResolvableSrvRecord::new(self.adapter.clone(), stand_in)).await;
    }

    async fn host(&mut self, name: &str, wanted: &Wanted) {
        let transport = wanted.transport_or_default();
        let port = wanted.port.unwrap_or(transport.default_port()).into();
        let adapter = self.adapter.clone();
        self.take(ResolvableAddrRecord::new(adapter, name.into(), port, foreign(transport))).await;
    }

    async fn take(&mut self, mut from: impl ResolvableExt<rsip_dns::Target> + Send) {
        while let Some(target) = from.resolve_next().await {
            let Some(transport) = ours(target.transport) else { continue };
            let address = SocketAddr::new(target.ip_addr, target.port.into());
            let known = |it: &Target| (it.transport, it.address) == (transport, address);
            if !self.targets.iter().any(known) {
                let rank = self.adapter.journal().rank;
                self.targets.push(Target { transport, address, rank });
            }
            if self.targets.len() >= TARGETS_MAX {
                return;
            }
        }
    }
}

/// Answers `rsip-dns` through the client, and writes down what it does not want to know.
#[derive(Clone)]
struct Adapter {
    dns: Client,
    secure: bool,
    journal: Arc<Mutex<Journal>>,
}

struct Journal {
    ttl: Duration,
    failed: Option<Failure>,
    asked: usize,
    /// A NAPTR record of ours was there.
    naptr: bool,
    /// An SRV record was there, even one that says that there is no such service.
    srv: bool,
    /// True names behind stand-ins, and the places of SRV records.
    names: Vec<(Box<str>, Rank)>,
    /// Of the record whose addresses were asked for last.
    rank: Rank,
    /// Steps so far.
    steps: u16,
}

impl Journal {
    fn is_service(&self) -> bool {
        self.naptr || self.srv
    }

    /// A name for `rsip-dns` that says the transport, and stands for the true one.
    fn stand_in(&mut self, name: &str, transport: Transport) -> SrvDomain {
        let domain = self.stand_for(name, Rank::default()).into();
        let secure = transport == Transport::Tls;
        SrvDomain { domain, protocol: foreign(transport).protocol(), secure }
    }

    fn stand_for(&mut self, name: &str, rank: Rank) -> String {
        self.names.push((name.into(), rank));
        // no host name has such a letter
        format!("#{}", self.names.len() - 1)
    }

    fn stood_for(&self, domain: &str) -> Option<&(Box<str>, Rank)> {
        let index = domain.strip_prefix('#')?.parse::<usize>().ok()?;
        self.names.get(index)
    }

    fn true_name(&self, service: &SrvDomain) -> Box<str> {
        match self.stood_for(&service.domain.to_string()) {
            Some((name, _)) => name.clone(),
            None => service.to_string().into(),
        }
    }

    /// The records of one service, each with its place.
    fn ranked(&mut self, ordered: &[Srv]) -> Vec<Rank> {
        let mut before = None;
        let rank = |srv: &Srv| {
            self.steps += u16::from(before.replace(srv.priority) != Some(srv.priority));
            Rank { step: self.steps, weight: srv.weight, record: srv.id() }
        };
        ordered.iter().map(rank).collect()
    }

    fn note(&mut self, answered: &Result<Answer, Failure>) {
        match answered {
            Ok(answer) => {
                self.ttl = self.ttl.min(answer.ttl);
                self.failed = answer.stale.or(self.failed);
            }
            Err(failure) => {
                self.ttl = self.ttl.min(STALE_TTL);
                self.failed = Some(*failure);
            }
        }
    }
}

impl Adapter {
    fn new(dns: &Client, wanted: &Wanted) -> Self {
        let journal = Journal {
            ttl: Duration::MAX,
            failed: None,
            asked: 0,
            naptr: false,
            srv: false,
            names: Vec::new(),
            rank: Rank::default(),
            steps: 0,
        };
        Adapter { dns: dns.clone(), secure: wanted.secure, journal: Arc::new(Mutex::new(journal)) }
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, name: &str, kind: Kind) -> Vec<Record> {
        {
            let mut journal = self.journal();
            if journal.asked >= QUESTIONS_MAX {
                return Vec::new();
            }
            journal.asked += 1;
        }
        let question = Question { name: name.into(), kind };
        let answered = self.dns.clone().oneshot(question).await;
        self.journal().note(&answered);
        answered.map(|answer| answer.records).unwrap_or_default()
    }
}

#[async_trait]
impl DnsClient for Adapter {
    async fn naptr_lookup(&self, domain: rsip::Domain) -> Option<NaptrRecord> {
        let records = self.ask(&domain.to_string(), Kind::Naptr).await;
        let naptr = |record| match record {
            Record::Naptr(naptr) => Some(naptr),
            _ => None,
        };
        let known = by_service(records.into_iter().filter_map(naptr).collect(), self.secure);
        let mut journal = self.journal();
        journal.naptr |= !known.is_empty();
        let entries = known.into_iter().take(RECORDS_MAX).map(|(naptr, transport)| NaptrEntry {
            order: naptr.order,
            preference: naptr.preference,
            flags: NaptrFlags::S,
            services: service(transport),
            regexp: Vec::new(),
            replacement: journal.stand_in(&naptr.replacement, transport).to_string().into(),
        });
        let entries = entries.collect();
        Some(NaptrRecord { entries, domain })
    }

    async fn srv_lookup(&self, domain: SrvDomain) -> Option<SrvRecord> {
        let name = self.journal().true_name(&domain);
        let records = self.ask(&name, Kind::Srv).await;
        let srv = |record| match record {
            Record::Srv(srv) => Some(srv),
            _ => None,
        };
        let records: Vec<_> = records.into_iter().filter_map(srv).collect();
        let mut journal = self.journal();
        journal.srv |= !records.is_empty();
        let mut ordered = by_priority(records);
        ordered.truncate(RECORDS_MAX);
        let ranks = journal.ranked(&ordered);
        let entries = ordered.iter().zip(ranks).map(|(srv, rank)| SrvEntry {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port.into(),
            target: journal.stand_for(&srv.target, rank).into(),
        });
        Some(SrvRecord { entries: entries.collect(), domain })
    }

    async fn ip_lookup(&self, domain: rsip::Domain) -> Result<AddrRecord, rsip::Error> {
        let name = {
            let mut journal = self.journal();
            let record = journal.stood_for(&domain.to_string()).cloned();
            let (name, rank) =
                record.unwrap_or_else(|| (domain.to_string().into(), Rank::default()));
            journal.rank = rank;
            name
        };
        let (four, six) = tokio::join!(self.ask(&name, Kind::A), self.ask(&name, Kind::Aaaa));
        let address = |record| match record {
            Record::Address(ip) => is_somebody(ip).then(|| ip.to_canonical()),
            _ => None,
        };
        let addresses = four.into_iter().chain(six).filter_map(address).take(TARGETS_MAX);
        Ok(AddrRecord { domain, ip_addrs: addresses.collect() })
    }
}

/// Whether one party can have this address: a name that stands for "any", for a group or for all
/// on a link is a lie.
fn is_somebody(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    !ip.is_unspecified() && !ip.is_multicast() && ip != Ipv4Addr::BROADCAST
}

fn foreign(transport: Transport) -> rsip::Transport {
    match transport {
        Transport::Udp => rsip::Transport::Udp,
        Transport::Tcp => rsip::Transport::Tcp,
        Transport::Tls => rsip::Transport::Tls,
    }
}

fn ours(transport: rsip::Transport) -> Option<Transport> {
    match transport {
        rsip::Transport::Udp => Some(Transport::Udp),
        rsip::Transport::Tcp => Some(Transport::Tcp),
        rsip::Transport::Tls => Some(Transport::Tls),
        _ => None,
    }
}

fn service(transport: Transport) -> NaptrServices {
    match transport {
        Transport::Udp => NaptrServices::SipD2u,
        Transport::Tcp => NaptrServices::SipD2t,
        Transport::Tls => NaptrServices::SipsD2t,
    }
}
