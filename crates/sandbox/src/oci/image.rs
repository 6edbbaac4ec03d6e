//! An image on disk: a folder in OCI layout, or an archive of one (also in the form of `docker save`). Whatever it holds is checked
//! against its digests before it is used.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ENTRYPOINT;
use super::manifest::{DEEPEST, Index, MOST_LAYERS, Manifest, Platform, TEXT_BYTES, nothing_for_this_machine};
use super::names::LongNames;
use crate::error::Error;
use crate::policy::Target;
use crate::profile::{EnvText, Profile, Program};

/// The search path inside, unless the image or the configuration says another.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Entries of the archive itself: some for each layer.
const MOST_MEMBERS: usize = 4096;

/// What is known of an image before it is unpacked. The default is an empty one.
#[derive(Debug, Default)]
pub(super) struct Image {
    store: Option<Store>,
    /// The digest of its configuration, which holds those of all layers: one root for each.
    pub(super) key: String,
    /// Where each layer lies, the lowest first, and the digest of what it unpacks to.
    pub(super) layers: Vec<(String, String)>,
    pub(super) start: Start,
}

#[derive(Debug, Deserialize)]
struct Configuration {
    #[serde(default)]
    config: Start,
    rootfs: Layers,
    /// Required by the specification, but not needed where it is missing.
    #[serde(flatten)]
    platform: Option<Platform>,
}

#[derive(Debug, Deserialize)]
struct Layers {
    diff_ids: Vec<String>,
}

/// What the image says about its program.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Start {
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
}

/// `manifest.json` of `docker save`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

impl Image {
    /// Reads what the image consists of.
    ///
    /// # Errors
    /// Where it is none, where a digest is not right, and where it is not the one that `wanted` names.
    pub(super) fn open(path: &Path, wanted: Option<&str>) -> Result<Self, Error> {
        let store = Store::open(path).map_err(|cause| {
            Error::io(format_args!("{} cannot be read", path.display()), &cause)
                .with_hint("name a folder in OCI layout, or an uncompressed archive of an image (`docker save`)")
        })?;
        let (manifest, key, names) = if store.has("index.json") { store.layout()? } else { store.saved()? };
        if let Some(wanted) = wanted
            && ![&manifest, &key].contains(&&wanted.to_owned())
        {
            return Err(Error::new(format!("{} is not {wanted}, but {manifest}", path.display())));
        }
        let configuration: Configuration = Store::json(&names.config, &store.checked(&names.config, &key)?)?;
        if configuration.platform.is_some_and(|platform| !platform.is_this()) {
            return Err(nothing_for_this_machine());
        }
        let digests = configuration.rootfs.diff_ids;
        if digests.len() != names.layers.len() || digests.len() > MOST_LAYERS {
            return Err(Error::new(format!("it has {} layers and {} digests of them", names.layers.len(), digests.len())));
        }
        let layers = names.layers.into_iter().zip(digests).collect();
        Ok(Self { store: Some(store), key, layers, start: configuration.config })
    }

    /// One whose layers were unpacked.
    pub(super) fn installed(start: Start) -> Self {
        Self { start, ..Self::default() }
    }

    /// One layer's bytes, as they lie there.
    pub(super) fn layer(&self, name: &str) -> io::Result<Box<dyn Read>> {
        self.store.as_ref().ok_or(io::ErrorKind::NotFound)?.read(name)
    }

    /// What is executed inside, with which variables, and where.
    ///
    /// # Errors
    /// Where neither the configuration nor the image says what is executed.
    pub(super) fn target(&self, profile: &Profile, program: &Program) -> Result<Target, Error> {
        let mut words = self.command(program).into_iter();
        let path = words.next().ok_or_else(|| {
            Error::new("it says nothing of what it starts").with_hint("name a program in it as the command, instead of `entrypoint`")
        })?;
        let named = || profile.write.iter().chain(&profile.read).find(|path| path.is_dir()).cloned();
        let cwd = program.cwd.clone().or_else(|| self.folder()).or_else(named).unwrap_or_else(|| "/".into());
        Ok(Target { path: path.into(), args: words.collect(), env: self.environment(program), cwd })
    }

    /// The image's variables, over them the configuration's.
    fn environment(&self, program: &Program) -> BTreeMap<String, EnvText> {
        let usual = [("PATH", PATH), ("HOME", "/tmp"), ("LANG", "C.UTF-8")].into_iter().chain(self.variables());
        let mut variables: BTreeMap<_, _> = usual.map(|(name, value)| (name.to_owned(), EnvText::from(value))).collect();
        variables.extend(program.env.clone());
        variables
    }

    /// The command, or in the place of its first word the image's own.
    pub(super) fn command(&self, program: &Program) -> Vec<String> {
        if program.command != ENTRYPOINT {
            return [vec![program.command.clone()], program.args.clone()].concat();
        }
        let (own, default) = (self.start.entrypoint.clone().unwrap_or_default(), self.start.cmd.clone().unwrap_or_default());
        [own, if program.args.is_empty() { default } else { program.args.clone() }].concat()
    }

    fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.start.env.iter().flatten().filter_map(|variable| variable.split_once('='))
    }

    /// Where its programs start, if it says so.
    fn folder(&self) -> Option<PathBuf> {
        self.start.working_dir.as_ref().map(PathBuf::from).filter(|folder| folder.is_absolute())
    }
}

/// Where a configuration and layers lie.
struct Names {
    config: String,
    layers: Vec<String>,
}

/// Files by name: of a folder, or inside an archive.
#[derive(Debug)]
enum Store {
    Folder(PathBuf),
    Archive { file: PathBuf, members: HashMap<String, (u64, u64)> },
}

