//! `sandbox = "auto"`: the boundary `os`; where this machine refuses that, and `min_isolation` allows it, `landlock`. Never less.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::backend::{Backend, Host, Pending};
use crate::backends::{landlock, os};
use crate::error::Error;
use crate::instance::{Instance, Running};
use crate::isolation::Isolation;
use crate::probe::Report;
use crate::profile::{Profile, Program};

/// The stronger of two back-ends that works here.
#[derive(Debug)]
pub(crate) struct Auto {
    host: Host,
    os: os::Os,
    landlock: landlock::Landlock,
}

/// The back-end for what must not be below `floor`.
pub(crate) fn build(host: &Host, floor: Isolation) -> Result<Box<dyn Backend>, Error> {
    match floor {
        Isolation::None | Isolation::Landlock => {
            let (os, landlock) = (os::build(os::Config::default(), host)?, landlock::build(landlock::Config::default(), host)?);
            Ok(Box::new(Auto { host: host.clone(), os, landlock }))
        }
        Isolation::Os => Ok(Box::new(os::build(os::Config::default(), host)?)),
        Isolation::Gvisor | Isolation::Microvm => Err(Error::new(format!("the sandbox auto is never more than os, and {floor} is wanted"))
            .with_hint("name the back-end in `sandbox`")),
    }
}

impl Backend for Auto {
    fn name(&self) -> &'static str {
        "auto"
    }

    fn probe(&self) -> Pending<'_, Report> {
        Box::pin(async {
            let report = self.os.probe().await;
            if report.works { report } else { self.landlock.probe().await }
        })
    }

    fn launch<'a>(&'a self, profile: &'a Profile, program: &'a Program) -> Pending<'a, Result<Instance<Running>, Error>> {
        Box::pin(async {
            let Err(refusal) = self.works().await else { return self.os.launch(profile, program).await };
            let launched = self.landlock.launch(profile, program).await;
            match launched {
                Ok(instance) => {
                    tracing::warn!(server = program.name, %refusal, "runs in the boundary landlock, because os is refused here");
                    Ok(instance)
                }
                Err(error) => Err(error.after(refusal)),
            }
        })
    }
}

/// The binaries whose launches work in the boundary `os`. Kernel, boot and the running binary are the same as long as this process
/// lives, so that a proof holds as long. A refusal is not kept: it costs a start a few milliseconds, and once it is cured nothing must
/// be started anew.
static PROVED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

impl Auto {
    /// Whether a real program starts in the boundary `os`, and why not.
    async fn works(&self) -> Result<(), Error> {
        let launcher = self.host.launcher();
        if PROVED.lock().unwrap_or_else(PoisonError::into_inner).contains(launcher) {
            return Ok(());
        }
        self.os.try_out().await?;
        PROVED.lock().unwrap_or_else(PoisonError::into_inner).insert(launcher.to_path_buf());
        Ok(())
    }
}
