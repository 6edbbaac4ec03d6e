//! The one interface of everything that can run a program inside a boundary, and how the configuration names it.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::LazyLock;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, MapDeserializer};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::auto;
use crate::backends::BackendConfig;
use crate::backends::microvm;
use crate::backends::oci::{self, Runtime};
use crate::egress;
use crate::error::Error;
use crate::instance::{Instance, Running};
use crate::isolation::Isolation;
use crate::learn::Trial;
use crate::probe::Report;
use crate::profile::{Profile, Program};

/// A future that can be kept behind `dyn Backend`.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Runs programs inside one kind of boundary.
pub trait Backend: Send + Sync + fmt::Debug {
    /// The name in the configuration.
    fn name(&self) -> &'static str;

    /// Starts a real program in a real boundary and tells what held; never fails, the report says what did not work.
    fn probe(&self) -> Pending<'_, Report>;

    /// Starts `program` as `profile` allows.
    ///
    /// # Errors
    /// When the program cannot be found, when the profile cannot be met, and when any layer it needs is refused: then
    /// nothing of the program has run.
    fn launch<'a>(&'a self, profile: &'a Profile, program: &'a Program) -> Pending<'a, Result<Instance<Running>, Error>>;
}

/// Where launches come from: the binary that is executed again as the launcher of each program.
#[derive(Clone, Debug)]
pub struct Host {
    launcher: PathBuf,
    egress: egress::Surroundings,
    trial: Option<Trial>,
    machines: Option<PathBuf>,
    scope: String,
}

impl Host {
    /// The running binary itself; its `main` must call [`crate::enter_if_asked`] first.
    #[must_use]
    pub fn this_binary() -> Self {
        // The kernel's own link: right also after the file was replaced by an upgrade.
        Self::with_launcher("/proc/self/exe")
    }

    /// Another binary whose `main` calls [`crate::enter_if_asked`] first.
    pub fn with_launcher(launcher: impl Into<PathBuf>) -> Self {
        Self { launcher: launcher.into(), egress: egress::Surroundings::default(), trial: None, machines: None, scope: String::new() }
    }

    /// The same, with these surroundings of every connection out of a sandbox.
    #[must_use]
    pub fn with_egress(self, egress: egress::Surroundings) -> Self {
        Self { egress, ..self }
    }

    /// The same, for the programs of a tenant: what their [`Program::scope`] is, or begins with.
    #[must_use]
    pub fn with_scope(self, scope: impl Into<String>) -> Self {
        Self { scope: scope.into(), ..self }
    }

    /// Whose programs are launched from here: a tenant's name, or nothing.
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// The same, with a trial of the server that it is of.
    #[must_use]
    pub fn with_trial(self, trial: Trial) -> Self {
        Self { trial: Some(trial), ..self }
    }

    /// The trial that a program is launched in, if it is.
    pub(crate) fn trial_of(&self, program: &str) -> Option<&Trial> {
        self.trial.as_ref().filter(|trial| trial.is_of(program))
    }

    /// The same, with the files of microVMs in this folder instead of the user's cache.
    #[must_use]
    pub fn with_machines(self, folder: impl Into<PathBuf>) -> Self {
        Self { machines: Some(folder.into()), ..self }
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn machines(&self) -> Result<PathBuf, Error> {
        self.machines.clone().map_or_else(crate::microvm::folder, Ok)
    }

    pub(crate) fn egress(&self) -> &egress::Surroundings {
        &self.egress
    }

    pub(crate) fn launcher(&self) -> &Path {
        &self.launcher
    }
}

/// Which back-end the configuration selects, `"auto"`, a name, or `{ name = { … } }`, and what must not be gone below.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// `None` is `auto`.
    named: Option<BackendConfig>,
    floor: Isolation,
}

