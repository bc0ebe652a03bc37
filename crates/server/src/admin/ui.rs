//! The dashboard: pages that the binary brings with it, and that read the API like anybody else.
//!
//! The files are the same for everybody and say nothing of this edge, so they need no token (see
//! [`super::auth`]). What they show was written by strangers: no answer may run anything but our
//! own scripts.

use axum::extract::Path;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Refusal;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The page itself.
const INDEX: &str = include_str!("ui/index.html");

/// What lies under `/ui/`: name, kind, text.
const FILES: [(&str, &str, &str); 10] = [
    ("style.css", CSS, include_str!("ui/style.css")),
    ("icon.svg", SVG, include_str!("ui/icon.svg")),
    ("main.js", SCRIPT, include_str!("ui/main.js")),
    ("api.js", SCRIPT, include_str!("ui/api.js")),
    ("dom.js", SCRIPT, include_str!("ui/dom.js")),
    ("words.js", SCRIPT, include_str!("ui/words.js")),
    ("overview.js", SCRIPT, include_str!("ui/overview.js")),
    ("lists.js", SCRIPT, include_str!("ui/lists.js")),
    ("edge.js", SCRIPT, include_str!("ui/edge.js")),
    ("dialogs.js", SCRIPT, include_str!("ui/dialogs.js")),
];

/// Only our own files run, and none of them makes markup of a text; nobody frames us, and no other
/// place learns that somebody was here.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
             img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// Whether a path is the dashboard's.
pub(super) fn is_ours(path: &str) -> bool {
    path == "/" || path.starts_with("/ui/")
}

pub(super) async fn index() -> Response {
    // another version of the binary may bring another page
    ([(header::CONTENT_TYPE, HTML), (header::CACHE_CONTROL, "no-cache")], INDEX).into_response()
}

pub(super) async fn file(Path(name): Path<String>) -> Response {
    let found = FILES.iter().find(|(known, ..)| *known == name);
    let Some((_, kind, text)) = found else {
        return Refusal::new(StatusCode::NOT_FOUND, "there is no such page").into_response();
    };
    ([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "no-cache")], *text).into_response()
}

/// Every answer carries them, the API's as well: an address bar may lead there.
pub(super) async fn protect(mut response: Response) -> Response {
    response.headers_mut().extend(HEADERS);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_from_elsewhere_and_nothing_runs_inline() {
        let files = FILES.iter().map(|(name, _, text)| (*name, *text));
        for (name, text) in files.chain([("index.html", INDEX)]) {
            // a namespace is a name, and nothing is fetched from it
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for wrong in ["http:", "https:", "url(", "@import", "eval(", "Function("] {
                assert!(!text.contains(wrong), "{name} has {wrong}");
            }
            for wrong in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"] {
                assert!(!text.contains(wrong), "{name} makes markup of a text by {wrong}");
            }
            for wrong in ["<style", " style=", "javascript:", " onclick=", " onload="] {
                assert!(!text.contains(wrong), "{name} has {wrong}");
            }
            for tag in text.split("<script").skip(1) {
                assert!(tag.starts_with(" type=\"module\" src=\"/ui/"), "{name}: <script{tag}");
                let (_, rest) = tag.split_once('>').unwrap();
                assert!(rest.starts_with("</script>"), "{name} has a script inline");
            }
        }
    }

    #[test]
    fn every_word_of_ours_is_explained() {
        let (_, _, words) = FILES.iter().find(|(name, ..)| *name == "words.js").unwrap();
        let list = |name: &str| {
            let (_, rest) = words.split_once(&format!("const {name} = {{")).unwrap();
            rest.split_once("};").unwrap().0
        };
        for (name, all) in [
            ("REASONS", policy::Reason::ALL.map(policy::Reason::as_str).as_slice()),
            ("OUTCOMES", policy::Outcome::ALL.map(policy::Outcome::as_str).as_slice()),
            ("PROOFS", admission::Proof::ALL.map(admission::Proof::as_str).as_slice()),
        ] {
            let list = list(name);
            for word in all {
                assert!(list.contains(&format!("\n  {word}: \"")), "{name} has no {word}");
            }
        }
    }

    #[test]
    fn what_the_page_asks_for_is_there() {
        let all = FILES.iter().map(|(_, _, text)| *text).chain([INDEX]);
        for text in all {
            for (before, mark) in [("\"/ui/", '"'), ("from \"./", '"')] {
                for name in text.split(before).skip(1).filter_map(|rest| rest.split(mark).next()) {
                    assert!(FILES.iter().any(|(known, ..)| *known == name), "no {name}");
                }
            }
        }
    }
}
