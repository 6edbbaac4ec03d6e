//! The pages: plain HTML without scripts. Every text from outside is escaped.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{Response, StatusCode};

use super::accounts::Person;
use super::authorize::AuthorizationRequest;
use super::browser::Browser;
use super::problem::Problem;
use super::purpose::Purpose;
use super::{Server, answer, redirect};

/// Name and password.
pub(super) fn log_in(
    server: &Server,
    purpose: Purpose<'_>,
    browser: &Browser,
    told: Option<&str>,
    target: Option<&str>,
) -> Response<Bytes> {
    let request = purpose.text();
    let fields = format!(
        "<label for=\"name\">Name</label>\n\
         <input id=\"name\" name=\"name\" autocomplete=\"username\" autocapitalize=\"none\" spellcheck=\"false\" maxlength=\"64\" required autofocus>\n\
         <label for=\"password\">Password</label>\n\
         <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" maxlength=\"1024\" required>\n\
         {}<button class=\"main\">Log in</button>",
        hidden(&[("request", &request), ("form_token", &browser.form_token(&request))])
    );
    let at = if server.settings.tenant.is_empty() { String::new() } else { format!(" at {}", escaped(&server.settings.tenant)) };
    let body = format!("<h1>Log in{at}</h1>\n{}{}{}", notice(told), form(&server.url("login"), &fields), sign_ins(server, &request));
    let status = if told.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    whole(server, status, "Log in", &body, target)
}

/// The providers that people may log in with. These are links and no forms: browsers hold a form to where its page may lead
/// (`form-action`), through every redirection after it.
fn sign_ins(server: &Server, request: &str) -> String {
    let link = |(name, title): (&str, &str)| {
        let address = format!("{}?request={request}&provider={name}", server.url("sign_in"));
        format!("<a class=\"other\" href=\"{}\">Log in with {}</a>\n", escaped(&address), escaped(title))
    };
    server.sign_ins().map(link).collect()
}

/// What a client asks for.
pub(super) fn consent(server: &Server, id: &str, browser: &Browser, person: &Person, request: &AuthorizationRequest) -> Response<Bytes> {
    let mut body = asks(person, request);
    let receiver = redirect::receiver(&request.redirect);
    let _ = writeln!(body, "<dt>The answer goes to</dt><dd>{}</dd></dl>", escaped(&receiver)); // a text takes everything
    if redirect::is_local(&request.redirect) {
        body.push_str(
            "<p class=\"warning\">The answer goes to a program on the machine where this browser runs. Allow it only if you have just \
             started logging in there yourself.</p>\n",
        );
    }
    let fields = [("request", id), ("form_token", &browser.form_token(id))];
    body.push_str(&form(&server.url("consent"), &format!("{}{DECISION}", hidden(&fields))));
    body.push_str(&other_person(server, browser, person, Purpose::Request(id)));
    whole(server, StatusCode::OK, "Allow access?", &body, redirect::form_target(&request.redirect).as_deref())
}

const DECISION: &str = "<div class=\"decision\"><button class=\"main\" name=\"decision\" value=\"allow\">Allow</button>\n\
    <button name=\"decision\" value=\"deny\">Refuse</button></div>";

/// Where the code of a program without a browser is typed.
pub(super) fn device(server: &Server, browser: &Browser, person: &Person, told: Option<&str>) -> Response<Bytes> {
    let fields = format!(
        "<label for=\"user_code\">The code that the program shows</label>\n\
         <input id=\"user_code\" name=\"user_code\" autocomplete=\"off\" autocapitalize=\"characters\" spellcheck=\"false\" maxlength=\"16\" required autofocus>\n\
         {}<button class=\"main\">Go on</button>",
        hidden(&[("form_token", &browser.form_token(&Purpose::Device.text()))])
    );
    let body = format!("<h1>Log a program in</h1>\n{}{}", notice(told), form(&server.url("device"), &fields));
    let body = format!("{body}{}", other_person(server, browser, person, Purpose::Device));
    whole(server, StatusCode::OK, "Log a program in", &body, None)
}

