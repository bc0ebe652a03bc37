//! Every setting with its value, as YAML that reads back to the same configuration.

use crate::model::{Config, Listen, TransportSettings, Trunk};
use crate::read::VERSION;
use crate::value::{print_duration, print_size};
use policy::{Budgets, Capacities, Pbx, Policy, Registration, TimerBase};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;
use wire::Limits;

/// A tree whose keys keep their order.
enum Out {
    Text(String),
    Number(u64),
    Truth(bool),
    List(Vec<Out>),
    Table(Vec<(&'static str, Out)>),
}

impl Serialize for Out {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Out::Text(text) => serializer.serialize_str(text),
            Out::Number(number) => serializer.serialize_u64(*number),
            Out::Truth(truth) => serializer.serialize_bool(*truth),
            Out::List(list) => {
                let mut sequence = serializer.serialize_seq(Some(list.len()))?;
                for element in list {
                    sequence.serialize_element(element)?;
                }
                sequence.end()
            }
            Out::Table(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

fn text(value: impl Display) -> Out {
    Out::Text(value.to_string())
}

fn path(value: &Path) -> Out {
    text(value.display())
}

fn count(value: usize) -> Out {
    Out::Number(value as u64)
}

fn size(value: usize) -> Out {
    Out::Text(print_size(value as u64))
}

fn time(value: Duration) -> Out {
    Out::Text(print_duration(value))
}

fn texts<T: Display>(values: &[T]) -> Out {
    Out::List(values.iter().map(text).collect())
}

impl Config {
    /// The whole configuration, defaults included, as YAML.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        // Writing into a string cannot fail, and the tree holds nothing that YAML cannot.
        serde_saphyr::to_string(&self.tree()).unwrap_or_default()
    }

    /// Every single setting, by its YAML path and in the order of [`Config::to_yaml`]; for
    /// comparing two configurations.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String)> {
        let mut flat = Vec::new();
        flatten(String::new(), &self.tree(), &mut flat);
        flat
    }

    fn tree(&self) -> Out {
        let admin = match &self.admin {
            None => text("off"),
            Some(admin) => Out::Table(vec![
                ("listen", text(admin.listen)),
                ("networks", texts(&admin.networks)),
            ]),
        };
        let log = Out::Table(vec![
            ("format", text(self.log.format.as_str())),
            ("level", text(&self.log.level)),
        ]);
        Out::Table(vec![
            ("version", Out::Number(VERSION)),
            ("listen", Out::List(self.listen.iter().map(listen).collect())),
            ("inside", inside(&self.policy)),
            ("domains", texts(&self.policy.domains)),
            ("trunks", Out::List(self.trunks.iter().map(trunk).collect())),
            ("admin", admin),
            ("shards", Out::Number(self.shards.into())),
            ("log", log),
            ("state_dir", path(&self.state_dir)),
            ("secret_file", path(&self.secret_file)),
            ("drain_timeout", time(self.drain_timeout)),
            ("transport", transport(&self.transport)),
            ("policy", rules(&self.policy)),
        ])
    }
}

fn flatten(path: String, node: &Out, flat: &mut Vec<(String, String)>) {
    match node {
        Out::Text(text) => flat.push((path, text.clone())),
        Out::Number(number) => flat.push((path, number.to_string())),
        Out::Truth(truth) => flat.push((path, truth.to_string())),
        Out::List(list) => {
            for (index, element) in list.iter().enumerate() {
                flatten(format!("{path}[{index}]"), element, flat);
            }
        }
        Out::Table(entries) => {
            for (key, value) in entries {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(format!("{path}{dot}{key}"), value, flat);
            }
        }
    }
}

fn listen(listen: &Listen) -> Out {
    let mut entries = vec![
        ("transport", text(listen.listener.transport.as_param())),
        ("address", text(listen.listener.address)),
    ];
    if let Some(advertise) = &listen.listener.advertise {
        entries.push(("advertise", text(advertise)));
    }
    if let Some(tls) = &listen.tls {
        let pair = |(certificate, key): &(PathBuf, PathBuf)| {
            Out::Table(vec![("certificate", path(certificate)), ("key", path(key))])
        };
        entries.push(("certificates", Out::List(tls.certificates.iter().map(pair).collect())));
        if let Some(clients) = &tls.client_certificates {
            let table = Out::Table(vec![
                ("authorities", path(&clients.authorities)),
                ("required", Out::Truth(clients.required)),
            ]);
            entries.push(("client_certificates", table));
        }
    }
    Out::Table(entries)
}

fn inside(policy: &Policy) -> Out {
    let pbx = |pbx: &Pbx| {
        let registration = match pbx.registration {
            Registration::ContactToken => "contact-token",
            Registration::Path => "path",
        };
        Out::Table(vec![("address", text(pbx.address)), ("registration", text(registration))])
    };
    Out::Table(vec![
        ("address", text(policy.inside)),
        ("pbx", Out::List(policy.pbx.iter().map(pbx).collect())),
    ])
}

fn trunk(trunk: &Trunk) -> Out {
    Out::Table(vec![
        ("name", text(&trunk.name)),
        ("hosts", texts(&trunk.hosts)),
        ("dids", texts(&trunk.dids)),
    ])
}

fn transport(settings: &TransportSettings) -> Out {
    let TransportSettings {
        backlog,
        connections_per_source,
        handshakes,
        send_queue,
        send_stall,
        datagrams_per_wakeup,
        udp_receive_buffer,
        udp_send_buffer,
        hand_over_queue,
    } = *settings;
    Out::Table(vec![
        ("backlog", count(backlog)),
        ("connections_per_source", count(connections_per_source)),
        ("handshakes", count(handshakes)),
        ("send_queue", size(send_queue)),
        ("send_stall", time(send_stall)),
        ("datagrams_per_wakeup", count(datagrams_per_wakeup)),
        ("udp_receive_buffer", size(udp_receive_buffer)),
        ("udp_send_buffer", size(udp_send_buffer)),
        ("hand_over_queue", count(hand_over_queue)),
    ])
}

/// Everything of the policy that has no place of its own in the file. Taken apart without `..`: a
/// field that is added to the policy must get its key here and in `read`.
fn rules(policy: &Policy) -> Out {
    let Policy {
        version: _,
        // printed by itself
        admission: _,
        listeners: _,
        inside: _,
        pbx: _,
        domains: _,
        timers: TimerBase { t1, t2, t4 },
        limits,
        capacities,
        budgets,
        timer_c,
        trying_after,
        retry_after,
        nonce_memory,
        answer_malformed,
        source_header,
    } = policy;
    let timers = Out::Table(vec![
        ("t1", time(*t1)),
        ("t2", time(*t2)),
        ("t4", time(*t4)),
        ("timer_c", time(*timer_c)),
        ("trying_after", time(*trying_after)),
        ("retry_after", time(*retry_after)),
        ("nonce_memory", time(*nonce_memory)),
    ]);
    Out::Table(vec![
        ("timers", timers),
        ("limits", limits_table(limits)),
        ("capacities", capacities_table(capacities)),
        ("budgets", budgets_table(budgets)),
        ("answer_malformed", Out::Truth(*answer_malformed)),
        ("source_header", text(source_header.as_deref().unwrap_or("off"))),
    ])
}

fn limits_table(limits: &Limits) -> Out {
    let Limits {
        message_bytes,
        start_line_bytes,
        header_bytes,
        header_lines,
        header_line_bytes,
        via_values,
        body_bytes,
    } = *limits;
    Out::Table(vec![
        ("message_bytes", size(message_bytes)),
        ("start_line_bytes", size(start_line_bytes)),
        ("header_bytes", size(header_bytes)),
        ("header_lines", count(header_lines)),
        ("header_line_bytes", size(header_line_bytes)),
        ("via_values", count(via_values)),
        ("body_bytes", size(body_bytes)),
    ])
}

fn capacities_table(capacities: &Capacities) -> Out {
    let Capacities { exchanges, bindings, moved_flows, nonces, connections, retained_bytes } =
        *capacities;
    Out::Table(vec![
        ("exchanges", count(exchanges)),
        ("bindings", count(bindings)),
        ("moved_flows", count(moved_flows)),
        ("nonces", count(nonces)),
        ("connections", count(connections)),
        ("retained_bytes", size(retained_bytes)),
    ])
}

fn budgets_table(budgets: &Budgets) -> Out {
    let Budgets { handshake, first_byte, start_line, headers, body, idle } = *budgets;
    Out::Table(vec![
        ("handshake", time(handshake)),
        ("first_byte", time(first_byte)),
        ("start_line", time(start_line)),
        ("headers", time(headers)),
        ("body", time(body)),
        ("idle", time(idle)),
    ])
}
