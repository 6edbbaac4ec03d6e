//! What is written down of calls for later, and asking about it again.

use std::sync::Arc;

use super::Policy;
use crate::replay::{Lack, Replayed, Replaying};
use crate::rooms::elsewhere;
use crate::{Action, Arguments, Circumstances, Effect, Principal, Question, Reason, Recorded, Resource};

impl Policy {
    /// What of the arguments of a call of this tenant's may be written down, as far as rules declare what they are.
    #[must_use]
    pub async fn recorded(&self, tenant: &str, server: &str, tool: &str, arguments: &str) -> Option<Recorded> {
        if !self.kinds.is_work(server, tool) {
            return self.kinds.record(server, tool, arguments);
        }
        let (kinds, server, tool, arguments) = (Arc::clone(&self.kinds), server.to_owned(), tool.to_owned(), arguments.to_owned());
        elsewhere(tenant, move || kinds.record(&server, &tool, &arguments)).await.ok().flatten()
    }

    /// What is decided of a call that another policy has decided, by what its record tells. Lets nothing through. Decision points elsewhere
    /// are asked if `asks_elsewhere`.
    pub async fn replay(
        &self,
        principal: &Principal,
        action: Action,
        resource: &Resource<'_>,
        circumstances: Circumstances,
        asks_elsewhere: bool,
    ) -> Replayed {
        let declared = match resource.arguments {
            Arguments::Recorded(recorded) => Some(recorded.clone().declared_by(&self.kinds, resource.server, resource.name)),
            Arguments::Unknown | Arguments::Given(_) => None,
        };
        let resource = declared.as_ref().map_or(*resource, |recorded| resource.with(Arguments::Recorded(recorded)));
        let replaying = Replaying::new(asks_elsewhere);
        let mut question = Question::new(principal, action, &resource, circumstances, &self.kinds);
        question.replaying = Some(&replaying);
        let decision = self.evaluate(&question).await;
        drop(question);
        if decision.reason == Reason::EngineFailed {
            return Replayed::Lacking(vec![Lack { place: decision.place, what: "an answer: the engine failed".into() }]);
        }
        // Whatever is not known could only deny as well; a default speaks where no engine does, which one of them might.
        let is_final = decision.effect == Effect::Deny && decision.reason != Reason::Default;
        match replaying.into_lacks() {
            lacks if lacks.is_empty() || is_final => Replayed::Decided(decision),
            lacks => Replayed::Lacking(lacks),
        }
    }
}
