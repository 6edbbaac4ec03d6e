//! Lists, read to their last page.

use serde_json::{Value, json};

use super::WireClient;
use super::fault::Fault;

/// More pages than any test server has.
const PAGES: usize = 1000;

impl WireClient {
    /// Every entry of `tools/list`, `resources/list`, `resources/templates/list` or `prompts/list`.
    ///
    /// # Errors
    /// When a page is answered with an error, or there is no end to them.
    pub async fn list(&self, method: &str) -> Result<Vec<Value>, Fault> {
        let pages = self.pages(method).await?;
        let key = member(method);
        let entries: Vec<Value> = pages.iter().filter_map(|page| page[key].as_array()).flatten().cloned().collect();
        if method == "tools/list" {
            self.channel.learn(&entries);
        }
        Ok(entries)
    }

    /// The results of a list, page by page.
    ///
    /// # Errors
    /// When a page is answered with an error, or there is no end to them.
    pub async fn pages(&self, method: &str) -> Result<Vec<Value>, Fault> {
        let mut pages: Vec<Value> = Vec::new();
        while pages.len() < PAGES {
            let cursor = pages.last().map(|page| page["nextCursor"].clone());
            let params = match cursor {
                None => json!({}),
                Some(Value::Null) => return Ok(pages),
                Some(cursor) => json!({ "cursor": cursor }),
            };
            pages.push(self.request(method, params).await?);
        }
        Err(Fault::NotSpoken(format!("{method} has more than {PAGES} pages")))
    }
}

/// The member that holds the entries.
fn member(method: &str) -> &'static str {
    match method {
        "tools/list" => "tools",
        "resources/list" => "resources",
        "resources/templates/list" => "resourceTemplates",
        _ => "prompts",
    }
}
