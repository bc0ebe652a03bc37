//! One scenario, many tests: a function of a [`Mode`](crate::Mode) (and a way outside) becomes a
//! test for each of them.

/// For functions of [`Mode`](crate::Mode): a test straight at Asterisk and one through the edge.
#[macro_export]
macro_rules! both {
    ($($(#[$meta:meta])* $scenario:ident),* $(,)?) => {$(
        mod $scenario {
            $(#[$meta])* #[test] fn direct() { super::$scenario($crate::Mode::Direct) }
            $(#[$meta])* #[test] fn edge() { super::$scenario($crate::Mode::Edge) }
        }
    )*};
}

/// For functions of [`Mode`](crate::Mode) that make sense only with the edge, and with many
/// shards too.
#[macro_export]
macro_rules! edge {
    ($($(#[$meta:meta])* $scenario:ident),* $(,)?) => {$(
        mod $scenario {
            $(#[$meta])* #[test] fn edge() { super::$scenario($crate::Mode::Edge) }
            $(#[$meta])* #[test] fn edge_of_four() { super::$scenario($crate::Mode::EdgeOfFour) }
        }
    )*};
}

/// The same where one shard meets all there is: what one address does never meets two.
#[macro_export]
macro_rules! one_shard {
    ($($(#[$meta:meta])* $scenario:ident),* $(,)?) => {$(
        mod $scenario {
            $(#[$meta])* #[test] fn edge() { super::$scenario($crate::Mode::Edge) }
        }
    )*};
}

/// For functions of [`Mode`](crate::Mode) and [`Way`](crate::Way): every transport, both families,
/// straight at Asterisk, through one shard and through four.
#[macro_export]
macro_rules! everywhere {
    ($($scenario:ident),* $(,)?) => {$(
        mod $scenario {
            use $crate::{Mode, Way};
            mod direct { $crate::everywhere!(@ways $scenario, Direct); }
            mod edge { $crate::everywhere!(@ways $scenario, Edge); }
            mod edge_of_four { $crate::everywhere!(@ways $scenario, EdgeOfFour); }
        }
    )*};
    (@ways $scenario:ident, $mode:ident) => {
        use super::{Mode, Way};
        #[test] fn udp() { super::super::$scenario(Mode::$mode, Way::UDP) }
        #[test] fn tcp() { super::super::$scenario(Mode::$mode, Way::TCP) }
        #[test] fn tls() { super::super::$scenario(Mode::$mode, Way::TLS) }
        #[test] fn udp6() { super::super::$scenario(Mode::$mode, Way::UDP6) }
        #[test] fn tcp6() { super::super::$scenario(Mode::$mode, Way::TCP6) }
        #[test] fn tls6() { super::super::$scenario(Mode::$mode, Way::TLS6) }
    };
}