impl Selection {
    /// The back-end's name; `auto` is `os` unless it may be less.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match &self.named {
            Some(named) => named.name(),
            None if self.floor < Isolation::Os => "auto",
            None => "os",
        }
    }

    /// The boundary's name: the back-end's, but for images by gVisor, whose boundary is another one than that of other runtimes.
    #[must_use]
    pub fn boundary(&self) -> &'static str {
        if self.isolation() == Isolation::Gvisor { Isolation::Gvisor.name() } else { self.name() }
    }

    /// Whether there is no boundary at all, which every display of the server must show.
    #[must_use]
    pub fn is_none(&self) -> bool {
        matches!(self.named, Some(BackendConfig::None(_)))
    }

    /// Whether it is left to Sallyport.
    #[must_use]
    pub fn is_auto(&self) -> bool {
        self.named.is_none()
    }

    /// The rung that a back-end stands on which was named; for `auto`, the highest that it can be.
    #[must_use]
    pub fn isolation(&self) -> Isolation {
        match &self.named {
            Some(BackendConfig::None(_)) => Isolation::None,
            Some(BackendConfig::Landlock(_)) => Isolation::Landlock,
            Some(BackendConfig::Oci(oci::Config { runtime: Runtime::Runsc, .. })) => Isolation::Gvisor,
            Some(BackendConfig::Microvm(_)) => Isolation::Microvm,
            // What shares the host's kernel and is made of its namespaces, or of less than its system calls.
            _ => Isolation::Os,
        }
    }

    /// The same with a floor: `auto` goes down to it, but no further, where what is stronger is refused. Default: `os`.
    #[must_use]
    pub fn with_floor(self, floor: Isolation) -> Self {
        Self { floor, ..self }
    }

    /// The floor.
    #[must_use]
    pub fn floor(&self) -> Isolation {
        self.floor
    }

    /// Whether the program is one of a container image, which is its root: nothing of this machine's programs is there.
    #[must_use]
    pub fn has_image(&self) -> bool {
        match &self.named {
            Some(BackendConfig::Oci(_)) => true,
            Some(BackendConfig::Microvm(config)) => config.image.is_some(),
            _ => false,
        }
    }

    /// Whether the program gets a virtual machine, which takes its time to boot and does not write to the host.
    #[must_use]
    pub fn is_machine(&self) -> bool {
        matches!(self.named, Some(BackendConfig::Microvm(_)))
    }

    /// How many machines are kept ready for the program, beside the one that it runs in.
    #[must_use]
    pub fn spares(&self) -> u32 {
        match &self.named {
            Some(BackendConfig::Microvm(config)) => config.pool,
            _ => 0,
        }
    }

    /// Where packages for the program are installed: an installation writes, needs the network, and runs programs of this machine.
    #[must_use]
    pub fn for_installing(&self) -> Self {
        if matches!(self.name(), "microvm" | "oci" | "wasm") { Self::default() } else { self.clone() }
    }

    /// The back-end for an image of a registry, in the place of `auto`, of one that names a container runtime alone, or of a machine
    /// without an image. Without `installed`, its folder in the store, it can be built, and start nothing. `None` where what was chosen runs
    /// no image, or another one.
    #[must_use]
    pub fn for_image(&self, installed: Option<&Path>) -> Option<Self> {
        let image = installed.unwrap_or_else(|| Path::new("")).to_owned();
        let runtime = match &self.named {
            None => Runtime::Auto,
            Some(BackendConfig::Microvm(config)) if config.is_installed || (config.image.is_none() && config.digest.is_none()) => {
                let named = BackendConfig::Microvm(microvm::Config { image: Some(image), is_installed: true, ..config.clone() });
                return Some(Self { named: Some(named), floor: self.floor });
            }
            Some(BackendConfig::Oci(config)) if config.is_installed => config.runtime,
            Some(BackendConfig::Oci(oci::Config { image, digest: None, runtime, .. })) if image.as_os_str().is_empty() => *runtime,
            Some(_) => return None,
        };
        let named = BackendConfig::Oci(oci::Config { image, digest: None, runtime, is_installed: true });
        Some(Self { named: Some(named), floor: self.floor })
    }

    /// The same with relative paths among its settings taken from `folder`: that of the configuration.
    #[must_use]
    pub fn with_paths_in(mut self, folder: &Path) -> Self {
        match &mut self.named {
            Some(BackendConfig::Oci(config)) if !config.image.as_os_str().is_empty() => config.image = folder.join(&config.image),
            Some(BackendConfig::Microvm(config)) => config.image = config.image.take().map(|image| folder.join(image)),
            _ => {}
        }
        self
    }

    /// What this machine lacks for a back-end that is named, as far as it shows without a start: a program, a prepared kernel, a right.
    ///
    /// # Errors
    /// Something is lacking. Where nothing is, only a start proves that it works ([`Backend::probe`]).
    pub fn look_round(&self, host: &Host) -> Result<(), Error> {
        match &self.named {
            #[cfg(target_os = "linux")]
            Some(BackendConfig::Microvm(config)) => crate::microvm::look_round(config, host),
            #[cfg(target_os = "linux")]
            Some(BackendConfig::Oci(config)) => crate::oci::look_round(config.runtime),
            _ => self.build(host).map(drop),
        }
    }

    /// Makes the back-end.
    ///
    /// # Errors
    /// When the back-end refuses its configuration.
    pub fn build(&self, host: &Host) -> Result<Box<dyn Backend>, Error> {
        match &self.named {
            Some(named) => named.clone().build(host),
            None => auto::build(host, self.floor),
        }
    }
}

