//! npm `server-memory` with its graph in a file.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::{Server, command, stable, stdio_configuration};
use crate::harness::peers;
use crate::visit::Step;

const PROGRAM: &str = "@modelcontextprotocol/server-memory/dist/index.js";

pub(crate) fn server(folder: &Path) -> Server {
    let home = folder.join("memory");
    fs::create_dir_all(&home).expect("the project is writable");
    let graph = home.join("graph.jsonl").display().to_string();
    let direct = command(vec![peers::node(), peers::npm(PROGRAM)], &[("MEMORY_FILE_PATH", &graph)]);
    let configuration = format!("{}write = [{home:?}]\n", stdio_configuration(&direct));
    let ada = json!({ "name": "Ada", "entityType": "person", "observations": ["writes programs"] });
    let engine = json!({ "name": "Engine", "entityType": "machine", "observations": [] });
    let relation = json!({ "from": "Ada", "to": "Engine", "relationType": "programs" });
    let steps = vec![
        stable(Step::list("tools/list")),
        stable(Step::list("resources/list")),
        stable(Step::call("create_entities", &json!({ "entities": [ada, engine] }))),
        stable(Step::call("create_relations", &json!({ "relations": [relation] }))),
        stable(Step::call("add_observations", &json!({ "observations": [{ "entityName": "Ada", "contents": ["born 1815"] }] }))),
        stable(Step::call("read_graph", &json!({}))),
        stable(Step::read("memory://knowledge-graph")),
        stable(Step::call("search_nodes", &json!({ "query": "program" }))),
        stable(Step::call("open_nodes", &json!({ "names": ["Ada"] }))),
        stable(Step::call("delete_observations", &json!({ "deletions": [{ "entityName": "Ada", "observations": ["born 1815"] }] }))),
        stable(Step::call("delete_relations", &json!({ "relations": [relation] }))),
        stable(Step::call("delete_entities", &json!({ "entityNames": ["Ada", "Engine"] }))),
        stable(Step::call("read_graph", &json!({}))),
    ];
    let reset = Box::new(|folder: &Path| {
        let _absent_is_as_good = fs::remove_file(folder.join("memory/graph.jsonl"));
    });
    Server {
        name: "memory",
        direct,
        configuration,
        steps,
        not_called: vec![],
        asking: vec![],
        remembering: vec![],
        one_sided: vec![],
        reset,
    }
}
