//! Configurations of jobs in the API's description, made of what the jobs say of their fields.

use serde_json::{Value, json};
use utoipa::Modify;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{OpenApi, Ref, RefOr, Schema};

use super::dto_jobs::JobKindDto;
use crate::domain::job::JobKind;
use crate::jobs::{Bound, ConfigField, FieldValues, config_fields};

const KINDS: [(JobKindDto, &str); 7] = [
    (JobKindDto::Sample, "SampleJobConfig"),
    (JobKindDto::Select, "SelectJobConfig"),
    (JobKindDto::Sft, "SftJobConfig"),
    (JobKindDto::Contrast, "ContrastJobConfig"),
    (JobKindDto::Preference, "PreferenceJobConfig"),
    (JobKindDto::Evaluate, "EvaluateJobConfig"),
    (JobKindDto::Pipeline, "PipelineJobConfig"),
];

/// The schema of any job's configuration: which of them goes by the job's kind.
pub(super) fn any() -> RefOr<Schema> {
    let description = "Settings by TRL's and PEFT's names, those of the job's kind; what is left out is the published \
                       setting, and the record shows all of them.";
    let example = json!({"dataset": "gsm8k-train", "eval_dataset": "gsm8k-test", "sample": {"temperature": 0.7}});
    let each = KINDS
        .iter()
        .fold(AnyOfBuilder::new().description(Some(description)).examples([example]), |any_of, (_, name)| {
            any_of.item(Ref::from_schema_name(*name))
        });
    each.into()
}

/// Adds the kinds' configurations to the description's components.
pub(super) struct JobConfigs;

impl Modify for JobConfigs {
    fn modify(&self, openapi: &mut OpenApi) {
        let components = openapi.components.get_or_insert_default();
        for (kind, name) in KINDS {
            let kind = JobKind::from(kind);
            let mut schema = object(&config_fields(kind));
            schema["description"] = json!(format!("Settings of a `{}` job", kind.name()));
            // Of the forms that are used here every one is a schema of OpenAPI's.
            if let Ok(schema) = serde_json::from_value::<Schema>(schema) {
                components.schemas.insert(name.to_owned(), schema.into());
            }
        }
    }
}

fn object(fields: &[ConfigField]) -> Value {
    let properties: serde_json::Map<String, Value> =
        fields.iter().map(|field| (field.name.clone(), property(field))).collect();
    let required: Vec<&str> = fields
        .iter()
        .filter(|field| field.values == FieldValues::Dataset { required: true })
        .map(|field| field.name.as_str())
        .collect();
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn property(field: &ConfigField) -> Value {
    let typed = |name: &str, nullable: bool| match nullable {
        true => json!({"type": [name, "null"]}),
        false => json!({"type": name}),
    };
    let mut schema = match &field.values {
        FieldValues::Dataset { required } => typed("string", !required),
        FieldValues::Text => typed("string", false),
        FieldValues::Choice(choices) => json!({"type": "string", "enum": choices}),
        FieldValues::Texts { nullable } => {
            let mut schema = typed("array", *nullable);
            schema["items"] = json!({"type": "string"});
            schema
        }
        FieldValues::Count { min, max, nullable } => {
            let mut schema = typed("integer", *nullable);
            schema["minimum"] = json!(min);
            if let Some(max) = max {
                schema["maximum"] = json!(max);
            }
            schema
        }
        FieldValues::Number { above, below } => {
            let mut schema = typed("number", false);
            match above {
                Bound::With(end) => schema["minimum"] = json!(end),
                Bound::Without(end) => schema["exclusiveMinimum"] = json!(end),
            }
            match below {
                Some(Bound::With(end)) => schema["maximum"] = json!(end),
                Some(Bound::Without(end)) => schema["exclusiveMaximum"] = json!(end),
                None => {}
            }
            schema
        }
        FieldValues::Flag => typed("boolean", false),
        FieldValues::Model => json!({"oneOf": [{"type": "string"}, artifact("object")]}),
        FieldValues::Artifact => artifact(["object", "null"]),
        FieldValues::Object { fields, nullable } => {
            let mut schema = object(fields);
            if *nullable {
                schema["type"] = json!(["object", "null"]);
            }
            schema
        }
    };
    schema["description"] = json!(field.about);
    match field.values {
        // Those of its fields are the default.
        FieldValues::Object { .. } => {}
        FieldValues::Dataset { .. }
        | FieldValues::Text
        | FieldValues::Choice(_)
        | FieldValues::Texts { .. }
        | FieldValues::Count { .. }
        | FieldValues::Number { .. }
        | FieldValues::Flag
        | FieldValues::Model
        | FieldValues::Artifact => {
            if !field.default.is_null() {
                schema["default"] = field.default.clone();
            }
        }
    }
    schema
}

/// An adapter among a job's artifacts.
fn artifact(kind: impl serde::Serialize) -> Value {
    let text = json!({"type": "string"});
    json!({
        "type": kind, "properties": {"job": text, "artifact": text}, "required": ["job", "artifact"],
        "additionalProperties": false
    })
}

#[cfg(test)]
mod tests {
    use utoipa::OpenApi as _;

    use super::*;
    use crate::http::docs::ApiDoc;

    #[test]
    fn every_kind_is_described() {
        let description = serde_json::to_value(ApiDoc::openapi()).unwrap();
        for (_, name) in KINDS {
            let schema = &description["components"]["schemas"][name];
            assert_eq!(schema["required"], json!(["dataset"]), "{name}");
        }
        let lora = |name: &str| &description["components"]["schemas"][name]["properties"]["lora"];
        assert_eq!(lora("SftJobConfig")["type"], json!(["object", "null"]));
        assert_eq!(lora("PreferenceJobConfig")["properties"]["r"]["default"], 16);
    }
}
