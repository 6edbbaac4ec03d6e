//! Where secrets come from: one file a provider, one line each below.

mod environment;
mod file;

use std::borrow::Cow;
use std::path::Path;

use crate::error::Problem;
use crate::secret::Secret;

pub(crate) use file::MOST_BYTES as LARGEST_FILE;

/// Expands the one list of providers to everything that goes over all of them.
macro_rules! providers {
    ($($module:ident => $variant:ident,)*) => {
        /// The place that a reference's scheme names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum Provider { $(#[doc = concat!("See `", stringify!($module), "`.")] $variant,)* }

        impl Provider {
            const ALL: &[Self] = &[$(Self::$variant),*];

            /// What stands before the colon.
            pub(crate) fn scheme(self) -> &'static str {
                match self { $(Self::$variant => $module::SCHEME,)* }
            }

            /// What may stand after the colon, in words.
            fn placeholder(self) -> &'static str {
                match self { $(Self::$variant => $module::PLACEHOLDER,)* }
            }

            /// What may stand after the colon, as a regular expression for editors.
            fn locator_pattern(self) -> &'static str {
                match self { $(Self::$variant => $module::PATTERN,)* }
            }

            /// Whether `locator` can name anything here at all.
            pub(crate) fn accepts(self, locator: &str) -> bool {
                match self { $(Self::$variant => $module::accepts(locator),)* }
            }

            /// `locator` as it is to be understood in a configuration that lies in `folder`.
            pub(crate) fn anchored<'a>(self, locator: &'a str, folder: &Path) -> Cow<'a, str> {
                match self { $(Self::$variant => $module::anchored(locator, folder),)* }
            }

            /// Looks for the secret without reading it.
            pub(crate) fn look(self, locator: &str) -> Result<(), Problem> {
                match self { $(Self::$variant => $module::look(locator),)* }
            }

            /// Reads the secret.
            pub(crate) fn read(self, locator: &str) -> Result<Secret, Problem> {
                match self { $(Self::$variant => $module::read(locator),)* }
            }
        }
    };
}

providers! {
    environment => Environment,
    file => File,
}

impl Provider {
    /// The provider with this scheme; schemes are lower case.
    pub(crate) fn of_scheme(scheme: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|provider| provider.scheme() == scheme)
    }

    /// Every accepted form in words: "`env:NAME` or `file:PATH`".
    pub(crate) fn forms() -> String {
        let forms: Vec<String> = Self::ALL.iter().map(|provider| format!("`{}:{}`", provider.scheme(), provider.placeholder())).collect();
        forms.join(" or ")
    }

    /// Every accepted form as a regular expression.
    pub(crate) fn pattern() -> String {
        let forms: Vec<String> = Self::ALL.iter().map(|provider| format!("{}:{}", provider.scheme(), provider.locator_pattern())).collect();
        format!("^({})$", forms.join("|"))
    }
}
