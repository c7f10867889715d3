//! Playing a script: each directive is done, and what comes of it held against what it says.

use std::collections::HashMap;

use wast::token::Id;
use wast::{QuoteWat, WastDirective, WastExecute, WastInvoke, WastRet};

use crate::module::{self, Module};
use crate::pattern;
use crate::refusal;
use crate::scope::Scope;
use crate::script::{self, Lines};
use crate::session::{self, Answer, Session};
use crate::suite::Script;
use crate::support::server::Server;
use crate::trap;

/// A script that was played.
#[derive(Debug)]
pub(crate) struct Played<'a> {
    pub(crate) script: &'a str,
    pub(crate) verdicts: Vec<Verdict>,
}

/// What became of one directive.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// The line on which it begins.
    pub(crate) line: usize,
    pub(crate) assertion: bool,
    pub(crate) failure: Option<String>,
}

/// Plays a script in a session of its own.
pub(crate) async fn play<'a>(server: &Server, spectest: &str, script: &'a Script) -> Played<'a> {
    let lines = Lines::of(&script.text);
    let verdicts = verdicts(server, spectest, &script.text, &lines).await;
    let verdicts = verdicts.unwrap_or_else(|error| {
        let (line, failure) = (lines.line(error.span()), Some(error.message()));
        vec![Verdict { line, assertion: false, failure }]
    });
    Played { script: &script.name, verdicts }
}

async fn verdicts(
    server: &Server,
    spectest: &str,
    text: &str,
    lines: &Lines,
) -> Result<Vec<Verdict>, wast::Error> {
    let tokens = script::tokens(text)?;
    let directives = script::directives(&tokens)?;
    let mut player = Player::new(server, spectest, text).await;
    let mut verdicts = Vec::new();
    for directive in directives {
        let (line, assertion) = (lines.line(directive.span()), is_assertion(&directive));
        let failure = player.perform(directive).await.err();
        verdicts.push(Verdict { line, assertion, failure });
    }
    player.session.close().await;
    Ok(verdicts)
}

fn is_assertion(directive: &WastDirective<'_>) -> bool {
    match directive {
        WastDirective::AssertMalformed { .. }
        | WastDirective::AssertMalformedCustom { .. }
        | WastDirective::AssertInvalid { .. }
        | WastDirective::AssertInvalidCustom { .. }
        | WastDirective::AssertTrap { .. }
        | WastDirective::AssertReturn { .. }
        | WastDirective::AssertExhaustion { .. }
        | WastDirective::AssertUnlinkable { .. }
        | WastDirective::AssertException { .. }
        | WastDirective::AssertSuspension { .. } => true,
        WastDirective::Module(_)
        | WastDirective::ModuleDefinition(_)
        | WastDirective::ModuleInstance { .. }
        | WastDirective::Register { .. }
        | WastDirective::Invoke(_)
        | WastDirective::Thread(_)
        | WastDirective::Wait { .. } => false,
    }
}

/// What a script has made so far.
#[derive(Debug)]
struct Player<'a> {
    server: &'a Server,
    session: Session<'a>,
    text: &'a str,
    definitions: Scope<Definition>,
    /// Instances by what the session calls them: its names are less free than a script's.
    instances: Scope<String>,
    /// How many instances were asked for.
    instantiated: usize,
    /// What import modules stand for.
    registered: HashMap<String, String>,
}

/// What can be instantiated.
#[derive(Clone, Debug)]
enum Definition {
    /// A module that is sent along.
    Inline(Module),
    /// A registered module without imports.
    Registered(String),
}

impl<'a> Player<'a> {
    async fn new(server: &'a Server, spectest: &str, text: &'a str) -> Self {
        let name = "spectest";
        let session = Session::open(server).await;
        let answer = session.instantiate(name, session::registered(spectest), &[]).await;
        answer.done().expect("the scripts' surroundings can be instantiated");
        Self {
            server,
            session,
            text,
            definitions: Scope::default(),
            instances: Scope::default(),
            instantiated: 0,
            registered: HashMap::from([(name.to_owned(), name.to_owned())]),
        }
    }

