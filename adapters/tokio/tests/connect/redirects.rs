//! Redirects: followed as far as allowed, and never with what is not theirs to see.

use std::net::SocketAddr;

use wspulse_core::handshake::{Accept, Reject, Request};
use wspulse_tokio::{Error, RedirectError, connect};

use crate::certificates::Authority;
use crate::kit::*;

fn to(status: u16, location: impl AsRef<[u8]>) -> Reject {
    let redirect = Reject::new(status).unwrap();
    redirect.header("Location", location).unwrap()
}

/// A server that notes each request and answers as `decide` says.
async fn server<D>(seen: &Seen, decide: D) -> SocketAddr
where
    D: Fn(&Request) -> Result<Accept, Reject> + Clone + Send + 'static,
{
    let seen = seen.clone();
    serve(move |stream| {
        let (seen, decide) = (seen.clone(), decide.clone());
        echo(stream, move |request| {
            seen.note_request(request, &["authorization", "cookie", "x-trace"]);
            decide(request)
        })
    })
    .await
}

#[tokio::test]
async fn a_chain_is_followed_as_far_as_allowed() {
    let seen = Seen::default();
    let server = server(&seen, |request| match request.target() {
        "/0" => Err(to(301, "/1")),
        "/1" => Err(to(302, "a/2?q")),
        "/a/2?q" => Err(to(303, "3#top")),
        "/a/3" => Err(to(307, "../4")),
        "/4" => Err(to(308, format!("//{}/5", request.host()))),
        _ => Ok(Accept::new()),
    })
    .await;
    let url = format!("ws://{server}/0");
    let ws = bounded(connect(&url, options().max_redirects(5))).await;
    assert_echoes(ws.unwrap()).await;
    let path = ["/0", "/1", "/a/2?q", "/a/3", "/4", "/5"];
    assert_eq!(seen.lines(), path);

    let result = bounded(connect(&url, options().max_redirects(4))).await;
    assert!(
        matches!(result, Err(Error::Redirect(RedirectError::TooMany))),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_loop_ends() {
    let seen = Seen::default();
    let server = server(&seen, |_| Err(to(302, "/again"))).await;
    let url = format!("ws://{server}/");
    let result = bounded(connect(&url, options().max_redirects(3))).await;
    assert!(
        matches!(result, Err(Error::Redirect(RedirectError::TooMany))),
        "{result:?}"
    );
    assert_eq!(seen.lines(), ["/", "/again", "/again", "/again"]);
}

#[tokio::test]
async fn without_leave_a_redirect_is_the_refusal_that_it_is() {
    let seen = Seen::default();
    let server = server(&seen, |_| Err(to(302, "/elsewhere"))).await;
    let result = bounded(connect(&format!("ws://{server}/"), options())).await;
    let refusal = refusal(result);
    assert_eq!(refusal.status(), 302);
    assert_eq!(refusal.header("location"), Some(&b"/elsewhere"[..]));
    assert_eq!(seen.lines(), ["/"]);
}

#[tokio::test]
async fn other_refusals_are_no_redirects() {
    for status in [300, 305, 306, 401, 503] {
        let server = server(&Seen::default(), move |_| Err(to(status, "/elsewhere"))).await;
        let options = options().max_redirects(5);
        let result = bounded(connect(&format!("ws://{server}/"), options)).await;
        assert_eq!(refusal(result).status(), status);
    }
}

#[tokio::test]
async fn a_redirect_that_leads_nowhere_is_not_followed() {
    let locations: [Option<&str>; 4] = [
        None,
        Some("ftp://127.0.0.1/"),
        Some("ws://user:secret@127.0.0.1/"),
        Some("ws://"),
    ];
    for location in locations {
        let server = server(&Seen::default(), move |_| {
            Err(location.map_or_else(|| Reject::new(302).unwrap(), |location| to(302, location)))
        })
        .await;
        let options = options().max_redirects(5);
        let result = bounded(connect(&format!("ws://{server}/"), options)).await;
        assert!(
            matches!(result, Err(Error::Redirect(RedirectError::Location))),
            "{location:?}: {result:?}"
        );
    }
}

#[tokio::test]
async fn a7_only_what_is_public_leaves_its_origin_even_if_the_way_leads_back() {
    let seen = Seen::default();
    let stranger = Seen::default();
    // The origin sends us to a stranger, who sends us back.
    let origin = serve({
        let seen = seen.clone();
        let stranger = server(&stranger, |request| {
            assert!(request.header("origin").is_none() && request.header("x-api-key").is_none());
            let offered: Vec<_> = request.subprotocols().collect();
            assert_eq!(offered, ["chat.v2"]);
            let back = str::from_utf8(request.header("x-back").unwrap()).unwrap();
            Err(to(302, format!("ws://{back}/back")))
        })
        .await;
        move |stream| {
            let seen = seen.clone();
            echo(stream, move |request| {
                seen.note_request(request, &["authorization", "cookie", "x-trace"]);
                match request.target() {
                    "/" => Err(to(302, "/same")),
                    "/same" => Err(to(302, format!("ws://{stranger}/"))),
                    _ => Ok(Accept::new()),
                }
            })
        }
    })
    .await;
    let options = options()
        .max_redirects(3)
        .header("Authorization", "Bearer 4711")
        .header("Cookie", "id=1")
        .header("X-Api-Key", "4711")
        .origin("https://app.example")
        .subprotocol("bearer.4711")
        .public_subprotocol("chat.v2")
        .public_header("X-Trace", "7")
        .public_header("X-Back", origin.to_string());
    let ws = bounded(connect(&format!("ws://{origin}/"), options)).await;
    assert_echoes(ws.unwrap()).await;
    let trusted = "authorization=Bearer 4711 cookie=id=1 x-trace=7";
    assert_eq!(
        seen.lines(),
        [
            format!("/ {trusted}"),
            format!("/same {trusted}"),
            "/back x-trace=7".to_owned(),
        ]
    );
    assert_eq!(stranger.lines(), ["/ x-trace=7"]);
}

#[tokio::test]
async fn from_plain_to_tls_is_followed_and_back_is_not() {
    let authority = Authority::new("an authority");
    let plain = echo_server().await;
    let acceptor = authority.sign("127.0.0.1");
    let encrypted = serve(move |stream| {
        let accepting = acceptor.accept(stream);
        async move {
            echo(accepting.await.unwrap(), move |request| {
                match request.target() {
                    "/down" => Err(to(302, format!("ws://{plain}/"))),
                    "/down-by-http" => Err(to(302, format!("http://{plain}/"))),
                    _ => Ok(Accept::new()),
                }
            })
            .await;
        }
    })
    .await;
    let up = server(&Seen::default(), move |_| {
        Err(to(302, format!("https://{encrypted}/")))
    })
    .await;
    let options = authority.trusted().max_redirects(5);
    let ws = bounded(connect(&format!("ws://{up}/"), options.clone())).await;
    let ws = ws.unwrap();
    assert!(ws.get_ref().is_tls());
    assert_echoes(ws).await;

    for path in ["down", "down-by-http"] {
        let url = format!("wss://{encrypted}/{path}");
        let result = bounded(connect(&url, options.clone())).await;
        assert!(
            matches!(result, Err(Error::Redirect(RedirectError::Downgrade))),
            "{path}: {result:?}"
        );
    }
}
