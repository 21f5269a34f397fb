//! The pages on port 80: `/healthz`, `/metrics`, `/v1/raft/status`, `/v1/raft/elections`.

use net::http::{Request, Response};
use shell::Report;

use crate::members::Standing;
use crate::metrics;
use crate::node::View;
use crate::views;

/// The answer to a request.
pub(crate) fn answer(request: &Request, view: &View<'_>) -> Response {
    let page: fn(&View<'_>) -> Response = match request.path.as_str() {
        "/" => index,
        "/healthz" => health,
        "/metrics" => metrics_page,
        "/v1/raft/status" => raft_status,
        "/v1/raft/elections" => raft_elections,
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

fn json(report: Option<Report>) -> Response {
    match report {
        Some(report) => Response {
            status: 200,
            content_type: "application/json",
            content: report.to_json() + "\n",
            fields: "",
        },
        None => Response::text(503, "this node is reading its disk"),
    }
}
