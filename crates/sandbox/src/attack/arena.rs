//! What the host plants and listens at, and what of it changed.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sallyport_telemetry::ConnectionOutcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixDatagram, UnixListener};
use tokio::task::JoinSet;

use super::terrain::Terrain;
use crate::egress::{Allowed, Connection, Destination, DestinationError, Name, Observe, Outcome, Resolve, Surroundings};
use crate::profile::DENY_WRITE;

/// Everything on the host that an attack is about. Dropped, nothing of it is left.
pub(super) struct Arena {
    folder: Folder,
    /// The text that must show up nowhere.
    pub(super) canary: String,
    pub(super) abstract_socket: String,
    pub(super) forbidden_port: u16,
    pub(super) allowed_port: u16,
    reached: Arc<AtomicUsize>,
    pub(super) connections: Arc<Connections>,
    planted: Tree,
    project: Tree,
    _listeners: JoinSet<()>,
}

/// The answer of the one listener that may be reached. What TLS says does not get it.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// The environment variable of the other server that holds the canary.
pub(super) const SECRET_VARIABLE: &str = "SALLYPORT_ATTACK_SECRET";

/// Services of the host with a socket among the files: in the user's home, and in folders that are shown.
const SERVICES: [&str; 3] = ["outside/socket", "readable/socket", "writable/socket"];

/// One that takes what is sent to it, without a connection.
const LETTERS: &str = "writable/letters";

/// Paths below a folder, with owner-independent looks and texts.
type Tree = BTreeMap<PathBuf, (u32, Vec<u8>)>;

impl Arena {
    pub(super) async fn set_up(terrain: Terrain) -> io::Result<Self> {
        let folder = Folder::make()?;
        let canary = format!("canary-{}", random()?);
        for name in ["outside", "outside/.ssh", "readable", "writable"] {
            fs::DirBuilder::new().mode(0o700).create(folder.path(name))?;
        }
        fs::write(folder.path("outside/canary"), &canary)?;
        fs::write(folder.path("outside/.ssh/id_ed25519"), &canary)?;
        fs::write(folder.path("readable/file"), "text")?;
        make_project(&folder.path("writable"))?;
        if let Some(owner) = terrain.owner() {
            // What the program may use is its own, and of all else no mode keeps it out.
            give(&folder.path("writable"), owner)?;
            open_to_all(&folder.0)?;
        }
        let (reached, mut listeners) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
        let forbidden = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let forbidden_port = forbidden.local_addr()?.port();
        listeners.spawn(count_tcp(forbidden, Arc::clone(&reached)));
        // Where there is no IPv6, there is nothing to reach.
        if let Ok(second) = TcpListener::bind(("::1", forbidden_port)).await {
            listeners.spawn(count_tcp(second, Arc::clone(&reached)));
        }
        let allowed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let allowed_port = allowed.local_addr()?.port();
        listeners.spawn(answer(allowed, Arc::clone(&reached)));
        for name in SERVICES {
            listeners.spawn(count_unix(UnixListener::bind(folder.path(name))?, Arc::clone(&reached)));
        }
        listeners.spawn(count_letters(UnixDatagram::bind(folder.path(LETTERS))?, Arc::clone(&reached)));
        if terrain.owner().is_some() {
            for name in SERVICES.iter().chain([&LETTERS]) {
                fs::set_permissions(folder.path(name), Permissions::from_mode(0o777))?;
            }
        }
        let abstract_socket = format!("sallyport-attack-{}", random()?);
        listeners.spawn(count_unix(abstract_listener(&abstract_socket)?, Arc::clone(&reached)));
        let mut arena = Self {
            folder,
            canary,
            abstract_socket,
            forbidden_port,
            allowed_port,
            reached,
            connections: Arc::default(),
            planted: Tree::new(),
            project: Tree::new(),
            _listeners: listeners,
        };
        arena.planted = arena.look()?;
        arena.project = arena.look_at_project()?;
        Ok(arena)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path(name)
    }

