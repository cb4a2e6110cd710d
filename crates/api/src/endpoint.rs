//! What an operation of the API is: where it lies, what goes in, what comes out.
//!
//! **Invariant:** an [`Endpoint`] is everything that a client needs to ask and a server needs to answer; neither spells a
//! path or a field by itself. It never sends anything.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How an operation is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads.
    Get,
    /// Does something that may be done again with another effect.
    Post,
    /// Sets.
    Put,
    /// Changes a part.
    Patch,
    /// Removes or ends.
    Delete,
}

impl Method {
    /// As in a request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// As in an OpenAPI document.
    pub fn lower(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

/// What goes into an operation: its query or its body.
pub trait Input: Serialize + DeserializeOwned + JsonSchema + Send + 'static {
    /// The value where nothing goes in; `None` for everything that has fields.
    const EMPTY: Option<Self> = None;
    /// Whether nothing goes in.
    const IS_EMPTY: bool = false;
}

/// No query, or no body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, serde::Deserialize, JsonSchema)]
pub struct Nothing {}

impl Input for Nothing {
    const EMPTY: Option<Self> = Some(Nothing {});
    const IS_EMPTY: bool = true;
}

/// One operation, as a type.
pub trait Endpoint: Send + Sync + 'static {
    /// How it is asked for.
    const METHOD: Method;
    /// Where it lies below `/api/v1`; at most one part is a name in braces.
    const PATH: &'static str;
    /// Its query.
    type Query: Input;
    /// Its body.
    type Body: Input;
    /// Its answer with 200.
    type Answer: Serialize + DeserializeOwned + JsonSchema + Send + 'static;
}

/// One operation, as a row of the table that the document is made of.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// Its name: unique, for generated clients.
    pub name: &'static str,
    /// How it is asked for.
    pub method: Method,
    /// Where it lies below `/api/v1`.
    pub path: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Statuses of refusals that only some operations give; those of all are in [`document`](super::document).
    pub refusals: &'static [u16],
    /// Media types of the answer besides JSON.
    pub also: &'static [&'static str],
    /// Schema of the query; none without one.
    pub(super) query: Option<fn(&mut SchemaGenerator) -> Schema>,
    /// Schema of the body; none without one.
    pub(super) body: Option<fn(&mut SchemaGenerator) -> Schema>,
    /// Schema of the answer with 200.
    pub(super) answer: fn(&mut SchemaGenerator) -> Schema,
}

impl Operation {
    /// The name of the part of the path that is one; none where the path has none.
    pub fn parameter(&self) -> Option<&'static str> {
        self.path.split('/').find_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }

    /// Whether it has a body.
    pub fn has_body(&self) -> bool {
        self.body.is_some()
    }
}

/// The schema of an input; none where nothing goes in.
pub(super) const fn input<T: Input>() -> Option<fn(&mut SchemaGenerator) -> Schema> {
    if T::IS_EMPTY { None } else { Some(SchemaGenerator::subschema_for::<T>) }
}

/// The table of operations, and a type for each.
macro_rules! operations {
    ($($(#[doc = $summary:literal])+ $name:ident: $method:ident $path:literal ($query:ty, $body:ty) -> $answer:ty,
       $refusals:expr $(, also $also:expr)?;)+) => {
        $(
            $(#[doc = $summary])+
            #[derive(Debug, Clone, Copy)]
            pub struct $name;

            impl $crate::Endpoint for $name {
                const METHOD: $crate::Method = $crate::Method::$method;
                const PATH: &'static str = $path;
                type Query = $query;
                type Body = $body;
                type Answer = $answer;
            }
        )+

        /// Every operation below `/api/v1`, the document itself left out.
        pub const OPERATIONS: &[$crate::Operation] = &[$($crate::Operation {
            name: stringify!($name),
            method: $crate::Method::$method,
            path: $path,
            summary: concat!($($summary),+),
            refusals: $refusals,
            also: {
                #[allow(unused_assignments, unused_mut, reason = "most operations answer with JSON only")]
                let mut also: &[&str] = &[];
                $(also = $also;)?
                also
            },
            query: $crate::endpoint::input::<$query>(),
            body: $crate::endpoint::input::<$body>(),
            answer: schemars::SchemaGenerator::subschema_for::<$answer>,
        },)+];
    };
}
pub(super) use operations;

/// What goes into operations.
macro_rules! inputs {
    ($($name:ty),+ $(,)?) => { $(impl $crate::Input for $name {})+ };
}
pub(super) use inputs;
