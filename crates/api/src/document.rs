//! The OpenAPI document, made of the table of operations and the schemas of their types.
//!
//! **Invariant:** nothing in it is written by hand that the server could contradict: paths, fields and refusals come from
//! where the server takes them. It never describes what is not there.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{ErrorAnswer, OPERATIONS, Operation};

/// The dialect of the schemas: OpenAPI 3.1's own.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Refusals that any operation may give, with what each means.
const REFUSALS: &[(u16, &str)] = &[
    (401, "No token, or a wrong one"),
    (403, "A page of another site asked"),
    (421, "A host name that is not this server's"),
    (429, "Wrong tokens came from this address too often; Retry-After says when to ask again"),
    (500, "The server failed; its log says why"),
    (503, "The server cannot do it in its present form, or is too busy"),
    (507, "The data directory cannot be written; nothing was changed"),
];

/// Refusals of operations with a query, a name in the path, or a body.
const INPUT_REFUSALS: &[(u16, &str)] =
    &[(400, "The request cannot be understood, or asks for what cannot be")];

/// Refusals of operations with a body.
const BODY_REFUSALS: &[(u16, &str)] = &[
    (408, "The body came too slowly"),
    (411, "The body has no length"),
    (413, "The body is longer than the operation takes"),
    (415, "The body is not application/json"),
    (422, "The body is JSON, but not what the operation takes"),
];

/// Refusals that only some operations give.
const OWN_REFUSALS: &[(u16, &str)] = &[
    (400, "The request asks for what cannot be"),
    (404, "There is no such thing"),
    (
        409,
        "Not in the present state: a name fits several, or something stands in the way; nothing was changed",
    ),
];

/// The document, OpenAPI 3.1.
pub fn document() -> Value {
    let mut schemas = Schemas::new();
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let described = described(operation, &mut schemas);
        let path =
            paths.entry(format!("/api/v1{}", operation.path)).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(path) = path {
            path.insert(operation.method.lower().to_owned(), value(&described));
        }
    }
    schemas.answers.subschema_for::<ErrorAnswer>();
    value(&Document {
        openapi: "3.1.0",
        json_schema_dialect: DIALECT,
        info: Info {
            title: "Tailwater admin API",
            version: env!("CARGO_PKG_VERSION"),
            description: "Needs the token of the file admin-token in the data directory.",
        },
        security: [std::iter::once(("token", Vec::new())).collect()],
        paths,
        components: Components {
            security_schemes: std::iter::once(("token", Scheme { kind: "http", scheme: "bearer" })).collect(),
            schemas: schemas.all(),
        },
    })
}

/// What is serialised here always is JSON.
fn value(of: &impl Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

/// The two sides of types: what is answered has all its fields, what is asked may leave some out.
struct Schemas {
    questions: SchemaGenerator,
    answers: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self {
            questions: settings().for_deserialize().into_generator(),
            answers: settings().for_serialize().into_generator(),
        }
    }

    fn all(mut self) -> Map<String, Value> {
        let mut all = self.questions.take_definitions(true);
        all.extend(self.answers.take_definitions(true));
        all
    }
}

