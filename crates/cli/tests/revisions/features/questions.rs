//! What a server asks its client while a call runs.

use sallyport_protocol::Revision;
use sallyport_testkit::wire_client::{Fault, Heard, Person};
use serde_json::{Value, json};

use crate::cell::{Cell, Outcome, expect, text_of};
use crate::feature::{Feature, Instead, Word};

const FORMS: Word = Word::since(Revision::V2025_06_18, "{revision} has no elicitation");
const PAGES: Word = Word::since(Revision::V2025_11_25, "{revision} has no elicitation by URL");
const PAGE_ERROR: Word = Word::only(Revision::V2025_11_25, "{revision} has no error -32042");
const RICH_FORMS: Word = Word::since(Revision::V2025_11_25, "{revision} has no defaults and titled choices");

const FAILS: Instead = Instead { gets: "the call's failure, saying what could not be asked", check: |cell| Box::pin(form_fails(cell)) };

pub(crate) const FEATURES: [Feature; 10] = [
    Feature {
        name: "a form",
        means: "elicitation: the person fills in fields",
        clients: FORMS,
        servers: FORMS,
        carried: |cell| Box::pin(form(cell)),
        instead: Some(FAILS),
    },
    Feature {
        name: "a form that is declined",
        means: "the server learns that the person said no",
        clients: FORMS,
        servers: FORMS,
        carried: |cell| Box::pin(declined(cell)),
        instead: Some(FAILS),
    },
    Feature {
        name: "defaults and choices with titles",
        means: "forms as rich as 2025-11-25 made them",
        clients: RICH_FORMS,
        servers: RICH_FORMS,
        carried: |cell| Box::pin(rich_forms(cell)),
        instead: Some(Instead {
            gets: "the form without them, or the call's failure where it has no forms at all",
            check: |cell| Box::pin(plain_forms(cell)),
        }),
    },
    Feature {
        name: "a page to visit",
        means: "elicitation by URL: the person agrees and goes there",
        clients: PAGES,
        servers: PAGES,
        carried: |cell| Box::pin(page(cell)),
        instead: Some(Instead { gets: "the call's failure, saying what could not be asked", check: |cell| Box::pin(page_fails(cell)) }),
    },
    Feature {
        name: "a page to visit first",
        means: "the error -32042 of 2025-11-25; a client of 2026-07-28 is asked instead",
        clients: PAGES,
        servers: PAGE_ERROR,
        carried: |cell| Box::pin(page_first(cell)),
        instead: Some(Instead { gets: "the call's failure, with the page's address", check: |cell| Box::pin(page_first_fails(cell)) }),
    },
    Feature {
        name: "the client's model",
        means: "sampling: the client's model answers",
        clients: Word::ALWAYS,
        servers: Word::ALWAYS,
        carried: |cell| Box::pin(sampling(cell)),
        instead: None,
    },
    Feature {
        name: "the client's folders",
        means: "roots: the client tells where it works",
        clients: Word::ALWAYS,
        servers: Word::ALWAYS,
        carried: |cell| Box::pin(roots(cell)),
        instead: None,
    },
    Feature {
        name: "several questions at once",
        means: "a form, the model and the folders in one round",
        clients: FORMS,
        servers: FORMS,
        carried: |cell| Box::pin(several(cell)),
        instead: Some(FAILS),
    },
    Feature {
        name: "one question after another",
        means: "two rounds within one call",
        clients: FORMS,
        servers: FORMS,
        carried: |cell| Box::pin(rounds(cell)),
        instead: Some(FAILS),
    },
    Feature {
        name: "questions of prompts and resources",
        means: "asked while a prompt is made or a resource read",
        clients: FORMS,
        servers: FORMS,
        carried: |cell| Box::pin(elsewhere(cell)),
        instead: Some(FAILS),
    },
];

/// The questions of one method since `mark`.
fn asked(cell: &Cell, mark: usize, method: &str) -> Vec<Heard> {
    cell.client.heard(mark).into_iter().filter(|heard| heard.is_question && heard.method == method).collect()
}

/// Calls a tool that asks once, and gives its text.
async fn ask_once(cell: &Cell, tool: &str, arguments: Value, method: &str) -> Outcome<(String, Value)> {
    let mark = cell.client.mark();
    let result = cell.call(tool, arguments).await?;
    let asked = asked(cell, mark, method);
    expect(asked.len() == 1, "one question", (&asked, &result))?;
    Ok((text_of(&result).to_owned(), asked[0].params.clone()))
}

async fn form(cell: &Cell) -> Outcome {
    let arguments = json!({ "message": "Who are you?" });
    let (text, question) = ask_once(cell, "test_elicitation", arguments, "elicitation/create").await?;
    expect(question["message"] == "Who are you?" && question["requestedSchema"].is_object(), "the server's form", &question)?;
    expect(text.contains("action=accept") && text.contains("Ada"), "the person's answer", &text)
}

async fn form_fails(cell: &Cell) -> Outcome {
    let why = cell.failing_call("test_elicitation", json!({ "message": "Who are you?" })).await?;
    expect(!why.is_empty(), "a reason", &why)
}

async fn declined(cell: &Cell) -> Outcome {
    let client = cell.another(Person::new(|_, _| Some(json!({ "action": "decline" })))).await?;
    let result = client.call(&cell.name("test_elicitation"), json!({ "message": "Who are you?" })).await?;
    client.close().await;
    expect(text_of(&result).contains("action=decline"), "the person's refusal", &result)
}

