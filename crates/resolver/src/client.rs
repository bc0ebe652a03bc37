//! One question to the DNS, and what stands around it.

use crate::memory::{LastGood, STALE_TTL};
use crate::question::{Answer, Failure, Kind, Naptr, Question, Record, Srv};
use crate::settings::Settings;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use std::future::{Future, Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::retry::Policy;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceBuilder};

/// Aliases that lead from a name to its records.
const ALIASES_MAX: usize = 8;

/// Answers questions. Clones share their bounds and their memory.
pub type Client = BoxCloneSyncService<Question, Answer, Failure>;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The system's configuration cannot be read.
    #[error("the system's name servers are not known: {0}")]
    System(NetError),
    /// The client itself.
    #[error("the DNS client does not start: {0}")]
    Client(NetError),
}

/// A client that asks the name servers of the settings, or of the system. Needs a tokio runtime
/// when it is used.
///
/// # Errors
/// When the system's name servers are wanted and not known.
pub fn client(settings: &Settings) -> Result<Client, ClientError> {
    let provider = TokioRuntimeProvider::default();
    let mut builder = if settings.servers.is_empty() {
        TokioResolver::builder(provider).map_err(ClientError::System)?
    } else {
        let servers = settings.servers.iter().copied().map(server).collect();
        let config = ResolverConfig::from_name_servers(servers);
        TokioResolver::builder_with_config(config, provider)
    };
    configure(builder.options_mut(), settings);
    let resolver = builder.build().map_err(ClientError::Client)?;
    Ok(guard(settings, Hickory { resolver }))
}

/// Over UDP; over TCP what is too long for it.
fn server(address: SocketAddr) -> NameServerConfig {
    let at = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}

/// Its own cache, retries and hosts file are off: when a name is asked again is [`crate::Watch`]'s
/// business, and how often a question is tried [`guard`]'s.
fn configure(options: &mut ResolverOpts, settings: &Settings) {
    options.timeout = settings.timeout;
    options.attempts = 0;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.preserve_intermediates = true;
    options.max_active_requests = settings.questions.max(1);
}

/// Puts retries, a bound on questions at a time, a timeout for each try and a memory around
/// whatever answers questions.
pub fn guard<S>(settings: &Settings, dns: S) -> Client
where
    S: Service<Question, Response = Answer, Error = Failure> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let tried = ServiceBuilder::new()
        .map_err(failure)
        .retry(Attempts { left: settings.attempts.saturating_sub(1) })
        .concurrency_limit(settings.questions.max(1))
        .timeout(settings.timeout)
        .service(dns);
    BoxCloneSyncService::new(LastGood::new(tried))
}

fn failure(error: BoxError) -> Failure {
    match error.downcast::<Failure>() {
        Ok(failure) => *failure,
        // the timeout's own error is the only other one
        Err(_) => Failure::Timeout,
    }
}

/// Tries that are left. What was answered, and what no second try can change, is not tried again.
#[derive(Clone, Copy, Debug)]
struct Attempts {
    left: usize,
}

impl Policy<Question, Answer, BoxError> for Attempts {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Question,
        result: &mut Result<Answer, BoxError>,
    ) -> Option<Ready<()>> {
        let error = result.as_ref().err()?;
        if error.downcast_ref::<Failure>() == Some(&Failure::NoName) {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        Some(ready(()))
    }

    fn clone_request(&mut self, question: &Question) -> Option<Question> {
        Some(question.clone())
    }
}

#[derive(Clone)]
struct Hickory {
    resolver: TokioResolver,
}

impl Service<Question> for Hickory {
    type Response = Answer;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, question: Question) -> Self::Future {
        let resolver = self.resolver.clone();
        Box::pin(async move {
            // a last dot: no search list
            let name = Name::from_ascii(format!("{}.", question.name));
            let name = name.map_err(|_| Failure::NoName)?;
            let kind = match question.kind {
                Kind::Naptr => RecordType::NAPTR,
                Kind::Srv => RecordType::SRV,
                Kind::A => RecordType::A,
                Kind::Aaaa => RecordType::AAAA,
            };
            match resolver.lookup(name, kind).await {
                Ok(lookup) => Ok(answer(&lookup, question.kind)),
                Err(error) => none_or_failure(&error),
            }
        })
    }
}

/// What was answered about the name that was asked for, or an alias on the way. The client hands
/// on records of other owners, too; those are nobody's word.
fn answer(lookup: &Lookup, kind: Kind) -> Answer {
    let answers = lookup.answers();
    let mut names = vec![lookup.query().name()];
    // each record can lengthen the chain once
    for _ in 0..ALIASES_MAX {
        let next = answers.iter().find_map(|record| match &record.data {
            RData::CNAME(alias) if names.contains(&&record.name) => {
                (!names.contains(&&alias.0)).then_some(&alias.0)
            }
            _ => None,
        });
        let Some(next) = next else { break };
        names.push(next);
    }
    let ours = || answers.iter().filter(|record| names.contains(&&record.name));
    let ttl = ours().map(|record| record.ttl).min().unwrap_or(0);
    let records = ours().filter_map(|record| read(&record.data, kind)).collect();
    Answer { records, ttl: Duration::from_secs(ttl.into()), stale: None }
}

fn read(data: &RData, kind: Kind) -> Option<Record> {
    match (data, kind) {
        (RData::A(a), Kind::A) => Some(Record::Address(a.0.into())),
        (RData::AAAA(aaaa), Kind::Aaaa) => Some(Record::Address(aaaa.0.into())),
        (RData::SRV(srv), Kind::Srv) => Some(Record::Srv(Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: text(&srv.target),
        })),
        (RData::NAPTR(naptr), Kind::Naptr) => Some(Record::Naptr(Naptr {
            order: naptr.order,
            preference: naptr.preference,
            flags: naptr.flags.clone(),
            services: naptr.services.clone(),
            replacement: text(&naptr.replacement),
        })),
        _ => None,
    }
}

fn text(name: &Name) -> Box<str> {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase().into()
}

/// "There is none" is an answer, too; how long it holds says the zone's SOA (RFC 2308).
fn none_or_failure(error: &NetError) -> Result<Answer, Failure> {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            let ttl = none.negative_ttl.map_or(STALE_TTL, |ttl| Duration::from_secs(ttl.into()));
            Ok(Answer { records: Vec::new(), ttl, stale: None })
        }
        NetError::Dns(_) => Err(Failure::Refused),
        NetError::Timeout => Err(Failure::Timeout),
        NetError::Io(_) | NetError::NoConnections | NetError::Busy => Err(Failure::Unreachable),
        _ => Err(Failure::Unreadable),
    }
}
