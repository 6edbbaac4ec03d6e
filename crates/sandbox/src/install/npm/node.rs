//! Which native modules Node loads: those that were built for another major version of it are refused.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::super::Error;
use crate::backend::Backend;
use crate::instance::{Instance, Running};
use crate::profile::{EnvText, Profile, Program};

/// It takes a tenth of a second; on a machine that has nothing left, more.
const LIMIT: Duration = Duration::from_secs(60);

/// A number of a few digits, with the end of the line.
const ANSWER_BYTES: u64 = 64;

/// `process.versions.modules` of the Node that is found in `path`, asked inside the boundary.
pub(in crate::install) async fn modules(backend: &dyn Backend, path: Option<String>) -> Result<String, Error> {
    let mut program = Program::new("asking Node for its version", "node");
    program.args = ["-p", "process.versions.modules"].map(str::to_owned).to_vec();
    program.env.extend(path.map(|path| ("PATH".to_owned(), EnvText::from(path))));
    let instance = backend.launch(&Profile::default(), &program).await?;
    let answer = timeout(LIMIT, answer(&instance)).await.unwrap_or_default();
    instance.kill();
    instance.wait().await;
    let answer = answer.trim();
    let is_number = !answer.is_empty() && answer.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| answer.to_owned()).ok_or_else(|| {
        Error::new("its scripts were allowed, and Node does not say for which version its native modules are to be built")
            .with_hint("look at what `node -p process.versions.modules` says")
            .with_last_words(instance.stderr_tail())
    })
}

async fn answer(instance: &Instance<Running>) -> String {
    let Some((stdin, stdout)) = instance.take_io() else { return String::new() };
    drop(stdin);
    let mut text = String::new();
    match stdout.take(ANSWER_BYTES).read_to_string(&mut text).await {
        Ok(_) => text,
        Err(_) => String::new(),
    }
}
