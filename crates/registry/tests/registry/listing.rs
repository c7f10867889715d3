//! Listings: their order, their prefixes and their pages.

use wasm_exec_registry::{ListQuery, MAX_PAGE, Page, Registry};

use crate::support::{module, on_every_backend, reference};

async fn list(registry: &Registry, query: ListQuery) -> Page {
    registry.list(query).await.unwrap()
}

fn names(page: &Page) -> Vec<&str> {
    page.modules.iter().map(|module| module.name.as_ref().unwrap().as_str()).collect()
}

async fn fill(registry: &Registry) {
    for name in ["b", "a@1.0.0", "a-b", "acme:a", "acme:b@1.0.0", "A", "a@1.10.0", "_"] {
        module(format!("content of {name}")).named(name).create(registry).await;
    }
}

const SORTED: [&str; 8] = ["A", "_", "a-b", "a@1.0.0", "a@1.10.0", "acme:a", "acme:b@1.0.0", "b"];

#[tokio::test]
async fn names_come_in_byte_order_with_what_they_point_to() {
    on_every_backend(async |registry| {
        assert_eq!(list(&registry, ListQuery::default()).await.modules, []);
        fill(&registry).await;
        let page = list(&registry, ListQuery::default()).await;
        assert_eq!(names(&page), SORTED);
        assert_eq!(page.next, None);

        let last = module("content of b");
        let summary = &page.modules[7];
        assert_eq!(summary.digest, last.digest());
        assert_eq!(summary.wasm, last.manifest().wasm);
        assert_eq!(summary.wasm_size, 12);
        let resolved = registry.resolve(&reference("b")).await.unwrap();
        assert_eq!(summary.registered_at, resolved.name.unwrap().registered_at);
    })
    .await;
}

#[tokio::test]
async fn a_prefix_is_a_prefix_of_the_printed_name() {
    on_every_backend(async |registry| {
        fill(&registry).await;
        for (prefix, expected) in [
            ("", &SORTED[..]),
            ("a", &SORTED[2..7]),
            ("a@", &SORTED[3..5]),
            ("a@1.1", &SORTED[4..5]),
            ("acme:", &SORTED[5..7]),
            ("b", &SORTED[7..]),
            ("c", &[]),
            ("\u{10ffff}", &[]),
            ("\0", &[]),
        ] {
            let query = ListQuery { prefix: prefix.to_owned(), ..ListQuery::default() };
            let page = list(&registry, query).await;
            assert_eq!(names(&page), expected, "{prefix:?}");
            assert_eq!(page.next, None);
        }
    })
    .await;
}

#[tokio::test]
async fn pages_of_any_size_join_to_the_whole() {
    on_every_backend(async |registry| {
        fill(&registry).await;
        for (limit, prefix, expected) in [
            (1, "", &SORTED[..]),
            (3, "", &SORTED[..]),
            (4, "", &SORTED[..]),
            (8, "", &SORTED[..]),
            (9, "", &SORTED[..]),
            (2, "a", &SORTED[2..7]),
            (5, "a", &SORTED[2..7]),
        ] {
            let mut query = ListQuery { limit, prefix: prefix.to_owned(), ..ListQuery::default() };
            let mut found = Vec::new();
            loop {
                let page = list(&registry, query.clone()).await;
                assert!((1..=limit).contains(&page.modules.len()), "{page:?}");
                found.extend(names(&page).into_iter().map(str::to_owned));
                let Some(next) = page.next else { break };
                assert_eq!(Some(&next), found.last());
                query.after = Some(next);
            }
            assert_eq!(found, expected, "{limit} of {prefix:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_cursor_need_not_be_a_name() {
    on_every_backend(async |registry| {
        fill(&registry).await;
        for (after, prefix, expected) in [
            ("a", "", &SORTED[2..]),
            ("a@1.0.0", "", &SORTED[4..]),
            ("a@1.0.0~", "", &SORTED[4..]),
            ("", "a", &SORTED[2..7]),
            ("A", "a", &SORTED[2..7]),
            ("z", "a", &[]),
            ("../\0\u{10ffff}", "", &SORTED[..]),
        ] {
            let query = ListQuery {
                after: Some(after.to_owned()),
                prefix: prefix.to_owned(),
                ..ListQuery::default()
            };
            let page = list(&registry, query).await;
            assert_eq!(names(&page), expected, "after {after:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn limits_are_cut_to_what_is_allowed() {
    on_every_backend(async |registry| {
        fill(&registry).await;
        let limited = async |limit| {
            let query = ListQuery { limit, ..ListQuery::default() };
            list(&registry, query).await.modules.len()
        };
        assert_eq!(limited(0).await, 1);
        assert_eq!(limited(1).await, 1);
        assert_eq!(limited(MAX_PAGE).await, 8);
        assert_eq!(limited(usize::MAX).await, 8);
    })
    .await;
}

#[tokio::test]
async fn what_has_no_name_is_listed_apart_in_digest_order() {
    on_every_backend(async |registry| {
        fill(&registry).await;
        let mut digests = Vec::new();
        for n in 0..5 {
            digests.push(module(format!("unnamed {n}")).create(&registry).await);
        }
        digests.sort();
        let mut query = ListQuery { limit: 3, unnamed: true, ..ListQuery::default() };
        let first = list(&registry, query.clone()).await;
        assert_eq!(first.next, Some(digests[2].to_string()));
        query.after.clone_from(&first.next);
        let second = list(&registry, query.clone()).await;
        assert_eq!(second.next, None);
        let listed = first.modules.iter().chain(&second.modules);
        let found: Vec<_> = listed
            .inspect(|module| assert_eq!(module.name, None))
            .map(|module| module.digest)
            .collect();
        assert_eq!(found, digests);

        query.after = None;
        query.prefix = digests[1].to_string();
        let page = list(&registry, query).await;
        assert_eq!(page.modules.len(), 1);
        assert_eq!(page.modules[0].digest, digests[1]);
    })
    .await;
}
