//! `ringfence-enforcer run`: the socket, the signals, and what is due every now and then.

use crate::cli::Exit;
use crate::connection;
use crate::core::{Caller, Core};
use crate::plan::Plan;
use crate::privileges::{keep_net_admin, users};
use config::OnStop;
use enforce::{Book, Flows, Nftables, own_addresses};
use policy::Time;
use sd_notify::NotifyState;
use std::cell::RefCell;
use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{error, info, warn};

/// How often the kernel is looked at: a table that somebody flushed is back after this.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often this machine's addresses are asked for.
const ADDRESSES_EVERY: Duration = Duration::from_secs(5);
/// Callers at a time: the edge, its successor while it restarts, and people who look.
const CALLERS_MAX: usize = 8;

/// A clock that never goes back, from the start of the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// Now.
    pub(crate) fn now(self) -> Time {
        Time::ZERO + self.0.elapsed()
    }
}

/// Why it did not start, or ended otherwise than by a signal.
struct Failure(Exit, String);

type Shared = Rc<RefCell<Core<Nftables>>>;

/// Keeps the kernel's sets until a signal ends it.
pub(crate) fn run(file: &Path, names: &[String]) -> ExitCode {
    let read = Plan::read(file).and_then(|plan| Ok((plan, users(names)?)));
    let (plan, users) = match read {
        Ok(read) => read,
        Err(text) => {
            let _ = writeln!(io::stderr().lock(), "{text}");
            return Exit::Config.into();
        }
    };
    if let Err(failure) = telemetry::log::start(plan.json, &plan.level) {
        let _ = writeln!(io::stderr().lock(), "{failure}");
        return Exit::Config.into();
    }
    info!(version = env!("CARGO_PKG_VERSION"), config = %file.display(), "Starting");
    match start(file, plan, users) {
        Ok(()) => {
            info!("Ended");
            Exit::Ok.into()
        }
        Err(Failure(exit, text)) => {
            error!("{text}");
            exit.into()
        }
    }
}

fn start(file: &Path, plan: Plan, users: Vec<u32>) -> Result<(), Failure> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Failure(Exit::Failed, format!("{what}: {error}"))
    };
    let listener = bind(&plan.enforce.socket)?;
    // From here on nothing else is possible, whoever finds a way in.
    keep_net_admin().map_err(|error| {
        failed("CAP_NET_ADMIN is missing (setcap, or the service's unit)", &error)
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed("no runtime", &error))?;
    runtime.block_on(LocalSet::new().run_until(async {
        let clock = Clock(Instant::now());
        let core = Rc::new(RefCell::new(core(clock, &plan)?));
        let helper = Helper { file, plan, users, core, clock, callers: 0 };
        let listener =
            listener.set_nonblocking(true).and_then(|()| UnixListener::from_std(listener));
        let listener = listener.map_err(|error| failed("the socket", &error))?;
        helper.serve(listener).await.map_err(|error| failed("signals", &error))
    }))
}

fn core(clock: Clock, plan: &Plan) -> Result<Core<Nftables>, Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure(Exit::Failed, format!("nftables: {error}"));
    let destinations = plan.destinations.clone();
    for destination in &destinations {
        info!(%destination, "Banned sources are dropped at");
    }
    let mut book = Book::new(plan.bounds, plan.exempt.clone());
    match own_addresses() {
        Ok(addresses) => book.set_own_addresses(addresses),
        Err(error) => return Err(failed(&error)),
    }
    let flows = Flows::start(destinations.clone()).map_err(|error| failed(&error))?;
    let set = Nftables::open(destinations, plan.bounds.sources, plan.bounds.networks);
    let set = set.map_err(|error| failed(&error))?;
    Core::start(clock.now(), book, set, Some(flows)).map_err(|error| failed(&error))
}

