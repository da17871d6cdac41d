//! The programs as filters of a clsact qdisc, which stay when the daemon ends.
//!
//! A filter cannot be pinned. In its place the program is, once more, under the name of interface and
//! hook: that tells the next daemon, and `sluice detach`, where filters are.

use std::path::Path;

use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::{Link as _, SchedClassifier, TcAttachType, tc};
use xxhash_rust::xxh3::xxh3_64;

use super::attach::AttachError;
use super::pins::{self, Pins};

/// Among the filters of one hook, those with lower numbers come first.
const PRIORITY: u16 = 1883;

/// Puts a program on an interface, in the place of the filter that a former daemon left there.
pub(super) fn attach(
    program: &mut SchedClassifier,
    pins: &Pins,
    interface: &str,
    hook: TcAttachType,
) -> Result<(), AttachError> {
    if let Err(error) = tc::qdisc_add_clsact(interface) {
        // Most often it is there already; if it is not, there will be no filter either.
        tracing::debug!(interface, %error, "no new clsact qdisc");
    }
    let handle = handle(pins);
    let link = match program.attach_to_link(link(interface, hook, handle)?) {
        Ok(link) => link,
        // There is none whose place it could take.
        Err(_) => program.attach_with_options(
            interface,
            hook,
            TcAttachOptions::Netlink(NlOptions {
                priority: PRIORITY,
                handle,
                classid: None,
            }),
        )?,
    };
    // Dropped, it would take the filter with it.
    std::mem::forget(program.take_link(link)?);
    let mark = pins.filter(interface, hook);
    pins::remove(&mark)?;
    program.pin(&mark)?;
    Ok(())
}

/// Removes a filter, if it and its interface are still there.
pub(super) fn remove(pins: &Pins, interface: &str, hook: TcAttachType) {
    let removed = link(interface, hook, handle(pins))
        .map_err(AttachError::from)
        .and_then(|link| Ok(link.detach()?));
    if let Err(error) = removed {
        tracing::debug!(interface, %error, "there was no filter to remove");
    }
}

fn link(
    interface: &str,
    hook: TcAttachType,
    handle: TcHandle,
) -> std::io::Result<SchedClassifierLink> {
    SchedClassifierLink::attached(interface, hook, PRIORITY, handle, None)
}

/// The number of our filters: daemons with other pins have others.
fn handle(pins: &Pins) -> TcHandle {
    handle_of(pins.root())
}

fn handle_of(root: &Path) -> TcHandle {
    let [.., a, b, c, d] = xxh3_64(root.as_os_str().as_encoded_bytes()).to_be_bytes();
    // Zero would let the kernel choose.
    TcHandle::from(u32::from_be_bytes([a, b, c, d]).max(1))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::handle_of;

    #[test]
    fn filters_of_other_pins_have_other_numbers() {
        let [one, other] =
            ["/sys/fs/bpf/sluice", "/sys/fs/bpf/other"].map(|path| handle_of(Path::new(path)));

        assert_ne!(u32::from(one), u32::from(other));
        assert_ne!(u32::from(one), 0);
    }
}
