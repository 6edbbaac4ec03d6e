//! Decides whether a call may go on.
//!
//! A [`Policy`] answers for a [`Principal`], an [`Action`] and a [`Resource`]. Its [`decide`](Policy::decide) is the only
//! maker of [`Permitted`] values, and what talks to upstreams takes nothing else: a call that skipped policy does not
//! compile. Lists are filtered by the same evaluation ([`allows`](Policy::allows)).
//!
//! Pure: no IO, no clock, no async runtime.
#![forbid(unsafe_code)]

mod action;
mod arguments;
mod config;
mod decide;
mod decision;
mod engine;
pub mod engines;
mod principal;
mod resource;
mod scope;

pub use action::Action;
pub use arguments::{ArgumentRule, Arguments, Dialect, NumberRule, PathRule, SqlRule, UrlRule};
pub use config::{Config, InvalidPolicy, Rule, ServerRules};
pub use decide::Policy;
pub use decision::{Decision, Denied, Effect, Permitted, Place, Reason};
pub use engine::{EngineFailure, PolicyEngine};
pub use principal::{Principal, PrincipalKind};
pub use resource::{Resource, ResourceKind};
pub use scope::{SCOPE_OF_ALL, Scopes};
