//! The gate against messages as the network has them, in virtual time.

mod answers;
mod attackers;
mod bounds;
mod bursts;
mod endings;
mod evidence;
mod feeds;
mod floods;
mod guessers;
mod honest;
mod play;
mod reload;
mod restart;
mod shards;
mod stores;

use super::*;
use play::*;
use policy::Outcome;