#[cfg(target_os = "linux")]
impl Selection {
    /// The settings of machines, where they are what is selected.
    pub(crate) fn machine(&self) -> Option<&crate::backends::microvm::Config> {
        match &self.named {
            Some(BackendConfig::Microvm(config)) => Some(config),
            _ => None,
        }
    }

    /// Makes the back-end in a form that starts programs of this machine: one for images then does without an image.
    pub(crate) fn build_for_attacks(&self, host: &Host) -> Result<Box<dyn Backend>, Error> {
        match &self.named {
            Some(BackendConfig::Oci(config)) => Ok(Box::new(crate::oci::WithoutImage::new(host, config.runtime))),
            Some(BackendConfig::Microvm(config)) => BackendConfig::Microvm(config.without_image()).build(host),
            _ => self.build(host),
        }
    }
}

impl From<BackendConfig> for Selection {
    fn from(config: BackendConfig) -> Self {
        Self { named: Some(config), floor: Isolation::default() }
    }
}

impl Serialize for Selection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Selection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SelectionVisitor)
    }
}

/// What can be written as a word.
static KNOWN: LazyLock<Vec<&'static str>> = LazyLock::new(|| std::iter::once("auto").chain(BackendConfig::NAMES.iter().copied()).collect());

struct SelectionVisitor;

impl<'de> Visitor<'de> for SelectionVisitor {
    type Value = Selection;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"auto\", the name of a sandbox back-end, or a table with one such name as its key")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Selection, E> {
        if name == "auto" {
            return Ok(Selection::default());
        }
        if !BackendConfig::NAMES.contains(&name) {
            return Err(E::unknown_variant(name, &KNOWN));
        }
        // A bare name is the back-end with an empty table.
        let nothing = std::collections::BTreeMap::<&str, &str>::new();
        let entry = MapDeserializer::<_, E>::new(std::iter::once((name, nothing)));
        BackendConfig::deserialize(MapAccessDeserializer::new(entry)).map(Selection::from)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Selection, A::Error> {
        let selection = BackendConfig::deserialize(MapAccessDeserializer::new(&mut map)).map(Selection::from)?;
        match map.next_key::<String>()? {
            None => Ok(selection),
            Some(_) => Err(de::Error::custom("two sandboxes are named (hint: write the one that this server is to run in)")),
        }
    }
}

