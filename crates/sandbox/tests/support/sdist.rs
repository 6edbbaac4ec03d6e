//! A source distribution of Python, and what packs one.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Folder;

/// A build that does `MORE` before it makes its wheel; `tmp` is the scratch space of the installation.
const BACKEND: &str = r#"
import os, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    tmp = os.environ["TMPDIR"]
    while os.path.basename(tmp) != "tmp": tmp = os.path.dirname(tmp)
    MORE
    name, info = "made_here-1.0-py3-none-any.whl", "made_here-1.0.dist-info/"
    with zipfile.ZipFile(folder + "/" + name, "w") as wheel:
        wheel.writestr("made_here.py", "def main(): print('built')\n")
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: made-here\nVersion: 1.0\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(info + "entry_points.txt", "[console_scripts]\nmade-here = made_here:main\n")
        wheel.writestr(info + "RECORD", "")
    return name
"#;

/// `made-here` 1.0, whose build does `more`, for `PIP_FIND_LINKS` in the folder `files`.
pub(crate) fn made_here(folder: &Folder, more: &str) {
    let source = folder.folder("source/made_here-1.0");
    fs::write(source.join("backend.py"), BACKEND.replace("MORE", more)).unwrap();
    let project = "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n";
    fs::write(source.join("pyproject.toml"), project).unwrap();
    fs::write(source.join("PKG-INFO"), "Metadata-Version: 2.1\nName: made-here\nVersion: 1.0\n").unwrap();
    pack(&folder.folder("files").join("made_here-1.0.tar.gz"), &folder.path("source"), "made_here-1.0");
}

/// Packs what is called `name` in `folder`.
pub(crate) fn pack(archive: &Path, folder: &Path, name: &str) {
    assert!(Command::new("tar").arg("-czf").arg(archive).arg("-C").arg(folder).arg(name).status().unwrap().success());
}