/// What a program without a browser asks for.
pub(super) fn device_consent(
    server: &Server,
    browser: &Browser,
    person: &Person,
    code: &str,
    shown: &str,
    request: &AuthorizationRequest,
) -> Response<Bytes> {
    let mut body = asks(person, request);
    let _ = writeln!(body, "<dt>Its code</dt><dd>{}</dd></dl>", escaped(shown)); // a text takes everything
    body.push_str(
        "<p class=\"warning\">Whoever showed you this code will act in your name. Allow it only if it is on a screen in front of you, and \
         you started logging in there yourself. Nobody who sends you a code means well.</p>\n",
    );
    let fields = [("user_code", code), ("form_token", &browser.form_token(&format!("device\0{code}")))];
    body.push_str(&form(&server.url("device"), &format!("{}{DECISION}", hidden(&fields))));
    whole(server, StatusCode::OK, "Allow access?", &body, None)
}

/// A last word.
pub(super) fn told(server: &Server, told: &str) -> Response<Bytes> {
    whole(server, StatusCode::OK, "Sallyport", &format!("<h1>Sallyport</h1>\n<p>{}</p>", escaped(told)), None)
}

/// What went wrong. It leads nowhere: no address of a request is believed that had something wrong in it.
pub(super) fn problem(server: &Server, problem: &Problem) -> Response<Bytes> {
    let body = format!(
        "<h1>This did not work</h1>\n<p>{}</p>\n<p class=\"small\">Error: <code>{}</code></p>",
        escaped(&sentence(&problem.description)),
        escaped(problem.error)
    );
    // 401 would have the browser ask for a password of its own.
    let status = if problem.status == StatusCode::UNAUTHORIZED { StatusCode::BAD_REQUEST } else { problem.status };
    whole(server, status, "This did not work", &body, None)
}

/// Who asks for what; the list is left open.
fn asks(person: &Person, request: &AuthorizationRequest) -> String {
    let vouched = match (&request.client_host, request.client.starts_with("registered-")) {
        (Some(host), _) => format!("described by {}", escaped(host)),
        (None, true) => "it registered itself: nobody has checked this name".to_owned(),
        (None, false) => "known to whoever runs this gateway".to_owned(),
    };
    let scopes: String = request.scopes.split(' ').map(|scope| format!("<li>{}</li>", meaning(scope))).collect();
    format!(
        "<h1>Allow <strong>{name}</strong> to use your tools?</h1>\n<dl><dt>Who asks</dt><dd>{name}<br><span class=\"small\">{vouched}</span></dd>\
         <dt>In whose name</dt><dd>{person}</dd><dt>Where</dt><dd><code>{resource}</code></dd><dt>What for</dt><dd><ul>{scopes}</ul></dd>",
        name = escaped(&request.client_name),
        person = escaped(&person.name),
        resource = escaped(&request.resource),
    )
}

/// A scope in words, with itself beside it.
fn meaning(scope: &str) -> String {
    let words = match scope.split_once(':') {
        None if scope == "mcp" => "everything that you may do there".to_owned(),
        Some(("mcp", "read")) => "everything that only reads".to_owned(),
        Some(("mcp", _)) => "nothing".to_owned(),
        None | Some((_, "*")) => format!("everything of the server {}", escaped(scope.trim_end_matches(":*"))),
        Some((server, "read")) => format!("of the server {} what only reads", escaped(server)),
        Some((server, tool)) => format!("the tool {} of the server {}", escaped(tool), escaped(server)),
    };
    format!("{words} <code>{}</code>", escaped(scope))
}

fn other_person(server: &Server, browser: &Browser, person: &Person, purpose: Purpose<'_>) -> String {
    let fields = hidden(&[("request", &purpose.text()), ("form_token", &browser.form_token("logout"))]);
    let words = format!("You are {}. ", escaped(&person.name));
    format!(
        "<div class=\"small\">{}</div>",
        form(&server.url("logout"), &format!("{fields}{words}<button class=\"link\">Not you?</button>"))
    )
}

fn form(action: &str, fields: &str) -> String {
    format!("<form method=\"post\" action=\"{}\">\n{fields}\n</form>\n", escaped(action))
}

fn hidden(fields: &[(&str, &str)]) -> String {
    fields.iter().map(|(name, value)| format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">\n", escaped(value))).collect()
}

fn notice(told: Option<&str>) -> String {
    told.map_or_else(String::new, |told| format!("<p class=\"warning\" role=\"alert\">{}</p>\n", escaped(told)))
}

fn whole(server: &Server, status: StatusCode, title: &str, body: &str, target: Option<&str>) -> Response<Bytes> {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title} – Sallyport</title>\n<link rel=\"stylesheet\" href=\"{}\">\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n",
        escaped(&server.url("style.css"))
    );
    answer::page(status, html, target)
}

/// A description as a sentence.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

/// A text as it can stand in HTML, in an attribute too.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(letter),
        }
    }
    safe
}