    /// The sockets of services in folders that are shown.
    pub(super) fn shown_sockets(&self) -> Vec<PathBuf> {
        SERVICES.iter().skip(1).chain([&LETTERS]).map(|name| self.path(name)).collect()
    }

    /// The only destinations: one that is reached, and two that lead where nobody may connect to.
    pub(super) fn destinations(&self) -> Result<Allowed, DestinationError> {
        let (allowed, forbidden) = (self.allowed_port, self.forbidden_port);
        let named = [
            format!("reached.test:{allowed}"),
            format!("127.0.0.1:{allowed}"),
            format!("rebound.test:{forbidden}"),
            "metadata.test".into(),
        ];
        Allowed::new(named.iter().map(|destination| destination.parse::<Destination>()).collect::<Result<_, _>>()?)
    }

    /// The way out: names that mean what the attacks need, and an ear for every connection.
    pub(super) fn egress(&self) -> Surroundings {
        Surroundings { resolver: Arc::new(Names), observer: Arc::clone(&self.connections) as _, ..Surroundings::default() }
    }

    /// What has changed outside, and who was reached.
    pub(super) fn effects(&self) -> Vec<String> {
        let mut effects = Vec::new();
        let reached = self.reached.swap(0, Ordering::Relaxed);
        if reached > 0 {
            effects.push(format!("{reached} connections reached the host"));
        }
        match self.look() {
            Ok(found) if found == self.planted => {}
            Ok(_) => effects.push("files outside have changed".to_owned()),
            Err(error) => effects.push(format!("files outside cannot be looked at: {error}")),
        }
        effects
    }

    /// What in the project is not to be written and yet was, and what is left of what covered it.
    pub(super) fn planted_in_project(&self) -> Option<String> {
        match self.look_at_project() {
            Ok(found) if found == self.project => None,
            Ok(found) => {
                let root = self.path("writable");
                let changed = found.iter().filter(|(path, look)| self.project.get(*path) != Some(look)).map(|(path, _)| path);
                let gone = self.project.keys().filter(|path| !found.contains_key(*path));
                let names: Vec<String> =
                    changed.chain(gone).map(|path| path.strip_prefix(&root).unwrap_or(path).display().to_string()).collect();
                Some(format!("changed: {}", names.join(" ")))
            }
            Err(error) => Some(format!("the project cannot be looked at: {error}")),
        }
    }

    fn look_at_project(&self) -> io::Result<Tree> {
        let (root, mut tree) = (self.path("writable"), Tree::new());
        look_into(&root, &mut tree)?;
        tree.retain(|path, _| denied().any(|entry| path.starts_with(root.join(entry))));
        Ok(tree)
    }

    fn look(&self) -> io::Result<Tree> {
        let mut tree = Tree::new();
        for name in ["outside", "readable"] {
            look_into(&self.path(name), &mut tree)?;
        }
        Ok(tree)
    }
}

/// What of the usual deny-write list is not about homes.
pub(super) fn denied() -> impl Iterator<Item = &'static str> {
    DENY_WRITE.iter().filter(|entry| !entry.starts_with("~/")).map(|entry| entry.trim_end_matches('?'))
}

/// A repository in which some of what is not to be written is there, one of it as a link, and most is not.
fn make_project(root: &Path) -> io::Result<()> {
    for folder in [".git", ".git/hooks", ".git/modules", ".git/worktrees", ".vscode"] {
        fs::create_dir(root.join(folder))?;
    }
    for (file, text) in [
        (".git/config", "[core]\n"),
        (".git/HEAD", "ref: refs/heads/main\n"),
        (".git/config.worktree", ""),
        (".vscode/tasks.json", "{}"),
        ("agents.json", "{}"),
    ] {
        fs::write(root.join(file), text)?;
    }
    std::os::unix::fs::symlink("agents.json", root.join(".mcp.json"))
}

