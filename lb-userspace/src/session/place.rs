//! The pool of a client: that of the first route that matches, else that of its listener.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Listener, Snapshot};
use crate::config;
use crate::mqtt::connect::Connect;
use crate::route::{self, Traits};
use crate::stream::Stream;
use crate::upstream::Pool;

/// A route and the pool it leads to.
#[derive(Debug)]
pub struct Route {
    pub rule: config::Route,
    pub pool: Arc<Pool>,
}

/// Where a client belongs.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// None where no route matched.
    pub route: Option<&'a str>,
    pub pool: &'a Arc<Pool>,
}

impl Snapshot {
    /// Where a client belongs that came in by this listener.
    pub fn place<'a>(&'a self, listener: &'a Listener, traits: &Traits<'_>) -> Place<'a> {
        let mut routes = self.routes.iter();
        match routes.find(|route| route::matches(&route.rule, traits)) {
            Some(route) => Place {
                route: Some(&route.rule.name),
                pool: &route.pool,
            },
            None => Place {
                route: None,
                pool: &listener.pool,
            },
        }
    }
}

/// What routes may look at.
pub(super) fn traits<'a>(
    connect: &'a Connect,
    source: IpAddr,
    listener: &'a Listener,
    client: &'a Stream,
) -> Traits<'a> {
    Traits {
        listener: &listener.name,
        server_name: client.server_name(),
        alpn: client.alpn(),
        client_id: connect.client_id(),
        user_name: connect.user_name(),
        version: connect.version(),
        clean_start: connect.clean_start(),
        source,
    }
}
