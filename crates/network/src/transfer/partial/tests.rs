//! Items in memory and in files, whole, broken off and damaged.

use super::super::range::RANGE_BYTES;
use super::*;
use crate::contents::Kind;

const WHOLE: usize = RANGE_BYTES as usize;

fn blob(seed: u8) -> Vec<u8> {
    (0..2 * WHOLE + 100).map(|index| (index % 251) as u8 ^ seed).collect()
}

fn item(bytes: &[u8]) -> Item {
    Item::of(Kind::Wasm, Digest::of(bytes), bytes)
}

fn range(bytes: &[u8], index: usize) -> &[u8] {
    bytes.chunks(WHOLE).nth(index).unwrap()
}

#[tokio::test]
async fn is_put_together_in_any_order() {
    let root = tempfile::tempdir().unwrap();
    let bytes = blob(0);
    let item = item(&bytes);
    for partials in [Partials::in_memory(), Partials::in_directory(root.path().join("a/b"))] {
        let (partial, missing) = partials.begin(item).await.unwrap();
        assert_eq!(missing, [0, 1, 2]);
        for index in [2, 0, 1, 0] {
            partial.keep(index, range(&bytes, index)).unwrap();
        }
        assert!(partial.finish(item.sha256).unwrap().unwrap() == bytes);
        // A range that comes a second time and late does no harm.
        partial.keep(1, range(&bytes, 1)).unwrap();
    }
    assert_eq!(fs::read_dir(root.path().join("a/b")).unwrap().count(), 0);
}

#[tokio::test]
async fn goes_on_with_what_is_there_and_whole() {
    let root = tempfile::tempdir().unwrap();
    let partials = Partials::in_directory(root.path().to_owned());
    let bytes = blob(0);
    let item = item(&bytes);
    let (partial, _) = partials.begin(item).await.unwrap();
    partial.keep(1, range(&bytes, 1)).unwrap();
    partial.keep(2, range(&bytes, 2)).unwrap();
    drop(partial);

    let path = root.path().join(item.sha256.hex());
    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(position(item.size, item.size - 1))).unwrap();
    file.write_all(b"!").unwrap();

    let partials = Partials::in_directory(root.path().to_owned());
    let (partial, missing) = partials.begin(item).await.unwrap();
    assert_eq!(missing, [0, 2]);
    for index in missing {
        partial.keep(index, range(&bytes, index)).unwrap();
    }
    assert!(partial.finish(item.sha256).unwrap().unwrap() == bytes);
}

#[tokio::test]
async fn a_file_of_another_list_or_cut_short_is_begun_anew() {
    let root = tempfile::tempdir().unwrap();
    let partials = Partials::in_directory(root.path().to_owned());
    let bytes = blob(0);
    let item = item(&bytes);
    let keep_all = async |item: Item| {
        let (partial, missing) = partials.begin(item).await.unwrap();
        (0..3).for_each(|index| partial.keep(index, range(&bytes, index)).unwrap());
        missing.len()
    };
    assert_eq!(keep_all(item).await, 3);
    assert_eq!(keep_all(item).await, 0);
    assert_eq!(keep_all(Item { blake3: blake3::hash(b"another"), ..item }).await, 3);
    assert_eq!(keep_all(item).await, 3);
    let file = OpenOptions::new().write(true).open(root.path().join(item.sha256.hex()));
    file.unwrap().set_len(HEADER_BYTES as u64 + 5).unwrap();
    assert_eq!(keep_all(item).await, 3);
}

#[tokio::test]
async fn what_is_not_as_stated_is_removed() {
    let root = tempfile::tempdir().unwrap();
    for partials in [Partials::in_memory(), Partials::in_directory(root.path().to_owned())] {
        let item = item(&blob(0));
        let (partial, _) = partials.begin(item).await.unwrap();
        let other = blob(1);
        (0..3).for_each(|index| partial.keep(index, range(&other, index)).unwrap());
        assert_eq!(partial.finish(item.sha256).unwrap(), None);
    }
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn an_item_is_fetched_once_at_a_time() {
    let partials = Partials::in_memory();
    let item = item(b"wasm");
    let (partial, _) = partials.begin(item).await.unwrap();
    let mut second = Box::pin(partials.begin(item));
    assert!(futures_util::poll!(&mut second).is_pending());
    drop(partial);
    assert!(second.await.is_ok());
}

#[tokio::test]
async fn the_oldest_go_when_there_are_too_many() {
    let root = tempfile::tempdir().unwrap();
    let partials = Partials::in_directory(root.path().to_owned());
    let begin = async |seed: usize| {
        let item = Item {
            kind: Kind::Wasm,
            sha256: Digest::of(&seed.to_le_bytes()),
            blake3: blake3::hash(b""),
            size: 2 * u64::from(RANGE_BYTES),
        };
        let (partial, _) = partials.begin(item).await.unwrap();
        let path = root.path().join(item.sha256.hex());
        let age = std::time::Duration::from_secs(1_000 + seed as u64);
        File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH + age).unwrap();
        (partial, path)
    };
    let (kept, first) = begin(0).await;
    let mut paths = Vec::new();
    for seed in 1..MAX_FILES + 3 {
        paths.push(begin(seed).await.1);
    }
    let there: Vec<bool> = paths.iter().map(|path: &PathBuf| path.exists()).collect();
    assert!(first.exists(), "it is being fetched");
    assert_eq!(there.iter().filter(|there| **there).count(), MAX_FILES - 1);
    assert!(there.is_sorted(), "{there:?}");
    drop(kept);
}
