//! The GGUF container: metadata and the table of tensors, read with every length checked against the file.
//!
//! candle can read GGUF too, but it divides by a zero alignment, cannot name a tensor of an unknown type, and keeps
//! the last of two tensors with one name. A damaged or hostile file gets an error here, never a panic, nor memory
//! beyond a small multiple of its own size. Format: ggml's `docs/gguf.md`.

use std::collections::HashMap;
use std::ops::Range;

use candle_core::quantized::GgmlDType;

use super::stored::StoredKind;

const MAGIC: &[u8; 4] = b"GGUF";
const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_DIMENSIONS: u32 = 4;
/// Real files have some hundreds of tensors and some dozens of keys.
const MAX_TENSORS: u64 = 1 << 17;
const MAX_KEYS: u64 = 1 << 16;
/// The largest vocabularies have some 300,000 tokens and twice as many merges.
const MAX_ARRAY: u64 = 1 << 23;

/// A metadata value. Integers of all widths are one kind, and so are floats.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Integer(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Integers(Vec<i64>),
    Floats(Vec<f32>),
    Bools(Vec<bool>),
}

/// The file's key-value pairs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata(HashMap<String, Value>);

impl Metadata {
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// A string; `None` when the key is absent or of another kind.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Value::Text(text)) => Some(text),
            Some(_) | None => None,
        }
    }

    /// A number that is not negative; `None` when the key is absent or of another kind. Some writers store one value
    /// a layer: an array whose entries agree counts as its entry.
    pub fn size(&self, key: &str) -> Option<usize> {
        match self.get(key) {
            Some(Value::Integer(value)) => usize::try_from(*value).ok(),
            Some(Value::Integers(values)) => {
                let first = values.first()?;
                values.iter().all(|value| value == first).then(|| usize::try_from(*first).ok()).flatten()
            }
            Some(_) | None => None,
        }
    }

    /// A token id.
    pub fn id(&self, key: &str) -> Option<u32> {
        self.size(key).and_then(|size| u32::try_from(size).ok())
    }

    pub fn float(&self, key: &str) -> Option<f64> {
        match self.get(key) {
            Some(Value::Float(value)) => Some(*value),
            Some(Value::Integer(value)) => Some(*value as f64),
            Some(_) | None => None,
        }
    }

    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.get(key) {
            Some(Value::Bool(value)) => Some(*value),
            Some(_) | None => None,
        }
    }

    pub fn texts(&self, key: &str) -> Option<&[String]> {
        match self.get(key) {
            Some(Value::Texts(texts)) => Some(texts),
            Some(_) | None => None,
        }
    }

    pub fn integers(&self, key: &str) -> Option<&[i64]> {
        match self.get(key) {
            Some(Value::Integers(values)) => Some(values),
            Some(_) | None => None,
        }
    }

    pub fn floats(&self, key: &str) -> Option<&[f32]> {
        match self.get(key) {
            Some(Value::Floats(values)) => Some(values),
            Some(_) | None => None,
        }
    }
}

impl FromIterator<(String, Value)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(pairs: I) -> Self {
        Metadata(pairs.into_iter().collect())
    }
}

/// Where a tensor lies and what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorEntry {
    /// Row-major, the slowest dimension first.
    pub shape: Vec<usize>,
    /// Bytes of the file. Empty for a type that this engine does not read.
    pub range: Range<usize>,
    pub kind: Result<StoredKind, UnreadableType>,
}

/// A ggml type that this engine does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnreadableType(u32);

impl std::fmt::Display for UnreadableType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self.0 {
            9 => "Q8_1",
            15 => "Q8_K",
            16 => "IQ2_XXS",
            17 => "IQ2_XS",
            18 => "IQ3_XXS",
            19 => "IQ1_S",
            20 => "IQ4_NL",
            21 => "IQ3_S",
            22 => "IQ2_S",
            23 => "IQ4_XS",
            24 => "I8",
            25 => "I16",
            26 => "I32",
            27 => "I64",
            28 => "F64",
            29 => "IQ1_M",
            34 => "TQ1_0",
            35 => "TQ2_0",
            39 => "MXFP4",
            other => return write!(f, "number {other}"),
        };
        f.write_str(name)
    }
}

