//! `GET /api/docs`: the description of the API as an HTML page. It is rendered on the server, so that it needs no
//! script and no external file.

use serde_json::{Map, Value, json};

/// The order of the methods on the page.
const METHODS: [&str; 6] = ["get", "post", "put", "patch", "delete", "head"];
/// An unused id, for examples.
const SOME_ID: &str = "0197f3c2-5b1e-4a44-9d0c-3f6b2f1f7a10";
/// The maximum depth of an example, since a schema may refer to itself.
const MAX_DEPTH: usize = 6;

/// Returns the values of the page for this description.
pub fn page(document: &Value, base: &str) -> Value {
    Reader(document).page(base)
}

/// Reads the description.
struct Reader<'a>(&'a Value);

impl Reader<'_> {
    fn page(&self, base: &str) -> Value {
        let groups = self.0["tags"].as_array().into_iter().flatten().map(|tag| self.group(tag, base));
        let schemas =
            entries(&self.0["components"]["schemas"]).map(|(name, schema)| self.schema(name, schema));
        json!({
            "version": self.0["info"]["version"],
            "base": base,
            "groups": groups.filter(|group| group["operations"] != json!([])).collect::<Vec<_>>(),
            "schemas": schemas.collect::<Vec<_>>(),
        })
    }

    fn group(&self, tag: &Value, base: &str) -> Value {
        let mut operations = Vec::new();
        for (path, item) in entries(&self.0["paths"]) {
            for method in METHODS {
                let operation = &item[method];
                if operation["tags"][0] == tag["name"] {
                    operations.push(self.operation(method, path, operation, base));
                }
            }
        }
        let name = text(&tag["name"]);
        let (anchor, about) = (name.replace(' ', "-"), inline(&text(&tag["description"])));
        json!({"name": name, "anchor": anchor, "about": about, "operations": operations})
    }

    fn operation(&self, method: &str, path: &str, operation: &Value, base: &str) -> Value {
        let parameters = operation["parameters"].as_array().into_iter().flatten().map(|one| {
            json!({
                "name": one["name"],
                "place": one["in"],
                "required": one["required"] == true,
                "type": self.kind(&one["schema"]),
                "about": inline(&text(&one["description"])),
            })
        });
        let answers = entries(&operation["responses"]).map(|(status, answer)| {
            let schema = entries(&answer["content"]).next().map(|(kind, content)| match kind {
                "text/html" => "page".to_owned(),
                _ => self.kind(&content["schema"]),
            });
            json!({"status": status, "type": schema, "about": inline(&text(&answer["description"]))})
        });
        let body = entries(&operation["requestBody"]["content"])
            .next()
            .map(|(kind, content)| json!({"kind": kind, "type": self.kind(&content["schema"])}));
        json!({
            "id": operation["operationId"],
            "method": method.to_uppercase(),
            "path": path,
            "summary": inline(text(&operation["summary"]).trim_end_matches('.')),
            "about": inline(&text(&operation["description"])),
            "access": access(&operation["security"]),
            "parameters": parameters.collect::<Vec<_>>(),
            "body": body,
            "answers": answers.collect::<Vec<_>>(),
            "curl": self.curl(method, path, operation, base),
        })
    }

    /// Returns a command for a terminal, with all required parameters.
    fn curl(&self, method: &str, path: &str, operation: &Value, base: &str) -> String {
        let path = path.replace("{id}", SOME_ID).replace("{path}", "crm/v3/objects/contacts");
        let path = path.split('{').enumerate().fold(String::new(), |path, (at, part)| match at {
            0 => part.to_owned(),
            _ => path + SOME_ID + part.split_once('}').map_or("", |(_, rest)| rest),
        });
        let mut parts = vec![match method {
            "get" => format!("curl {base}{path}"),
            "head" => format!("curl --head {base}{path}"),
            _ => format!("curl -X {} {base}{path}", method.to_uppercase()),
        }];
        let asked = operation["security"].to_string();
        if asked.contains("\"api_key\"") {
            parts.push("-H \"Authorization: Bearer $API_KEY\"".to_owned());
        } else if asked.contains("\"verifier\"") && !asked.contains("{}") {
            parts.push("-H \"Hubspot-Connect-Verifier: $VERIFIER\"".to_owned());
        }
        if let Some((kind, content)) = entries(&operation["requestBody"]["content"]).next()
            && kind == "application/json"
        {
            parts.push("-H 'Content-Type: application/json'".to_owned());
            parts.push(format!("-d '{}'", self.example(&content["schema"], 0)));
        }
        parts.join(" \\\n  ")
    }

    fn schema(&self, name: &str, schema: &Value) -> Value {
        let fields = self.fields(schema).into_iter().map(|(name, field, required)| {
            json!({
                "name": name,
                "required": required,
                "type": self.kind(&field),
                "about": inline(&text(&field["description"])),
            })
        });
        let fields: Vec<_> = fields.collect();
        let words = schema["enum"].as_array().cloned().unwrap_or_default();
        let kind = (fields.is_empty() && words.is_empty()).then(|| self.kind(schema));
        let about = inline(&text(&schema["description"]));
        json!({"name": name, "about": about, "fields": fields, "words": words, "type": kind})
    }

    /// Returns the fields of an object, with those of the schemas that it is composed of.
    fn fields(&self, schema: &Value) -> Vec<(String, Value, bool)> {
        let schema = self.followed(schema);
        let parts = schema["allOf"].as_array().into_iter().flatten();
        let mut fields: Vec<_> = parts.flat_map(|part| self.fields(part)).collect();
        let required =
            |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
        fields.extend(
            entries(&schema["properties"])
                .map(|(name, field)| (name.to_owned(), field.clone(), required(name))),
        );
        fields
    }

    fn followed<'b>(&'b self, schema: &'b Value) -> &'b Value {
        let pointer = schema["$ref"].as_str().and_then(|name| name.strip_prefix('#'));
        pointer.and_then(|pointer| self.0.pointer(pointer)).unwrap_or(schema)
    }

    /// Returns the type of a value, as HTML with links to named schemas.
    fn kind(&self, schema: &Value) -> String {
        if let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
            return format!("<a href=\"#schema-{0}\">{0}</a>", escaped(name));
        }
        if let Some(parts) = schema["oneOf"].as_array().or_else(|| schema["allOf"].as_array()) {
            let word = if schema["oneOf"].is_array() { " or " } else { " with " };
            return parts.iter().map(|part| self.kind(part)).collect::<Vec<_>>().join(word);
        }
        let words = match &schema["type"] {
            Value::Array(words) => words.iter().map(text).collect(),
            Value::String(word) => vec![word.clone()],
            _ => vec!["any value".to_owned()],
        };
        let named = |word: String| match word.as_str() {
            "array" => format!("array of {}", self.kind(&schema["items"])),
            "string" if schema["format"].is_string() => escaped(&text(&schema["format"])),
            _ => escaped(&word),
        };
        let kind = words.into_iter().map(named).collect::<Vec<_>>().join(" or ");
        match schema["enum"].as_array() {
            Some(words) if words.len() < 12 => {
                let words: Vec<_> = words.iter().map(|word| inline(&format!("`{}`", text(word)))).collect();
                words.join(" | ")
            }
            _ => kind,
        }
    }

    /// Returns an example of a value: the given one, otherwise a minimal one.
    fn example(&self, schema: &Value, depth: usize) -> Value {
        let schema = self.followed(schema);
        let given = [&schema["example"], &schema["examples"][0], &schema["enum"][0]];
        if let Some(given) = given.into_iter().find(|given| !given.is_null()) {
            return given.clone();
        }
        if let Some(part) = schema["oneOf"].as_array().and_then(|parts| parts.last()) {
            return if depth < MAX_DEPTH { self.example(part, depth + 1) } else { Value::Null };
        }
        let kind = schema["type"].as_str().or(schema["type"][0].as_str()).unwrap_or("object");
        match (kind, schema["format"].as_str()) {
            ("string", Some("uuid")) => SOME_ID.into(),
            ("string", Some("uri")) => "https://app.example.com/hook".into(),
            ("string", _) => "…".into(),
            ("integer" | "number", _) => schema["minimum"].as_i64().unwrap_or(1).into(),
            ("boolean", _) => true.into(),
            ("array", _) if depth < MAX_DEPTH => json!([self.example(&schema["items"], depth + 1)]),
            ("object", _) if depth < MAX_DEPTH => {
                // Required fields, and those with an example.
                let wanted = |field: &Value, required| required || !field["example"].is_null();
                let fields =
                    self.fields(schema).into_iter().filter(|(_, field, required)| wanted(field, *required));
                let fields = fields.map(|(name, field, _)| (name, self.example(&field, depth + 1)));
                Value::Object(fields.collect::<Map<_, _>>())
            }
            _ => Value::Null,
        }
    }
}

