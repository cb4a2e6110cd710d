//! Being known to the upstream: authorization, the cookie, and what faults say about both ([MS-WSUSSS]
//! 3.2.4.1, 2.2.9.3).
//!
//! Invariant: credentials go to the configured origin and nowhere else. It never logs a cookie.

use std::sync::atomic::{AtomicBool, Ordering};

use http::Uri;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::client::{Answer, CallError, Packing, SoapClient};
use super::error::SyncError;
use tailwater_catalog::Catalog;
use tailwater_domain::{Class, Limit, limits};
use tailwater_runtime::Clock;
use tailwater_wire::server_reporting;
use tailwater_wire::server_sync::{
    self, AUTH_PATH, AuthConfig, Cookie, Request, SERVICE_PATH, get_auth_config, get_authorization_cookie,
    get_cookie,
};
use tailwater_wire::soap::{Fault, SoapError};

/// How often one call may find its cookie refused before that counts as a failure.
const MOST_RENEWALS: u32 = 4;
/// A cookie that ends sooner than this is renewed before it is used.
const MARGIN_SECONDS: i64 = 120;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_RENEWALS in "cookies": "Cookies refused within one call" => "the call fails",
];

// not a limit: MARGIN_SECONDS: when a cookie is renewed ahead of its end

const COOKIE_KEY: &str = "upstream.cookie";
const ACCOUNT_KEY: &str = "upstream.account";

/// Why a call of a session gave no answer.
#[derive(Debug)]
pub(super) enum SessionError {
    /// The upstream is another one than before: its anchors mean nothing to it.
    ServerChanged,
    /// It refused this request for its content.
    Refused { operation: &'static str, fault: Box<Fault> },
    /// It did not work.
    Failed(SyncError),
}

impl From<SyncError> for SessionError {
    fn from(error: SyncError) -> Self {
        Self::Failed(error)
    }
}

impl SessionError {
    /// As the reason why a synchronisation failed.
    pub(super) fn into_sync_error(self) -> SyncError {
        match self {
            Self::Failed(error) => error,
            Self::Refused { operation, fault } => {
                let shut_out = operation == "GetAuthorizationCookie" || is_about_cookies(&fault);
                let advice = if shut_out {
                    "it does not let this server in; where it is a tailwater, `tailwater downstreams allow` there \
                     helps, and upstream.token here"
                } else {
                    "the next synchronisation tries again"
                };
                SyncError::Fault { operation, fault, advice }
            }
            Self::ServerChanged => SyncError::Fault {
                operation: "GetCookie",
                fault: Box::new(Fault::new(
                    tailwater_wire::soap::Blame::Server,
                    "ServerChanged",
                    "",
                    String::new(),
                    String::new(),
                )),
                advice: "it keeps changing its identity; look at the upstream",
            },
        }
    }
}

/// The cookie as it is kept between processes.
#[derive(Serialize, Deserialize)]
struct KeptCookie {
    url: String,
    expiration: String,
    encrypted_data: String,
}

/// One upstream, and our standing with it.
pub(super) struct Session {
    client: SoapClient,
    reporting: SoapClient,
    catalog: Catalog,
    clock: Clock,
    /// As configured; the origin of all requests.
    url: String,
    service: Uri,
    account_name: String,
    account_id: Uuid,
    cookie: Mutex<Option<Cookie>>,
    /// By this machine's clock the cookie was over when it was given: the clocks disagree, and the upstream says when it is.
    disagrees: AtomicBool,
}

impl Session {
    /// Takes up the standing that an earlier process had.
    pub(super) fn new(
        client: SoapClient,
        catalog: Catalog,
        url: &str,
        account_name: Option<&str>,
    ) -> Result<Self, SyncError> {
        let clock = client.clock.clone();
        let url = url.trim_end_matches('/').to_owned();
        let service = address(&url, SERVICE_PATH)?;
        let account_id = account_id(&catalog)?;
        let kept: Option<KeptCookie> =
            catalog.setting(COOKIE_KEY)?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let cookie = kept
            .filter(|kept| kept.url == url)
            .map(|kept| Cookie { expiration: kept.expiration, encrypted_data: kept.encrypted_data });
        let account_name = account_name.map_or_else(machine_name, str::to_owned);
        Ok(Self {
            reporting: SoapClient { class: Class::Background, packing: Packing::default(), ..client.clone() },
            client,
            catalog,
            clock,
            url,
            service,
            account_name,
            account_id,
            cookie: Mutex::new(cookie),
            disagrees: AtomicBool::new(false),
        })
    }

