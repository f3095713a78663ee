//! What a finished run leaves: a PEFT adapter, or a Hugging Face folder.

use std::collections::HashMap;
use std::path::Path;

use serde_json::json;

use super::TrainError;
use super::checkpoint::{bytes, replace, write};
use super::parameters::Parameters;
use super::plan::{LoraConfig, Method};

/// Files of a Hugging Face folder that a trained model takes over from its base.
const KEPT: [&str; 8] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
];

/// The base that was trained.
pub(super) struct Origin<'a> {
    /// As PEFT's `base_model_name_or_path`.
    pub(super) name: &'a str,
    /// Its folder, if it is a Hugging Face one.
    pub(super) folder: Option<&'a Path>,
}

/// Refuses a method whose result could not be written.
pub(super) fn check(method: &Method, origin: &Origin<'_>) -> Result<(), TrainError> {
    match (method, origin.folder) {
        (Method::Full, None) => {
            Err(TrainError::invalid("full", "full training writes a Hugging Face folder, and needs one as its base"))
        }
        (Method::Full, Some(_)) | (Method::Lora(_), _) => Ok(()),
    }
}

/// Writes what was trained into `folder`, which is made.
pub(super) fn save(
    folder: &Path,
    method: &Method,
    origin: &Origin<'_>,
    parameters: &Parameters,
) -> Result<(), TrainError> {
    std::fs::create_dir_all(folder).map_err(TrainError::disk(folder))?;
    let tensors: Vec<_> = parameters.0.iter().map(|p| (p.name.clone(), p.shape.clone(), bytes(&p.values))).collect();
    // What transformers and PEFT look for.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    match method {
        Method::Lora(lora) => {
            let config = peft_config(lora, origin.name, parameters);
            let text = serde_json::to_vec_pretty(&config).map_err(|error| TrainError::Internal(error.to_string()))?;
            // The configuration comes last: it is what makes the folder an adapter for whoever looks.
            write(&folder.join("adapter_model.safetensors"), &tensors, format)?;
            replace(&folder.join("adapter_config.json"), &text)
        }
        Method::Full => {
            for name in KEPT {
                let from = origin.folder.map(|base| base.join(name)).filter(|from| from.is_file());
                if let Some(from) = from {
                    let data = std::fs::read(&from).map_err(TrainError::disk(&from))?;
                    replace(&folder.join(name), &data)?;
                }
            }
            write(&folder.join("model.safetensors"), &tensors, format)
        }
    }
}

/// PEFT's configuration of the adapter, with the modules by name where `all-linear` was asked for.
fn peft_config(lora: &LoraConfig, base: &str, parameters: &Parameters) -> serde_json::Value {
    let mut modules: Vec<String> = Vec::new();
    for parameter in &parameters.0 {
        let module = parameter.name.trim_end_matches(".lora_A.weight").trim_end_matches(".lora_B.weight");
        let name = match lora.target_modules.iter().find(|name| module.ends_with(name.as_str())) {
            Some(name) => name.clone(),
            None => module.rsplit('.').next().unwrap_or(module).to_owned(),
        };
        if !modules.contains(&name) {
            modules.push(name);
        }
    }
    json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.r,
        "lora_alpha": lora.lora_alpha,
        "lora_dropout": lora.lora_dropout,
        "target_modules": modules,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "modules_to_save": null,
        "use_dora": false,
        "use_rslora": false,
    })
}