impl Store {
    fn open(path: &Path) -> io::Result<Self> {
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        let mut members = HashMap::new();
        let mut names = LongNames::default();
        for (number, entry) in tar::Archive::new(File::open(path)?).entries_with_seek()?.raw(true).enumerate() {
            let mut entry = entry?;
            if number == MOST_MEMBERS {
                return Err(io::Error::other("it has too many members"));
            }
            if names.hear(&mut entry)? {
                continue;
            }
            let names = std::mem::take(&mut names);
            if entry.header().entry_type().is_file() {
                let name = names.path(&entry).to_string_lossy().trim_start_matches("./").to_owned();
                members.insert(name, (entry.raw_file_position(), entry.size()));
            }
        }
        Ok(Self::Archive { file: path.to_owned(), members })
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.join(name).is_file(),
            Self::Archive { members, .. } => members.contains_key(name),
        }
    }

    /// Names are those of members, or made of digests by us.
    fn read(&self, name: &str) -> io::Result<Box<dyn Read>> {
        match self {
            Self::Folder(folder) => Ok(Box::new(File::open(folder.join(name))?)),
            Self::Archive { file, members } => {
                let (start, length) = *members.get(name).ok_or(io::ErrorKind::NotFound)?;
                let mut file = File::open(file)?;
                file.seek(SeekFrom::Start(start))?;
                Ok(Box::new(file.take(length)))
            }
        }
    }

    fn text(&self, name: &str) -> Result<Vec<u8>, Error> {
        let mut text = Vec::new();
        let read = self.read(name).and_then(|reader| reader.take(TEXT_BYTES).read_to_end(&mut text));
        read.map_err(|cause| Error::io(format_args!("{name} of it cannot be read"), &cause))?;
        Ok(text)
    }

    /// The same of what has to have this digest.
    fn checked(&self, name: &str, digest: &str) -> Result<Vec<u8>, Error> {
        let text = self.text(name)?;
        if digest_of(&text) != digest {
            return Err(Error::new(format!("{name} of it does not have the digest {digest}")));
        }
        Ok(text)
    }

    fn json<T: DeserializeOwned>(name: &str, text: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(text).map_err(|error| Error::new(format!("{name} of it is not understood: {error}")))
    }

    /// The manifest's digest, the configuration's digest, and where all lies.
    fn layout(&self) -> Result<(String, String, Names), Error> {
        let mut index = Index::read(&self.text("index.json")?)?;
        for _ in 0..DEEPEST {
            let chosen = index.choose()?.digest.clone();
            match Manifest::read(&self.checked(&blob(&chosen)?, &chosen)?)? {
                Manifest::Index(inner) => index = inner,
                Manifest::Image { config, layers } => {
                    let layers = layers.iter().map(|layer| blob(&layer.digest)).collect::<Result<_, _>>()?;
                    return Ok((chosen, config.digest.clone(), Names { config: blob(&config.digest)?, layers }));
                }
            }
        }
        Err(Error::new("its index names indexes within each other"))
    }

    /// The same of `docker save`, which has no manifest of its own: the configuration's digest stands for it.
    fn saved(&self) -> Result<(String, String, Names), Error> {
        let saved: Vec<Saved> = Self::json("manifest.json", &self.text("manifest.json")?)?;
        let [Saved { config, layers }] = <[Saved; 1]>::try_from(saved).map_err(|_| Error::new("it holds several images, or none"))?;
        let key = digest_of(&self.text(&config)?);
        Ok((key.clone(), key, Names { config, layers }))
    }
}

pub(crate) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// Lower-case hexadecimal.
pub(super) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where a layout keeps what has this digest; a digest is nothing but hexadecimal, so the path stays inside.
pub(crate) fn blob(digest: &str) -> Result<String, Error> {
    let hex = digest.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    hex.map(|hex| format!("blobs/sha256/{hex}")).ok_or_else(|| Error::new(format!("{} is no digest by sha256", digest.escape_debug())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn a_digest_cannot_lead_out_of_the_layout() {
        assert!(blob(&format!("sha256:{}", "a".repeat(64))).is_ok());
        for digest in ["sha256:../../../etc/passwd", "sha512:aa", "", &format!("sha256:{}/", "a".repeat(63))] {
            assert!(blob(digest).is_err(), "{digest}");
        }
    }

    #[test]
    fn the_images_own_command_is_used_where_the_word_stands() {
        let start = r#"{"Entrypoint": ["/server"], "Cmd": ["--default"], "Env": ["A=1", "broken"], "WorkingDir": "relative"}"#;
        let image = Image { start: serde_json::from_str(start).unwrap(), ..Image::default() };
        let mut program = Program::new("x", ENTRYPOINT);
        assert_eq!(image.command(&program), ["/server", "--default"]);
        program.args.push("--mine".to_owned());
        assert_eq!(image.command(&program), ["/server", "--mine"]);
        program.command = "sh".to_owned();
        assert_eq!(image.command(&program), ["sh", "--mine"]);
        program.env.insert("B".to_owned(), EnvText::from("2"));
        let Target { path, args, env, cwd } = image.target(&Profile::default(), &program).unwrap();
        assert_eq!((path.to_str(), &*args, cwd.to_str()), (Some("sh"), &["--mine".to_owned()][..], Some("/")));
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(env, [("A", "1"), ("B", "2"), ("HOME", "/tmp"), ("LANG", "C.UTF-8"), ("PATH", PATH)]);
        let said = Image::default().target(&Profile::default(), &Program::new("x", ENTRYPOINT)).err().unwrap();
        assert!(said.to_string().contains("nothing of what it starts"), "{said}");
    }
}
