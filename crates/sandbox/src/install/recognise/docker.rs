//! `docker run`, `podman run` and `nerdctl run`: of what they say only the image and its program are taken over; what the container may see
//! and reach is for the server's own keys to say.

use super::super::reference::Reference;
use super::options::{Dialect, Understood};
use super::{Error, Package, Source, not_an_image, package};

const FOLDERS: &str = "name the folders in `read` and `write` on the server; they appear at their own paths";
const NETWORK: &str = "leave it out: the server speaks over its stdin and stdout, and reaches the hosts that `network` names";
const PRIVILEGES: &str = "leave it out: it runs without privileges, as an id of its own or the owner of the first folder in `write`";

const RUN: Dialect<'_> = Dialect {
    command: "docker run",
    package: &["--entrypoint"],
    with: &["-e", "--env"],
    ignored: &["-i", "--interactive", "--rm", "--init", "-q", "--quiet"],
    ignored_with_value: &["--name", "--pull", "-l", "--label"],
    refused: &[
        (&["-t", "--tty", "-it", "-ti"], "leave -t out: messages are no text for a terminal"),
        (&["-v", "--volume", "--mount", "--tmpfs", "--volumes-from"], FOLDERS),
        (&["-p", "--publish", "-P", "--publish-all", "--network", "--net", "--add-host", "--dns"], NETWORK),
        (&["-u", "--user", "--privileged", "--cap-add", "--security-opt", "--device", "--group-add", "--userns"], PRIVILEGES),
        (&["--env-file"], "write the variables in `env` on the server"),
        (&["-w", "--workdir"], "write it as `cwd` on the server"),
        (&["-m", "--memory", "--cpus", "--pids-limit", "--ulimit", "--shm-size"], "write it in `limits` on the server"),
    ],
    anywhere: false,
};

/// The words behind `run`.
pub(super) fn run(client: &str, words: &[&str]) -> Result<Package, Error> {
    let command = format!("{client} run");
    let Understood { packages: programs, with: variables, rest } = Dialect { command: &command, ..RUN }.understand(words)?;
    // `-e NAME` passes on what `env` holds anyway.
    if let Some((name, _)) = variables.iter().find_map(|variable| variable.split_once('=')) {
        return Err(Error::new(format!("`{command}` option -e {name}=… is not taken over"))
            .with_hint(format!("write it in `env` on the server: `env = {{ {name} = \"…\" }}`")));
    }
    let [image, args @ ..] = rest.as_slice() else {
        return Err(Error::new(format!("`{command}` names no image")).with_hint(format!("write `{command} -i --rm IMAGE`")));
    };
    // What podman takes for a short name depends on the machine.
    let read = if client == "podman" { Reference::read } else { Reference::read_as_docker_does };
    let reference = read(image).ok_or_else(|| not_an_image(&command, image))?;
    Ok(package(Source::Oci, vec![reference.to_string()], programs.last().map(|program| (*program).to_owned()), args))
}