/// Returns who may call an operation, in words.
fn access(security: &Value) -> String {
    let ways = security.as_array().into_iter().flatten().map(|way| match entries(way).next() {
        None => "anyone".to_owned(),
        Some(("api_key", scopes)) => match scopes[0].as_str() {
            Some(scope) => format!("an API key with `{scope}`"),
            None => "any API key".to_owned(),
        },
        Some(("session", _)) => "the browser's session".to_owned(),
        Some((name, _)) => format!("a {name}"),
    });
    inline(&ways.collect::<Vec<_>>().join(", or "))
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Returns the HTML of a text in which backticks enclose code.
fn inline(text: &str) -> String {
    let parts = text.split('`').map(escaped).enumerate();
    parts.map(|(at, part)| if at % 2 == 1 { format!("<code>{part}</code>") } else { part }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_code_is_marked() {
        assert_eq!(inline("a <b> `c & d`."), "a &lt;b&gt; <code>c &amp; d</code>.");
    }

    #[test]
    fn examples_have_required_fields_and_stop_at_recursion() {
        let document = json!({"components": {"schemas": {"Knot": {
            "type": "object", "required": ["next", "id"],
            "properties": {
                "next": {"$ref": "#/components/schemas/Knot"},
                "id": {"type": "string", "format": "uuid"},
                "other": {"type": "string"},
            },
        }}}});
        let example = Reader(&document).example(&json!({"$ref": "#/components/schemas/Knot"}), 0);
        assert_eq!(example["next"]["id"], SOME_ID);
        assert!(example.get("other").is_none());
        assert!(example.to_string().contains("\"next\":null"));
    }
}