#[derive(Serialize)]
struct Document {
    openapi: &'static str,
    #[serde(rename = "jsonSchemaDialect")]
    json_schema_dialect: &'static str,
    info: Info,
    security: [std::collections::BTreeMap<&'static str, Vec<String>>; 1],
    paths: Map<String, Value>,
    components: Components,
}

#[derive(Serialize)]
struct Info {
    title: &'static str,
    version: &'static str,
    description: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Components {
    security_schemes: std::collections::BTreeMap<&'static str, Scheme>,
    schemas: Map<String, Value>,
}

#[derive(Serialize)]
struct Scheme {
    #[serde(rename = "type")]
    kind: &'static str,
    scheme: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    operation_id: &'static str,
    summary: &'static str,
    parameters: Vec<Parameter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_body: Option<Body>,
    responses: Map<String, Value>,
}

#[derive(Serialize)]
struct Parameter {
    name: String,
    #[serde(rename = "in")]
    place: &'static str,
    required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Value>,
    schema: Value,
}

#[derive(Serialize)]
struct Body {
    required: bool,
    content: Map<String, Value>,
}

#[derive(Serialize)]
struct Response<'a> {
    description: &'a str,
    content: Map<String, Value>,
}

#[derive(Serialize)]
struct Media {
    schema: Schema,
}

fn media(kind: &str, schema: Schema) -> Map<String, Value> {
    Map::from_iter([(kind.to_owned(), value(&Media { schema }))])
}

fn described(operation: &Operation, schemas: &mut Schemas) -> Described {
    let body = operation.body.map(|schema| Body {
        required: true,
        content: media("application/json", schema(&mut schemas.questions)),
    });
    Described {
        operation_id: operation.name,
        summary: operation.summary.trim(),
        parameters: parameters(operation, schemas),
        request_body: body,
        responses: responses(operation, schemas),
    }
}

/// The schema of a name in a path.
fn named(name: &str, schemas: &mut SchemaGenerator) -> Value {
    let mut schema = value(&String::json_schema(schemas));
    if let ("sha1", Value::Object(schema)) = (name, &mut schema) {
        schema.insert("pattern".to_owned(), "^[0-9a-fA-F]{40}$".into());
    }
    schema
}

fn parameters(operation: &Operation, schemas: &mut Schemas) -> Vec<Parameter> {
    let in_path = operation.parameter().map(|name| Parameter {
        name: name.to_owned(),
        place: "path",
        required: true,
        description: None,
        schema: named(name, &mut schemas.questions),
    });
    let mut all = Vec::from_iter(in_path);
    let Some(query) = operation.query else { return all };
    // the fields of the query's type, which is not named in the document itself
    let reference = query(&mut schemas.questions);
    let name = reference.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    let Some(whole) = name.and_then(|name| schemas.questions.definitions_mut().remove(name)) else {
        return all;
    };
    let required: Vec<&str> =
        whole["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, schema) in whole["properties"].as_object().into_iter().flatten() {
        let mut schema = schema.clone();
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        let required = required.contains(&name.as_str());
        all.push(Parameter { name: name.clone(), place: "query", required, description, schema });
    }
    all
}

fn responses(operation: &Operation, schemas: &mut Schemas) -> Map<String, Value> {
    let mut content = media("application/json", (operation.answer)(&mut schemas.answers));
    for kind in operation.also {
        content.extend(media(kind, String::json_schema(&mut schemas.answers)));
    }
    let done = Response { description: "Done", content };
    let mut all = Map::from_iter([("200".to_owned(), value(&done))]);
    let has_input = operation.query.is_some() || operation.parameter().is_some() || operation.has_body();
    let input = if has_input { INPUT_REFUSALS } else { &[] };
    let body = if operation.has_body() { BODY_REFUSALS } else { &[] };
    let own = OWN_REFUSALS.iter().filter(|(status, _)| operation.refusals.contains(status));
    for (status, description) in REFUSALS.iter().chain(own).chain(input).chain(body) {
        let content = media("application/json", schemas.answers.subschema_for::<ErrorAnswer>());
        all.insert(status.to_string(), value(&Response { description, content }));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn references(of: &Value, found: &mut BTreeSet<String>) {
        match of {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn whatever_is_referred_to_is_there() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 60, "{}", found.len());
        for path in found {
            let path = path.strip_prefix('#').unwrap();
            assert!(document.pointer(path).is_some(), "{path}");
        }
    }

    #[test]
    fn operations_are_described_with_real_schemas() {
        let document = document();
        let described: usize =
            document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
        assert_eq!(described, OPERATIONS.len());
        let names: BTreeSet<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
        assert_eq!(names.len(), OPERATIONS.len(), "generated clients need a name for each");
        let approve = &document["paths"]["/api/v1/updates/approve"]["post"];
        assert_eq!(approve["requestBody"]["required"], true);
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["Approve"]["additionalProperties"], false);
        assert_eq!(schemas["Approve"]["required"], value(&["updates", "group"]));
        assert_eq!(schemas["Update"]["properties"]["arrived"]["format"], "date-time");
        let limit = document["paths"]["/api/v1/updates"]["get"]["parameters"].as_array().unwrap();
        assert!(limit.iter().any(|one| one["name"] == "limit" && one["required"] == false), "{limit:?}");
    }

    /// A type that is both asked and answered has one schema, whoever looks.
    #[test]
    fn a_name_means_one_schema() {
        let mut schemas = Schemas::new();
        for operation in OPERATIONS {
            let _ = operation.body.map(|schema| schema(&mut schemas.questions));
            let _ = operation.query.map(|schema| schema(&mut schemas.questions));
            let _ = (operation.answer)(&mut schemas.answers);
        }
        for (name, question) in schemas.questions.definitions() {
            if let Some(answer) = schemas.answers.definitions().get(name) {
                assert_eq!(question, answer, "{name}");
            }
        }
    }

    #[test]
    fn every_field_says_what_it_is() {
        let document = document();
        let mut silent = Vec::new();
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            for (field, of) in schema["properties"].as_object().into_iter().flatten() {
                if of.get("description").is_none() {
                    silent.push(format!("{name}.{field}"));
                }
            }
        }
        assert!(silent.is_empty(), "{silent:?}");
    }
}
