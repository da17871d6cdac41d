//! Where a client belongs, by what is known of it: the first route that matches.

use std::net::IpAddr;

use crate::config::pattern::Pattern;
use crate::config::{Clean, Route};
use crate::mqtt::Version;

/// What a route may look at.
#[derive(Debug, Clone, Copy)]
pub struct Traits<'a> {
    /// Where the client came in.
    pub listener: &'a str,
    /// What the client asked for in its TLS handshake, in lower case.
    pub server_name: Option<&'a str>,
    /// What was agreed on there.
    pub alpn: Option<&'a str>,
    /// Empty where the client has none.
    pub client_id: &'a str,
    pub user_name: Option<&'a str>,
    pub version: Version,
    pub clean_start: bool,
    pub source: IpAddr,
}

/// Whether a client belongs to this route: each of its conditions that is not empty must hold.
pub fn matches(route: &Route, traits: &Traits<'_>) -> bool {
    let Route {
        name: _,
        pool: _,
        listeners,
        server_names,
        alpn,
        client_ids,
        user_names,
        versions,
        clean,
        sources,
    } = route;
    any(listeners, |listener| listener == traits.listener)
        && any(server_names, |pattern| meets(pattern, traits.server_name))
        && any(alpn, |name| Some(name.as_str()) == traits.alpn)
        && any(client_ids, |pattern| pattern.matches(traits.client_id))
        && any(user_names, |pattern| meets(pattern, traits.user_name))
        && any(versions, |version| *version == traits.version)
        && any(sources, |network| network.contains(traits.source))
        && match clean {
            Clean::Any => true,
            Clean::No => !traits.clean_start,
            Clean::Yes => traits.clean_start,
        }
}

/// A client that has none matches no condition about it.
fn meets(pattern: &Pattern, name: Option<&str>) -> bool {
    name.is_some_and(|name| pattern.matches(name))
}

fn any<T>(wanted: &[T], is: impl FnMut(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(is)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Traits, matches};
    use crate::config::network::Network;
    use crate::config::pattern::Pattern;
    use crate::config::{Clean, Route};
    use crate::mqtt::Version;

    fn open() -> Route {
        Route {
            name: "all".to_owned(),
            pool: "brokers".to_owned(),
            listeners: Vec::new(),
            server_names: Vec::new(),
            alpn: Vec::new(),
            client_ids: Vec::new(),
            user_names: Vec::new(),
            versions: Vec::new(),
            clean: Clean::Any,
            sources: Vec::new(),
        }
    }

    const CLIENT: Traits<'_> = Traits {
        listener: "mqtt",
        server_name: Some("plant-7.example"),
        alpn: Some("mqtt"),
        client_id: "plant-7/press",
        user_name: Some("acme"),
        version: Version::V5,
        clean_start: true,
        source: std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 2, 3)),
    };

    fn with(condition: impl FnOnce(&mut Route)) -> Route {
        let mut route = open();
        condition(&mut route);
        route
    }

    fn prefix(text: &str) -> Pattern {
        Pattern::Prefix(text.to_owned())
    }

    fn network(text: &str) -> Network {
        Network::parse(text).unwrap()
    }

    /// Routes with one condition, which the client meets and does not meet.
    fn conditions() -> Vec<[Route; 2]> {
        vec![
            [&["other", "mqtt"][..], &["other"]]
                .map(|names| with(|it| it.listeners = names.iter().map(|n| (*n).into()).collect())),
            ["plant-", "plant-8"].map(|name| with(|it| it.server_names = vec![prefix(name)])),
            ["mqtt", "http/1.1"].map(|name| with(|it| it.alpn = vec![name.to_owned()])),
            [&["x", "plant-"][..], &["press"]]
                .map(|ids| with(|it| it.client_ids = ids.iter().map(|id| prefix(id)).collect())),
            ["acme", "b"].map(|user| with(|it| it.user_names = vec![prefix(user)])),
            [Version::V5, Version::V3_1].map(|version| with(|it| it.versions = vec![version])),
            [Clean::Yes, Clean::No].map(|clean| with(|it| it.clean = clean)),
            ["10.0.0.0/8", "10.2.0.0/16"].map(|text| with(|it| it.sources = vec![network(text)])),
        ]
    }

    #[test]
    fn a_route_without_conditions_takes_everybody() {
        assert!(matches(&open(), &CLIENT));
    }

    #[test]
    fn each_condition_alone_decides() {
        for [met, unmet] in conditions() {
            assert!(matches(&met, &CLIENT), "{met:?}");
            assert!(!matches(&unmet, &CLIENT), "{unmet:?}");
        }
    }

    #[test]
    fn a_client_without_a_name_has_not_an_empty_one() {
        let nobody = Traits {
            user_name: None,
            server_name: None,
            alpn: None,
            ..CLIENT
        };
        let every = || vec![prefix("")];

        for (any, of_nobody) in [
            (with(|it| it.user_names = every()), false),
            (with(|it| it.server_names = every()), false),
            (with(|it| it.client_ids = every()), true),
        ] {
            assert_eq!(matches(&any, &nobody), of_nobody, "{any:?}");
            assert!(matches(&any, &CLIENT), "{any:?}");
        }
    }

    proptest! {
        #[test]
        fn takes_a_client_where_every_condition_holds(
            is_met in prop::collection::vec(prop::option::of(any::<bool>()), 8),
        ) {
            let mut route = open();
            for (is_met, [met, unmet]) in is_met.iter().zip(conditions()) {
                let Some(is_met) = is_met else { continue };
                let one = if *is_met { met } else { unmet };
                route.listeners.extend(one.listeners);
                route.server_names.extend(one.server_names);
                route.alpn.extend(one.alpn);
                route.client_ids.extend(one.client_ids);
                route.user_names.extend(one.user_names);
                route.versions.extend(one.versions);
                route.sources.extend(one.sources);
                if one.clean != Clean::Any {
                    route.clean = one.clean;
                }
            }

            prop_assert_eq!(matches(&route, &CLIENT), !is_met.contains(&Some(false)));
        }
    }
}
