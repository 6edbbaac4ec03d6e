//! Answers the questions of one launch of a trial, on a thread of its own.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::SocketType;

use super::Trial;
use super::asks::{self, About, Means, PathArgument, Use, Wish};
use super::inside::{Found, Inside, Kind, Outside, absolute, link_of, socket_kind};
use super::memory::{Memory, SocketName};
use super::names;
use super::record::Want;
use super::verdict;
use crate::policy::Access;
use crate::sys::notify::{self, Question, Reply};
use crate::sys::seccomp::Filter;

/// Folders that every sandbox makes for itself: nothing of the host is ever shown there, so nothing can be proposed.
const OWN: &[&str] = &["/proc", "/sys", "/dev"];

/// Starts to answer what comes from `listener`, until nobody is left who could ask. If this process ends before, the kernel refuses what
/// would be asked.
///
/// # Errors
/// The thread cannot be started.
pub(crate) fn supervise(listener: OwnedFd, trial: Trial, filter: Filter) -> io::Result<()> {
    let supervisor = Supervisor { listener, trial, filter, inside: None, has_begun: false, outside: Outside::new() };
    std::thread::Builder::new().name("sandbox-trial".to_owned()).spawn(move || supervisor.run())?;
    Ok(())
}

struct Supervisor {
    listener: OwnedFd,
    trial: Trial,
    filter: Filter,
    /// The sandbox's root, once the program's own process stands in it and can be looked into.
    inside: Option<Inside>,
    /// The first question was answered: that of the launcher's own `execve`, of what the configuration names.
    has_begun: bool,
    outside: Outside,
}

/// Where a question's path leads, and what is wanted there.
struct Asked {
    path: PathBuf,
    wish: Wish,
    at_link: bool,
}

impl Supervisor {
    fn run(mut self) {
        while self.somebody_asks() {
            match notify::receive(self.listener.as_fd()) {
                Ok(question) => self.answer(&question),
                Err(Errno::NOENT | Errno::INTR) => {} // who asked has gone
                Err(error) => return tracing::warn!(%error, "a trial's questions cannot be heard: they are refused from here on"),
            }
        }
    }

