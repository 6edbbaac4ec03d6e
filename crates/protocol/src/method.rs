//! The only table of methods.

/// Declares [`Method`] from one row a method.
macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A request's method, of any revision.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Method { $($(#[$doc])* $variant,)* }

        impl Method {
            /// All methods, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The method's name on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The method of that name.
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
}

impl Method {
    /// Whether this is one of the four paged lists.
    #[must_use]
    pub const fn is_list(self) -> bool {
        matches!(self, Self::ToolsList | Self::ResourcesList | Self::ResourceTemplatesList | Self::PromptsList)
    }

    /// The parameter that the modern header `Mcp-Name` repeats, if this method has one (2026-07-28, basic/transports).
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
        self.is_list() || matches!(self, Self::Discover | Self::ResourcesRead)
    }
}
