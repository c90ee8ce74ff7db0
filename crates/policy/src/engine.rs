//! Cedar: may this principal do this action on this resource in this context?

use std::collections::{HashMap, HashSet};

use cedar_policy::{
    Authorizer, Context, Decision as CedarDecision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicyId,
    Request, RestrictedExpression, Schema,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::load::{self, Loaded};
use crate::{LoadError, Problem, Target};

const SCHEMA: &str = include_str!("schema.cedarschema");
const DEFAULT_POLICY: &str = include_str!("default.cedar");

/// Policies that passed strict validation against their schema.
#[derive(Clone, Debug)]
pub struct Policy {
    schema: Schema,
    loaded: Loaded,
    subject: Subject,
}

/// What the schema is about.
#[derive(Clone, Debug)]
enum Subject {
    /// Aegis' own schema; a deployment without a namespace is looked for in this one.
    Workloads { namespace: String },
    /// An application's schema.
    Application,
}

/// May this principal do this?
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// `agent:aegis`, `person:alice`, or Cedar's `Person::"alice"`; Aegis itself when absent.
    #[serde(default)]
    pub principal: Option<String>,
    /// Action name, such as `scale_up`.
    pub action: String,
    /// `deployment:backend`, `deployment:production/backend`, or Cedar's `Workload::"production/backend"`.
    pub resource: String,
    /// Circumstances the schema knows.
    #[serde(default)]
    pub context: Map<String, Value>,
}

/// The answer to a [`Question`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Evaluation {
    /// Whether it may be done now, without asking anybody.
    pub allowed: bool,
    /// Why, in plain words.
    pub reason: String,
    /// Names (`@id`) of the policies that determined the answer, sorted.
    pub applied_policies: Vec<String>,
}

/// What Cedar and the annotations say together.
pub(crate) enum Answer {
    Permitted { policies: Vec<String> },
    Ask { groups: Vec<String>, policies: Vec<String> },
    Denied { reason: String, policies: Vec<String> },
}

/// A workload with everything the schema wants to know about it.
pub(crate) struct Workload<'a> {
    pub(crate) target: &'a Target,
    pub(crate) service: &'a str,
}

impl Policy {
    /// Loads policies about Aegis' own actions: `(file name, text)` each.
    ///
    /// # Errors
    /// `LoadError` with every problem in every file; a name that the schema does not know is one.
    pub fn load(sources: &[(&str, &str)]) -> Result<Self, LoadError> {
        let mut policy = Self::load_with_schema(SCHEMA, sources)?;
        policy.subject = Subject::Workloads { namespace: "default".to_owned() };
        Ok(policy)
    }

    /// Loads an application's policies against the application's own Cedar schema.
    ///
    /// # Errors
    /// `LoadError` when the schema or any policy is wrong.
    pub fn load_with_schema(schema: &str, sources: &[(&str, &str)]) -> Result<Self, LoadError> {
        let (schema, _) = Schema::from_cedarschema_str(schema).map_err(|error| LoadError::Schema(error.to_string()))?;
        let loaded = load::load(&schema, sources)?;
        Ok(Self { schema, loaded, subject: Subject::Application })
    }

