//! Scanning, reading, editing, answering and framing allocate nothing once buffers have grown.
#![allow(missing_docs, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use wire::{Digest, Frame, Framer, HeaderName, Limits, Message, Reply};

mod samples;

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: each call is handed to the system's allocator unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = COUNT.with(Cell::get);
    let result = work();
    (COUNT.with(Cell::get) - before, result)
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| Box::new(1)).0, 1);
}

#[test]
fn nothing_is_allocated() {
    let limits = Limits::default();
    let (mut text, mut out) = (Vec::with_capacity(4096), Vec::with_capacity(4096));
    let mut framer = Framer::new();
    let reply = Reply {
        status: 401,
        reason: "Unauthorized",
        to_tag: b"tag",
        headers: b"",
        source: "203.0.113.7:5062".parse().unwrap(),
        compact: false,
    };
    for round in 0..3 {
        for sample in [samples::INVITE, samples::REGISTER] {
            let (count, ()) = allocations(|| {
                let message = Message::parse(sample.as_bytes(), &limits).unwrap();
                out.clear();
                samples::forward(&message, &mut text, &mut out);
                reply.write(&message, &mut out);
                for (_, header) in message.lines(HeaderName::Authorization) {
                    assert!(Digest::parse(&message, header).is_digest);
                }
                framer.push(sample.as_bytes(), &limits);
                assert_eq!(framer.next_frame(&limits), Ok(Some(Frame::Message(sample.as_bytes()))));
                assert_eq!(framer.next_frame(&limits), Ok(None));
            });
            // The framer's buffer grows in the first round.
            assert!(round == 0 || count == 0, "{count} allocations");
        }
    }
}
