//! Who may talk to a server: without keys, programs on this machine; never web pages of others.
//!
//! A web page can make a browser send requests to a server on the same machine, and by DNS rebinding
//! read the answers: it has its own name resolve to 127.0.0.1. Such a request carries the page's name
//! in `Host`, and mostly its origin in `Origin`. So only known hosts are answered for, and foreign
//! origins are refused. A key is nothing that a browser adds by itself, so a server that asks for one
//! answers for every host.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Uri};

use crate::problem::{Code, Problem};

/// The hosts and origins that are answered.
#[derive(Debug)]
pub(crate) struct Access {
    /// Names besides loopback's, in lower case, without a port.
    hosts: Vec<String>,
    /// Whole origins, in lower case: `https://example.org`.
    origins: Vec<String>,
    /// Whether any literal address is a host: on a server that listens beyond loopback. Rebinding
    /// needs a name.
    literal_addresses: bool,
    /// Whether any name is a host.
    any_host: bool,
    /// Whether the server's own pages come over TLS alone.
    tls: bool,
}

impl Access {
    pub(crate) fn new(hosts: &[String], origins: &[String], literal_addresses: bool) -> Self {
        let lower = |texts: &[String]| texts.iter().map(|text| text.to_ascii_lowercase()).collect();
        Self {
            hosts: lower(hosts),
            origins: lower(origins),
            literal_addresses,
            any_host: false,
            tls: false,
        }
    }

    /// The same for a server that asks for keys: it answers for every host.
    pub(crate) fn for_any_host(self) -> Self {
        Self { any_host: true, ..self }
    }

    /// The same for a server that speaks TLS: a page that came without it is another server's.
    pub(crate) fn over_tls(self) -> Self {
        Self { tls: true, ..self }
    }

    /// The foreign origin that a request comes from, if it is one that may use the server.
    ///
    /// # Errors
    ///
    /// `forbidden` for a foreign host or origin, `invalid-request` for none or several hosts.
    pub(crate) fn check<'a>(
        &self,
        uri: &Uri,
        headers: &'a HeaderMap,
    ) -> Result<Option<&'a HeaderValue>, Problem> {
        let authority = authority(uri, headers)?;
        let host = host(authority);
        if !self.answers_for(host) {
            let detail = format!("this server does not answer for host {host:?}");
            return Err(Problem::new(Code::Forbidden, detail));
        }
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(value) = origins.next() else { return Ok(None) };
        let origin = value.to_str().unwrap_or("?").to_ascii_lowercase();
        if origins.next().is_none() {
            // A page of this very server says the authority it was asked by. Without TLS here, there
            // may still be some in front of the server.
            let plain = || origin.strip_prefix("http://").filter(|_| !self.tls);
            let own = origin.strip_prefix("https://").or_else(plain);
            if own == Some(&authority.to_ascii_lowercase()) {
                return Ok(None);
            }
            if self.origins.contains(&origin) {
                return Ok(Some(value));
            }
        }
        Err(Problem::new(Code::Forbidden, format!("origin {origin:?} is not allowed")))
    }

    fn answers_for(&self, host: &str) -> bool {
        if self.any_host || host == "localhost" || host == "127.0.0.1" {
            return true;
        }
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if let Ok(address) = literal.unwrap_or(host).parse::<IpAddr>() {
            return self.literal_addresses || address.to_canonical().is_loopback();
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        host == "localhost" || host.ends_with(".localhost") || self.hosts.contains(&host)
    }
}

/// The authority that a request is for: host and perhaps port.
fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<&'a str, Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    match (uri.authority(), hosts.next(), hosts.next()) {
        (_, _, Some(_)) => Err(Problem::invalid_request("there are two Host headers")),
        // HTTP/2 and absolute targets.
        (Some(authority), _, None) => Ok(authority.as_str()),
        (None, Some(host), None) => {
            host.to_str().map_err(|_| Problem::invalid_request("the Host header is not text"))
        }
        (None, None, None) => Err(Problem::invalid_request("there is no Host header")),
    }
}

/// An authority without its port: digits after the last colon, unless that is within brackets.
fn host(authority: &str) -> &str {
    let digits = authority.bytes().rev().take_while(u8::is_ascii_digit).count();
    authority[..authority.len() - digits].strip_suffix(':').unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(access: &Access, host: &str, origin: Option<&str>) -> Result<(), Code> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        let checked = access.check(&Uri::from_static("/"), &headers);
        checked.map(|_| ()).map_err(|problem| problem.code)
    }

    #[test]
    fn loopback_is_answered_for_and_nothing_else() {
        let access = Access::new(&["Wasm.Example.org".into()], &[], false);
        for host in [
            "localhost",
            "localhost:4000",
            "LOCALHOST.",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:4000",
            "[::ffff:127.0.0.1]",
            "app.localhost",
            "wasm.example.org",
            "WASM.example.org:80",
        ] {
            assert_eq!(check(&access, host, None), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[2001:db8::1]:4000",
            "",
            "notlocalhost",
            "localhost:80:80",
            "wasm.example.org.evil",
        ] {
            assert_eq!(check(&access, host, None), Err(Code::Forbidden), "{host}");
        }
        let open = Access::new(&[], &[], true);
        assert_eq!(check(&open, "10.0.0.1:4000", None), Ok(()));
        assert_eq!(check(&open, "evil.example", None), Err(Code::Forbidden));
    }

    #[test]
    fn foreign_origins_are_refused() {
        let access = Access::new(&[], &["https://Console.example.org".into()], false);
        let check = |origin| check(&access, "localhost:4000", Some(origin));
        for origin in ["http://localhost:4000", "https://console.example.org"] {
            assert_eq!(check(origin), Ok(()), "{origin}");
        }
        for origin in [
            "http://localhost:3000",
            "http://localhost",
            "null",
            "http://evil.example",
            "",
            "https://console.example.org:8443",
            "file://",
        ] {
            assert_eq!(check(origin), Err(Code::Forbidden), "{origin}");
        }
    }

    #[test]
    fn a_page_without_tls_is_foreign_to_a_server_with_it() {
        let plain = Access::new(&[], &[], false);
        let [secure_origin, plain_origin] = [Some("https://localhost"), Some("http://localhost")];
        assert_eq!(check(&plain, "localhost", secure_origin), Ok(()));
        assert_eq!(check(&plain, "localhost", plain_origin), Ok(()));
        let secure = Access::new(&[], &[], false).over_tls();
        assert_eq!(check(&secure, "localhost", secure_origin), Ok(()));
        assert_eq!(check(&secure, "localhost", plain_origin), Err(Code::Forbidden));
    }

    #[test]
    fn a_request_has_one_host() {
        let access = Access::new(&[], &[], false);
        let mut headers = HeaderMap::new();
        let code = |headers: &HeaderMap| {
            let checked = access.check(&Uri::from_static("/"), headers);
            checked.map(|_| ()).map_err(|problem| problem.code)
        };
        assert_eq!(code(&headers), Err(Code::InvalidRequest));
        headers.append(HOST, HeaderValue::from_static("localhost"));
        headers.append(HOST, HeaderValue::from_static("localhost"));
        assert_eq!(code(&headers), Err(Code::InvalidRequest));
    }
}