impl JsonSchema for Selection {
    fn schema_name() -> Cow<'static, str> {
        "Sandbox".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<BackendConfig>();
        json_schema!({ "anyOf": [{ "type": "string", "enum": *KNOWN }, table] })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn parse(json: &str) -> Result<Selection, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn every_name_is_accepted_bare_and_as_a_table() {
        for name in BackendConfig::NAMES {
            let bare = parse(&format!("\"{name}\"")).unwrap();
            let table = parse(&format!("{{\"{name}\": {{}}}}")).unwrap();
            assert_eq!(bare, table);
            assert_eq!(bare.name(), *name);
        }
        assert_eq!(parse("\"auto\"").unwrap(), Selection::default());
        assert!(parse("\"none\"").unwrap().is_none());
        for (written, isolation) in [
            ("\"landlock\"", Isolation::Landlock),
            ("\"oci\"", Isolation::Os),
            ("{\"oci\": {\"runtime\": \"runc\"}}", Isolation::Os),
            ("{\"oci\": {\"runtime\": \"runsc\"}}", Isolation::Gvisor),
            ("\"microvm\"", Isolation::Microvm),
        ] {
            assert_eq!(parse(written).unwrap().isolation(), isolation, "{written}");
        }
        assert!(Isolation::Os < Isolation::Gvisor && Isolation::Gvisor < Isolation::Microvm);
    }

    #[test]
    fn an_image_of_a_registry_takes_the_place_of_none() {
        let (tree, image) = (Path::new("/store/tree"), "{\"microvm\": {\"image\": \"i.tar\", \"memory_mb\": 128}}");
        for (written, name) in
            [("\"auto\"", "oci"), ("{\"oci\": {\"runtime\": \"crun\"}}", "oci"), ("{\"microvm\": {\"pool\": 1}}", "microvm")]
        {
            let before = parse(written).unwrap().for_image(None).unwrap();
            let installed = before.for_image(Some(tree)).unwrap();
            assert_eq!((installed.name(), installed.has_image(), before.has_image()), (name, true, true), "{written}");
            let host = Host::this_binary();
            assert!(before.build(&host).is_ok() && installed.build(&host).is_ok() && installed != before);
        }
        let of_machine = parse("{\"microvm\": {\"pool\": 1}}").unwrap();
        let Some(BackendConfig::Microvm(config)) = of_machine.for_image(Some(tree)).unwrap().named else { panic!("no machine") };
        assert_eq!((config.pool, config.image.as_deref()), (1, Some(tree)));
        assert!(!of_machine.has_image() && !Selection::default().has_image());
        for other in [image, "\"os\"", "\"none\"", "{\"oci\": {\"image\": \"i.tar\"}}", "{\"microvm\": {\"digest\": \"sha256:1\"}}"] {
            assert_eq!(parse(other).unwrap().for_image(Some(tree)), None, "{other}");
        }
        let from_disk = parse(image).unwrap();
        assert!(from_disk.build(&Host::this_binary()).unwrap_err().to_string().contains("i.tar is not an absolute path"));
        let from_disk = from_disk.with_paths_in(Path::new("/project"));
        assert!(from_disk.build(&Host::this_binary()).is_ok());
        assert_eq!(from_disk, parse(&image.replace("i.tar", "/project/i.tar")).unwrap());
        let digest = parse("{\"microvm\": {\"digest\": \"sha256:1\"}}").unwrap().build(&Host::this_binary()).unwrap_err();
        assert!(digest.to_string().contains("`digest` is that of no `image`"));
    }

    #[test]
    fn a_misspelt_name_lists_the_others() {
        let error = parse("\"so\"").unwrap_err().to_string();
        assert!(error.contains("unknown variant `so`, expected one of `auto`, `os`, "), "{error}");
        let error = parse("{\"os\": {\"colour\": 1}}").unwrap_err().to_string();
        assert!(error.contains("unknown field `colour`"), "{error}");
        let error = parse("{\"os\": {}, \"none\": {}}").unwrap_err().to_string();
        assert!(error.contains("two sandboxes are named"), "{error}");
    }
}