    /// Waits for a question; false once every process that could ask has ended.
    fn somebody_asks(&self) -> bool {
        loop {
            let mut listener = [PollFd::new(&self.listener, PollFlags::IN)];
            match poll(&mut listener, None) {
                Ok(_) => return listener.iter().any(|listener| listener.revents().contains(PollFlags::IN)),
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }

    fn answer(&mut self, question: &Question) {
        let reply = verdict::judge(&self.filter, question);
        match reply {
            Reply::Fail(_) => self.note_refused_call(question),
            Reply::GoOn if self.has_begun => self.note(question),
            Reply::GoOn => self.has_begun = true,
        }
        // Who does not wait any more needs no answer.
        let _gone = notify::reply(self.listener.as_fd(), question, reply);
    }

    fn note_refused_call(&self, question: &Question) {
        let family = question.arguments.first().map(|family| i32::try_from(*family));
        match question.call {
            // The C library tries `clone3` first and takes `clone` instead: a thread is no news.
            libc::SYS_clone3 => {}
            libc::SYS_socket if family == Some(Ok(libc::AF_UNIX)) => self.trial.recorder().refuses_local_socket(),
            call => self.trial.recorder().refuses_call(names::of(call)),
        }
    }

    fn note(&mut self, question: &Question) {
        let Some(about) = asks::about(question.call) else { return };
        let Ok(memory) = Memory::of(question.thread) else { return self.note_unread(question) };
        let argument = |position: usize| question.arguments.get(position).copied().unwrap_or_default();
        match about {
            About::Path(path, means) => {
                if let Some(asked) = self.asked(question, &memory, path, means) {
                    self.note_path(&asked);
                }
            }
            About::Move(from, to) => {
                for (path, wish) in [(from, Wish::Take), (to, Wish::Add)] {
                    if let Some(asked) = self.asked(question, &memory, path, Means::WithLink(wish)) {
                        self.note_path(&asked);
                    }
                }
            }
            About::Address(pointer, length, purpose) => {
                let name = memory.socket_address(argument(pointer), argument(length));
                if let Some(name) = name.filter(|_| self.waits(question)) {
                    self.note_address(question, name, purpose);
                }
            }
        }
    }

    fn note_unread(&self, question: &Question) {
        if self.waits(question) {
            self.trial.recorder().unread();
        }
    }

    /// Whether the process that asked is still that one, and what was read of it holds.
    fn waits(&self, question: &Question) -> bool {
        notify::still_waits(self.listener.as_fd(), question)
    }

    /// What the call is about; `None` where it cannot be told, or concerns nothing that is shown.
    fn asked(&mut self, question: &Question, memory: &Memory, place: PathArgument, means: Means) -> Option<Asked> {
        let argument = |position: usize| question.arguments.get(position).copied().unwrap_or_default();
        let written = memory.path(argument(place.text)).filter(|path| !path.as_os_str().is_empty())?;
        let base = if written.is_absolute() { Some(PathBuf::from("/")) } else { folder_of(question.thread, place.folder.map(argument)) };
        let (wish, at_link) = match means {
            Means::To(wish) => (wish, false),
            Means::WithLink(wish) => (wish, true),
            Means::ByFlags(wish, flags) => (wish, asks::keeps_link(argument(flags))),
            Means::Open(flags) => (asks::of_open(argument(flags)), asks::open_keeps_link(argument(flags))),
            Means::Access(mode) => (asks::of_access(argument(mode)), false),
        };
        let path = absolute(&base?, &written);
        let is_own = OWN.iter().any(|own| path.starts_with(own));
        if is_own || !self.waits(question) || !self.stands_inside(question) {
            return None;
        }
        Some(Asked { path, wish, at_link })
    }

    /// Whether the sandbox's root is known. It is opened by the first process that allows it, and is that of all.
    fn stands_inside(&mut self, question: &Question) -> bool {
        if self.inside.is_none() {
            self.inside = Inside::of(question.thread).ok().filter(|_| self.waits(question));
        }
        self.inside.is_some()
    }

    fn look(&self, path: &Path, at_link: bool) -> Found {
        self.inside.as_ref().map_or(Found::Nothing, |inside| inside.look(path, at_link))
    }

    /// Records a path: as used, where the program can have what it wants, or as refused, where this machine has it and the sandbox does not
    /// give it.
    fn note_path(&self, Asked { path, wish, at_link }: &Asked) {
        let found = self.look(path, *at_link);
        match (wish, found) {
            (Wish::Look, Found::Something { .. }) => {}
            (Wish::Read, Found::Something { .. }) => self.trial.recorder().uses(path, |used| used.read += 1),
            (Wish::Execute, Found::Something { no_exec: true, .. }) => self.trial.recorder().cannot_execute(path.clone()),
            (Wish::Execute, Found::Something { .. }) => self.trial.recorder().uses(path, |used| used.executed += 1),
            (Wish::Write | Wish::Make, Found::Something { read_only: true, .. }) => self.refuse(path, Want::Write),
            (Wish::Write | Wish::Make, Found::Something { .. }) => self.trial.recorder().uses(path, |used| used.written += 1),
            (Wish::Add, Found::Something { .. }) => {} // fails anywhere: it is there
            (Wish::Take, Found::Something { .. }) | (Wish::Add, Found::Nothing) => self.note_entry(path),
            (Wish::Make, Found::Nothing) if self.outside.kind(path).is_none() => self.note_entry(path),
            (Wish::Write | Wish::Make | Wish::Take, Found::Nothing) => self.refuse(path, Want::Write),
            (Wish::Look, Found::Nothing) => self.refuse(path, Want::Look),
            (Wish::Read | Wish::Execute, Found::Nothing) => self.refuse(path, Want::Read),
        }
    }

    /// Records that an entry of a folder is made or removed.
    fn note_entry(&self, path: &Path) {
        let Some(folder) = path.parent() else { return };
        match self.look(folder, false) {
            Found::Something { read_only: false, .. } => self.trial.recorder().uses(folder, |used| used.written += 1),
            Found::Something { read_only: true, .. } if self.outside.kind(folder).is_some() => self.refuse(folder, Want::Entries),
            _ => {
                if let Some(folder) = self.outside.nearest_folder(path) {
                    self.refuse(folder, Want::Entries);
                }
            }
        }
    }

    /// Records what was wanted in vain, if this machine has it: what is nowhere is not the sandbox's doing.
    fn refuse(&self, path: &Path, want: Want) {
        let Some(kind) = self.outside.kind(path).filter(|kind| *kind != Kind::Socket) else { return };
        let Ok(place) = path.canonicalize() else { return };
        // A link in what the program may write could be any other one tomorrow: only where it leads is to be named. Any other link must be
        // named as it is, or the program would not find it.
        let named = if self.passes_a_root(path) { &place } else { path };
        let mut recorder = self.trial.recorder();
        let is_system = recorder.tree_of(&place).is_some_and(|(_, access)| *access == Access::System);
        if OWN.iter().any(|own| place.starts_with(own)) || (want >= Want::Write && is_system) {
            return; // the sandbox's own, or what nobody writes with or without a sandbox
        }
        recorder.refuses(named.to_path_buf(), &place, want, kind == Kind::Folder);
    }

    /// Whether something that the program sees lies on the way to a path, so that links on the way may be the program's.
    fn passes_a_root(&self, path: &Path) -> bool {
        let on_the_way: Vec<PathBuf> = path.ancestors().filter_map(|step| step.canonicalize().ok()).collect();
        let recorder = self.trial.recorder();
        on_the_way.iter().any(|step| recorder.tree_of(step).is_some())
    }

    fn note_address(&self, question: &Question, name: SocketName, purpose: Use) {
        match (name, purpose) {
            (SocketName::Network(address), Use::Connect) if sends_datagrams(question) => self.trial.recorder().sends(address),
            (SocketName::Network(address), Use::Connect) => self.trial.recorder().connects(address),
            (SocketName::Network(address), Use::Send) => self.trial.recorder().sends(address),
            (SocketName::Network(address), Use::Listen) => self.trial.recorder().listens(address.port()),
            (SocketName::File(path), Use::Connect | Use::Send) => {
                let Some(base) = link_of(question.thread, "cwd") else { return };
                let path = absolute(&base, &path);
                if self.outside.kind(&path) == Some(Kind::Socket) && self.look(&path, false) == Found::Nothing {
                    self.trial.recorder().refuses_service(path);
                }
            }
            (SocketName::File(_), Use::Listen) => {}
        }
    }
}

/// Whether a call is about a socket without connections. To connect one sends nothing: many programs find out their own address so.
fn sends_datagrams(question: &Question) -> bool {
    let descriptor = question.arguments.first().and_then(|number| i32::try_from(*number).ok());
    descriptor.and_then(|number| socket_kind(question.thread, number)) == Some(SocketType::DGRAM)
}

/// The folder that a relative path starts from.
fn folder_of(thread: u32, descriptor: Option<u64>) -> Option<PathBuf> {
    // The kernel takes the lower half, in which AT_FDCWD is a negative number.
    let descriptor = descriptor.map(|value| u32::try_from(value & u64::from(u32::MAX)).unwrap_or_default().cast_signed());
    match descriptor {
        None | Some(libc::AT_FDCWD) => link_of(thread, "cwd"),
        Some(number) => link_of(thread, &format!("fd/{number}")),
    }
}
