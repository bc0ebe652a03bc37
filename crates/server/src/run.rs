//! `ringfence run`: from a configuration to serving shards.

use crate::admin::Status;
use crate::check::tell;
use crate::cli::Exit;
use crate::clock::Clock;
use crate::control::Control;
use crate::driver::{self, Seat};
use crate::kernel;
use crate::mesh;
use crate::names::{Names, Watched};
use crate::sockets::{Tls, bind, settings};
use config::{Config, Loaded, Secret, SecretOrigin};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use telemetry::Telemetry;
use telemetry::log::LogLevel;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};
use wire::ShardId;

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
    let Loaded { config, warnings, .. } = match config::load(file) {
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
    match start(file, config, level) {
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

fn start(file: &Path, config: Config, level: LogLevel) -> Result<(), Failure> {
    raise_file_limit();
    let secret = secret(&config)?;
    let tls = Tls::open(&config)?;
    let sockets = bind(&config, &tls)?;
    let admin = config.admin.as_ref().map(|admin| bind_admin(admin.listen)).transpose()?;
    let shards = config.shards;
    let version = env!("CARGO_PKG_VERSION");
    let telemetry = Arc::new(Telemetry::new(version, shards, config.policy.pbx.len()));
    let (ends, orders) = mesh::weave(shards, config.transport.hand_over_queue);
    let clock = Clock::new();
    let policy = Arc::new(config.policy.clone());
    let (kernel, kernel_control) = kernel::open(&config, clock, &telemetry);
    let (ready, readiness) = mpsc::channel(usize::from(shards));
    for ((sockets, (mesh, mailbox)), metrics) in
        sockets.into_iter().zip(ends).zip(telemetry.shards())
    {
        let shard = sockets.shard();
        let seat = Seat {
            settings: settings(&config),
            sockets,
            policy: policy.clone(),
            shards,
            secret: secret.0,
            seed: random()?.0,
            clock,
            mesh,
            mailbox,
            kernel: kernel.clone(),
            telemetry: telemetry.clone(),
            metrics: metrics.clone(),
            ready: ready.clone(),
        };
        spawn(shard, seat)?;
    }
    drop((ready, kernel));
    let status = Arc::new(Status {
        telemetry,
        ready: AtomicBool::new(false),
        draining: AtomicBool::new(false),
        alive: AtomicBool::new(true),
    });
    let names = Names::new(clock, orders.clone(), status.telemetry.clone(), random()?.0);
    let (watched, _) = watch::channel(Watched::of(&config));
    let control = Control {
        file: file.to_owned(),
        config,
        level,
        tls,
        orders,
        status,
        kernel: kernel_control,
        watched,
    };
    govern(control, names, admin, readiness)?;
    info!("Ended");
    Ok(())
}

/// The control thread's runtime: admin pages, signals, reloads, the drain.
fn govern(
    control: Control,
    names: Names,
    admin: Option<TcpListener>,
    readiness: mpsc::Receiver<std::io::Result<()>>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed("the control thread cannot start", &error))?;
    runtime.block_on(async {
        if let Some(listener) = admin {
            let status = control.status.clone();
            tokio::spawn(async move {
                if let Err(failure) = crate::admin::serve(listener, status).await {
                    error!(%failure, "The admin listener failed");
                }
            });
        }
        tokio::spawn(names.follow(control.watched.subscribe()));
        control.govern(readiness).await
    })
}

/// Starts a shard's thread. It is not joined: its end shows by its closed queue of orders.
fn spawn(shard: ShardId, seat: Seat) -> Result<(), Failure> {
    let builder = std::thread::Builder::new().name(format!("shard-{}", shard.0));
    match builder.spawn(move || driver::run(seat)) {
        Ok(_) => Ok(()),
        Err(error) => Err(failed("a thread cannot start", &error)),
    }
}

fn failed(what: &str, error: &std::io::Error) -> Failure {
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

fn raise_file_limit() {
    match transport::raise_file_limit() {
        Ok(files) => info!(files, "Open files allowed"),
        Err(error) => warn!(%error, "The limit of open files cannot be raised"),
    }
}

fn bind_admin(address: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(address).map_err(|error| {
        let text = format!("admin.listen: {address} cannot be bound: {error}");
        Failure::new(Exit::Bind, text)
    })?;
    let address = listener.local_addr().unwrap_or(address);
    info!(%address, "Admin pages");
    Ok(listener)
}