fn kind_of(id: u32) -> Result<StoredKind, UnreadableType> {
    Ok(match id {
        0 => StoredKind::F32,
        1 => StoredKind::F16,
        30 => StoredKind::BF16,
        2 => StoredKind::Ggml(GgmlDType::Q4_0),
        3 => StoredKind::Ggml(GgmlDType::Q4_1),
        6 => StoredKind::Ggml(GgmlDType::Q5_0),
        7 => StoredKind::Ggml(GgmlDType::Q5_1),
        8 => StoredKind::Ggml(GgmlDType::Q8_0),
        10 => StoredKind::Ggml(GgmlDType::Q2K),
        11 => StoredKind::Ggml(GgmlDType::Q3K),
        12 => StoredKind::Ggml(GgmlDType::Q4K),
        13 => StoredKind::Ggml(GgmlDType::Q5K),
        14 => StoredKind::Ggml(GgmlDType::Q6K),
        other => return Err(UnreadableType(other)),
    })
}

/// A GGUF file's head.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    pub metadata: Metadata,
    pub tensors: HashMap<String, TensorEntry>,
}

/// Reads the head of a whole GGUF file given as bytes. The error says what is wrong, without the file's name.
pub fn read(file: &[u8]) -> Result<Head, String> {
    let mut reader = Reader { file, position: 0, wide: true };
    if reader.take(4, "the magic number")? != MAGIC {
        return Err("it does not begin with the GGUF magic number".to_owned());
    }
    let version = reader.u32("the version")?;
    match version {
        1 => reader.wide = false,
        2 | 3 => {}
        other if other.swap_bytes() <= 3 => return Err("it is in big-endian byte order, which is not supported".into()),
        other => return Err(format!("its GGUF version {other} is unknown; versions 1 to 3 are read")),
    }
    let tensor_count = reader.count("the number of tensors", MAX_TENSORS, 1)?;
    let key_count = reader.count("the number of metadata keys", MAX_KEYS, 1)?;

    let mut metadata = HashMap::new();
    for _ in 0..key_count {
        let key = reader.text("a metadata key")?;
        let kind = reader.u32(&key)?;
        let value = reader.value(&key, kind)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(format!("the metadata key {key:?} occurs twice"));
        }
    }
    let metadata = Metadata(metadata);
    let mut unplaced = Vec::new();
    for _ in 0..tensor_count {
        unplaced.push(reader.tensor()?);
    }
    let alignment = match metadata.get("general.alignment") {
        None => DEFAULT_ALIGNMENT,
        Some(Value::Integer(value)) => u64::try_from(*value)
            .ok()
            .filter(|alignment| alignment.is_power_of_two() && *alignment <= 1 << 20)
            .ok_or_else(|| format!("general.alignment is {value}"))?,
        Some(_) => return Err("general.alignment is not a number".to_owned()),
    };
    let data = (reader.position as u64).next_multiple_of(alignment);
    Ok(Head { tensors: place(unplaced, data, file.len())?, metadata })
}

struct Unplaced {
    name: String,
    shape: Vec<usize>,
    type_id: u32,
    offset: u64,
}

/// Gives each tensor its bytes, and refuses tensors that leave the file or overlap.
fn place(unplaced: Vec<Unplaced>, data: u64, file_len: usize) -> Result<HashMap<String, TensorEntry>, String> {
    let mut tensors = HashMap::with_capacity(unplaced.len());
    let mut ranges = Vec::with_capacity(unplaced.len());
    for Unplaced { name, shape, type_id, offset } in unplaced {
        let kind = kind_of(type_id);
        let range = match kind {
            Err(_) => 0..0,
            Ok(kind) => {
                let len = kind.bytes_of(&shape).ok_or_else(|| {
                    format!("tensor {name:?} of shape {shape:?} is no whole number of {} blocks", kind.name())
                })?;
                let start = data.checked_add(offset).and_then(|start| usize::try_from(start).ok());
                let end = start.and_then(|start| start.checked_add(len)).filter(|&end| end <= file_len);
                let (Some(start), Some(end)) = (start, end) else {
                    return Err(format!(
                        "the file is truncated or damaged: tensor {name:?} needs {len} bytes at {data} + {offset}, \
                         and the file has {file_len}"
                    ));
                };
                ranges.push((start, end, name.clone()));
                start..end
            }
        };
        if tensors.insert(name.clone(), TensorEntry { shape, range, kind }).is_some() {
            return Err(format!("the tensor {name:?} occurs twice"));
        }
    }
    ranges.sort();
    for pair in ranges.windows(2) {
        if let [(_, end, first), (start, _, second)] = pair
            && start < end
        {
            return Err(format!("the tensors {first:?} and {second:?} overlap"));
        }
    }
    Ok(tensors)
}

