//! `ringfence run`: from a configuration to serving shards.

use crate::admin::{self, Hall, Listeners};
use crate::check::tell;
use crate::cli::Exit;
use crate::clock::Clock;
use crate::control::{COMMANDS, Command, Control, token};
use crate::desk::Desk;
use crate::driver::{self, House, Seat};
use crate::feeds::{Crowd, FeedDesk};
use crate::heap::Heap;
use crate::kernel;
use crate::lookout;
use crate::memory::{self, Remembrance};
use crate::mesh::{self, Mailbox, Mesh};
use crate::names::{Names, Watched};
use crate::news::Newsroom;
use crate::reports::{Reporter, Reports};
use crate::sockets::{self, Tls, bind, needs_inside_listeners, settings};
use crate::status::Status;
use crate::watch::Watch;
use config::{Config, Loaded, Overrides, Secret, SecretOrigin};
use policy::Policy;
use state::State;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use telemetry::Telemetry;
use telemetry::log::LogLevel;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};
use transport::Sockets;

/// Why the edge did not start, or ended otherwise than by a signal.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    text: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Failure { exit, text: text.into() }
    }
}

/// Starts the edge and runs it until a signal ends it.
pub(crate) fn run(file: &Path) -> ExitCode {
    let (loaded, files) = config::load_and_list(file, Overrides::default());
    let Loaded { config, warnings, .. } = match loaded {
        Ok(loaded) => loaded,
        Err(invalid) => {
            tell(&invalid.problems);
            return Exit::Config.into();
        }
    };
    tell(&warnings);
    let level = match telemetry::log::start(
        config.log.format == config::LogFormat::Json,
        &config.log.level,
    ) {
        Ok(level) => level,
        Err(failure) => {
            eprint(&failure.to_string());
            return Exit::Config.into();
        }
    };
    info!(version = env!("CARGO_PKG_VERSION"), config = %file.display(), "Starting");
    match start(file, files, config, level) {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => {
            error!("{}", failure.text);
            failure.exit.into()
        }
    }
}

fn eprint(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn start(
    file: &Path,
    files: Vec<PathBuf>,
    mut config: Config,
    level: LogLevel,
) -> Result<(), Failure> {
    allow_files(&mut config);
    let secret = secret(&config)?;
    let tls = Tls::open(&config)?;
    let sockets = bind(&config, &tls)?;
    let listeners = config.admin.as_ref().map(admin::open).transpose();
    let listeners = listeners.map_err(|text| Failure::new(Exit::Bind, text))?.unwrap_or_default();
    let token = token(&config).map_err(|text| Failure::new(Exit::Config, text))?;
    let shards = config.shards;
    let version = env!("CARGO_PKG_VERSION");
    let telemetry = Arc::new(Telemetry::new(version, shards, &config.policy.pbx));
    let (ends, orders) = mesh::weave(shards, config.transport.hand_over_queue);
    let clock = Clock::new();
    let policy = Arc::new(config.policy.clone());
    let (kernel, kernel_control) = kernel::open(&config, clock, &telemetry);
    let news = Newsroom::new();
    let beside = Beside::open(&config, &policy, clock, &telemetry, random()?.0)
        .map_err(|error| failed("a thread cannot start", &error))?;
    let Beside { mut state, remembrances, shared, reports, feeds, crowd } = beside;
    let feed_kernel = kernel::FeedKernel::new(&config, &kernel);
    let (ready, readiness) = mpsc::channel(usize::from(shards));
    let (facts, writer) = (state.take_facts(), state.writer());
    let watched_names = Watched::of(&config);
    let mut learned = memory::drained(&facts);
    let mut names = Names::new(clock, orders.clone(), telemetry.clone(), writer.clone(), facts);
    learned.extend(names.recall(&watched_names));
    let house = House {
        settings: settings(&config),
        peers: tls.peers().clone(),
        policy: policy.clone(),
        shards,
        secret: secret.0,
        clock,
        kernel,
        crowd,
        telemetry: telemetry.clone(),
        news: news.clone(),
        learned: learned.into(),
        ready,
    };
    for ((sockets, ends), remembrance) in sockets.into_iter().zip(ends).zip(remembrances) {
        let reporter = reports.reporter(sockets.shard(), &policy);
        house.clone().open(sockets, ends, remembrance, reporter)?;
    }
    drop(house);
    let (watched, _) = watch::channel(watched_names);
    let desk = Desk::new(orders, clock, shared, writer);
    let reports = Arc::new(reports);
    let status =
        Status::new(telemetry, desk, news, feeds, reports.clone(), file.to_owned(), policy);
    let status = Arc::new(status);
    let last = status.clone();
    let (commands, command) = mpsc::channel(COMMANDS);
    let control = Control {
        file: file.to_owned(),
        listens_inside: needs_inside_listeners(&config),
        config,
        level,
        tls,
        clock,
        status,
        heap: Heap::default(),
        kernel: kernel_control,
        watched,
        token: Arc::new(Mutex::new(token)),
        commands: command,
        reloading: Default::default(),
        watch: Watch::new(),
        files,
    };
    govern(control, names, feed_kernel, listeners, commands, readiness)?;
    // the shards have ended: what they remembered and said last is in the queues
    state.close();
    reports.close(clock.now(), &last.rules().policy.clone());
    info!("Ended");
    Ok(())
}

/// What is kept, told and fetched beside the shards, each by a thread of its own.
struct Beside {
    state: State,
    remembrances: Vec<Remembrance>,
    /// The highest number of a ban that was told to all shards.
    shared: u64,
    reports: Reports,
    feeds: Arc<FeedDesk>,
    crowd: Crowd,
}

impl Beside {
    fn open(
        config: &Config,
        policy: &Arc<Policy>,
        clock: Clock,
        telemetry: &Telemetry,
        seed: [u8; 32],
    ) -> io::Result<Self> {
        let (state, remembrances, shared) = memory::open(config, clock, telemetry)?;
        let reports = Reports::open(config, policy, clock, telemetry)?;
        let feeds = FeedDesk::open(config, clock, seed)?;
        let watched = feeds.clone();
        telemetry.watch_feeds(Box::new(move || watched.numbers(clock.now())));
        let crowd = Crowd::open(config, clock)?;
        let counted = crowd.clone();
        telemetry.watch_pushes(Box::new(move || counted.counts()));
        Ok(Beside { state, remembrances, shared, reports, feeds, crowd })
    }
}

/// The control thread's runtime: the admin API, signals, reloads, the drain.
fn govern(
    control: Control,
    names: Names,
    feed_kernel: kernel::FeedKernel,
    listeners: Listeners,
    commands: mpsc::Sender<Command>,
    readiness: mpsc::Receiver<io::Result<()>>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed("the control thread cannot start", &error))?;
    runtime.block_on(async {
        let hall = Hall::new(control.status.clone(), commands, control.token.clone());
        let served = listeners.serve(&hall);
        let served = served.map_err(|error| failed("the admin API cannot be served", &error))?;
        tokio::spawn(names.follow(control.watched.subscribe(), control.status.clone()));
        tokio::spawn(lookout::follow(control.status.clone()));
        let status = control.status.clone();
        tokio::spawn(status.feeds.clone().follow(status, feed_kernel));
        let ended = control.govern(readiness).await;
        served.finish().await;
        ended
    })
}

