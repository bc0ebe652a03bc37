//! Where requests go: to which PBX, over which trunk, and what comes back the same way.

mod calls;
mod crowd;
mod edge;
mod large;
mod pbxs;
mod redirects;
mod registrations;
mod trunk_streams;
mod trunks;
