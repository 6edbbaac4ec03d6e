//! Puts what is proposed into the configuration, as somebody would write it.

use std::path::{Path, PathBuf};

use sallyport_gateway::plan::StdioPlan;
use sallyport_sandbox::learn::Proposal;

use crate::output::Failure;
use crate::project_file::ProjectFile;

/// Gives one server what it lacks.
pub(super) struct Giver {
    name: String,
    folder: PathBuf,
    home: Option<PathBuf>,
    /// It may read the project because nothing is said: that ends with the first path that is named, and so must be said then.
    reads_by_default: bool,
}

impl Giver {
    pub(super) fn new(file: &ProjectFile, name: &str, stdio: &StdioPlan) -> Self {
        let says_nothing = ["read", "write"].iter().all(|key| file.list_of(name, key).is_empty());
        let folder = file.folder().to_path_buf();
        let reads_by_default = says_nothing && stdio.read.contains(&folder);
        Self { name: name.to_owned(), folder, home: super::home(), reads_by_default }
    }

    /// Adds what is proposed and not there yet. Whether that was anything.
    pub(super) fn give(&mut self, file: &mut ProjectFile, proposal: &Proposal) -> Result<bool, Failure> {
        let written = |paths: &[PathBuf]| paths.iter().map(|path| self.written(path)).collect::<Vec<_>>();
        let (mut read, write) = (written(&proposal.read), written(&proposal.write));
        if self.reads_by_default && !(read.is_empty() && write.is_empty()) {
            self.reads_by_default = false;
            if !write.iter().any(|path| path == ".") {
                read.insert(0, ".".to_owned());
            }
        }
        let network: Vec<String> = proposal.network.iter().map(ToString::to_string).collect();
        let mut is_new = false;
        for (key, entries) in [("read", read), ("write", write), ("network", network)] {
            is_new |= file.extend(&self.name, key, &entries)?;
        }
        Ok(is_new)
    }

    /// A path as the configuration writes it: from its own folder, from home, or whole.
    fn written(&self, path: &Path) -> String {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        match path.strip_prefix(&self.folder) {
            Ok(below) if below.as_os_str().is_empty() => return ".".to_owned(),
            // `~` at the start would mean the home folder.
            Ok(below) if below.starts_with("~") || text(below).starts_with('~') => return format!("./{}", text(below)),
            Ok(below) => return text(below),
            Err(_) => {}
        }
        match self.home.as_ref().and_then(|home| path.strip_prefix(home).ok()) {
            Some(below) if !below.as_os_str().is_empty() => format!("~/{}", text(below)),
            _ => text(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_somebody_would() {
        let home = Some(PathBuf::from("/home/u"));
        let giver = Giver { name: String::new(), folder: "/home/u/project".into(), home, reads_by_default: false };
        for (path, written) in [
            ("/home/u/project", "."),
            ("/home/u/project/data/a", "data/a"),
            ("/home/u/project/~x", "./~x"),
            ("/home/u/notes", "~/notes"),
            ("/home/u", "/home/u"),
            ("/home/u/project2", "~/project2"),
            ("/srv/x", "/srv/x"),
        ] {
            assert_eq!(giver.written(Path::new(path)), written);
        }
    }
}
