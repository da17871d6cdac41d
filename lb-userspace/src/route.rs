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
        client_ids,
        user_names,
        versions,
        clean,
        sources,
    } = route;
    any(listeners, |listener| listener == traits.listener)
        && any(client_ids, |pattern| pattern.matches(traits.client_id))
        && any(user_names, |pattern| is_user(pattern, traits))
        && any(versions, |version| *version == traits.version)
        && any(sources, |network| network.contains(traits.source))
        && match clean {
            Clean::Any => true,
            Clean::No => !traits.clean_start,
            Clean::Yes => traits.clean_start,
        }
}

/// A client without a user name matches no condition about one.
fn is_user(pattern: &Pattern, traits: &Traits<'_>) -> bool {
    traits
        .user_name
        .is_some_and(|user_name| pattern.matches(user_name))
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
            client_ids: Vec::new(),
            user_names: Vec::new(),
            versions: Vec::new(),
            clean: Clean::Any,
            sources: Vec::new(),
        }
    }

    const CLIENT: Traits<'_> = Traits {
        listener: "mqtt",
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
    fn a_client_without_a_user_name_has_not_an_empty_one() {
        let nobody = Traits {
            user_name: None,
            ..CLIENT
        };
        let route = Route {
            user_names: vec![Pattern::Prefix(String::new())],
            ..open()
        };

        assert!(!matches(&route, &nobody));
        assert!(matches(&route, &CLIENT));
    }

    proptest! {
        #[test]
        fn takes_a_client_where_every_condition_holds(
            is_met in prop::collection::vec(prop::option::of(any::<bool>()), 6),
        ) {
            let mut route = open();
            for (is_met, [met, unmet]) in is_met.iter().zip(conditions()) {
                let Some(is_met) = is_met else { continue };
                let one = if *is_met { met } else { unmet };
                route.listeners.extend(one.listeners);
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
