//! Chat templates: Jinja as transformers runs it, with bounds on what a template may cost.
//!
//! A template comes with the model's files and is not trusted: it cannot reach anything but the messages, and its
//! work and output are limited.

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, Value, context};

use super::{ChatMessage, Specials, python};
use crate::engine::EngineError;

/// Instructions, and 64-byte pieces of data; a chat of a thousand messages needs some ten thousand.
const FUEL: u64 = 4_000_000;
const NAME: &str = "chat";

/// A compiled chat template.
pub(super) struct ChatTemplate(Environment<'static>);

impl ChatTemplate {
    /// Compiles a template's source; the error says why it cannot be.
    pub(super) fn new(source: &str) -> Result<Self, String> {
        let mut environment = Environment::new();
        let syntax =
            SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|error| error.to_string())?;
        environment.set_syntax(syntax);
        environment.set_fuel(Some(FUEL));
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_formatter(write_as_python);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", python::strftime_now);
        environment.add_filter("tojson", python::to_json);
        environment
            .add_template_owned(NAME, without_generation_tags(source))
            .map_err(|error| format!("the model's chat template is not valid Jinja: {error:#}"))?;
        Ok(ChatTemplate(environment))
    }

    /// Renders a chat.
    pub(super) fn render(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
        specials: &Specials,
    ) -> Result<String, EngineError> {
        let template = self.0.get_template(NAME).map_err(|error| EngineError::Internal(error.to_string()))?;
        // transformers passes the tokens that exist, and `tools` and `documents` as None.
        let tokens = [("bos_token", &specials.bos), ("eos_token", &specials.eos)];
        let tokens = tokens.into_iter().filter_map(|(name, token)| Some((name, token.clone()?)));
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| Value::from_pairs([("role", message.role.as_str()), ("content", message.content.as_str())]))
            .collect();
        let variables = context! {
            messages,
            tools => Value::from(()),
            documents => Value::from(()),
            add_generation_prompt,
            ..Value::from_pairs(tokens)
        };
        template.render(variables).map_err(|error| {
            EngineError::Text(if error.kind() == ErrorKind::OutOfFuel {
                "the chat template exceeds its limits on work and output".to_owned()
            } else {
                format!("the chat template cannot render these messages: {}", innermost(&error))
            })
        })
    }
}

/// The message of the error that began it, without the engine's trace.
fn innermost(error: &Error) -> String {
    let mut text = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}

fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_owned()))
}

/// Jinja prints what Python's `str` gives: `None`, `True`, `False`.
fn write_as_python(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.is_none() {
        out.write_str("None").map_err(Error::from)
    } else if value.kind() == minijinja::value::ValueKind::Bool {
        out.write_str(if value.is_true() { "True" } else { "False" }).map_err(Error::from)
    } else {
        minijinja::escape_formatter(out, state, value)
    }
}

/// `{% generation %}` marks the assistant's words for training and prints its body: here, a condition that holds.
fn without_generation_tags(source: &str) -> String {
    let mut rewritten = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let (before, tag) = rest.split_at(open);
        rewritten.push_str(before);
        let Some(close) = tag.find("%}") else {
            rewritten.push_str(tag);
            return rewritten;
        };
        let (tag, after) = tag.split_at(close + 2);
        let word = tag[2..close].trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        match word {
            "generation" => rewritten.push_str(&tag.replacen("generation", "if true", 1)),
            "endgeneration" => rewritten.push_str(&tag.replacen("endgeneration", "endif", 1)),
            _ => rewritten.push_str(tag),
        }
        rest = after;
    }
    rewritten.push_str(rest);
    rewritten
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, chat: &[(&str, &str)]) -> Result<String, EngineError> {
        let messages: Vec<_> = chat
            .iter()
            .map(|(role, content)| ChatMessage { role: (*role).to_owned(), content: (*content).to_owned() })
            .collect();
        let specials = Specials { bos: Some("<s>".to_owned()), eos: Some("</s>".to_owned()), ..Specials::default() };
        ChatTemplate::new(source).map_err(EngineError::Load)?.render(&messages, true, &specials)
    }

    // Each expectation is what transformers' apply_chat_template gives.
    #[test]
    fn templates_run_as_in_transformers() {
        let chat = [("user", " hi "), ("assistant", "<ok> & é")];
        let cases = [
            (
                "{{ bos_token }}{% for m in messages %}\n  [{{ m['role'] }}]{{ m.content | trim }}\n{% endfor %}",
                "<s>  [user]hi\n  [assistant]<ok> & é\n",
            ),
            ("{{ messages[1]['content'] | tojson }}", "\"<ok> & é\""),
            (
                "{{ messages | tojson }}",
                "[{\"role\": \"user\", \"content\": \" hi \"}, {\"role\": \"assistant\", \"content\": \"<ok> & é\"}]",
            ),
            ("{{ messages[0].content.strip().upper() + '!' }}{{ messages[-1]['role'].startswith('ass') }}", "HI!True"),
            (
                "{% set ns = namespace(n=0) %}{% for m in messages[::-1] %}{% if loop.first %}{% continue %}{% endif %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}{{ tools }}{{ missing }}",
                "1None",
            ),
            (
                "{%- for m in messages -%} {% generation %}{{ m.content }}{% endgeneration %} {%- endfor -%}",
                " hi <ok> & é",
            ),
            ("{% if messages[0].get('name') is none %}{{ messages[0].items() | list | length }}{% endif %}", "2"),
            (
                "{% if tools is not none and tools %}x{% endif %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
                "<|im_start|>assistant\n",
            ),
        ];
        for (source, expected) in cases {
            assert_eq!(render(source, &chat).unwrap(), expected, "{source}");
        }
    }

    #[test]
    fn refusals_are_told() {
        let error = render("{{ raise_exception('roles must alternate') }}", &[]).unwrap_err().to_string();
        assert!(error.contains("roles must alternate") && !error.contains("line"), "{error}");
        let error = ChatTemplate::new("{% for %}").err().unwrap();
        assert!(error.contains("not valid Jinja"), "{error}");
        assert_eq!(render("{{ strftime_now('%Y') | length }}", &[]).unwrap(), "4");
    }

    #[test]
    fn hostile_templates_run_out_of_fuel() {
        let endless = "{% for i in range(100000) %}{% for j in range(100000) %}{{ i }}{% endfor %}{% endfor %}";
        let huge =
            "{% set ns = namespace(x='x') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}";
        let deep = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}";
        for source in [endless, huge, "{{ 'x' * 99999999999 }}", deep] {
            assert!(matches!(render(source, &[]), Err(EngineError::Text(_))), "{source}");
        }
    }
}
