//! The lines of a JSONL file: numbered, blank ones left out, and never longer than a bound.

use std::io::{BufRead, Read as _};

/// Longest line, as the server's bound on a body.
pub(super) const MAX_LINE_BYTES: usize = 32 << 20;

/// A line of the input, held only while it has a sensible length.
pub(super) enum Line {
    Whole(Vec<u8>),
    TooLong,
}

/// The lines that are not blank, each with its number from 1.
pub(super) struct Lines<R> {
    input: R,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, number: 0 }
    }

    fn read(&mut self) -> std::io::Result<Option<Line>> {
        let mut line = Vec::new();
        let limit = MAX_LINE_BYTES as u64 + 1;
        if (&mut self.input).take(limit).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        if line.len() > MAX_LINE_BYTES && line.last() != Some(&b'\n') {
            self.input.skip_until(b'\n')?;
            return Ok(Some(Line::TooLong));
        }
        Ok(Some(Line::Whole(line)))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = std::io::Result<(u64, Line)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.read() {
                Ok(Some(Line::Whole(line))) if line.trim_ascii().is_empty() => {}
                Ok(line) => return line.map(|line| Ok((self.number, line))),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
