//! Puts the programs on interfaces: by tcx, or by filters of a clsact qdisc where there is no tcx.

use std::io;
use std::path::Path;

use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfError};
use lb_common::maps;

use super::pins::{self, Pins};
use super::{Unavailable, filters, program};
use crate::config::Attach;

/// The programs and where they are attached. Egress first: what it agrees on in a SYN is what ingress
/// relies on.
pub(super) const PROGRAMS: [(&str, TcAttachType); 2] = [
    (maps::EGRESS, TcAttachType::Egress),
    (maps::INGRESS, TcAttachType::Ingress),
];

/// Why an interface has no program.
pub(super) type AttachError = Box<dyn std::error::Error + Send + Sync>;

/// How programs are attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    Clsact,
    Tcx,
}

impl Manner {
    /// What was asked for; else what this kernel can do, which is tried out on the loopback.
    pub(super) fn choose(wish: Attach, ebpf: &mut Ebpf) -> Result<Self, Unavailable> {
        Ok(match wish {
            Attach::Clsact => Self::Clsact,
            Attach::Tcx => Self::Tcx,
            Attach::Auto => match try_tcx(program(ebpf, maps::EGRESS)?) {
                Ok(()) => Self::Tcx,
                Err(error) => {
                    tracing::debug!(%error, "tcx cannot be used");
                    Self::Clsact
                }
            },
        })
    }

    /// What an operator should know of it.
    pub(super) fn note(self, wish: Attach) -> Option<String> {
        let because = match (self, wish) {
            (Self::Tcx, _) => return None,
            (Self::Clsact, Attach::Clsact) => "as `kernel.attach` says",
            (Self::Clsact, Attach::Auto | Attach::Tcx) => {
                "as this kernel has no tcx, which Linux 6.6 brings"
            }
        };
        Some(format!(
            "attached by filters of clsact qdiscs, {because}; \
             whoever removes such a qdisc cuts the connections over that interface"
        ))
    }
}

fn try_tcx(program: &mut SchedClassifier) -> Result<(), EbpfError> {
    let options = TcAttachOptions::TcxOrder(LinkOrder::default());
    let link = program.attach_with_options("lo", TcAttachType::Egress, options)?;
    Ok(program.detach(link)?)
}

/// Puts the programs on every interface, in the place of those a former daemon left there; names the
/// interfaces where that did not work. Programs on other interfaces are detached.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    pins: &Pins,
    interfaces: &[String],
    manner: Manner,
) -> Result<Vec<(String, AttachError)>, Unavailable> {
    let mut failed: Vec<(String, AttachError)> = Vec::new();
    for (name, hook) in PROGRAMS {
        let program = program(ebpf, name)?;
        for interface in interfaces {
            if failed.iter().any(|(name, _)| name == interface) {
                continue;
            }
            let attached = match manner {
                Manner::Clsact => filters::attach(program, pins, interface, hook),
                Manner::Tcx => attach_link(program, pins, interface, hook),
            };
            if let Err(error) = attached {
                failed.push((interface.clone(), error));
            }
        }
    }
    // What was attached otherwise goes when its successor is there.
    let (by_link, by_filter): (&[String], &[String]) = match manner {
        Manner::Clsact => (&[], interfaces),
        Manner::Tcx => (interfaces, &[]),
    };
    pins.forget_links_except(by_link)?;
    pins.forget_filters_except(by_filter)?;
    Ok(failed)
}

fn attach_link(
    program: &mut SchedClassifier,
    pins: &Pins,
    interface: &str,
    hook: TcAttachType,
) -> Result<(), AttachError> {
    let pin = pins.link(interface, hook);
    if let Some(link) = pinned_link(&pin)?
        && program
            .attach_to_link(FdLink::from(link).try_into()?)
            .is_ok()
    {
        return Ok(());
    }
    // There was none, or the interface it was on is gone.
    pins::remove(&pin)?;
    let options = TcAttachOptions::TcxOrder(LinkOrder::default());
    let link = program.attach_with_options(interface, hook, options)?;
    let link: FdLink = program.take_link(link)?.try_into()?;
    link.pin(&pin)?;
    Ok(())
}

fn pinned_link(pin: &Path) -> Result<Option<PinnedLink>, LinkError> {
    match PinnedLink::from_pin(pin) {
        Ok(link) => Ok(Some(link)),
        Err(LinkError::SyscallError(error)) if is_not_found(&error.io_error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_not_found(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

#[cfg(test)]
mod tests {
    use super::Manner;
    use crate::config::Attach;

    #[test]
    fn filters_are_named_with_the_reason() {
        let said = |wish| Manner::Clsact.note(wish).unwrap();

        assert!(said(Attach::Clsact).contains("as `kernel.attach` says"));
        assert!(said(Attach::Auto).contains("Linux 6.6"));
        assert_eq!(Manner::Tcx.note(Attach::Auto), None);
        assert_eq!(Manner::Tcx.note(Attach::Tcx), None);
    }
}