async fn rich_forms(cell: &Cell) -> Outcome {
    let (text, _) = ask_once(cell, "test_elicitation_sep1034_defaults", json!({}), "elicitation/create").await?;
    expect(text.contains("John Doe") && text.contains("95.5"), "the defaults", &text)?;
    let (text, _) = ask_once(cell, "test_elicitation_sep1330_enums", json!({}), "elicitation/create").await?;
    expect(text.contains("option1") && text.contains("value1"), "the choices", &text)
}

/// A client of 2025-06-18 has forms, with choices that have one name each and defaults of yes and no alone.
async fn plain_forms(cell: &Cell) -> Outcome {
    if !FORMS.is_known_to(cell.client_end.revision) {
        return form_fails(cell).await;
    }
    let (text, question) = ask_once(cell, "test_elicitation_sep1034_defaults", json!({}), "elicitation/create").await?;
    let fields = &question["requestedSchema"]["properties"];
    let defaults: Vec<&str> = ["name", "age", "score", "status"].into_iter().filter(|name| !fields[*name]["default"].is_null()).collect();
    expect(defaults.is_empty() && fields["verified"]["default"] == true, "no default but a boolean's", &question)?;
    expect(text.contains("action=accept"), "the person's answer", &text)?;
    let (text, question) = ask_once(cell, "test_elicitation_sep1330_enums", json!({}), "elicitation/create").await?;
    let fields = &question["requestedSchema"]["properties"];
    expect(fields["titledSingle"]["oneOf"].is_null() && fields["legacyEnum"]["enumNames"].is_array(), "plain choices", &question)?;
    expect(text.contains("action=accept"), "the person's answer", &text)
}

async fn page(cell: &Cell) -> Outcome {
    let (text, question) = ask_once(cell, "test_url_elicitation", json!({}), "elicitation/create").await?;
    expect(question["mode"] == "url" && question["url"].is_string(), "a page", &question)?;
    let has_id = question["elicitationId"].is_string();
    expect(has_id == cell.is_legacy(), "an id where the revision has one", &question)?;
    expect(text == "The page was answered with accept", "the person's consent", &text)
}

async fn page_fails(cell: &Cell) -> Outcome {
    let why = cell.failing_call("test_url_elicitation", json!({})).await?;
    expect(!why.is_empty(), "a reason", &why)
}

async fn page_first(cell: &Cell) -> Outcome {
    let mark = cell.client.mark();
    if cell.is_legacy() {
        let answer = cell.client.call(&cell.name("test_url_elicitation_required"), json!({})).await;
        let page = answer.as_ref().err().and_then(Fault::data).map(|data| data["elicitations"][0]["url"].is_string());
        expect(answer.as_ref().is_err_and(|fault| fault.code() == Some(-32042)) && page == Some(true), "-32042 with the page", &answer)?;
    }
    let result = cell.call("test_url_elicitation_required", json!({})).await?;
    let questions = asked(cell, mark, "elicitation/create");
    expect(questions.len() == usize::from(!cell.is_legacy()), "a question where there is no error", &questions)?;
    expect(text_of(&result) == "The page was visited", "the result after the visit", &result)
}

async fn page_first_fails(cell: &Cell) -> Outcome {
    let why = cell.failing_call("test_url_elicitation_required", json!({})).await?;
    // Asked again the server takes the page for visited, which also puts it back for the next client.
    let result = cell.call("test_url_elicitation_required", json!({})).await?;
    expect(text_of(&result) == "The page was visited", "the result after the visit", &result)?;
    expect(why.contains("https://fixture.example/authorize"), "the page's address", &why)
}

async fn sampling(cell: &Cell) -> Outcome {
    let (text, question) = ask_once(cell, "test_sampling", json!({ "prompt": "six times seven" }), "sampling/createMessage").await?;
    expect(question["messages"].to_string().contains("six times seven"), "the server's prompt", &question)?;
    expect(text == "LLM response: forty-two", "the model's answer", &text)
}

async fn roots(cell: &Cell) -> Outcome {
    let (text, _) = ask_once(cell, "test_input_required_result_list_roots", json!({}), "roots/list").await?;
    expect(text.contains("file:///srv/project"), "the client's root", &text)
}

async fn several(cell: &Cell) -> Outcome {
    let mark = cell.client.mark();
    let result = cell.call("test_input_required_result_multiple_inputs", json!({})).await?;
    let text = text_of(&result);
    expect(text.contains("forty-two Ada") && text.contains("file:///srv/project"), "every answer", &result)?;
    let methods = ["elicitation/create", "sampling/createMessage", "roots/list"];
    expect(methods.iter().all(|method| asked(cell, mark, method).len() == 1), "each question once", cell.client.heard(mark))
}

async fn rounds(cell: &Cell) -> Outcome {
    let mark = cell.client.mark();
    let result = cell.call("test_input_required_result_multi_round", json!({})).await?;
    let text = text_of(&result);
    expect(text.contains(r#""name":"Ada""#) && text.contains(r#""color":"Ada""#), "both answers", &result)?;
    expect(asked(cell, mark, "elicitation/create").len() == 2, "each question once", cell.client.heard(mark))
}

async fn elsewhere(cell: &Cell) -> Outcome {
    let params = json!({ "name": cell.name("test_input_required_result_prompt") });
    let prompt = cell.request("prompts/get", params).await?;
    expect(prompt["messages"].to_string().contains("Ada"), "a prompt with the answer", &prompt)?;
    let content = super::lists::read(cell, "test://guarded-resource").await?;
    expect(content["text"].as_str().is_some_and(|text| text.contains("Ada")), "a resource with the answer", &content)
}
