//! How the pin of what is attached is called: by interface and hook.

use aya::programs::TcAttachType;

pub(super) const HOOKS: [(TcAttachType, &str); 2] = [
    (TcAttachType::Egress, "egress"),
    (TcAttachType::Ingress, "ingress"),
];

/// A dot may not stand in the name of a pin, and VLAN interfaces have one.
pub(super) fn place(interface: &str, hook: TcAttachType) -> String {
    let named = HOOKS.iter().find(|(known, _)| *known == hook);
    let hook = named.map_or("other", |(_, name)| name);
    format!("{}-{hook}", interface.replace('.', "@"))
}

pub(super) fn placed(place: &str) -> Option<(String, TcAttachType)> {
    let (interface, hook) = place.rsplit_once('-')?;
    let (hook, _) = HOOKS.iter().find(|(_, name)| *name == hook)?;
    Some((interface.replace('@', "."), *hook))
}

#[cfg(test)]
mod tests {
    use aya::programs::TcAttachType;

    use super::{place, placed};

    #[test]
    fn the_place_of_a_filter_is_read_from_its_mark() {
        for hook in [TcAttachType::Egress, TcAttachType::Ingress] {
            for interface in ["eth0", "eth0.17", "br-lan", "ingress"] {
                let found = placed(&place(interface, hook));
                assert_eq!(found, Some((interface.to_owned(), hook)));
            }
        }
        assert_eq!(placed("eth0"), None);
        assert_eq!(placed("eth0-custom"), None);
    }
}