    /// The policy Aegis ships: explains itself in comments and permits nothing.
    #[must_use]
    pub fn default_text() -> &'static str {
        DEFAULT_POLICY
    }

    /// Aegis' schema, for those who write policies.
    #[must_use]
    pub fn schema_text() -> &'static str {
        SCHEMA
    }

    /// Sets the namespace meant by `deployment:backend`; `default` unless said. Without effect on an application's schema.
    #[must_use]
    pub fn in_namespace(mut self, name: &str) -> Self {
        match &mut self.subject {
            Subject::Workloads { namespace } => *namespace = name.to_owned(),
            Subject::Application => {}
        }
        self
    }

    /// Things that are allowed but look like mistakes, such as a condition that can never hold.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.loaded.warnings
    }

    /// Names of all policies, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        sorted(self.loaded.policies.policies().map(|policy| policy.id()))
    }

    /// Whether the schema has an action of this name.
    #[must_use]
    pub fn knows_action(&self, name: &str) -> bool {
        self.schema.actions().any(|action| action.id().unescaped() == name)
    }

    /// Asks the policies alone: no limits, no state, nothing reserved. Whatever cannot be understood is not allowed.
    #[must_use]
    pub fn evaluate(&self, question: &Question) -> Evaluation {
        self.evaluate_with(question, &Value::Array(Vec::new()))
    }

    /// As [`Policy::evaluate`], with entities (attributes and parents, Cedar's JSON) that the application knows.
    #[must_use]
    pub fn evaluate_with(&self, question: &Question, entities: &Value) -> Evaluation {
        let (allowed, reason, applied_policies) = match self.answer(question, entities) {
            Answer::Permitted { policies } => (true, format!("permitted by {}", quoted(&policies)), policies),
            Answer::Ask { groups, policies } => {
                (false, format!("{} needs approval by {}", question.action, quoted(&groups)), policies)
            }
            Answer::Denied { reason, policies } => (false, reason, policies),
        };
        Evaluation { allowed, reason, applied_policies }
    }

    /// The policies' answer about a workload whose service is known.
    pub(crate) fn answer_about(&self, workload: &Workload<'_>, action: &str, context: Map<String, Value>) -> Answer {
        let parts = || {
            let principal = self.entity("agent", "aegis")?;
            let resource = self.entity("workload", &workload.target.to_string())?;
            let entity = workload_entity(&resource, workload)?;
            let entities = Entities::from_entities([entity], Some(&self.schema)).map_err(|error| told(&error))?;
            Ok((principal, resource, entities))
        };
        match parts() {
            Ok((principal, resource, entities)) => self.ask(principal, action, resource, context, &entities),
            Err(reason) => denied(reason),
        }
    }

    fn answer(&self, question: &Question, entities: &Value) -> Answer {
        let parts = || {
            let principal = self.principal(question.principal.as_deref())?;
            let (resource, target) = self.resource(&question.resource)?;
            let entities = Entities::from_json_value(entities.clone(), Some(&self.schema))
                .map_err(|error| format!("denied: entities: {}", told(&error)))?;
            let own =
                target.map(|target| workload_entity(&resource, &Workload { service: &target.name, target: &target }));
            let entities = match own.transpose()? {
                Some(entity) => entities.upsert_entities([entity], Some(&self.schema)).map_err(|error| told(&error))?,
                None => entities,
            };
            Ok((principal, resource, entities))
        };
        match parts() {
            Ok((principal, resource, entities)) => {
                self.ask(principal, &question.action, resource, question.context.clone(), &entities)
            }
            Err(reason) => denied(reason),
        }
    }

    fn ask(
        &self,
        principal: EntityUid,
        action: &str,
        resource: EntityUid,
        context: Map<String, Value>,
        entities: &Entities,
    ) -> Answer {
        let shown = AsRef::<str>::as_ref(resource.id()).to_owned();
        let request = self.action(action).and_then(|uid| {
            let context = Context::from_json_value(Value::Object(context), Some((&self.schema, &uid)))
                .map_err(|error| format!("denied: context of {action}: {}", told(&error)))?;
            Request::new(principal, uid, resource, context, Some(&self.schema))
                .map_err(|error| format!("denied: {action} on {shown}: {}", told(&error)))
        });
        let request = match request {
            Ok(request) => request,
            Err(reason) => return denied(reason),
        };
        let response = Authorizer::new().is_authorized(&request, &self.loaded.policies, entities);
        let policies = sorted(response.diagnostics().reason());
        // A policy that errs might have been the one that forbids, so an error denies whatever the others say.
        let mut errors: Vec<String> = response.diagnostics().errors().map(ToString::to_string).collect();
        if !errors.is_empty() {
            errors.sort();
            return denied(format!("denied: a policy could not be evaluated: {}", errors.join("; ")));
        }
        match response.decision() {
            CedarDecision::Allow => self.asked(policies),
            CedarDecision::Deny if policies.is_empty() => {
                denied(format!("denied: no policy permits {action} on {shown}"))
            }
            CedarDecision::Deny => {
                let verb = if policies.len() == 1 { "forbids" } else { "forbid" };
                let reason = format!("denied: {} {verb} {action} on {shown}", quoted(&policies));
                Answer::Denied { reason, policies }
            }
        }
    }

    /// One determining policy that does not ask is enough to act; when all ask, somebody is asked.
    fn asked(&self, policies: Vec<String>) -> Answer {
        let mut groups = Vec::new();
        for name in &policies {
            match self.loaded.asks.get(name) {
                Some(group) => groups.push(group.clone()),
                None => return Answer::Permitted { policies },
            }
        }
        groups.sort();
        groups.dedup();
        Answer::Ask { groups, policies }
    }

    fn action(&self, name: &str) -> Result<EntityUid, String> {
        let mut known: Vec<&str> = Vec::new();
        for uid in self.schema.actions() {
            let id: &str = uid.id().as_ref();
            if id == name {
                return Ok(uid.clone());
            }
            known.push(id);
        }
        known.sort_unstable();
        Err(format!("denied: unknown action `{name}`; known are {}", known.join(", ")))
    }

    fn principal(&self, text: Option<&str>) -> Result<EntityUid, String> {
        match (text, &self.subject) {
            (None, Subject::Workloads { .. }) => self.entity("agent", "aegis"),
            (None, Subject::Application) => Err("denied: no principal given".to_owned()),
            (Some(text), Subject::Workloads { .. }) if !text.contains(':') => self.entity("agent", text),
            (Some(text), _) => self.parse(text, "principal"),
        }
    }

    /// The resource, and the deployment it names when it is one.
    fn resource(&self, text: &str) -> Result<(EntityUid, Option<Target>), String> {
        let uid = self.parse(text, "resource")?;
        let Subject::Workloads { namespace } = &self.subject else { return Ok((uid, None)) };
        if uid.type_name().basename() != "Workload" {
            return Ok((uid, None));
        }
        let id: &str = uid.id().as_ref();
        let full = if id.contains('/') { id.to_owned() } else { format!("{namespace}/{id}") };
        let target: Target = full.parse().map_err(|error| format!("denied: resource: {error}"))?;
        Ok((self.entity("workload", &target.to_string())?, Some(target)))
    }

    /// Reads `kind:name` or Cedar's `Kind::"name"`.
    fn parse(&self, text: &str, what: &str) -> Result<EntityUid, String> {
        let wrong = || {
            format!("denied: {what} `{}` is not of the form `kind:name`", text.chars().take(200).collect::<String>())
        };
        if text.contains("::\"") {
            return text.parse().map_err(|_| wrong());
        }
        let (kind, name) = text.split_once(':').ok_or_else(wrong)?;
        if name.is_empty() {
            return Err(wrong());
        }
        self.entity(kind, name).map_err(|reason| format!("{reason} in {what} `{kind}:…`"))
    }

    fn entity(&self, kind: &str, name: &str) -> Result<EntityUid, String> {
        let wanted = match (&self.subject, kind) {
            (Subject::Workloads { .. }, "deployment") => "workload",
            (Subject::Workloads { .. } | Subject::Application, kind) => kind,
        };
        let found: Option<&EntityTypeName> =
            self.schema.entity_types().find(|known| known.basename().eq_ignore_ascii_case(wanted));
        match found {
            Some(kind) => Ok(EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(name))),
            None => Err(format!("denied: unknown kind `{}`", kind.chars().take(100).collect::<String>())),
        }
    }
}

fn workload_entity(uid: &EntityUid, workload: &Workload<'_>) -> Result<Entity, String> {
    let text = |value: &str| RestrictedExpression::new_string(value.to_owned());
    let namespace: EntityTypeName = "Namespace".parse().map_err(|error| format!("denied: {error}"))?;
    let parent = EntityUid::from_type_name_and_id(namespace, EntityId::new(&workload.target.namespace));
    let attributes = HashMap::from([
        ("name".to_owned(), text(&workload.target.name)),
        ("namespace".to_owned(), text(&workload.target.namespace)),
        ("service".to_owned(), text(workload.service)),
    ]);
    Entity::new(uid.clone(), attributes, HashSet::from([parent])).map_err(|error| told(&error))
}

fn denied(reason: String) -> Answer {
    Answer::Denied { reason, policies: Vec::new() }
}

/// The error with its causes, once each.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(&format!(": {cause_text}"));
        }
        next = cause.source();
    }
    text
}

fn sorted<'a>(ids: impl Iterator<Item = &'a PolicyId>) -> Vec<String> {
    let mut names: Vec<String> = ids.map(|id| AsRef::<str>::as_ref(id).to_owned()).collect();
    names.sort();
    names
}

pub(crate) fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
