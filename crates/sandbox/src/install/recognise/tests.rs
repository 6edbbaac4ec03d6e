#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
use super::*;

fn read(line: &str) -> Result<Option<Package>, Error> {
    let mut words = line.split_whitespace().map(str::to_owned);
    let command = words.next().unwrap();
    recognise(&command, &words.collect::<Vec<_>>())
}

/// `REQUIREMENTS | PROGRAM | ARGUMENTS`
fn understood(line: &str) -> String {
    let package = read(line).unwrap_or_else(|error| panic!("{line}: {error}")).unwrap_or_else(|| panic!("{line}: not recognised"));
    format!("{} | {} | {}", package.requirements.join(" "), package.program.as_deref().unwrap_or("-"), package.args.join(" "))
}

#[test]
fn npm_packages_and_their_programs_are_understood() {
    for (line, expected) in [
        ("npx -y @modelcontextprotocol/server-everything stdio", "@modelcontextprotocol/server-everything | - | stdio"),
        ("npx --yes server@1.2.3 --port 1 -p x", "server@1.2.3 | - | --port 1 -p x"),
        ("npx @playwright/mcp@latest --headless", "@playwright/mcp@latest | - | --headless"),
        ("npx -y server@^1.2 -- --flag", "server@^1.2 | - | -- --flag"),
        ("npx -y -- server --flag", "server | - | --flag"),
        ("npx -p @scope/a -p b@2 tool --x", "@scope/a b@2 | tool | --x"),
        ("npx --package=@scope/a --loglevel error tool", "@scope/a | tool | "),
        ("npx alias@npm:@scope/real@1", "alias@npm:@scope/real@1 | - | "),
        ("npx file:/opt/server-1.0.0.tgz", "/opt/server-1.0.0.tgz | - | "),
        ("/opt/node/bin/npx -y server", "server | - | "),
        ("npm exec -y server -- --flag", "server | - | --flag"),
        ("npm exec server a --yes", "server | - | a"),
        ("npm x --package a -- tool --yes", "a | tool | --yes"),
    ] {
        assert_eq!(understood(line), expected, "{line}");
        assert_eq!(read(line).unwrap().unwrap().source, Source::Npm);
    }
}

#[test]
fn pypi_packages_and_their_programs_are_understood() {
    for (line, expected) in [
        ("uvx mcp-server-time --local-timezone UTC", "mcp-server-time | mcp-server-time | --local-timezone UTC"),
        ("uvx mcp-server-time@0.6.2", "mcp-server-time==0.6.2 | mcp-server-time | "),
        ("uvx mcp-server-time@latest", "mcp-server-time | mcp-server-time | "),
        ("uvx server[cli,x]@1.0", "server[cli,x]==1.0 | server | "),
        ("uvx server==1.0", "server==1.0 | server | "),
        ("uvx -q --from mcp-package>=1,<2 tool --from y", "mcp-package>=1,<2 | tool | --from y"),
        ("uvx --with a==1,b --with c server", "server a==1 b c | server | "),
        ("uvx --from=/opt/server-1-py3-none-any.whl server", "/opt/server-1-py3-none-any.whl | server | "),
        ("uv tool run --isolated server x", "server | server | x"),
        ("pipx run --spec server==1 tool x", "server==1 | tool | x"),
        ("pipx run server x", "server | server | x"),
    ] {
        assert_eq!(understood(line), expected, "{line}");
        assert_eq!(read(line).unwrap().unwrap().source, Source::PyPi);
    }
}

#[test]
fn packages_that_the_command_names_are_understood() {
    for (line, source, expected) in [
        ("npm:@scope/server@1.2 --root .", Source::Npm, "@scope/server@1.2 | - | --root ."),
        ("npx:server", Source::Npm, "server | - | "),
        ("npm:server@^1#tool x", Source::Npm, "server@^1 | tool | x"),
        ("pypi:mcp-server-time@0.6.2 --x", Source::PyPi, "mcp-server-time==0.6.2 | mcp-server-time | --x"),
        ("uvx:server[cli]>=1,<2#tool", Source::PyPi, "server[cli]>=1,<2 | tool | "),
        ("cargo:mcp-server@0.3 stdio", Source::Cargo, "mcp-server@0.3 | - | stdio"),
    ] {
        assert_eq!(understood(line), expected, "{line}");
        assert_eq!(read(line).unwrap().unwrap().source, source);
        assert!(names_a_package(line));
    }
    assert!(!names_a_package("npx") && !names_a_package("/opt/npm:x"));
}

