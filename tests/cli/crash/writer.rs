//! One client: what it registers and deletes, and what it was told.

use std::sync::mpsc::Sender;

use super::client::{Answer, Client};

/// What a name has to be after a crash: any of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) name: String,
    pub(super) states: Vec<State>,
}

/// What a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Unknown,
    /// Its module's `answer` gives this.
    Answers(i32),
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) client: Client,
    /// In all the names, so that no other round or writer has them.
    pub(super) prefix: String,
    /// The first of the numbers that this writer's modules answer.
    pub(super) first: i32,
    /// Told of every acknowledgement.
    pub(super) acknowledged: Sender<()>,
}

impl Writer {
    /// Registers and deletes until the server is gone, and gives what has to be there.
    pub(super) fn run(mut self) -> Vec<Expected> {
        let mut all = Vec::new();
        for n in (0..).step_by(4) {
            if self.run_once(n, &mut all).is_none() {
                break;
            }
        }
        all
    }

    /// A module, one that is linked to it, a version, and a deletion. `None` once the server is
    /// gone.
    fn run_once(&mut self, n: i32, all: &mut Vec<Expected>) -> Option<()> {
        let number = self.first.wrapping_add(n);
        let prefix = &self.prefix;
        let plain = format!("{prefix}n{n}");
        let linked = format!("{prefix}linked{n}");
        let version = format!("{prefix}versioned@1.0.{n}");
        let link = format!("{linked}?link=base={plain}");
        self.register(&plain, &plain, &answering(number), number, all)?;
        let next = number.wrapping_add(1);
        self.register(&linked, &link, ANSWERING_ONE_MORE, next, all)?;
        self.register(&version, &version, &answering(number.wrapping_add(2)), number + 2, all)?;
        self.delete(if n % 8 == 0 { &plain } else { &version }, all)
    }

    fn register(
        &mut self,
        name: &str,
        path: &str,
        wat: &str,
        number: i32,
        all: &mut Vec<Expected>,
    ) -> Option<()> {
        let state = State::Answers(number);
        all.push(Expected { name: name.to_owned(), states: vec![State::Unknown, state] });
        let answer = self.send("PUT", path, wat)?;
        self.answered(&answer, 201, state, all.last_mut()?)
    }

    fn delete(&mut self, name: &str, all: &mut [Expected]) -> Option<()> {
        let expected = all.iter_mut().rfind(|expected| expected.name == name)?;
        expected.states.push(State::Unknown);
        let answer = self.send("DELETE", name, "")?;
        self.answered(&answer, 204, State::Unknown, expected)
    }

    /// Sends until there is a place for it, and `None` once the server is gone: on a slow machine so
    /// many writers are more than it takes.
    fn send(&mut self, method: &str, path: &str, body: &str) -> Option<Answer> {
        loop {
            let answer = self.client.send(method, &format!("/v1/modules/{path}"), body).ok()?;
            if answer.status != 503 {
                return Some(answer);
            }
        }
    }

    fn answered(
        &self,
        answer: &Answer,
        status: u16,
        state: State,
        expected: &mut Expected,
    ) -> Option<()> {
        assert_eq!(answer.status, status, "{}: {}", expected.name, answer.body);
        expected.states = vec![state];
        // Nobody counts any more once the server is killed.
        let _ = self.acknowledged.send(());
        Some(())
    }
}

/// What a name is now.
pub(super) fn state(client: &mut Client, name: &str) -> Result<State, String> {
    let path = format!("/v1/modules/{name}/functions/answer");
    let answer = client.ask("POST", &path).map_err(|error| error.to_string())?;
    match answer.status {
        404 => Ok(State::Unknown),
        200 => {
            let number = answer.body.split(['[', ']']).nth(1).and_then(|text| text.parse().ok());
            number.map(State::Answers).ok_or(answer.body)
        }
        status => Err(format!("{status}: {}", answer.body)),
    }
}

fn answering(number: i32) -> String {
    format!(r#"(module (func (export "answer") (result i32) (i32.const {number})))"#)
}

const ANSWERING_ONE_MORE: &str = r#"
    (module
      (import "base" "answer" (func $base (result i32)))
      (func (export "answer") (result i32) (i32.add (call $base) (i32.const 1))))"#;
