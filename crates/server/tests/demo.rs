//! `ringfence demo` as a newcomer sees it: calls pass, attackers fall, and nothing is left of it.
#![allow(clippy::unwrap_used)] // a test that cannot go on ends

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// Lines that are read before the test gives up; there is one at least every five seconds.
const LINES: usize = 120;

#[test]
fn calls_pass_attackers_fall_and_nothing_is_left() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .arg("demo")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut said = String::new();
    let (mut answered, mut banned) = (false, false);
    for line in lines.by_ref().take(LINES) {
        let calls = line.split(" made, ").nth(1).and_then(|rest| rest.split(' ').next());
        answered |= calls.is_some_and(|count| count != "0");
        banned |= line.contains("BANNED 127.") && line.contains(".66.");
        said += &line;
        said.push('\n');
        if answered && banned {
            break;
        }
    }
    assert!(answered && banned, "{said}");
    assert!(said.contains("SIMULATED"), "it says what it is: {said}");
    let of_phone = |line: &str| line.contains("BANNED") && !line.contains(".66.");
    assert!(!said.lines().any(of_phone), "no phone is banned: {said}");
    let part = |mark: &str| said.split(mark).nth(1).unwrap().split(['\n', ',']).next().unwrap();
    let edge: u32 = part("; process ").parse().unwrap();
    let directory = part("its files in ").to_owned();
    assert!(Path::new(&directory).join("ringfence.yaml").exists());

    // SAFETY: no memory is passed.
    #[allow(unsafe_code)]
    let signalled = unsafe { libc::kill(demo.id().try_into().unwrap(), libc::SIGINT) };
    assert_eq!(signalled, 0);
    let rest: String = lines.map(|line| line + "\n").collect();
    assert_eq!(demo.wait().unwrap().code(), Some(0), "{rest}");
    assert!(rest.contains("attacker  ") && rest.contains("svmap"), "{rest}");
    assert!(!Path::new(&format!("/proc/{edge}")).exists(), "the edge has ended");
    assert!(!Path::new(&directory).exists(), "its files are gone");
}
