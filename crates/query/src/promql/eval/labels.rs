//! Functions that change or order labels.

use std::cmp::Ordering;

use signal::{Labels, go_regex};

use super::call::argument;
use super::rows::{Grid, Name, Row, unique_relabelled};
use super::{EvalError, Evaluator, Output};
use crate::promql::ast::Call;
use crate::promql::functions::Special;

impl Evaluator<'_> {
    /// `label_replace(v, destination, replacement, source, pattern)`
    pub(super) fn label_replace(&mut self, call: &Call, grid: Grid) -> Result<Vec<Row>, EvalError> {
        let mut rows = self.vector(argument(call, 0)?, grid)?;
        let destination = self.text(argument(call, 1)?, grid)?;
        let replacement = self.text(argument(call, 2)?, grid)?;
        let source = self.text(argument(call, 3)?, grid)?;
        let pattern = self.text(argument(call, 4)?, grid)?;
        let regex = go_regex::compile(&format!("^(?s:{pattern})$"))
            .map_err(|_| EvalError::execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
        if !is_label_name(&destination) {
            return Err(EvalError::execution(format!(
                "invalid destination label name in label_replace(): {destination}"
            )));
        }
        for row in &mut rows {
            let labels = row.labels();
            let Some(found) = regex.captures(labels.get_or_empty(&source)) else {
                continue;
            };
            let mut value = String::new();
            found.expand(&replacement, &mut value);
            set(row, &labels, &destination, &value);
        }
        unique_relabelled(rows)
    }

    /// `label_join(v, destination, separator, source…)`
    pub(super) fn label_join(&mut self, call: &Call, grid: Grid) -> Result<Vec<Row>, EvalError> {
        let mut rows = self.vector(argument(call, 0)?, grid)?;
        let destination = self.text(argument(call, 1)?, grid)?;
        let separator = self.text(argument(call, 2)?, grid)?;
        let sources = self.names(call, 3, grid)?;
        if !is_label_name(&destination) {
            return Err(EvalError::execution(format!("invalid destination label name in label_join(): {destination}")));
        }
        if let Some(bad) = sources.iter().find(|source| !is_label_name(source)) {
            return Err(EvalError::execution(format!("invalid source label name in label_join(): {bad}")));
        }
        for row in &mut rows {
            let labels = row.labels();
            let values: Vec<&str> = sources.iter().map(|source| labels.get_or_empty(source)).collect();
            set(row, &labels, &destination, &values.join(&separator));
        }
        unique_relabelled(rows)
    }

    /// Orders by the labels named, then by all labels; numbers inside values count as numbers.
    pub(super) fn sort_by_label(&mut self, special: Special, call: &Call, grid: Grid) -> Result<Output, EvalError> {
        let mut rows = self.vector(argument(call, 0)?, grid)?;
        let names = self.names(call, 1, grid)?;
        if grid.count == 1 {
            let mut labelled: Vec<(Labels, Row)> = rows.drain(..).map(|row| (row.labels(), row)).collect();
            labelled.sort_by(|(a, _), (b, _)| {
                let by_names = names
                    .iter()
                    .map(|name| natural(a.get_or_empty(name), b.get_or_empty(name)))
                    .find(|order| order.is_ne());
                by_names.unwrap_or_else(|| a.cmp(b))
            });
            if special == Special::SortByLabelDesc {
                labelled.reverse();
            }
            rows.extend(labelled.into_iter().map(|(_, row)| row));
        }
        Ok(Output::Vector(rows))
    }

    fn names(&mut self, call: &Call, from: usize, grid: Grid) -> Result<Vec<String>, EvalError> {
        call.args.iter().skip(from).map(|arg| self.text(arg, grid)).collect()
    }
}

/// Sets a label of a row; a name that was leaving stays when it is set.
fn set(row: &mut Row, labels: &Labels, destination: &str, value: &str) {
    let name = if row.name() == Name::Leaving && destination != Labels::NAME { Name::Leaving } else { Name::Kept };
    row.relabel(labels.with(destination, value), name);
}

/// Any UTF-8 is a name; U+FFFD is what the lexer makes of bytes that are not UTF-8.
fn is_label_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('\u{fffd}')
}

/// Compares texts so that `cpu2` comes before `cpu10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let ((a_part, a_rest), (b_part, b_rest)) = (first_part(a), first_part(b));
        if a_part.is_empty() || b_part.is_empty() {
            return a.cmp(b);
        }
        let order = match (digits(a_part), digits(b_part)) {
            // Without leading zeros the longer number is the larger one.
            (Some(x), Some(y)) => x.len().cmp(&y.len()).then_with(|| x.cmp(y)).then_with(|| a_part.cmp(b_part)),
            _ => a_part.cmp(b_part),
        };
        if order.is_ne() {
            return order;
        }
        (a, b) = (a_rest, b_rest);
    }
}

fn digits(part: &str) -> Option<&str> {
    part.starts_with(|c: char| c.is_ascii_digit()).then(|| part.trim_start_matches('0'))
}

/// Splits off the leading run of digits, or of everything else.
fn first_part(text: &str) -> (&str, &str) {
    let numeric = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != numeric).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_texts_order_as_numbers() {
        let mut texts = ["cpu10", "cpu2", "", "cpu", "10", "9", "cpu2b", "cpu002"];
        texts.sort_by(|a, b| natural(a, b));
        assert_eq!(texts, ["", "9", "10", "cpu", "cpu002", "cpu2", "cpu2b", "cpu10"]);
    }
}
