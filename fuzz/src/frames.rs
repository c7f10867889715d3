//! Frames between an engine and its compile workers: none crashes its reader, and what was read is
//! written as it was.

use crate::protocol::{Answer, AnswerHeader, Hello, JobHeader, Key, Setup};

/// The most bytes of native code that are believed.
const MAXIMUM: u64 = 1 << 20;

const KEY: Key = Key([7; 32]);

/// The first byte chooses the frame, the others are the frame.
pub(crate) fn check(data: &[u8]) {
    let Some((kind, frame)) = data.split_first() else { return };
    match kind % 4 {
        0 => {
            if let Ok(setup) = Setup::decode(frame) {
                assert_eq!(setup.encode(), frame[..Setup::BYTES]);
            }
        }
        1 => {
            // Nobody finds the hash of a frame without its key.
            assert!(Hello::decode(frame, &KEY).is_err());
            let fields = frame.first_chunk::<8>().copied().unwrap_or_default();
            let compatibility = u64::from_le_bytes(fields);
            let hello = Hello { layers: *kind, compatibility };
            assert_eq!(Hello::decode(&hello.encode(&KEY), &KEY), Ok(hello));
        }
        2 => {
            if let Ok(job) = JobHeader::decode(frame) {
                assert_eq!(job.encode(), frame[..JobHeader::BYTES]);
            }
        }
        _ => {
            assert!(read(frame, 0).is_err());
            let answer = Answer::Refused(String::from_utf8_lossy(frame).into_owned());
            let answer = match answer {
                Answer::Refused(message) => Answer::Refused(Answer::message(message)),
                other => other,
            };
            let written = [&answer.header(&KEY, 1), answer.content()].concat();
            assert_eq!(read(&written, 1), Ok(answer));
            assert!(read(&written, 2).is_err());
        }
    }
}

/// Reads an answer as the engine does. It is none also if bytes are missing.
fn read(frame: &[u8], number: u64) -> Result<Answer, ()> {
    let (header, content) = frame.split_at_checked(AnswerHeader::BYTES).ok_or(())?;
    let header = AnswerHeader::decode(header, MAXIMUM).map_err(drop)?;
    let content = content.get(..header.length).ok_or(())?;
    let mut hasher = header.hasher(&KEY, number);
    hasher.update(content);
    header.answer(&hasher, content.to_vec()).map_err(drop)
}
