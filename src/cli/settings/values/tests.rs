use super::*;

/// What a text means, written back.
fn round_trip<T: FromStr<Err = InvalidValue> + fmt::Display>(text: &str) -> Option<String> {
    text.parse::<T>().ok().map(|value| value.to_string())
}

#[test]
fn sizes_are_bytes_or_have_a_unit() {
    for (text, bytes) in [
        ("1", 1),
        ("65536", 1 << 16),
        ("512KiB", 512 << 10),
        ("64MiB", 64 << 20),
        ("1GiB", 1 << 30),
    ] {
        assert_eq!(text.parse(), Ok(Size(bytes)));
    }
    for text in ["", "0", "0MiB", "-1", "1.5GiB", "64 MiB", "64mib", "64MB", "99999999999GiB"] {
        assert_eq!(text.parse::<Size>(), Err(Size::SYNTAX), "{text}");
    }
    assert_eq!(Size(3 << 20).to_string(), "3MiB");
    assert_eq!(Size(1025).to_string(), "1025");
}

#[test]
fn periods_have_a_unit_and_whole_milliseconds() {
    for (text, milliseconds) in [("500ms", 500), ("1s", 1_000), ("1m 30s", 90_000)] {
        let period: Period = text.parse().unwrap();
        assert_eq!(period.milliseconds(), milliseconds);
        assert_eq!(period.to_string().parse(), Ok(period));
    }
    for text in ["", "0s", "1000", "1500us", "-1s"] {
        assert!(text.parse::<Period>().is_err(), "{text}");
    }
}

#[test]
fn listen_addresses_may_bring_their_own_port() {
    for (text, address) in [
        ("127.0.0.1", "127.0.0.1:4000"),
        ("::1", "[::1]:4000"),
        ("[::1]", "[::1]:4000"),
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("[::]:80", "[::]:80"),
    ] {
        let listen: ListenAddress = text.parse().unwrap();
        assert_eq!(listen.with_port(4000).to_string(), address);
        assert_eq!(listen.to_string().parse(), Ok(listen));
    }
    for text in ["", "localhost", "localhost:80", "[127.0.0.1]", ":80", "127.0.0.1:99999"] {
        assert!(text.parse::<ListenAddress>().is_err(), "{text}");
    }
}

#[test]
fn hosts_and_origins_are_what_requests_say() {
    assert_eq!(round_trip::<HostName>("wasm.example.org").as_deref(), Some("wasm.example.org"));
    for text in ["", "example.org:80", "http://example.org", "a b"] {
        assert_eq!(round_trip::<HostName>(text), None, "{text}");
    }
    for text in ["https://example.org", "http://[::1]:8080", "chrome-extension://abc"] {
        assert_eq!(round_trip::<WebOrigin>(text).as_deref(), Some(text));
    }
    for text in ["", "*", "null", "example.org", "https://", "https://example.org/", "://x"] {
        assert_eq!(round_trip::<WebOrigin>(text), None, "{text}");
    }
}
