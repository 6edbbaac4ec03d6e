//! The macro that makes a family of plug-ins one file and one line each.
//!
//! A family lives in a folder whose parent file names its members once, with [`registry!`]. Each member's file has the
//! same parts in the same order: a documented `Config` (with `deny_unknown_fields`), the type, `build`, the trait's
//! implementation, tests. There is no registration at link time: the list is readable, ordered and complete at compile time.
#![forbid(unsafe_code)]

/// Declares a family: its modules, the enum of their configurations, and the function that builds one.
///
/// ```text
/// registry! {
///     /// The engines.
///     pub EngineConfig builds Engine, or BuildError, given (clock: &Clock) {
///         /// A list of permitted tools.
///         allowlist => Allowlist,
///     }
/// }
/// ```
///
/// expands to `pub mod allowlist;`, the variant `EngineConfig::Allowlist(allowlist::Config)`, and its arm in
/// `EngineConfig::build(self, clock: &Clock) -> Result<Box<dyn Engine>, BuildError>`, which calls
/// `allowlist::build(config, clock)`. The part `given (…)` may be left out.
///
/// Configuration is tagged by key, `{ allowlist = { … } }`, because then an error names the exact path. The crate that
/// uses the macro depends on `serde` and `schemars` itself; every `Config` is `Clone + Debug + PartialEq + Deserialize +
/// JsonSchema`.
#[macro_export]
macro_rules! registry {
    (
        $(#[$meta:meta])*
        $vis:vis $name:ident builds $made:path, or $error:ty {
            $($(#[$about:meta])* $module:ident => $variant:ident,)+
        }
    ) => {
        $crate::registry! { @list [$(#[$meta])* $vis $name] [$($(#[$about])* $module => $variant,)+] }

        impl $name {
            /// Makes the plug-in that this entry describes.
            ///
            /// # Errors
            /// Whatever the member's own `build` refuses.
            pub fn build(self) -> ::core::result::Result<::std::boxed::Box<dyn $made>, $error> {
                match self {
                    $(Self::$variant(config) => ::core::result::Result::Ok(::std::boxed::Box::new($module::build(config)?)),)+
                }
            }
        }
    };
    (
        $(#[$meta:meta])*
        $vis:vis $name:ident builds $made:path, or $error:ty, given ($given:ident : $given_type:ty) {
            $($(#[$about:meta])* $module:ident => $variant:ident,)+
        }
    ) => {
        $crate::registry! { @list [$(#[$meta])* $vis $name] [$($(#[$about])* $module => $variant,)+] }

        impl $name {
            /// Makes the plug-in that this entry describes.
            ///
            /// # Errors
            /// Whatever the member's own `build` refuses.
            pub fn build(self, $given: $given_type) -> ::core::result::Result<::std::boxed::Box<dyn $made>, $error> {
                match self {
                    $(Self::$variant(config) => ::core::result::Result::Ok(::std::boxed::Box::new($module::build(config, $given)?)),)+
                }
            }
        }
    };
    (
        @list [$(#[$meta:meta])* $vis:vis $name:ident] [$($(#[$about:meta])* $module:ident => $variant:ident,)+]
    ) => {
        $($(#[$about])* pub mod $module;)+

        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, ::serde::Deserialize, ::schemars::JsonSchema)]
        #[serde(rename_all = "snake_case")]
        $vis enum $name {
            $($(#[$about])* $variant($module::Config),)+
        }

        impl $name {
            /// Every name that the configuration accepts, in the order of the list.
            pub const NAMES: &[&str] = &[$(stringify!($module)),+];

            /// The name that the configuration gives this entry.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => stringify!($module),)+
                }
            }
        }
    };
}
