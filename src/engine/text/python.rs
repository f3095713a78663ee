//! What chat templates expect of Python: `json.dumps` and `strftime`.

use std::io;

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, Value};
use serde::Serialize;
use serde_json::ser::Formatter;

/// The `tojson` filter as transformers defines it: `json.dumps(value, ensure_ascii=False)` with an optional `indent`,
/// and without Jinja's escapes for HTML.
pub(super) fn to_json(value: &Value, kwargs: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    let sort_keys: Option<bool> = kwargs.get("sort_keys")?;
    let ascii: Option<bool> = kwargs.get("ensure_ascii")?;
    let _separators: Option<Value> = kwargs.get("separators")?;
    kwargs.assert_all_used()?;
    let fail = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    let mut json = serde_json::to_value(value).map_err(fail)?;
    if sort_keys == Some(true) {
        json.sort_all_objects();
    }
    let mut out = Vec::new();
    let formatter = PythonFormatter { indent, depth: 0, filled: false, ascii: ascii == Some(true) };
    json.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter)).map_err(fail)?;
    String::from_utf8(out).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
}

/// Python's separators: `", "` and `": "`, or lines where there is an indent.
struct PythonFormatter {
    indent: Option<usize>,
    depth: usize,
    /// The innermost container has an element; Python writes empty ones on one line.
    filled: bool,
    ascii: bool,
}

impl PythonFormatter {
    fn open<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.filled = false;
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.filled {
            self.new_line(writer)?;
        }
        self.filled = true;
        writer.write_all(bracket)
    }

    fn separate<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(if self.indent.is_some() { b"," } else { b", " })?;
        }
        self.filled = true;
        self.new_line(writer)
    }

    fn new_line<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        let Some(indent) = self.indent else { return Ok(()) };
        // A template's own indent; a hostile one is no reason to write megabytes of spaces.
        let spaces = indent.min(64) * self.depth;
        writer.write_all(b"\n")?;
        writer.write_all(" ".repeat(spaces).as_bytes())
    }
}

impl Formatter for PythonFormatter {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.separate(writer, first)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.separate(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if !self.ascii {
            return writer.write_all(fragment.as_bytes());
        }
        let mut units = [0; 2];
        for c in fragment.chars() {
            if c.is_ascii() {
                writer.write_all(&[c as u8])?;
            } else {
                for unit in c.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

/// The `strftime_now` function of transformers, in UTC: templates write the day into the system prompt.
pub(super) fn strftime_now(format: &str) -> Result<String, Error> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    strftime(format, since.as_secs()).map_err(|directive| {
        Error::new(ErrorKind::InvalidOperation, format!("strftime_now does not know the directive %{directive}"))
    })
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// Formats Unix seconds by Python's commoner directives; the error is the unknown one.
fn strftime(format: &str, seconds: u64) -> Result<String, char> {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    // 1 January 1970 was a Thursday.
    let weekday = DAYS[(days + 3) as usize % 7];
    let month_name = MONTHS[month as usize - 1];
    let mut out = String::new();
    let mut characters = format.chars();
    while let Some(c) = characters.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let directive = characters.next().unwrap_or('%');
        // glibc's `%-d`: without the leading zero.
        let (bare, directive) = match directive {
            '-' => (true, characters.next().unwrap_or('-')),
            other => (false, other),
        };
        let number = |value: u64| if bare { value.to_string() } else { format!("{value:02}") };
        out.push_str(&match directive {
            'Y' => year.to_string(),
            'y' => number(year % 100),
            'm' => number(month),
            'd' => number(day),
            'H' => number(hour),
            'I' => number((hour + 11) % 12 + 1),
            'M' => number(minute),
            'S' => number(second),
            'p' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            'B' => month_name.to_owned(),
            'b' | 'h' => month_name[..3].to_owned(),
            'A' => weekday.to_owned(),
            'a' => weekday[..3].to_owned(),
            'F' => format!("{year}-{month:02}-{day:02}"),
            'T' => format!("{hour:02}:{minute:02}:{second:02}"),
            '%' => "%".to_owned(),
            unknown => return Err(unknown),
        });
    }
    Ok(out)
}

/// Year, month and day of a day since 1970, by Howard Hinnant's `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_python_s() {
        // datetime.datetime.fromtimestamp(1709214896, datetime.UTC).strftime(...)
        let at = 1_709_214_896;
        assert_eq!(strftime("%d %b %Y", at).unwrap(), "29 Feb 2024");
        assert_eq!(
            strftime("%A, %B %-d, %Y %H:%M:%S %I%p 100%%", at).unwrap(),
            "Thursday, February 29, 2024 13:54:56 01PM 100%"
        );
        assert_eq!(strftime("%Y-%m-%d", 0).unwrap(), "1970-01-01");
        assert_eq!(strftime("%Q", 0), Err('Q'));
    }

    #[test]
    fn json_is_python_s() {
        // json.dumps({"b": ["<é>", {}], "a": 1}, ensure_ascii=False) and with indent=2.
        let list = Value::from(vec![Value::from("<é>"), Value::from_pairs::<_, &str, Value>([])]);
        let value = Value::from_pairs([("b", list), ("a", Value::from(1))]);
        let dump = |pairs: &[(&'static str, Value)]| to_json(&value, pairs.iter().cloned().collect()).unwrap();
        assert_eq!(dump(&[]), r#"{"b": ["<é>", {}], "a": 1}"#);
        assert_eq!(dump(&[("indent", 2.into())]), "{\n  \"b\": [\n    \"<é>\",\n    {}\n  ],\n  \"a\": 1\n}");
        assert_eq!(dump(&[("ensure_ascii", true.into())]), r#"{"b": ["<\u00e9>", {}], "a": 1}"#);
        assert_eq!(dump(&[("sort_keys", true.into())]), r#"{"a": 1, "b": ["<é>", {}]}"#);
    }
}
