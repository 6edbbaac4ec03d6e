//! The only table of methods.

use std::fmt;

/// Declares [`Method`] from one row a method.
macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A request's method, of any revision.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Method {
            $($(#[$doc])* $variant,)*
            /// A method that is not in this table: it belongs to an extension that only its server knows.
            Extension(ExtensionMethod),
        }

        impl Method {
            /// All methods of the table, in its order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The method's name on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Extension(method) => method.as_str(),
                }
            }

            /// The method of that name, if the table has it.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

methods! {
    /// Handshake of the legacy revisions.
    Initialize = "initialize",
    /// What the modern revisions have instead.
    Discover = "server/discover",
    /// Legacy sign of life.
    Ping = "ping",
    /// Lists tools.
    ToolsList = "tools/list",
    /// Calls a tool.
    ToolsCall = "tools/call",
    /// Lists resources.
    ResourcesList = "resources/list",
    /// Lists resource templates.
    ResourceTemplatesList = "resources/templates/list",
    /// Reads a resource.
    ResourcesRead = "resources/read",
    /// Lists what is directly in a directory (skills extension, `directoryRead`).
    DirectoryRead = "resources/directory/read",
    /// Legacy: asks for updates of a resource.
    ResourcesSubscribe = "resources/subscribe",
    /// Legacy: ends that.
    ResourcesUnsubscribe = "resources/unsubscribe",
    /// Modern: a stream of changes.
    SubscriptionsListen = "subscriptions/listen",
    /// Lists prompts.
    PromptsList = "prompts/list",
    /// Fills in a prompt.
    PromptsGet = "prompts/get",
    /// Completes an argument.
    Complete = "completion/complete",
    /// Legacy: how much is logged.
    SetLevel = "logging/setLevel",
    /// State of a task (2025-11-25 and the tasks extension).
    TasksGet = "tasks/get",
    /// Result of a task (2025-11-25).
    TasksResult = "tasks/result",
    /// Tasks there are (2025-11-25).
    TasksList = "tasks/list",
    /// Ends a task (2025-11-25 and the tasks extension).
    TasksCancel = "tasks/cancel",
    /// Answers a task's questions (tasks extension).
    TasksUpdate = "tasks/update",
    /// Lists skills (skills extension).
    SkillsList = "skills/list",
    /// Describes one skill (skills extension).
    SkillsGet = "skills/get",
}

impl Method {
    /// A method of that name which the table does not have, if an extension may call one so: up to [`ExtensionMethod::LONGEST`]
    /// letters, digits and `._-/`, with a `/` between others, as the names of all extensions' methods are.
    #[must_use]
    pub fn of_extension(name: &str) -> Option<Self> {
        if Self::from_name(name).is_some() {
            return None;
        }
        ExtensionMethod::new(name).map(Self::Extension)
    }

    /// Whether this is one of the four paged lists.
    #[must_use]
    pub const fn is_list(self) -> bool {
        matches!(self, Self::ToolsList | Self::ResourcesList | Self::ResourceTemplatesList | Self::PromptsList)
    }

    /// The parameter that the modern header `Mcp-Name` repeats, if this method has one (2026-07-28, basic/transports; the skills
    /// extension asks for none).
    #[must_use]
    pub const fn name_parameter(self) -> Option<&'static str> {
        match self {
            Self::ToolsCall | Self::PromptsGet => Some("name"),
            Self::ResourcesRead => Some("uri"),
            Self::TasksGet | Self::TasksUpdate | Self::TasksCancel => Some("taskId"),
            _ => None,
        }
    }

    /// Whether results of this method carry `ttlMs` and `cacheScope` in the modern revisions.
    #[must_use]
    pub const fn is_cacheable(self) -> bool {
        self.is_list() || matches!(self, Self::Discover | Self::ResourcesRead | Self::SkillsList | Self::SkillsGet)
    }
}

/// The name of a method that only its extension knows. It lies in place, so that a [`Method`] is handed on as a copy.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExtensionMethod {
    length: u8,
    text: [u8; Self::LONGEST],
}

impl ExtensionMethod {
    /// Bytes of a name at most: with them a [`Method`] fills a line of the processor's cache. The longest that an extension has
    /// published so far is `resources/directory/read`.
    pub const LONGEST: usize = 62;

    fn new(name: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
        let (area, own) = name.split_once('/')?;
        if area.is_empty() || own.is_empty() || !name.bytes().all(fits) {
            return None;
        }
        let mut text = [0; Self::LONGEST];
        text.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(Self { length: u8::try_from(name.len()).ok()?, text })
    }

    fn as_str(&self) -> &str {
        let text = self.text.get(..usize::from(self.length)).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }
}

impl fmt::Debug for ExtensionMethod {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn every_method_is_found_by_its_name() {
        for method in Method::ALL {
            assert_eq!(Method::from_name(method.as_str()), Some(*method));
            assert_eq!(Method::of_extension(method.as_str()), None);
        }
    }

    #[test]
    fn a_method_of_an_extension_keeps_its_name() {
        let longest = format!("vendor/{}", "x".repeat(ExtensionMethod::LONGEST - 7));
        for name in ["vendor/thing", "com.example.x-1/a_b/C", &longest] {
            assert_eq!(Method::of_extension(name).unwrap().as_str(), name);
        }
        assert_ne!(Method::of_extension("a/b"), Method::of_extension("a/c"));
        for bad in ["", "thing", "/thing", "vendor/", "vendor/a b", "vendor/\u{e4}", "vendor/a\r\n", &format!("{longest}x")] {
            assert_eq!(Method::of_extension(bad), None, "{bad:?}");
        }
    }
}
