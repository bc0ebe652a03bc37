//! Our own bans told to a CrowdSec local API, as alerts with a decision each, so that its other
//! bouncers know of them. By a thread of its own that nobody waits for.

use crate::fetch;
use crate::format::OWN_ORIGIN;
use policy::{Network, Time};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tracing::{info, warn};
use ureq::Agent;

/// Bans that wait to be told; more are lost and counted.
const QUEUE: usize = 4_096;
/// Bans that are told together, and how long the first waits for others.
const BATCH: usize = 100;
const GATHER: Duration = Duration::from_secs(1);
/// How long an exchange may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The pause after a first failure; each next is twice as long, up to this.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LONGEST: Duration = Duration::from_secs(60);
/// Longest answer, in bytes.
const ANSWER_MAX: u64 = 1 << 20;

/// Who is told, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushSettings {
    /// Where it listens: `http://127.0.0.1:8080`.
    pub url: String,
    /// The name that `cscli machines add` gave us.
    pub machine: String,
    /// The file of its password.
    pub password_file: PathBuf,
}

/// A ban that is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Push {
    /// Who is banned.
    pub network: Network,
    /// What led to it: a rule's name.
    pub why: String,
    /// Until when.
    pub until: Time,
    /// Pieces of evidence.
    pub evidence: usize,
}

/// What became of bans.
#[derive(Debug, Default)]
pub struct PushCounts {
    /// Told.
    pub pushed: AtomicU64,
    /// Lost: the queue was full, or the ban was over before it could be told.
    pub lost: AtomicU64,
    /// Tries that failed.
    pub failed: AtomicU64,
}

/// The way to the thread, which ends with its last.
#[derive(Clone, Debug)]
pub struct Pusher {
    queue: SyncSender<Push>,
    counts: Arc<PushCounts>,
}

impl Pusher {
    /// Starts the thread; `clock` says what time it is.
    ///
    /// # Errors
    /// When the system starts none.
    pub fn start(
        settings: PushSettings,
        clock: impl Fn() -> Time + Send + 'static,
    ) -> std::io::Result<Self> {
        let (queue, inbox) = sync_channel(QUEUE);
        let counts = Arc::new(PushCounts::default());
        let teller = Teller {
            settings,
            agent: fetch::agent(),
            clock: Box::new(clock),
            counts: counts.clone(),
            token: None,
        };
        std::thread::Builder::new().name("crowdsec".into()).spawn(move || teller.run(&inbox))?;
        Ok(Pusher { queue, counts })
    }

    /// Tells of a ban. Never waits.
    pub fn push(&self, push: Push) {
        if self.queue.try_send(push).is_err() {
            self.counts.lost.fetch_add(1, Relaxed);
        }
    }

    /// For metrics.
    #[must_use]
    pub fn counts(&self) -> &PushCounts {
        &self.counts
    }
}

struct Teller {
    settings: PushSettings,
    agent: Agent,
    clock: Box<dyn Fn() -> Time + Send>,
    counts: Arc<PushCounts>,
    token: Option<String>,
}

impl Teller {
    fn run(mut self, inbox: &Receiver<Push>) {
        let mut works = true;
        while let Ok(first) = inbox.recv() {
            let mut batch = vec![first];
            // what comes together is told together
            std::thread::sleep(GATHER);
            batch.extend(inbox.try_iter().take(BATCH - 1));
            let mut pause = PAUSE_FIRST;
            loop {
                let now = (self.clock)();
                let before = batch.len();
                batch.retain(|push| push.until > now);
                self.counts.lost.fetch_add((before - batch.len()) as u64, Relaxed);
                let told = if batch.is_empty() { Ok(()) } else { self.tell(now, &batch) };
                let url = &self.settings.url;
                match told {
                    Ok(()) => {
                        self.counts.pushed.fetch_add(batch.len() as u64, Relaxed);
                        if !std::mem::replace(&mut works, true) {
                            info!(%url, "CrowdSec is told of bans again");
                        }
                        break;
                    }
                    Err(why) => {
                        self.counts.failed.fetch_add(1, Relaxed);
                        if std::mem::replace(&mut works, false) {
                            warn!(%url, %why, "CrowdSec cannot be told of bans: tried again");
                        }
                        std::thread::sleep(pause);
                        pause = (pause * 2).min(PAUSE_LONGEST);
                    }
                }
            }
        }
    }

    /// Tells; a token that has run out is fetched anew, once.
    fn tell(&mut self, now: Time, batch: &[Push]) -> Result<(), String> {
        let alerts = Value::Array(batch.iter().map(|push| alert(now, push)).collect());
        for _ in 0..2 {
            let token = match &self.token {
                Some(token) => token.clone(),
                None => self.login()?,
            };
            match self.post("/v1/alerts", &alerts, Some(&token))? {
                (200 | 201, _) => return Ok(()),
                (401 | 403, _) => self.token = None,
                (status, body) => return Err(refusal(status, &body)),
            }
        }
        Err("it does not take the token that it gave".into())
    }

    fn login(&mut self) -> Result<String, String> {
        #[derive(Deserialize)]
        struct Login {
            token: String,
        }
        let PushSettings { machine, password_file, .. } = &self.settings;
        let password = std::fs::read_to_string(password_file)
            .map_err(|error| format!("password_file {}: {error}", password_file.display()))?;
        let wish = json!({
            "machine_id": machine, "password": password.trim(), "scenarios": [OWN_ORIGIN]
        });
        let (status, body) = self.post("/v1/watchers/login", &wish, None)?;
        if status != 200 {
            return Err(refusal(status, &body));
        }
        let login: Login = serde_json::from_str(&body)
            .map_err(|error| format!("no answer of CrowdSec's: {error}"))?;
        Ok(self.token.insert(login.token).clone())
    }

    fn post(&self, path: &str, body: &Value, token: Option<&str>) -> Result<(u16, String), String> {
        let url = format!("{}{path}", self.settings.url.trim_end_matches('/'));
        let mut request = self.agent.post(&url).header("Content-Type", "application/json");
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        // what it knows of us is for nobody else
        let config = request.config().timeout_global(Some(PATIENCE)).max_redirects(0);
        let sent = config.build().send(body.to_string());
        let mut answer = sent.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(ANSWER_MAX).read_to_vec();
        let body = body.map_err(|error| error.to_string())?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

fn refusal(status: u16, body: &str) -> String {
    let said: String = body.chars().take(200).collect();
    format!("it answers with {status}: {}", said.escape_debug())
}

/// CrowdSec counts a decision's time from `stop_at`: both are now, whenever the ban began.
fn alert(now: Time, push: &Push) -> Value {
    let network = push.network;
    let value = network.to_string();
    let (scope, kind) = match network == Network::host(network.address()) {
        true => ("Ip", "ip"),
        false => ("Range", "range"),
    };
    let source = json!({ "scope": scope, "value": value, kind: value });
    let scenario = format!("{OWN_ORIGIN}/{}", push.why);
    let seconds = push.until.since(now).as_secs().max(1);
    json!({
        "scenario": scenario,
        "scenario_hash": "",
        "scenario_version": env!("CARGO_PKG_VERSION"),
        "message": format!("{value} is banned by {OWN_ORIGIN}: {}", push.why),
        "events_count": push.evidence.max(1),
        "start_at": now.utc(),
        "stop_at": now.utc(),
        "capacity": 0,
        "leakspeed": "0",
        "simulated": false,
        "events": [],
        "source": source,
        "decisions": [{
            "origin": OWN_ORIGIN, "type": "ban", "scope": scope, "value": value,
            "duration": format!("{seconds}s"), "scenario": scenario,
        }],
    })
}