    /// The way to the upstream.
    pub(super) fn client(&self) -> &SoapClient {
        &self.client
    }

    /// Its address as configured, without a slash at its end.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Asks the synchronisation service something that needs a cookie.
    pub(super) async fn call<T, F>(
        &self,
        build: impl Fn(&Cookie) -> Request + Send + Sync,
        read: F,
    ) -> Result<T, SessionError>
    where
        T: Send + 'static,
        F: Fn(Answer) -> Result<T, SoapError> + Clone + Send + 'static,
    {
        let mut renewals = 0;
        loop {
            let cookie = self.cookie().await?;
            let request = build(&cookie);
            let fault = match self.client.call(&self.service, &request, read.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(CallError::Failed(error)) => return Err(SessionError::Failed(error)),
                Err(CallError::Fault(fault)) => fault,
            };
            if is_about_cookies(&fault) && renewals < MOST_RENEWALS {
                renewals += 1;
                self.forget(&cookie).await;
                continue;
            }
            return Err(self.meaning(request.operation, fault, &cookie).await);
        }
    }

    /// Tells the reporting service something; it knows no cookie.
    pub(super) async fn report<T: Send + 'static>(
        &self,
        request: &Request,
        read: fn(Answer) -> Result<T, SoapError>,
    ) -> Result<T, SyncError> {
        let url = address(&self.url, server_reporting::SERVICE_PATH)?;
        match self.reporting.call(&url, request, read).await {
            Ok(answer) => Ok(answer),
            Err(CallError::Failed(error)) => Err(error),
            Err(CallError::Fault(fault)) => {
                let advice = "what was not told is told with the next roll-up; look at the upstream's log";
                Err(SyncError::Fault { operation: request.operation, fault, advice })
            }
        }
    }

    /// Whether the reporting service takes packed requests, and what it was sent.
    pub(super) fn packing(&self) -> &Packing {
        &self.reporting.packing
    }

    /// What this server calls itself.
    pub(super) fn account_name(&self) -> &str {
        &self.account_name
    }

    /// What a fault means that is no matter of an old cookie.
    async fn meaning(&self, operation: &'static str, fault: Box<Fault>, cookie: &Cookie) -> SessionError {
        match fault.code.as_deref() {
            Some("ServerChanged") => {
                self.forget(cookie).await;
                SessionError::ServerChanged
            }
            Some("IncompatibleProtocolVersion") => SessionError::Failed(SyncError::Fault {
                operation,
                fault,
                advice: "it speaks another version of the protocol; this tailwater cannot use it",
            }),
            _ => SessionError::Refused { operation, fault },
        }
    }

    pub(super) async fn forget(&self, cookie: &Cookie) {
        let mut current = self.cookie.lock().await;
        if current.as_ref() == Some(cookie) {
            *current = None;
        }
    }

    /// The cookie in force; a new one when there is none or it ends soon. Calls wait for one handshake.
    pub(super) async fn cookie(&self) -> Result<Cookie, SessionError> {
        let mut current = self.cookie.lock().await;
        let now = self.clock.now().as_second();
        // without a readable expiration the server will say when it is over
        let lasts = |cookie: &Cookie, now: i64| {
            cookie.expires_at().is_none_or(|end| end.as_second() - now > MARGIN_SECONDS)
        };
        let is_good = |cookie: &&Cookie| self.disagrees.load(Ordering::Relaxed) || lasts(cookie, now);
        if let Some(cookie) = current.as_ref().filter(is_good) {
            return Ok(cookie.clone());
        }
        *current = None;
        let cookie = self.authorized().await?;
        self.disagrees.store(!lasts(&cookie, self.clock.now().as_second()), Ordering::Relaxed);
        let kept = KeptCookie {
            url: self.url.clone(),
            expiration: cookie.expiration.clone(),
            encrypted_data: cookie.encrypted_data.clone(),
        };
        let catalog = self.catalog.clone();
        let write = move || catalog.set_json(COOKIE_KEY, &kept);
        let written = tokio::task::spawn_blocking(write).await.map_err(|_e| SyncError::Worker)?;
        written.map_err(SyncError::Catalog)?;
        *current = Some(cookie.clone());
        Ok(cookie)
    }

