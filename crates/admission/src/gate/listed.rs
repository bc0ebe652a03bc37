//! Sources that feeds list. A list does not know our users: whoever is trusted, and whoever
//! authenticated lately, is spared whatever it says.

use super::Gate;
use super::asked::Asked;
use policy::{Feed, FeedAction, Feeds, Listing, Mode, Reason, Time, Who};
use std::net::IpAddr;
use std::sync::Arc;

/// What is done to a listed source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FeedHit {
    /// What it sends is dropped.
    Dropped,
    /// What is proven against it weighs twice as much.
    Weighed,
    /// Nothing: in `observe`, one of the others would have been.
    Observed,
    /// Nothing: it is trusted, or somebody authenticated from it.
    Spared,
}

impl FeedHit {
    /// All of them.
    pub const ALL: [FeedHit; 4] =
        [FeedHit::Dropped, FeedHit::Weighed, FeedHit::Observed, FeedHit::Spared];

    /// Label in metrics and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FeedHit::Dropped => "dropped",
            FeedHit::Weighed => "weighed",
            FeedHit::Observed => "observed",
            FeedHit::Spared => "spared",
        }
    }
}

/// How often a feed was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedCount {
    /// Its name.
    pub name: Box<str>,
    /// By [`FeedHit`].
    pub hits: [u64; FeedHit::ALL.len()],
}

/// A feed that lists an address, and what that comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedBy {
    /// The feed.
    pub feed: Feed,
    /// What is done.
    pub hit: FeedHit,
}

impl Gate {
    /// Other lists.
    pub(super) fn on_feeds(&mut self, feeds: &Arc<Feeds>) {
        let old = std::mem::take(&mut self.counts.feeds);
        let count = |feed: &Feed| {
            let known = old.iter().find(|count| count.name == feed.name);
            known.cloned().unwrap_or(FeedCount { name: feed.name.clone(), hits: [0; 4] })
        };
        self.counts.feeds = feeds.feeds().iter().map(count).collect();
        self.feeds = feeds.clone();
    }

    /// Whether what this address sends is dropped because of what lists say.
    pub(super) fn is_listed(&mut self, now: Time, ip: IpAddr) -> Option<Reason> {
        let listing = self.feeds.find(ip);
        if listing.is_empty() {
            return None;
        }
        self.on_listed(now, ip, listing, FeedAction::Ban)
            .contains(&Some(FeedHit::Dropped))
            .then_some(Reason::Listed)
    }

    /// What lists say of a stranger's address makes evidence heavier.
    pub(super) fn weigh_listed(&mut self, now: Time, asked: &mut Asked<'_, '_>) {
        let listing = self.feeds.find(asked.ip);
        if listing.is_empty() || asked.ticket.at_home || asked.ticket.who > Who::Proven {
            return;
        }
        let hits = self.on_listed(now, asked.ip, listing, FeedAction::Weight);
        if hits.contains(&Some(FeedHit::Weighed)) {
            asked.raise(2, u16::MAX);
        }
    }

    #[cold]
    fn on_listed(
        &mut self,
        now: Time,
        ip: IpAddr,
        listing: Listing,
        action: FeedAction,
    ) -> [Option<FeedHit>; policy::FEEDS_MAX] {
        let mut hits = [None; policy::FEEDS_MAX];
        let spared = self.is_spared(now, ip);
        for index in listing.iter() {
            let Some(feed) = self.feeds.feeds().get(index) else { continue };
            if feed.action != action {
                continue;
            }
            hits[index] = self.hit(now, feed, spared);
            if let (Some(hit), Some(count)) = (hits[index], self.counts.feeds.get_mut(index)) {
                count.hits[hit as usize] += 1;
            }
        }
        hits
    }

    fn hit(&self, now: Time, feed: &Feed, spared: bool) -> Option<FeedHit> {
        let acts = feed.mode == Mode::Enforce && self.policy.admission.mode == Mode::Enforce;
        match feed.action {
            _ if feed.until <= now || feed.mode == Mode::Off => None,
            _ if spared => Some(FeedHit::Spared),
            _ if !acts => Some(FeedHit::Observed),
            FeedAction::Ban => Some(FeedHit::Dropped),
            FeedAction::Weight => Some(FeedHit::Weighed),
        }
    }

    fn is_spared(&self, now: Time, ip: IpAddr) -> bool {
        self.trust.of(now, ip).is_some() || self.who(now, ip) == Who::Known
    }

    /// The feeds that list an address.
    #[must_use]
    pub fn listed_by(&self, now: Time, ip: IpAddr) -> Vec<ListedBy> {
        let spared = self.is_spared(now, ip);
        let feeds = self.feeds.find(ip).iter().filter_map(|index| self.feeds.feeds().get(index));
        feeds
            .filter_map(|feed| {
                Some(ListedBy { feed: feed.clone(), hit: self.hit(now, feed, spared)? })
            })
            .collect()
    }
}
