//! Who has a phone in a run, and of which kind.

use super::secs;
use policy::Time;
use sim::net::{Dependence, Nat};
use sim::{Answer, NodeId, Quirks, Rng, Scene};
use wire::Transport;

pub struct Subscriber {
    pub id: NodeId,
    pub user: String,
    pub nat: Option<usize>,
    pub v6: bool,
    pub away: bool,
    pub steady_from: Time,
}

pub fn subscriber(rng: &mut Rng, scene: &mut Scene, index: u64, max_contacts: usize) -> Subscriber {
    // Two devices of one user only where the PBX lets them be.
    let number = if index == 1 && max_contacts > 1 { 0 } else { index };
    let user = format!("{}", 6_001 + number);
    let transport =
        [Transport::Udp, Transport::Udp, Transport::Tcp, Transport::Tls][rng.below(4) as usize];
    let v6 = rng.chance(250);
    let kinds = [Dependence::EndpointIndependent, Dependence::Address, Dependence::AddressAndPort];
    let nat = (!v6 && rng.chance(500)).then(|| {
        let (mapping, filtering) = (kinds[rng.below(3) as usize], kinds[rng.below(3) as usize]);
        let timeout = secs(30 + rng.below(90));
        scene.add_nat(|address| Nat::new(address, mapping, filtering, timeout))
    });
    // who never retries, or says nothing of himself, has tests of his own
    let quirks = match rng.below(14) {
        way @ 0..9 => Quirks::nth(way),
        _ => Quirks::default(),
    };
    let answer = match rng.below(10) {
        0 => Answer::Busy,
        1 => Answer::Decline,
        2 => Answer::Ring,
        _ => Answer::After(rng.up_to(secs(6))),
    };
    let id = scene.add_phone_with(&user, transport, v6, nat, |config| {
        config.quirks = quirks;
        config.answer = answer;
    });
    let steady_from = scene.world.now() + secs(40);
    Subscriber { id, user, nat, v6, away: false, steady_from }
}