    /// Begins again when what was just given is refused.
    async fn authorized(&self) -> Result<Cookie, SessionError> {
        let mut attempts = 1;
        loop {
            match self.handshake().await {
                Err(SessionError::Refused { fault, .. })
                    if is_about_cookies(&fault) && attempts < MOST_RENEWALS =>
                {
                    attempts += 1;
                }
                ended => return ended,
            }
        }
    }

    async fn handshake(&self) -> Result<Cookie, SessionError> {
        let config = self.ask(&self.service, &get_auth_config(), server_sync::read_auth_config).await?;
        let authorization_service = self.authorization_service(&config)?;
        let request = get_authorization_cookie(&self.account_name, &self.account_id);
        let authorization =
            self.ask(&authorization_service, &request, server_sync::read_authorization_cookie).await?;
        let cookie = self.ask(&self.service, &get_cookie(&authorization), server_sync::read_cookie).await?;
        tracing::debug!(until = cookie.expiration, "authorized with the upstream");
        Ok(cookie)
    }

    async fn ask<T: Send + 'static>(
        &self,
        url: &Uri,
        request: &Request,
        read: fn(Answer) -> Result<T, SoapError>,
    ) -> Result<T, SessionError> {
        match self.client.call(url, request, read).await {
            Ok(answer) => Ok(answer),
            Err(CallError::Failed(error)) => Err(SessionError::Failed(error)),
            Err(CallError::Fault(fault)) => {
                Err(self.meaning(request.operation, fault, &Cookie::default()).await)
            }
        }
    }

    /// Where to authorize: always at the origin that is configured.
    fn authorization_service(&self, config: &AuthConfig) -> Result<Uri, SyncError> {
        let targeting = config.plug_ins.iter().find(|way| way.id.eq_ignore_ascii_case("DssTargeting"));
        let named = targeting.or(config.plug_ins.first()).map_or("", |way| way.service_url.trim());
        if named.is_empty() {
            return address(&self.url, AUTH_PATH);
        }
        if !named.contains("://") && !named.starts_with("//") {
            return address(&self.url, &format!("/{}", named.trim_start_matches('/')));
        }
        let uri: Uri = named.parse().map_err(|_e| SyncError::Url { url: named.to_owned() })?;
        if origin(&uri).is_some() && origin(&uri) == origin(&self.service) {
            return Ok(uri);
        }
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        Err(SyncError::ForeignAuthorization {
            service: format!("{}://{authority}", uri.scheme_str().unwrap_or_default()),
        })
    }
}

/// Who we are to upstreams: made once for the life of the store.
pub(super) fn account_id(catalog: &Catalog) -> Result<Uuid, SyncError> {
    let kept = catalog.kept(ACCOUNT_KEY)?.and_then(|id| Uuid::from_slice(&id).ok());
    let id = kept.unwrap_or_else(Uuid::new_v4);
    catalog.keep(ACCOUNT_KEY, id.as_bytes())?;
    Ok(id)
}

fn is_about_cookies(fault: &Fault) -> bool {
    matches!(fault.code.as_deref(), Some("InvalidCookie" | "InvalidAuthorizationCookie" | "CookieExpired"))
}

/// Scheme, host and port.
fn origin(uri: &Uri) -> Option<(String, String, u16)> {
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    Some((scheme, uri.host()?.to_ascii_lowercase(), port))
}

fn address(url: &str, path: &str) -> Result<Uri, SyncError> {
    let refuse = || SyncError::Url { url: url.to_owned() };
    let uri: Uri = format!("{url}{path}").parse().map_err(|_e| refuse())?;
    if origin(&uri).is_some() { Ok(uri) } else { Err(refuse()) }
}

/// The machine's name in the form that servers accept as a DNS name.
fn machine_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy().into_owned();
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).take(200).collect();
    let plain = plain.split('.').map(|label| label.trim_matches('-')).filter(|label| !label.is_empty());
    let plain = plain.map(|label| &label[..label.len().min(63)]).collect::<Vec<_>>().join(".");
    if plain.is_empty() { "tailwater".to_owned() } else { plain }
}
