//! Figures as an aligned table.

use std::fmt;

use super::{Comparison, Figure};

const COLUMNS: usize = 8;
const HEADS: [&str; COLUMNS] = ["figure", "value", "unit", "beside", "its value", "ratio", "goal", ""];
/// Columns of numbers, which end at the same place.
const RIGHT: [bool; COLUMNS] = [false, true, false, false, true, true, false, false];

pub(super) fn write(f: &mut fmt::Formatter<'_>, sections: &[(&'static str, Vec<Figure>)]) -> fmt::Result {
    let rows: Vec<(&str, Vec<[String; COLUMNS]>)> =
        sections.iter().map(|(section, figures)| (*section, figures.iter().map(cells).collect())).collect();
    let heads = HEADS.map(String::from);
    let all = rows.iter().flat_map(|(_, rows)| rows).chain([&heads]);
    let widths = widths(all.map(<[String; COLUMNS]>::as_slice));
    write_row(f, &heads, &widths, |column| RIGHT[column])?;
    for (section, rows) in &rows {
        writeln!(f, "\n[{section}]")?;
        for cells in rows {
            write_row(f, cells, &widths, |column| RIGHT[column])?;
        }
    }
    Ok(())
}

/// A row an engine; of one that was not measured why not.
pub(super) fn write_comparison(f: &mut fmt::Formatter<'_>, comparison: &Comparison) -> fmt::Result {
    let heads =
        ["engine"].into_iter().chain(comparison.columns.iter().map(|(_, head)| *head)).map(String::from).collect();
    let mut rows: Vec<Vec<String>> = vec![heads];
    let mut absent = Vec::new();
    for engine in &comparison.rows {
        match &engine.values {
            Ok(values) => {
                let cells = values.iter().map(|value| value.map_or("–".to_owned(), number));
                rows.push([engine.name.clone()].into_iter().chain(cells).collect());
            }
            Err(why) => absent.push(format!("{}: not there: {why}", engine.name)),
        }
    }
    let widths = widths(rows.iter().map(Vec::as_slice));
    for row in &rows {
        write_row(f, row, &widths, |column| column > 0)?;
    }
    absent.iter().try_for_each(|line| writeln!(f, "{line}"))
}

/// Characters of the widest cell of each column.
fn widths<'a>(rows: impl Iterator<Item = &'a [String]>) -> Vec<usize> {
    let mut widths = Vec::new();
    for cells in rows {
        widths.resize(widths.len().max(cells.len()), 0);
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths
}

fn cells(figure: &Figure) -> [String; COLUMNS] {
    let (baseline, baseline_value) = figure.baseline.clone().unzip();
    let met = match figure.is_met() {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "",
    };
    [
        figure.name.clone(),
        number(figure.value),
        figure.unit.to_owned(),
        baseline.unwrap_or_default(),
        baseline_value.map(number).unwrap_or_default(),
        figure.ratio.map(|ratio| format!("{} x", number(ratio))).unwrap_or_default(),
        figure.goal.map(|goal| goal.to_string()).unwrap_or_default(),
        met.to_owned(),
    ]
}

/// A line of cells; numbers end at the same place.
fn write_row(
    f: &mut fmt::Formatter<'_>,
    cells: &[String],
    widths: &[usize],
    is_number: impl Fn(usize) -> bool,
) -> fmt::Result {
    let mut line = String::new();
    for (column, (cell, &width)) in cells.iter().zip(widths).enumerate() {
        let padding = " ".repeat(width - cell.chars().count());
        let (before, after) = if is_number(column) { (padding.as_str(), "") } else { ("", padding.as_str()) };
        line += &format!("{before}{cell}{after}  ");
    }
    writeln!(f, "{}", line.trim_end())
}

/// Four digits that mean something, without an exponent.
fn number(value: f64) -> String {
    let digits = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 + 1 };
    let decimals = (4 - digits).clamp(0, 4) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_keep_four_digits() {
        let texts = [0.0, 0.05678, 0.9944, 1.0, 12.345, 999.96, 123_456.7].map(number);
        assert_eq!(texts, ["0.0000", "0.0568", "0.9944", "1.000", "12.35", "1000.0", "123457"]);
    }
}
