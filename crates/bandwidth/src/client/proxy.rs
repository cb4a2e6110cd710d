//! Which proxy an address is fetched through: the setting, or the environment as curl reads it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};

use super::config::ProxySetting;
use super::no_proxy::NoProxy;
use super::origin::Origin;
use crate::LinkError;

/// A proxy that speaks HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    /// `Proxy-Authorization`, when its URL has credentials.
    pub(super) authorization: Option<HeaderValue>,
}

/// Proxies by scheme, and who needs none.
#[derive(Debug, Clone, Default)]
pub(super) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    no_proxy: NoProxy,
    /// Loopback is never proxied: the environment is meant for what lies outside.
    from_environment: bool,
}

/// `%41` to `A`, as in user names and passwords of URLs; what is no escape stays.
fn percent_decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let escaped = match tail {
            [high, low, ..] if *first == b'%' => {
                let digit =
                    |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
                digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low)
            }
            _ => None,
        };
        match escaped {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => out.push(*first),
        }
    }
    out
}

impl Proxy {
    /// Reads `[http://][user:password@]host[:port]`.
    fn parse(setting: &str) -> Result<Self, LinkError> {
        let text = setting.trim().trim_end_matches('/');
        let without_scheme = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => Some(rest),
            Some(_) => None,
            None => Some(text),
        };
        // never repeat credentials in an error
        let shown = text.rsplit('@').next().unwrap_or_default();
        let refuse = || LinkError::ProxySetting { setting: shown.chars().take(80).collect() };
        let rest = without_scheme.ok_or_else(refuse)?;
        let (credentials, authority) = match rest.rsplit_once('@') {
            Some((credentials, authority)) => (Some(credentials), authority),
            None => (None, rest),
        };
        let uri: Uri = format!("http://{authority}/").parse().map_err(|_e| refuse())?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(refuse)?;
        let authorization = match credentials {
            None => None,
            Some(credentials) => {
                let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
                let plain = [percent_decoded(user), percent_decoded(password)].join(&b':');
                let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(plain)))
                    .map_err(|_e| refuse())?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port: uri.port_u16().unwrap_or(3128), authorization })
    }

    /// `host:port`, for people.
    pub(super) fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl Proxies {
    /// What the setting and, where it says so, the environment name.
    pub(super) fn new(
        setting: &ProxySetting,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, LinkError> {
        match setting {
            ProxySetting::Direct => Ok(Self::default()),
            ProxySetting::Url(url) => {
                let proxy = Some(Proxy::parse(url)?);
                Ok(Self {
                    http: proxy.clone(),
                    https: proxy,
                    no_proxy: NoProxy::default(),
                    from_environment: false,
                })
            }
            ProxySetting::System => {
                let set = |names: &[&str]| {
                    names.iter().find_map(|name| environment(name).filter(|value| !value.trim().is_empty()))
                };
                let named = |names: &[&str]| set(names).map(|value| Proxy::parse(&value)).transpose();
                // a web server that runs this as a CGI program puts a client's header `Proxy` into HTTP_PROXY
                let is_cgi = environment("REQUEST_METHOD").is_some();
                let http: &[&str] = if is_cgi {
                    &["http_proxy", "all_proxy", "ALL_PROXY"]
                } else {
                    &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
                };
                Ok(Self {
                    http: named(http)?,
                    https: named(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?,
                    no_proxy: NoProxy::parse(&set(&["no_proxy", "NO_PROXY"]).unwrap_or_default()),
                    from_environment: true,
                })
            }
        }
    }

    /// The proxy for an address; `None` is a direct connection.
    pub(super) fn of(&self, origin: &Origin) -> Option<&Proxy> {
        let proxy = if origin.https { self.https.as_ref() } else { self.http.as_ref() }?;
        let host = origin.host.trim_end_matches('.');
        let loopback = host.eq_ignore_ascii_case("localhost")
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
        if self.from_environment && loopback {
            return None;
        }
        (!self.no_proxy.matches(host, origin.port)).then_some(proxy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        |name| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.to_owned())
    }

    fn origin(https: bool, host: &str) -> Origin {
        Origin { https, host: host.to_owned(), port: if https { 443 } else { 80 } }
    }

    #[test]
    fn each_scheme_has_its_variables() {
        // the environment, then the proxies of http and of https
        type Case = (&'static [(&'static str, &'static str)], Option<&'static str>, Option<&'static str>);
        let table: [Case; 9] = [
            (&[("HTTP_PROXY", "upper:1")], Some("upper:1"), None),
            (&[("http_proxy", "lower:1"), ("HTTP_PROXY", "upper:1")], Some("lower:1"), None),
            (&[("http_proxy", ""), ("HTTP_PROXY", "upper:1")], Some("upper:1"), None),
            (&[("HTTP_PROXY", "client:1"), ("REQUEST_METHOD", "GET")], None, None),
            (&[("http_proxy", "lower:1"), ("REQUEST_METHOD", "GET")], Some("lower:1"), None),
            (&[("HTTPS_PROXY", "upper:2")], None, Some("upper:2")),
            (&[("https_proxy", "lower:2"), ("HTTPS_PROXY", "upper:2")], None, Some("lower:2")),
            (&[("ALL_PROXY", "all:3"), ("HTTP_PROXY", "upper:1")], Some("upper:1"), Some("all:3")),
            (&[("HTTP_PROXY", "upper:1"), ("no_proxy", ""), ("NO_PROXY", "*.example")], None, None),
        ];
        for (variables, http, https) in table {
            let proxies = Proxies::new(&ProxySetting::System, environment(variables)).unwrap();
            let name = |https| proxies.of(&origin(https, "wsus.example")).map(Proxy::name);
            assert_eq!((name(false).as_deref(), name(true).as_deref()), (http, https), "{variables:?}");
        }
    }

    #[test]
    fn the_environment_is_read_as_curl_reads_it() {
        let proxies = Proxies::new(
            &ProxySetting::System,
            environment(&[
                ("http_proxy", "http://proxy.example:8080/"),
                ("HTTPS_PROXY", "secure.example"),
                ("no_proxy", "internal.example, .lab.example,10.0.0.7"),
            ]),
        )
        .unwrap();
        let name = |https, host| proxies.of(&origin(https, host)).map(Proxy::name);
        assert_eq!(name(false, "wsus.example"), Some("proxy.example:8080".to_owned()));
        assert_eq!(name(true, "wsus.example"), Some("secure.example:3128".to_owned()));
        for host in [
            "localhost",
            "127.0.0.1",
            "::1",
            "internal.example",
            "a.internal.example",
            "X.LAB.example",
            "10.0.0.7",
        ] {
            assert_eq!(name(false, host), None, "{host}");
        }
        assert!(name(false, "notinternal.example").is_some());
    }

    #[test]
    fn credentials_go_into_a_header_and_never_into_an_error() {
        let setting = ProxySetting::Url("http://dom%5Cme:p%40ss@proxy:3128".to_owned());
        let proxies = Proxies::new(&setting, |_| None).unwrap();
        let proxy = proxies.of(&origin(true, "127.0.0.1")).unwrap();
        let expected = format!("Basic {}", STANDARD.encode("dom\\me:p@ss"));
        assert_eq!(proxy.authorization.as_ref().unwrap().to_str().unwrap(), expected);
        let error =
            Proxies::new(&ProxySetting::Url("socks5://me:secret@proxy:1".to_owned()), |_| None).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn direct_means_direct() {
        let proxies = Proxies::new(&ProxySetting::Direct, environment(&[("http_proxy", "p")])).unwrap();
        assert_eq!(proxies.of(&origin(false, "wsus.example")), None);
    }
}
