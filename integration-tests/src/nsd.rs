//! A real name server (NSD) with one zone that changes under its clients.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::child::Child;
use crate::stage::unpacked;

/// What its log says when it has read the zone.
const LOADED: &str = "read with success";

/// The zone it has.
pub const ZONE: &str = "carrier.test";

/// A running NSD, authoritative for [`ZONE`].
pub struct Nsd {
    child: Child,
    directory: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
    serial: u32,
}

impl Nsd {
    /// Starts one at `host` with these records: lines of a zone file whose TTL is a second.
    #[must_use]
    pub fn start(host: Ipv4Addr, directory: &Path, records: &str) -> Self {
        let directory = directory.join("nsd");
        fs::create_dir_all(&directory).unwrap();
        let address = SocketAddr::from((host, 5_300));
        fs::write(directory.join("nsd.conf"), configuration(&directory, address)).unwrap();
        write_zone(&directory, 1, records);
        let child = run(&directory);
        Nsd { child, directory, address, serial: 1 }
    }

    /// From now on its zone has these records.
    pub fn change(&mut self, records: &str) {
        self.serial += 1;
        write_zone(&self.directory, self.serial, records);
        let log = self.directory.join("nsd.log");
        let loads = || fs::read_to_string(&log).unwrap_or_default().matches(LOADED).count();
        let before = loads();
        self.child.signal(Signal::HUP);
        crate::wait_until("NSD has loaded the zone", crate::PATIENCE, || loads() > before);
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.child.stop();
    }

    /// Starts it again.
    pub fn start_again(&mut self) {
        self.child = run(&self.directory);
    }
}

fn run(directory: &Path) -> Child {
    let mut command = unpacked("nsd");
    command.arg("-d").arg("-c").arg(directory.join("nsd.conf"));
    let log = directory.join("nsd.log");
    let _ = fs::remove_file(&log);
    let mut child = Child::start("nsd", &command, &directory.join("out.log"));
    child.wait_for("started server", |_| {
        fs::read_to_string(&log).unwrap_or_default().contains("nsd started")
    });
    child
}

fn configuration(directory: &Path, address: SocketAddr) -> String {
    let at = directory.display();
    format!(
        "server:\n  ip-address: {}@{}\n  username: \"\"\n  server-count: 1\n  verbosity: 2\n  \
         zonesdir: \"{at}\"\n  database: \"\"\n  pidfile: \"{at}/pid\"\n  xfrdfile: \"{at}/xfrd\"\n  \
         zonelistfile: \"{at}/zones\"\n  xfrdir: \"{at}\"\n  logfile: \"{at}/nsd.log\"\n  \
         zonefiles-check: yes\n\
         remote-control:\n  control-enable: no\n\
         zone:\n  name: {ZONE}\n  zonefile: zone\n",
        address.ip(),
        address.port()
    )
}

fn write_zone(directory: &Path, serial: u32, records: &str) {
    let head = format!(
        "$ORIGIN {ZONE}.\n$TTL 1\n@ IN SOA ns post {serial} 3600 600 86400 1\n@ IN NS ns\n\
         ns IN A 127.0.0.1\n"
    );
    fs::write(directory.join("zone"), head + records + "\n").unwrap();
}
