//! Every setting with its value, as YAML that reads back to the same configuration.

use crate::admission::SignatureChoice;
use crate::inside;
use crate::keys::{Form, Section};
use crate::model::{Config, Listen, TransportSettings};
use crate::out::{Out, count, path, size, text, texts, time};
use crate::policy_file::PolicyFile;
use crate::read::VERSION;
use crate::trunk;
use policy::Policy;
use std::path::PathBuf;

impl Config {
    /// The whole configuration, defaults included, as YAML.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        self.tree().to_yaml()
    }

    /// Every single setting, by its YAML path and in the order of [`Config::to_yaml`]; for
    /// comparing two configurations.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String)> {
        self.tree().settings()
    }

    fn tree(&self) -> Out {
        let admin = match &self.admin {
            None => text("off"),
            Some(admin) => {
                let off = || text("off");
                let mut table = Out::table([
                    ("socket", admin.socket.as_ref().map_or_else(off, |socket| path(socket))),
                    ("listen", admin.listen.map_or_else(off, text)),
                ]);
                if let Some(file) = &admin.token_file {
                    table = table.with("token_file", path(file));
                }
                table.with("networks", texts(&admin.networks))
            }
        };
        let audit = self.audit.as_ref().and_then(|audit| Section.print(audit));
        let audit = audit.unwrap_or_else(|| text("off"));
        let hep = self.hep.as_ref().and_then(|hep| Section.print(hep));
        let hep = hep.unwrap_or_else(|| text("off"));
        let enforce = self.enforce.as_ref().and_then(|enforce| Section.print(enforce));
        let enforce = enforce.unwrap_or_else(|| text("off"));
        let log = Out::table([
            ("format", text(self.log.format.as_str())),
            ("level", text(&self.log.level)),
        ]);
        Out::table([
            ("version", Out::Number(VERSION)),
            ("listen", Out::List(self.listen.iter().map(listen).collect())),
            ("inside", inside::print(self)),
            ("domains", texts(&self.policy.domains)),
            ("trunks", Out::List(self.trunks.iter().map(trunk::print).collect())),
            ("admin", admin),
            ("audit", audit),
            ("alerts", crate::alerts::print(self.alerts.as_ref())),
            ("hep", hep),
            ("enforce", enforce),
            ("feeds", crate::feeds::print(&self.feeds)),
            ("crowdsec", crate::feeds::print_crowdsec(self.crowdsec.as_ref())),
            ("shards", Out::Number(self.shards.into())),
            ("log", log),
            ("state_dir", path(&self.state_dir)),
            ("secret_file", path(&self.secret_file)),
            ("watch", Out::Truth(self.watch)),
            ("drain_timeout", time(self.drain_timeout)),
            ("transport", transport(&self.transport)),
            ("resolver", Section.print(&self.resolver).unwrap_or_else(|| Out::table([]))),
            ("policy", policy(&self.policy, &self.signatures)),
        ])
    }
}

fn listen(listen: &Listen) -> Out {
    let mut table = Out::table([
        ("transport", text(listen.listener.transport.as_param())),
        ("address", text(listen.listener.address)),
    ]);
    if let Some(advertise) = &listen.listener.advertise {
        table = table.with("advertise", text(advertise));
    }
    if let Some(tls) = &listen.tls {
        let pair = |(certificate, key): &(PathBuf, PathBuf)| {
            Out::table([("certificate", path(certificate)), ("key", path(key))])
        };
        let pairs = tls.certificates.iter().map(pair).collect();
        table = table.with("certificates", Out::List(pairs));
        if let Some(clients) = &tls.client_certificates {
            let clients = Out::table([
                ("authorities", path(&clients.authorities)),
                ("required", Out::Truth(clients.required)),
            ]);
            table = table.with("client_certificates", clients);
        }
    }
    if !listen.balancers.is_empty() {
        let from = Out::table([("from", texts(&listen.balancers))]);
        table = table.with("proxy_protocol", from);
    }
    table
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
    Out::table([
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

/// Everything of the policy that has no place of its own in the file.
pub(crate) fn policy(policy: &Policy, signatures: &SignatureChoice) -> Out {
    let file = PolicyFile::of(policy, signatures.clone());
    Section.print(&file).unwrap_or_else(|| Out::table([]))
}
