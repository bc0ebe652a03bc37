//! `GET /api/v1/bans/{key}/pcap`: the messages behind a ban, as a capture. Of what was judged the
//! last `policy.capacities.recorded_bytes` are kept, so the younger a ban is the more there is.

use super::bans::Wanted;
use super::{Hall, Refusal};
use admission::{Ban, BanKey};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use capture::Writer;
use proxy::Decision;
use std::collections::BTreeSet;

/// Bans and messages in one capture.
const BANS: usize = 64;
const MESSAGES: usize = 4_096;

pub(super) async fn show(
    State(hall): State<Hall>,
    Path(key): Path<String>,
) -> Result<Response, Refusal> {
    let Some(key) = key.strip_suffix("/pcap") else {
        let hint = "GET /api/v1/bans?key=… lists, GET /api/v1/bans/{key}/pcap gives the messages";
        return Err(Refusal::new(StatusCode::NOT_FOUND, "there is no such page").hint(hint));
    };
    let desk = &hall.status.desk;
    let wanted = Wanted::of(key);
    let (bans, _) = desk.bans(BANS, move |ban| wanted.is_met(ban)).await?;
    let Some(name) = bans.first().map(|ban| ban.id.to_string()) else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, format!("nothing is banned as {key}"))
            .hint("`ringfence bans list` shows what is"));
    };
    let is_theirs = move |decision: &Decision| bans.iter().any(|ban| is_of(decision, ban));
    let mut messages = desk.messages(MESSAGES, is_theirs).await?;
    if messages.is_empty() {
        let text = format!("no message of {key} is kept any more");
        return Err(Refusal::new(StatusCode::NOT_FOUND, text).hint(
            "the last policy.capacities.recorded_bytes that were judged are; what a banned source \
             sends is not read",
        ));
    }
    messages.sort_by_key(|message| message.at);
    let written = written(&messages);
    let failed = |error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}"));
    let capture = written.map_err(failed)?;
    let name = format!("attachment; filename=\"ringfence-{name}.pcap\"");
    let kind = "application/vnd.tcpdump.pcap".to_owned();
    Ok(([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)], capture)
        .into_response())
}

/// Whether a message came from where a ban is, or has the shape that is banned.
fn is_of(decision: &Decision, ban: &Ban) -> bool {
    match (ban.key, ban.key.place()) {
        (BanKey::Campaign(shape), _) => {
            decision.event.grounds.as_ref().is_some_and(|grounds| grounds.shape == shape)
        }
        (_, Some(place)) => place.contains(decision.event.flow.remote.ip()),
        (_, None) => false,
    }
}

/// What was said over streams is written as segments of one connection each; under TLS, too, as it
/// was read.
fn written(messages: &[crate::desk::Said]) -> std::io::Result<Vec<u8>> {
    let mut capture = Vec::new();
    let mut writer = Writer::new(&mut capture)?;
    let mut open = BTreeSet::new();
    for message in messages {
        let (from, to) = (message.flow.remote, message.flow.local);
        if !message.flow.transport.is_reliable() {
            writer.datagram(message.at, from, to, &message.bytes)?;
            continue;
        }
        if open.insert((from, to)) {
            writer.opened(message.at, from, to)?;
        }
        writer.stream(message.at, from, to, &message.bytes)?;
    }
    Ok(capture)
}

#[cfg(test)]
mod tests {
    use super::*;
    use capture::{Dissector, Reader, Seen};
    use policy::Time;
    use std::time::Duration;
    use wire::{Flow, Transport};

    #[test]
    fn messages_come_back_with_their_times_and_addresses() {
        let flow = |transport, from: &str| Flow {
            transport,
            ..Flow::udp("203.0.113.1:5060".parse().unwrap(), from.parse().unwrap())
        };
        let said = |at, flow, text: &str| crate::desk::Said {
            at: Time::ZERO + Duration::from_millis(at),
            flow,
            bytes: text.as_bytes().into(),
        };
        let (udp, tcp) = ("198.51.100.7:5062", "198.51.100.7:40000");
        let all = [
            said(1_000, flow(Transport::Udp, udp), "REGISTER one"),
            said(1_500, flow(Transport::Tcp, tcp), "REGISTER two"),
            said(2_500, flow(Transport::Tcp, tcp), "REGISTER three"),
        ];
        let capture = written(&all).unwrap();
        let mut reader = Reader::new(&capture[..]).unwrap();
        let mut dissector = Dissector::new();
        let mut found = Vec::new();
        while let Some(packet) = reader.next_packet().unwrap() {
            let at = packet.at;
            dissector.take(
                &packet,
                |_, _| true,
                |seen| {
                    if let Seen::Datagram { source, bytes, .. }
                    | Seen::Stream { source, bytes, .. } = seen
                    {
                        let text = String::from_utf8(bytes.to_vec()).unwrap();
                        found.push((at, source.to_string(), text));
                    }
                },
            );
        }
        let at = |millis| Time::ZERO + Duration::from_millis(millis);
        let line = |millis, from: &str, text: &str| (at(millis), from.to_owned(), text.to_owned());
        assert_eq!(
            found,
            [
                line(1_000, udp, "REGISTER one"),
                line(1_500, tcp, "REGISTER two"),
                line(2_500, tcp, "REGISTER three")
            ]
        );
    }
}