/// Gives `path` and everything below it to `owner`.
fn give(path: &Path, owner: u32) -> io::Result<()> {
    lchown(path, Some(owner), Some(owner))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), owner)?;
        }
    }
    Ok(())
}

/// Lets everybody read `folder` and what is below it.
fn open_to_all(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let found = fs::symlink_metadata(&path)?;
        if found.is_dir() {
            open_to_all(&path)?;
        } else if found.is_file() {
            fs::set_permissions(&path, Permissions::from_mode(0o644))?;
        }
    }
    Ok(())
}

/// Everything below `folder`.
fn look_into(folder: &Path, tree: &mut Tree) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let found = fs::symlink_metadata(&path)?;
        let text = if found.is_file() { fs::read(&path)? } else { Vec::new() };
        tree.insert(path.clone(), (found.mode(), text));
        if found.is_dir() {
            look_into(&path, tree)?;
        }
    }
    Ok(())
}

fn abstract_listener(name: &str) -> io::Result<UnixListener> {
    let listener = std::os::unix::net::UnixListener::bind_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name)?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

async fn count_tcp(listener: TcpListener, reached: Arc<AtomicUsize>) {
    while listener.accept().await.is_ok() {
        reached.fetch_add(1, Ordering::Relaxed);
    }
}

async fn count_letters(socket: UnixDatagram, reached: Arc<AtomicUsize>) {
    while socket.recv(&mut [0; 16]).await.is_ok() {
        reached.fetch_add(1, Ordering::Relaxed);
    }
}

async fn count_unix(listener: UnixListener, reached: Arc<AtomicUsize>) {
    while listener.accept().await.is_ok() {
        reached.fetch_add(1, Ordering::Relaxed);
    }
}

/// Answers whoever asks for a page, and counts whoever brings anything else.
async fn answer(listener: TcpListener, reached: Arc<AtomicUsize>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut start = [0; 4];
        // Who says less wanted nothing.
        if stream.read_exact(&mut start).await.is_err() {
            continue;
        }
        if start == *b"GET " {
            let _gone = stream.write_all(ANSWER).await;
        } else {
            reached.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Names;

impl Resolve for Names {
    fn resolve(&self, name: &Name) -> io::Result<Vec<IpAddr>> {
        match name.as_str() {
            "reached.test" | "rebound.test" => Ok(vec![Ipv4Addr::LOCALHOST.into()]),
            "metadata.test" => Ok(vec![Ipv4Addr::new(169, 254, 169, 254).into()]),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// What was heard of connections since somebody asked.
#[derive(Default)]
pub(super) struct Connections(Mutex<Heard>);

#[derive(Default)]
pub(super) struct Heard {
    pub(super) made: Vec<String>,
    pub(super) refused: usize,
    pub(super) names_refused: usize,
}

impl Connections {
    pub(super) fn take(&self) -> Heard {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, note: impl FnOnce(&mut Heard)) {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Observe for Connections {
    fn count(&self, _: &str, outcome: ConnectionOutcome) {
        self.note(|heard| match outcome {
            ConnectionOutcome::Refused => heard.refused += 1,
            ConnectionOutcome::NameRefused => heard.names_refused += 1,
            ConnectionOutcome::Ok | ConnectionOutcome::Failed => {}
        });
    }

    fn connection(&self, connection: &Connection) {
        if connection.outcome == Outcome::Ended {
            self.note(|heard| heard.made.push(connection.target.clone()));
        }
    }

    fn name_refused(&self, _: &str, _: &Name) {}
}

/// A folder of its own, where both root and users may make one.
struct Folder(PathBuf);

impl Folder {
    fn make() -> io::Result<Self> {
        let place = Some(PathBuf::from("/var/tmp")).filter(|place| place.is_dir()).unwrap_or_else(std::env::temp_dir);
        let folder = place.canonicalize()?.join(format!("sallyport-attack-{}", random()?));
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "a folder of the attack suite is left");
        }
    }
}

/// A text that nobody can guess.
pub(super) fn random() -> io::Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
