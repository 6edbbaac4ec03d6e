//! Decides whether a call may go on.
//!
//! A [`Policy`] answers for a [`Principal`], an [`Action`] and a [`Resource`]. Its [`decide`](Policy::decide) is the only
//! maker of [`Permitted`] values, and what talks to upstreams takes nothing else: a call that skipped policy does not
//! compile. Lists are filtered by the same evaluation ([`allows_each`](Policy::allows_each)).
//!
//! Pure: no IO, no clock, no async runtime; an engine that asks elsewhere does so through a [`World`] that it is given.
#![forbid(unsafe_code)]

mod action;
mod approval;
mod arguments;
mod config;
mod decide;
mod decision;
mod engine;
pub mod engines;
mod limit;
mod pin;
mod principal;
mod question;
mod replay;
mod resource;
mod rooms;
mod scope;

pub use action::Action;
pub use approval::{Approval, Binding};
pub use arguments::{
    ArgumentKind, ArgumentRule, Arguments, Dialect, Kinds, NumberRule, PathRule, Recorded, SqlGuard, SqlRule, SqlStatement, StatementKind,
    UrlRule,
};
pub use config::{Config, InvalidPolicy, Rule, ServerRules};
pub use decide::{Explanation, Policy, TrialFault};
pub use decision::{Decision, Denied, Effect, GivesUp, Permitted, Place, Reason};
pub use engine::{Answer, EngineFailure, KnownTool, Later, Making, Offered, Outcome, Outgoing, PolicyEngine, Verdict, World};
pub use limit::{Account, Across, Budget, Exceeded, Held, LimitKind, LimitRule, Limits, Metered, Rate};
pub use pin::Pin;
pub use principal::{Principal, PrincipalKind};
pub use question::{Circumstances, Origin, Question};
pub use replay::{Lack, Replayed};
pub use resource::{Annotations, Resource, ResourceKind};
pub use scope::{SCOPE_OF_ALL, Scopes, implies};
