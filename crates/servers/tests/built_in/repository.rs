//! Repositories to ask about.

use std::fs;
use std::path::Path;

use git2::{Oid, Repository, RepositoryInitOptions, Signature, Time};
use tempfile::TempDir;

/// A repository with its work tree, which goes when it is dropped.
pub struct Scratch {
    pub folder: TempDir,
    pub repository: Repository,
}

impl Scratch {
    /// An empty repository on branch `main`.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = init(folder.path());
        Self { folder, repository }
    }

    /// A repository with these commits, each a list of (path, content).
    pub fn with(commits: &[&[(&str, &str)]]) -> Self {
        let scratch = Self::new();
        for (at, files) in commits.iter().enumerate() {
            scratch.write(files);
            scratch.commit(&format!("commit {}", at + 1));
        }
        scratch
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, files: &[(&str, &str)]) {
        for (path, content) in files {
            let path = self.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    /// Commits all that is in the work tree.
    pub fn commit(&self, message: &str) -> Oid {
        commit_all(&self.repository, message)
    }

    pub fn head(&self) -> git2::Commit<'_> {
        self.repository.head().unwrap().peel_to_commit().unwrap()
    }
}

pub fn init(folder: &Path) -> Repository {
    let repository = Repository::init_opts(folder, RepositoryInitOptions::new().initial_head("main").external_template(false)).unwrap();
    let mut config = repository.config().unwrap();
    config.set_str("user.name", "Ada Lovelace").unwrap();
    config.set_str("user.email", "ada@example.com").unwrap();
    repository
}

pub fn commit_all(repository: &Repository, message: &str) -> Oid {
    let mut index = repository.index().unwrap();
    index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).unwrap();
    index.update_all(["*"], None).unwrap();
    index.write().unwrap();
    let tree = repository.find_tree(index.write_tree().unwrap()).unwrap();
    let parents: Vec<_> = repository.head().ok().map(|head| head.peel_to_commit().unwrap()).into_iter().collect();
    // An hour between two commits: their order must not hang on the clock.
    let count = parents.first().map_or(0, |parent| parent.time().seconds() - 1_700_000_000 + 3600);
    let author = Signature::new("Ada Lovelace", "ada@example.com", &Time::new(1_700_000_000 + count, 60)).unwrap();
    repository.commit(Some("HEAD"), &author, &author, message, &tree, &parents.iter().collect::<Vec<_>>()).unwrap()
}