/// The socket. One that nobody serves any more is taken over.
fn bind(path: &Path) -> Result<std::os::unix::net::UnixListener, Failure> {
    let failed = |error: io::Error| {
        Failure(
            Exit::Socket,
            format!("enforce.socket: {} cannot be bound: {error}", path.display()),
        )
    };
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(failed(io::Error::other("another helper serves it")));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(failed)?;
    // Whoever reaches it may knock; whether he is let in, the kernel's word on his user decides.
    std::fs::set_permissions(path, Permissions::from_mode(0o666)).map_err(failed)?;
    Ok(listener)
}

struct Helper<'f> {
    file: &'f Path,
    plan: Plan,
    users: Vec<u32>,
    core: Shared,
    clock: Clock,
    callers: Caller,
}

impl Helper<'_> {
    async fn serve(mut self, listener: UnixListener) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut addresses = interval(ADDRESSES_EVERY);
        addresses.set_missed_tick_behavior(MissedTickBehavior::Delay);
        info!(socket = %self.plan.enforce.socket.display(), "Ready");
        tell_manager(NotifyState::Ready);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.on_caller(stream),
                    // no room for another file: the next look is soon enough
                    Err(error) => {
                        warn!(%error, "A caller cannot be accepted");
                        look.tick().await;
                    }
                },
                _ = look.tick() => self.core.borrow_mut().handle_timeout(self.clock.now()),
                _ = addresses.tick() => self.look_for_addresses(),
                _ = hangup.recv() => self.reload(),
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        tell_manager(NotifyState::Stopping);
        self.stop();
        Ok(())
    }

    /// Lets a caller in, if he may.
    fn on_caller(&mut self, stream: UnixStream) {
        let user = match stream.peer_cred() {
            Ok(peer) => peer.uid(),
            Err(error) => return warn!(%error, "A caller without a user is turned away"),
        };
        if user != 0 && !self.users.contains(&user) {
            return warn!(user, "A caller is turned away: --user does not name him");
        }
        if Rc::strong_count(&self.core) > CALLERS_MAX {
            return warn!(user, callers = CALLERS_MAX, "A caller is turned away: too many");
        }
        self.callers += 1;
        let (caller, core, clock) = (self.callers, self.core.clone(), self.clock);
        tokio::task::spawn_local(async move {
            tracing::debug!(user, caller, "A caller");
            let why = connection::serve(stream, caller, &core, clock).await;
            tracing::debug!(caller, why, "A caller has gone");
        });
    }

    fn look_for_addresses(&self) {
        match own_addresses() {
            Ok(addresses) => self.core.borrow_mut().set_own_addresses(self.clock.now(), addresses),
            Err(error) => warn!(%error, "This machine's addresses cannot be read"),
        }
    }

    /// Reads the configuration again. One with errors changes nothing; the socket, the sizes of sets
    /// and what is logged stay until a restart.
    fn reload(&mut self) {
        match Plan::read(self.file) {
            Err(text) => error!("Reload refused, the old configuration stays:\n{text}"),
            Ok(plan) => {
                let now = self.clock.now();
                match Flows::start(plan.destinations.clone()) {
                    Ok(flows) => self.core.borrow_mut().set_flows(flows),
                    Err(error) => {
                        warn!(%error, "Tracked flows are deleted by the old configuration")
                    }
                }
                self.core.borrow_mut().configure(now, |book, set| {
                    book.set_exempt(plan.exempt.clone());
                    set.set_destinations(plan.destinations.clone());
                });
                self.plan.enforce.on_stop = plan.enforce.on_stop;
                self.look_for_addresses();
                info!(destinations = plan.destinations.len(), "Reloaded");
            }
        }
    }

    fn stop(&self) {
        match self.plan.enforce.on_stop {
            OnStop::Keep => info!("The kernel goes on until each ban has run out"),
            OnStop::Remove => match self.core.borrow_mut().remove() {
                Ok(()) => info!("The kernel's sets are removed"),
                Err(error) => error!(%error, "The kernel's sets cannot be removed"),
            },
        }
        // a socket that stays is taken over by the next start
        let _ = std::fs::remove_file(&self.plan.enforce.socket);
    }
}

fn tell_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "The service manager cannot be told");
    }
}