struct Reader<'a> {
    file: &'a [u8],
    position: usize,
    /// Versions 2 and 3 have lengths of 64 bits, version 1 of 32.
    wide: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize, what: &str) -> Result<&'a [u8], String> {
        let bytes = self
            .position
            .checked_add(len)
            .and_then(|end| self.file.get(self.position..end))
            .ok_or_else(|| format!("the file is truncated or damaged: it ends within {what}"))?;
        self.position += len;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    fn u32(&mut self, what: &str) -> Result<u32, String> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn length(&mut self, what: &str) -> Result<u64, String> {
        if self.wide { self.array(what).map(u64::from_le_bytes) } else { self.u32(what).map(u64::from) }
    }

    /// A number of things of at least `least` bytes each that must still fit in the file.
    fn count(&mut self, what: &str, max: u64, least: u64) -> Result<usize, String> {
        let count = self.length(what)?;
        let left = (self.file.len() - self.position) as u64;
        if count > max || count.saturating_mul(least) > left {
            return Err(format!("the file is truncated or damaged: {what} is {count}"));
        }
        Ok(count as usize)
    }

    fn text(&mut self, what: &str) -> Result<String, String> {
        let len = self.length(what)?;
        let len = usize::try_from(len).map_err(|_| format!("the length of {what} is {len}"))?;
        let bytes = self.take(len, what)?;
        // Some writers end strings with a zero, and some vocabularies hold bytes that are no UTF-8.
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    fn value(&mut self, key: &str, kind: u32) -> Result<Value, String> {
        Ok(match kind {
            6 | 12 => Value::Float(self.float(key, kind)?),
            7 => Value::Bool(self.bool(key)?),
            8 => Value::Text(self.text(key)?),
            9 => {
                let kind = self.u32(key)?;
                let least = match kind {
                    0 | 1 | 7 => 1,
                    2 | 3 => 2,
                    4..=6 => 4,
                    8 if !self.wide => 4,
                    _ => 8,
                };
                let count = self.count(key, MAX_ARRAY, least)?;
                self.values(key, kind, count)?
            }
            _ => Value::Integer(self.integer(key, kind)?),
        })
    }

    fn values(&mut self, key: &str, kind: u32, count: usize) -> Result<Value, String> {
        let indices = 0..count;
        Ok(match kind {
            6 | 12 => Value::Floats(indices.map(|_| Ok(self.float(key, kind)? as f32)).collect::<Result<_, String>>()?),
            7 => Value::Bools(indices.map(|_| self.bool(key)).collect::<Result<_, _>>()?),
            8 => Value::Texts(indices.map(|_| self.text(key)).collect::<Result<_, _>>()?),
            9 => {
                return Err(format!("the metadata key {key:?} is an array of arrays, which no model file needs"));
            }
            _ => {
                let narrow = |value: i128| i64::try_from(value).map_err(|_| format!("{key:?} holds {value}"));
                Value::Integers(indices.map(|_| self.integer(key, kind).and_then(narrow)).collect::<Result<_, _>>()?)
            }
        })
    }

    fn float(&mut self, key: &str, kind: u32) -> Result<f64, String> {
        Ok(match kind {
            6 => f64::from(f32::from_le_bytes(self.array(key)?)),
            _ => f64::from_le_bytes(self.array(key)?),
        })
    }

    fn bool(&mut self, key: &str) -> Result<bool, String> {
        match self.array::<1>(key)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(format!("the metadata key {key:?} holds {other} for a boolean")),
        }
    }

    fn integer(&mut self, key: &str, kind: u32) -> Result<i128, String> {
        Ok(match kind {
            0 => u8::from_le_bytes(self.array(key)?).into(),
            1 => i8::from_le_bytes(self.array(key)?).into(),
            2 => u16::from_le_bytes(self.array(key)?).into(),
            3 => i16::from_le_bytes(self.array(key)?).into(),
            4 => u32::from_le_bytes(self.array(key)?).into(),
            5 => i32::from_le_bytes(self.array(key)?).into(),
            10 => u64::from_le_bytes(self.array(key)?).into(),
            11 => i64::from_le_bytes(self.array(key)?).into(),
            other => return Err(format!("the metadata key {key:?} has the unknown value type {other}")),
        })
    }

    fn tensor(&mut self) -> Result<Unplaced, String> {
        let name = self.text("a tensor's name")?;
        let dimensions = self.u32(&name)?;
        if dimensions > MAX_DIMENSIONS {
            return Err(format!("tensor {name:?} has {dimensions} dimensions"));
        }
        let mut shape = Vec::with_capacity(dimensions as usize);
        for _ in 0..dimensions {
            let dim = self.length(&name)?;
            shape.push(usize::try_from(dim).map_err(|_| format!("tensor {name:?} has a dimension of {dim}"))?);
        }
        // GGUF names the fastest dimension first.
        shape.reverse();
        let type_id = self.u32(&name)?;
        let offset = self.array(&name).map(u64::from_le_bytes)?;
        Ok(Unplaced { name, shape, type_id, offset })
    }
}
