//! What monitoring asks of an update server: GET and HEAD of the services' addresses, and the empty file that WSUS keeps
//! below `/Content/` for the purpose.
//!
//! **Invariant:** an answer is short, is the same whatever the server holds, and says nothing of it. It never answers what
//! agents and downstream servers ask.

use http::{HeaderValue, Method, Response, StatusCode, header};

use super::http::body::{self, Body};
use tailwater_wire::client_update as wusp;
use tailwater_wire::server_sync::served;

/// WSUS has it so that scripts can try `/Content/` without knowing a payload.
const CHECK_FILE: &str = "/Content/anonymousCheckFile.txt";

/// The service under a path: its name and the namespace of its messages.
fn service_at(path: &str) -> Option<(&'static str, &'static str)> {
    let of_agents = wusp::Service::at(path).map(|service| (service.path(), service.namespace()));
    let of_servers = || served::Service::at(path).map(|service| (service.path(), service.namespace()));
    let (path, namespace) = of_agents.or_else(of_servers)?;
    let name = path.rsplit('/').next()?.split('.').next()?;
    Some((name, namespace))
}

/// Whether a query asks for the description of a service, as `?wsdl` and its kin do.
fn wants_description(query: &str) -> bool {
    let name = query.split(['&', '=']).next().unwrap_or_default();
    ["wsdl", "singleWsdl"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// The answer to a GET or HEAD of one of these addresses; `None` for everything else. The path is normal.
pub(super) fn answer(method: &Method, path: &str, query: Option<&str>) -> Option<Response<Body>> {
    if method != Method::GET && method != Method::HEAD {
        return None;
    }
    let (kind, text) = if path.eq_ignore_ascii_case(CHECK_FILE) {
        ("text/plain", "Content can be reached.\n".to_owned())
    } else {
        let (name, namespace) = service_at(path)?;
        if query.is_some_and(wants_description) {
            // no more than what a probe looks for: the operations are those of the public specifications
            let text = format!(
                "<?xml version=\"1.0\" encoding=\"utf-8\"?><wsdl:definitions \
                 xmlns:wsdl=\"http://schemas.xmlsoap.org/wsdl/\" targetNamespace=\"{namespace}\">\
                 <wsdl:service name=\"{name}\" /></wsdl:definitions>"
            );
            ("text/xml; charset=utf-8", text)
        } else {
            let text = format!(
                "<html><head><title>{name} Web Service</title></head><body><h1>{name}</h1>\
                 <p>The service is there. It answers SOAP requests, sent with POST.</p></body></html>\n"
            );
            ("text/html; charset=utf-8", text)
        }
    };
    let length = text.len();
    let body = if method == Method::HEAD { body::empty() } else { body::full(text) };
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::OK;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Some(answer)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn monitoring_is_answered_at_every_service_and_nowhere_else() {
        let table = [
            ("/ClientWebService/client.asmx", "client"),
            ("/clientwebservice/CLIENT.ASMX", "client"),
            ("/SimpleAuthWebService/SimpleAuth.asmx", "SimpleAuth"),
            ("/ReportingWebService/ReportingWebService.asmx", "ReportingWebService"),
            ("/ServerSyncWebService/ServerSyncWebService.asmx", "ServerSyncWebService"),
            ("/DssAuthWebService/DssAuthWebService.asmx", "DssAuthWebService"),
        ];
        for (path, name) in table {
            for (query, kind, shows) in [
                (None, "text/html", format!("{name} Web Service")),
                (Some("op=GetConfig"), "text/html", format!("{name} Web Service")),
                (Some("wsdl"), "text/xml", format!("<wsdl:service name=\"{name}\" />")),
                (Some("WSDL"), "text/xml", "wsdl:definitions".to_owned()),
                (Some("singleWsdl"), "text/xml", "wsdl:definitions".to_owned()),
            ] {
                let got = answer(&Method::GET, path, query).unwrap();
                assert!(
                    got.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with(kind),
                    "{path} {query:?}"
                );
                let length = got.headers()[header::CONTENT_LENGTH].clone();
                let head = answer(&Method::HEAD, path, query).unwrap();
                assert_eq!(head.headers()[header::CONTENT_LENGTH], length);
                assert!(head.into_body().collect().await.unwrap().to_bytes().is_empty());
                let text = got.into_body().collect().await.unwrap().to_bytes();
                assert!(String::from_utf8_lossy(&text).contains(&shows), "{path} {query:?}: {text:?}");
                assert!(text.len() < 512 && length == text.len().to_string());
            }
            assert!(answer(&Method::POST, path, None).is_none(), "that is for the service");
            assert!(answer(&Method::GET, &format!("{path}/x"), None).is_none());
        }
        assert!(answer(&Method::GET, "/content/AnonymousCheckFile.txt", None).is_some());
        assert!(answer(&Method::PUT, CHECK_FILE, None).is_none());
        assert!(answer(&Method::GET, "/", None).is_none());
        assert!(answer(&Method::GET, "/Content/anonymousCheckFile", None).is_none());
    }
}
