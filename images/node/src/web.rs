//! The pages on port 80: `/healthz`, `/metrics`, `/v1/raft/status`, `/v1/raft/elections`, `/v1/ledger`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;
use kv::Reply;
use net::http::{Request, Response};
use shell::Report;

use crate::members::Standing;
use crate::metrics;
use crate::node::View;
use crate::views;

/// What a request leads to.
#[derive(Debug)]
pub(crate) enum Answer {
    /// This, at once.
    Page(Response),
    /// A command, whose reply is the answer: see [`response_to`].
    Ask(Vec<Bytes>),
}

/// The answer to a request.
pub(crate) fn answer(request: &Request, view: &View<'_>) -> Answer {
    match (request.path.strip_prefix(LEDGER), request.method.as_str()) {
        (Some(""), "POST") if request.content.is_empty() => Answer::Page(Response::text(
            400,
            "the content of the request is the entry: there is none",
        )),
        (Some(""), "POST") => append(request),
        (Some(position), "GET" | "HEAD") if position.starts_with('/') => {
            ask(b"LEDGER.PROOF", &position.as_bytes()[1..])
        }
        (Some(""), _) | (None, _) => Answer::Page(page(request, view)),
        (Some(_), _) => Answer::Page(Response {
            fields: "Allow: GET, HEAD\r\n",
            ..Response::text(405, "entries can only be read, and appended with POST /v1/ledger")
        }),
    }
}

/// What a client that signs for itself says of its entry, in this order.
const SIGNED_FIELDS: [&str; 3] = ["coterie-client", "coterie-sequence", "coterie-signature"];

fn append(request: &Request) -> Answer {
    let field = |name: &str| request.fields.iter().find(|(field, _)| field == name);
    let signed: Vec<_> = SIGNED_FIELDS.into_iter().filter_map(field).collect();
    if !signed.is_empty() && signed.len() < SIGNED_FIELDS.len() {
        return Answer::Page(Response::text(
            400,
            "a signed entry has all of Coterie-Client, Coterie-Sequence and Coterie-Signature",
        ));
    }
    let words = [&b"LEDGER.APPEND"[..], &request.content];
    let signed = signed.into_iter().map(|(_, value)| value.as_bytes());
    Answer::Ask(words.into_iter().chain(signed).map(Bytes::copy_from_slice).collect())
}

const LEDGER: &str = "/v1/ledger";

fn ask(name: &'static [u8], argument: &[u8]) -> Answer {
    Answer::Ask(Vec::from([Bytes::from_static(name), Bytes::copy_from_slice(argument)]))
}

/// The reply to a command as a page.
pub(crate) fn response_to(reply: &Reply) -> Response {
    match reply {
        Reply::Array(parts) => {
            let [Reply::Integer(seq), Reply::Bulk(digest), Reply::Integer(view)] = &parts[..]
            else {
                return Response::text(500, "the ledger answered something else");
            };
            let digest = String::from_utf8_lossy(digest);
            let text = serde_json::json!({ "seq": seq, "digest": digest, "view": view });
            json_text(text.to_string())
        }
        Reply::Bulk(text) => json_text(String::from_utf8_lossy(text).into_owned()),
        Reply::Nil => Response::text(404, "there is no entry at this position yet"),
        Reply::Error(text) => {
            let text = String::from_utf8_lossy(text);
            let (code, sentence) = text.split_once(' ').unwrap_or(("", &text));
            let status = match code {
                "CLUSTERDOWN" | "TRYAGAIN" => 503,
                "REPEATED" => 409,
                "MISCONF" => 507,
                _ if sentence.starts_with("an entry has at most") => 413,
                _ => 400,
            };
            Response::text(status, sentence)
        }
        Reply::Ok | Reply::Simple(_) | Reply::Integer(_) => {
            Response::text(500, "the ledger answered something else")
        }
    }
}

fn page(request: &Request, view: &View<'_>) -> Response {
    let page: fn(&View<'_>) -> Response = match request.path.as_str() {
        "/" => index,
        "/healthz" => health,
        "/metrics" => metrics_page,
        "/v1/raft/status" => raft_status,
        "/v1/raft/elections" => raft_elections,
        LEDGER => ledger_status,
        _ => return Response::text(404, "no such page: see / for those that there are"),
    };
    match request.method.as_str() {
        "GET" | "HEAD" => page(view),
        _ => Response {
            fields: "Allow: GET, HEAD\r\n",
            ..Response::text(405, "this page can only be read: use GET")
        },
    }
}

fn index(view: &View<'_>) -> Response {
    let text =
        alloc::format!("Coterie node {}: /healthz, /metrics, /v1/raft/status", view.settings.id);
    Response::text(200, &text)
}

/// Well is a node that knows a leader and has applied what it knows to be committed.
fn health(view: &View<'_>) -> Response {
    let standing = |raft| view.members.map(|members| members.standing(raft));
    match view.raft {
        None => Response::text(503, "this node is reading its disk"),
        Some(raft) if standing(raft) == Some(Standing::Removed) => {
            Response::text(503, "this node was removed from the cluster")
        }
        Some(raft) if standing(raft) == Some(Standing::Joining) => {
            Response::text(503, "this node is not a member yet")
        }
        Some(raft) if raft.leader().is_none() => Response::text(503, "nobody is known to lead"),
        Some(raft) if raft.last_applied() < raft.commit_index() => {
            Response::text(503, "this node is still applying its log")
        }
        Some(_) => Response::text(200, "ok"),
    }
}

fn metrics_page(view: &View<'_>) -> Response {
    Response {
        status: 200,
        content_type: "text/plain; version=0.0.4; charset=utf-8",
        content: metrics::text(view),
        fields: "",
    }
}

fn raft_status(view: &View<'_>) -> Response {
    let both = view.raft.zip(view.members);
    let status =
        |(raft, members)| Report::Record(views::raft_status(raft, members, view.links, view.now));
    json(both.map(status))
}

fn raft_elections(view: &View<'_>) -> Response {
    json(view.raft.map(|raft| Report::Listing(views::raft_elections(raft))))
}

fn ledger_status(view: &View<'_>) -> Response {
    match view.notary {
        Some(notary) => json(Some(Report::Record(notary.show_status()))),
        None => Response::text(
            404,
            "this node has no part in the ledger: only founders that were given keys have",
        ),
    }
}

fn json_text(content: String) -> Response {
    Response { status: 200, content_type: "application/json", content: content + "\n", fields: "" }
}

fn json(report: Option<Report>) -> Response {
    match report {
        Some(report) => json_text(report.to_json()),
        None => Response::text(503, "this node is reading its disk"),
    }
}