impl House {
    /// Starts a shard's thread. It is not joined: its end shows by its closed queue of orders.
    fn open(
        self,
        sockets: Sockets,
        (mesh, mailbox): (Mesh, Mailbox),
        remembrance: Remembrance,
        reporter: Reporter,
    ) -> Result<(), Failure> {
        let shard = sockets.shard();
        let metrics = self.telemetry.shards()[usize::from(shard.0)].clone();
        let seed = random()?.0;
        let seat =
            Seat { house: self, sockets, seed, mesh, mailbox, remembrance, metrics, reporter };
        let builder = std::thread::Builder::new().name(format!("shard-{}", shard.0));
        match builder.spawn(move || driver::run(seat)) {
            Ok(_) => Ok(()),
            Err(error) => Err(failed("a thread cannot start", &error)),
        }
    }
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("{what}: {error}"))
}

fn random() -> Result<Secret, Failure> {
    Secret::random().map_err(|error| failed("the system gives no random bytes", &error))
}

/// The secret of tokens and branches, by its file.
fn secret(config: &Config) -> Result<Secret, Failure> {
    let file = config.secret_file.display();
    let opened = Secret::open(&config.secret_file);
    let (secret, origin) =
        opened.map_err(|error| failed("the system gives no random bytes", &error))?;
    match origin {
        SecretOrigin::Read => {}
        SecretOrigin::Created => info!(%file, "Created the secret"),
        SecretOrigin::Ephemeral(error) => warn!(
            %file, %error,
            "The secret cannot be kept: phones will be unreachable after a restart until they \
             register again"
        ),
    }
    Ok(secret)
}

/// As many files as may be open, and no more connections than those leave.
fn allow_files(config: &mut Config) {
    let files = match transport::raise_file_limit() {
        Ok(files) => files,
        Err(error) => return warn!(%error, "The limit of open files cannot be raised"),
    };
    info!(files, "Open files allowed");
    if let Some(wanted) = sockets::fit(config, Some(files)) {
        let connections = config.policy.capacities.connections;
        warn!(
            wanted,
            connections,
            "A shard keeps fewer connections than configured, by the limit of open files: raise \
             LimitNOFILE"
        );
    }
}