    /// Does what a directive says.
    ///
    /// # Errors
    ///
    /// What does not come out as it says.
    async fn perform(&mut self, directive: WastDirective<'_>) -> Result<(), String> {
        match directive {
            WastDirective::Module(mut module) => self.module(&mut module).await,
            WastDirective::ModuleDefinition(mut module) => self.define(&mut module).await,
            WastDirective::ModuleInstance { instance, module, .. } => {
                let definition = self.definitions.get(module)?.clone();
                self.instance(instance, &definition).await
            }
            WastDirective::Register { name, module, .. } => {
                let instance = self.instances.get(module)?.clone();
                self.registered.insert(name.to_owned(), instance);
                Ok(())
            }
            WastDirective::Invoke(invoke) => self.invoke(&invoke).await?.done().map(drop),
            WastDirective::AssertReturn { exec, results, .. } => {
                returned(self.execute(exec).await?, &results)
            }
            WastDirective::AssertTrap { exec, message, .. } => {
                let problem = self.execute(exec).await?.problem()?;
                problem.is_trap(|kind| trap::kinds(message).any(|expected| expected == kind))
            }
            WastDirective::AssertException { exec, .. } => {
                self.execute(exec).await?.problem()?.is_trap(|kind| kind == "exception")
            }
            WastDirective::AssertExhaustion { call, .. } => {
                self.invoke(&call).await?.problem()?.has_code("stack-overflow")
            }
            WastDirective::AssertUnlinkable { module, .. } => {
                let answer = self.execute(WastExecute::Wat(module)).await?;
                answer.problem()?.has_code("link-error")
            }
            WastDirective::AssertInvalid { module, message, .. }
            | WastDirective::AssertInvalidCustom { module, message, .. }
            | WastDirective::AssertMalformed { module, message, .. }
            | WastDirective::AssertMalformedCustom { module, message, .. } => {
                self.refused(module, message).await
            }
            WastDirective::AssertSuspension { .. }
            | WastDirective::Thread(_)
            | WastDirective::Wait { .. } => Err("nothing in the API does this".to_owned()),
        }
    }

    /// Defines and instantiates a module.
    async fn module(&mut self, module: &mut QuoteWat<'_>) -> Result<(), String> {
        let name = module.name();
        self.definitions.forget(name);
        self.instances.forget(name);
        let definition = Definition::Inline(Module::new(module)?);
        self.definitions.set(name, definition.clone());
        self.instance(name, &definition).await
    }

    /// Defines a module: the server registers it, or says that all it lacks is its imports, which
    /// only a session has.
    async fn define(&mut self, module: &mut QuoteWat<'_>) -> Result<(), String> {
        let name = module.name();
        self.definitions.forget(name);
        let module = Module::new(module)?;
        let definition = match session::register(self.server, &module.source).await {
            Ok(digest) if module.imports.is_empty() => Definition::Registered(digest),
            Ok(_) => Definition::Inline(module),
            Err(problem) if module.imports.is_empty() => return Err(problem.to_string()),
            Err(problem) => {
                problem.has_code("link-error")?;
                Definition::Inline(module)
            }
        };
        self.definitions.set(name, definition);
        Ok(())
    }

    async fn instance(
        &mut self,
        name: Option<Id<'_>>,
        definition: &Definition,
    ) -> Result<(), String> {
        self.instances.forget(name);
        let (instance, answer) = self.instantiate(definition).await?;
        answer.done()?;
        self.instances.set(name, instance);
        Ok(())
    }

    /// Has the session make an instance, under a name that it has not seen.
    async fn instantiate(&mut self, definition: &Definition) -> Result<(String, Answer), String> {
        self.instantiated += 1;
        let name = format!("i{}", self.instantiated);
        let (members, links) = match definition {
            Definition::Registered(digest) => (session::registered(digest), Vec::new()),
            Definition::Inline(module) => (session::inline(&module.source)?, self.links(module)),
        };
        let answer = self.session.instantiate(&name, members, &links).await;
        Ok((name, answer))
    }

    /// What is registered of a module's imports.
    fn links<'m>(&'m self, module: &'m Module) -> Vec<(&'m str, &'m str)> {
        let registered = module
            .imports
            .iter()
            .filter_map(|import| Some((import.as_str(), self.registered.get(import)?.as_str())));
        registered.collect()
    }

    async fn execute(&mut self, action: WastExecute<'_>) -> Result<Answer, String> {
        match action {
            WastExecute::Invoke(invoke) => self.invoke(&invoke).await,
            WastExecute::Get { module, global, .. } => {
                Ok(self.session.global(self.instances.get(module)?, global).await)
            }
            WastExecute::Wat(module) => {
                let definition = Definition::Inline(Module::new(&mut QuoteWat::Wat(module))?);
                Ok(self.instantiate(&definition).await?.1)
            }
        }
    }

    async fn invoke(&self, invoke: &WastInvoke<'_>) -> Result<Answer, String> {
        let instance = self.instances.get(invoke.module)?;
        let params: Vec<_> = invoke.args.iter().map(pattern::argument).collect::<Result<_, _>>()?;
        Ok(self.session.call(instance, invoke.name, &params).await)
    }

    /// Sends something that the server shall find to be no module.
    async fn refused(&self, mut module: QuoteWat<'_>, message: &str) -> Result<(), String> {
        let source = module::suspect(&mut module, self.text)?;
        match session::register(self.server, &source).await {
            Err(problem) if refusal::is_refusal(&problem, &source, message) => Ok(()),
            Err(problem) => Err(problem.to_string()),
            Ok(_) => Err("it is taken for a valid module".to_owned()),
        }
    }
}

fn returned(answer: Answer, expected: &[WastRet<'_>]) -> Result<(), String> {
    let results = answer.done()?;
    let mut pairs = results.iter().zip(expected);
    if results.len() == expected.len()
        && pairs.all(|(result, expected)| pattern::meets(result.get(), expected))
    {
        return Ok(());
    }
    let results: Vec<_> = results.iter().map(|result| result.get()).collect();
    Err(format!("it returned {results:?} instead of {expected:?}"))
}
