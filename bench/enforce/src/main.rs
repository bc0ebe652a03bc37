//! What a ban in the kernel costs, and how long it takes from the gate's word to the kernel's.
//!
//! `make bench-enforce`, as root: it makes network namespaces of its own. Three parts: the kernel's
//! sets alone ([`sets`]), the whole way through the helper, idle and under a flood ([`way`]), and
//! what a dropped packet costs against one that is read ([`drops`]). On a machine that others use,
//! `chrt -r 1` before it takes the waiting for a core out of [`way`].

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement: it reads the clock, prints, and ends when something is wrong"
)]

mod drops;
mod lab;
mod sets;
mod way;

use std::time::Duration;

/// Its name, what it measures, and how.
type Part = (&'static str, &'static str, fn(&lab::Lab));

fn main() {
    assert!(rustix::process::getuid().is_root(), "network namespaces need root");
    let mut arguments = std::env::args().skip(1);
    let part = arguments.next();
    if part.as_deref() == Some("flood") {
        let (street, n) = (arguments.next().unwrap(), arguments.next().unwrap());
        way::flood(&street, n.parse().unwrap());
    }
    let said = |file: &str| std::fs::read_to_string(file).unwrap().trim().to_owned();
    let cpu = said("/proc/cpuinfo");
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    println!(
        "kernel {}, {}",
        said("/proc/sys/kernel/osrelease"),
        cpu.trim_start_matches(['\t', ' ', ':'])
    );
    println!("cores {}", std::thread::available_parallelism().unwrap());
    println!("load of the machine before: {}", said("/proc/loadavg"));
    println!("real-time priority: {}", if is_first_of_all() { "yes" } else { "no" });
    let lab = lab::Lab::new();
    let parts: [Part; 3] = [
        ("sets", "the kernel's sets, over netlink and by nft", sets::run),
        ("way", "from the gate's word to the kernel's: client, helper, kernel, answer", way::run),
        ("drops", "a packet of a banned source: CPU of this process, kernel included", drops::run),
    ];
    for (name, what, run) in parts {
        if part.as_deref().is_none_or(|part| part == name) {
            println!("\n{what}\n");
            // a thread each: it moves between namespaces
            let ended = std::thread::scope(|scope| scope.spawn(|| run(&lab)).join());
            ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    }
}

/// Whether this process goes before all others (`chrt -r 1`): the policy is field 41 of its `stat`,
/// the 39th behind the name.
fn is_first_of_all() -> bool {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let behind = stat.rsplit(')').next().unwrap_or_default();
    behind.split_whitespace().nth(38).is_some_and(|policy| policy != "0")
}

/// The machine is shared: what is measured goes before what others run.
fn go_first() {
    let _ = rustix::process::setpriority_process(None, -10);
}

/// A line of the table: median, 99th percentile and most of some times.
fn line(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e6;
    println!(
        "  {what:<52} p50 {:>9.1} us   p99 {:>9.1} us   most {:>9.1} us   n {}",
        at(50),
        at(99),
        at(100),
        times.len()
    );
}
