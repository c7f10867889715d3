//! What one client may do: connections at once, and requests at once and in a second.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use http::Method;
use http::request::Parts;
use wasm_exec::ClientKey;

use crate::problem::{Code, Problem};
use crate::rate::{self, Bucket, Rate};

/// How many seconds' requests a client may make at once.
const BURST_SECONDS: u32 = 2;

/// What one client may do. A client is an IPv4 address, or a 64-bit network of IPv6, which is what one
/// customer of a provider has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// Connections at once.
    pub connections: usize,
    /// Requests at once, on all its connections. By default half as many as calls run at once.
    pub requests: usize,
    /// Requests per second; twice as many may come at once.
    pub requests_per_second: u32,
    /// Whether programs on this machine, which are the operator's mostly, are bound by these too.
    pub loopback: bool,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self { connections: 1_000, requests: 128, requests_per_second: 1_000, loopback: false }
    }
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network(IpAddr);

impl Network {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                Self(IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()))
            }
            address => Self(address),
        }
    }

    /// What tells it from others.
    fn key(self) -> ClientKey {
        match self.0 {
            IpAddr::V4(address) => ClientKey(address.to_bits().into()),
            IpAddr::V6(address) => ClientKey((address.to_bits() >> 64) as u64),
        }
    }

    pub(crate) fn is_loopback(self) -> bool {
        self.0.is_loopback()
    }
}

/// One client's requests.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) key: ClientKey,
    maximum: usize,
    rate: Rate,
    running: AtomicUsize,
    bucket: Bucket,
    /// Bytes of its large answers that it has not taken.
    answers: AtomicU64,
}

/// A client's part of the memory for answers, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct AnswerShare {
    client: Arc<Client>,
    bytes: u64,
}

/// A request that runs.
#[derive(Debug)]
pub(crate) struct Request<C: Deref<Target = Client>>(C);

impl Client {
    pub(crate) fn new(network: Network, limits: &ClientLimits) -> Self {
        let per_second = limits.requests_per_second;
        Self {
            key: network.key(),
            maximum: limits.requests,
            rate: Rate::new(per_second.into(), per_second.saturating_mul(BURST_SECONDS)),
            running: AtomicUsize::new(0),
            bucket: Bucket::default(),
            answers: AtomicU64::new(0),
        }
    }

    /// Takes memory for an answer, of which the client is to have no more than `most` bytes. An answer
    /// that is larger than that alone is not to be refused for ever.
    pub(crate) fn take_for_answer(self: &Arc<Self>, bytes: u64, most: u64) -> Option<AnswerShare> {
        let share = AnswerShare { client: Arc::clone(self), bytes };
        let before = self.answers.fetch_add(bytes, Ordering::Relaxed);
        (before == 0 || before.saturating_add(bytes) <= most).then_some(share)
    }

    /// Begins a request.
    ///
    /// # Errors
    ///
    /// `rate-limited`, when the client makes too many.
    pub(crate) fn begin(&self) -> Result<Request<&Self>, Problem> {
        self.bucket.take(self.rate, rate::now()).map_err(|time| {
            let detail = "this client made more requests per second than it may";
            Problem::new(Code::RateLimited, detail).retry_after(time)
        })?;
        let request = Request(self);
        if self.running.fetch_add(1, Ordering::Relaxed) >= self.maximum {
            let detail = format!("this client has {} requests running already", self.maximum);
            return Err(Problem::new(Code::RateLimited, detail));
        }
        Ok(request)
    }

    /// A request that has begun runs on after its head is answered.
    pub(crate) fn go_on(this: Arc<Self>) -> Request<Arc<Self>> {
        this.running.fetch_add(1, Ordering::Relaxed);
        Request(this)
    }

    /// Whether it might as well be forgotten. Answers that it takes keep it by themselves.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.bucket.is_full(rate::now()) && self.running.load(Ordering::Relaxed) == 0
    }
}

impl Drop for AnswerShare {
    fn drop(&mut self) {
        self.client.answers.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl<C: Deref<Target = Client>> Drop for Request<C> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a request only asks how the server is, which is answered whoever asks how often.
pub(crate) fn watches(head: &Parts) -> bool {
    let path = head.uri.path();
    head.method == Method::GET && ["/healthz", "/readyz", "/metrics"].contains(&path)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: Network = Network(IpAddr::V4(Ipv4Addr::LOCALHOST));

    #[test]
    fn requests_are_counted_while_they_run() {
        let limits = ClientLimits { requests: 2, requests_per_second: 1_000, ..Default::default() };
        let client = Client::new(HERE, &limits);
        let (one, _two) = (client.begin().unwrap(), client.begin().unwrap());
        for _ in 0..3 {
            assert_eq!(client.begin().unwrap_err().code, Code::RateLimited);
        }
        drop(one);
        assert!(client.begin().is_ok());
    }

    #[test]
    fn answers_are_counted_until_they_are_taken() {
        let client = Arc::new(Client::new(HERE, &ClientLimits::default()));
        let one = client.take_for_answer(6, 10).unwrap();
        assert!(client.take_for_answer(5, 10).is_none());
        let _other = client.take_for_answer(4, 10).unwrap();
        drop(one);
        assert!(client.take_for_answer(7, 10).is_none());
        assert!(client.take_for_answer(6, 10).is_some());
        let another = Arc::new(Client::new(HERE, &ClientLimits::default()));
        assert!(another.take_for_answer(11, 10).is_some(), "it is the only one");
    }

    #[test]
    fn requests_are_counted_over_time() {
        let limits = ClientLimits { requests: 9, requests_per_second: 1, ..Default::default() };
        let client = Client::new(HERE, &limits);
        assert!(client.is_at_rest());
        for _ in 0..2 {
            client.begin().unwrap();
        }
        assert_eq!(client.begin().unwrap_err().code, Code::RateLimited);
        assert!(!client.is_at_rest());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let network = |address: &str| Network::of(address.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
        assert!(network("::1").is_loopback() && network("::ffff:127.0.0.1").is_loopback());
    }
}