#[test]
fn images_and_what_is_run_of_them_are_understood() {
    for (line, expected) in [
        ("oci:registry.example.com/team/server:1.2 --port 1", "registry.example.com/team/server:1.2 | - | --port 1"),
        ("oci:localhost:5000/server#/bin/tool x", "localhost:5000/server | /bin/tool | x"),
        ("docker run -i --rm mcp/time --zone UTC", "docker.io/mcp/time | - | --zone UTC"),
        ("docker run --rm -i -e TOKEN --env=OTHER --name x ghcr.io/a/b:1 -v", "ghcr.io/a/b:1 | - | -v"),
        ("/usr/bin/docker run --entrypoint /bin/tool alpine", "docker.io/library/alpine | /bin/tool | "),
        ("podman run -i ghcr.io/a/b", "ghcr.io/a/b | - | "),
        ("nerdctl run -i mcp/time", "docker.io/mcp/time | - | "),
    ] {
        assert_eq!(understood(line), expected, "{line}");
        assert_eq!(read(line).unwrap().unwrap().source, Source::Oci);
    }
}

#[test]
fn other_commands_are_left_alone() {
    for line in [
        "node server.js",
        "npm start",
        "npm install x",
        "uv run server.py",
        "pipx list",
        "python3 -m x",
        "my-npx x",
        "docker exec x",
        "docker compose up",
    ] {
        assert_eq!(read(line).unwrap(), None, "{line}");
    }
}

#[test]
fn what_cannot_be_met_is_refused_with_what_to_do() {
    for (line, expected, hint) in [
        ("npx", "`npx` names no package", "npx -y PACKAGE"),
        ("npx -y", "`npx` names no package", "npx -y PACKAGE"),
        ("npx -p a", "names no program of the package", "--package PACKAGE PROGRAM"),
        ("npx -c x", "`npx` option -c cannot be met", "no shell"),
        ("npx --call=x", "`npx` option --call cannot be met", "no shell"),
        ("npx --no-install x", "option --no-install cannot be met", "installed already"),
        ("npx --registry=https://token@x y", "option --registry cannot be met", "~/.npmrc"),
        ("npx --what x", "option --what cannot be met", "leave it out"),
        ("npx -y git+https://token@host/x", "is given `git+https://…`", "install it yourself"),
        ("npx -y owner/repository", "is given `owner/repository`", "install it yourself"),
        ("npx -y ./folder", "is given `./folder`", "install it yourself"),
        ("npx -y /folder", "is given `/folder`", "install it yourself"),
        ("npm exec server --flag", "`npm exec` option --flag cannot be met", "leave it out"),
        ("uvx", "`uvx` names no program", "uvx PACKAGE"),
        ("uvx --python 3.12 x", "`uvx` option --python cannot be met", "python3 of PATH"),
        ("uvx -p 3.12 x", "`uvx` option -p cannot be met", "python3 of PATH"),
        ("uvx --index-url https://x y", "option --index-url cannot be met", "UV_DEFAULT_INDEX"),
        ("uvx --from git+https://host/x y", "is given `git+https://…`", "install it yourself"),
        ("uvx --from . y", "is given `.`", "install it yourself"),
        ("uvx x@main", "is given `x@main`", "install it yourself"),
        ("pipx run --pip-args=x y", "`pipx run` option --pip-args cannot be met", "UV_DEFAULT_INDEX"),
        ("pipx run https://host/script.py", "is given `https://…`", "install it yourself"),
        ("npm:", "`npm` is given ``", "install it yourself"),
        ("npm:../x", "is given `../x`", "install it yourself"),
        ("pypi:git+https://token@host/x", "is given `git+https://…`", "install it yourself"),
        ("cargo:a\"b", "is given `a\"b`", "install it yourself"),
        ("cargo:a@", "is given `a@`", "install it yourself"),
        ("oci:team/server", "`oci` is given `team/server`", "name the registry"),
        ("oci:user:secret@registry.example.com/x", "`oci` is given `registry.example.com/x`", "name the registry"),
        ("docker run", "`docker run` names no image", "IMAGE"),
        ("docker run -it mcp/time", "option -it cannot be met", "leave -t out"),
        ("docker run -v /:/host mcp/time", "option -v cannot be met", "`read` and `write`"),
        ("docker run --network=host mcp/time", "option --network cannot be met", "`network` names"),
        ("docker run --privileged mcp/time", "option --privileged cannot be met", "without privileges"),
        ("docker run -e TOKEN=secret mcp/time", "option -e TOKEN=… is not taken over", "`env`"),
        ("docker run --gpus all mcp/time", "option --gpus cannot be met", "leave it out"),
        ("docker run ./folder", "is given `./folder`", "name the registry"),
        ("podman run mcp/time", "is given `mcp/time`", "name the registry"),
    ] {
        let error = read(line).unwrap_err();
        assert!(error.to_string().contains(expected), "{line}: {error}");
        assert!(error.hint().unwrap().contains(hint), "{line}: {:?}", error.hint());
    }
    let error = recognise("npx", &["--package".to_owned()]).unwrap_err();
    assert_eq!(error.to_string(), "`npx` option --package needs a value");
}

#[test]
fn what_lies_beside_a_command_given_by_its_path_is_used() {
    let tools = |line| read(line).unwrap().unwrap().tools;
    assert_eq!(tools("/opt/node/bin/npx x"), Some(PathBuf::from("/opt/node/bin")));
    assert_eq!(tools("npx x"), None);
}
