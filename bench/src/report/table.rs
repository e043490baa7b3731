//! Figures as an aligned table.

use std::fmt;

use super::Figure;

const COLUMNS: usize = 8;
const HEADS: [&str; COLUMNS] = ["figure", "value", "unit", "beside", "its value", "ratio", "goal", ""];
/// Columns of numbers, which end at the same place.
const RIGHT: [bool; COLUMNS] = [false, true, false, false, true, true, false, false];

pub(super) fn write(f: &mut fmt::Formatter<'_>, sections: &[(&'static str, Vec<Figure>)]) -> fmt::Result {
    let rows: Vec<(&str, Vec<[String; COLUMNS]>)> =
        sections.iter().map(|(section, figures)| (*section, figures.iter().map(cells).collect())).collect();
    let mut widths = HEADS.map(str::len);
    for cells in rows.iter().flat_map(|(_, rows)| rows) {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    write_row(f, &HEADS.map(String::from), &widths)?;
    for (section, rows) in &rows {
        writeln!(f, "\n[{section}]")?;
        for cells in rows {
            write_row(f, cells, &widths)?;
        }
    }
    Ok(())
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

fn write_row(f: &mut fmt::Formatter<'_>, cells: &[String; COLUMNS], widths: &[usize; COLUMNS]) -> fmt::Result {
    let mut line = String::new();
    for ((cell, &width), right) in cells.iter().zip(widths).zip(RIGHT) {
        let padding = " ".repeat(width - cell.chars().count());
        let (before, after) = if right { (padding.as_str(), "") } else { ("", padding.as_str()) };
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
