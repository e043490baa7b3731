//! Charts, as SVG or PNG by the name of the file. The font comes with the program: nothing is asked of the system.

use std::path::Path;
use std::sync::Once;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use crate::error::{Error, FileProblem, Result};

/// Pixels of an image.
const SIZE: (u32, u32) = (1_000, 900);
/// Family of the font.
const FONT: &str = "sans-serif";
const COLOURS: [RGBColor; 4] =
    [RGBColor(31, 119, 180), RGBColor(214, 39, 40), RGBColor(44, 160, 44), RGBColor(148, 103, 189)];

/// One line.
pub struct Line {
    /// What it shows.
    pub name: String,
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

/// One chart.
pub struct Chart {
    /// Above it.
    pub title: String,
    /// Below the horizontal axis.
    pub x_name: &'static str,
    /// Beside the vertical axis.
    pub y_name: &'static str,
    /// Its lines.
    pub lines: Vec<Line>,
    /// The horizontal axis is of percentiles, 0 to 1, the nearer to 1 the wider.
    pub of_percentiles: bool,
}

/// Draws charts one below the other.
pub fn draw(path: &Path, charts: &[Chart]) -> Result<()> {
    static FONTS: Once = Once::new();
    FONTS.call_once(|| {
        let registered = register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
        assert!(registered.is_ok(), "the font of the program is a font");
    });
    let problem = |problem: String| Error::file(path)(FileProblem::Plot(problem));
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("svg") => draw_on(SVGBackend::new(path, SIZE).into_drawing_area(), charts).map_err(problem),
        Some("png") => draw_on(BitMapBackend::new(path, SIZE).into_drawing_area(), charts).map_err(problem),
        _ => Err(problem("the name has to end in .svg or .png".to_owned())),
    }
}

fn draw_on<B: DrawingBackend>(area: DrawingArea<B, Shift>, charts: &[Chart]) -> Result<(), String> {
    let text = |error: DrawingAreaErrorKind<B::ErrorType>| error.to_string();
    area.fill(&WHITE).map_err(text)?;
    for (area, chart) in area.split_evenly((charts.len(), 1)).iter().zip(charts) {
        chart.draw(area).map_err(text)?;
    }
    area.present().map_err(text)
}

impl Chart {
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        let place = |x: f64| if self.of_percentiles { nines(x) } else { x };
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x_max =
            points().map(|point| place(point.0)).fold(1.0, f64::max) * if self.of_percentiles { 1.05 } else { 1.0 };
        let y_max = points().map(|point| point.1).fold(0.0, f64::max).max(f64::MIN_POSITIVE) * 1.05;
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, (FONT, 20))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(80)
            .build_cartesian_2d(0.0..x_max, 0.0..y_max)?;
        // 90, 99, 99.9 and so on: as many decimals as it takes.
        let percentile =
            |x: &f64| format!("{:.*}", (x.round() as usize).saturating_sub(2), 100.0 * (1.0 - 10_f64.powf(-x)));
        let of_axis = |most: f64| {
            move |value: &f64| {
                if most >= 20.0 { crate::output::grouped(value.round() as u64) } else { format!("{value:.1}") }
            }
        };
        let (number, small) = (of_axis(x_max), of_axis(y_max));
        let x_text: &dyn Fn(&f64) -> String = if self.of_percentiles { &percentile } else { &number };
        let mut mesh = chart.configure_mesh();
        mesh.x_desc(self.x_name).y_desc(self.y_name).label_style((FONT, 14)).light_line_style(TRANSPARENT);
        mesh.x_label_formatter(x_text).y_label_formatter(&small);
        if self.of_percentiles {
            // A line at each further nine: 90 %, 99 %, 99.9 % …
            mesh.x_labels(x_max.ceil() as usize + 1);
        }
        mesh.draw()?;
        for (index, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let points = line.points.iter().map(|&(x, y)| (place(x), y));
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .label_font((FONT, 14))
            .draw()
    }
}

/// Place of a percentile on its axis: 0 for 0 %, 1 for 90 %, 2 for 99 %, 3 for 99.9 %. 100 % is as far away as one in a million.
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).max(1e-6).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charts() -> Vec<Chart> {
        let line = |name: &str, points: &[(f64, f64)]| Line { name: name.to_owned(), points: points.to_vec() };
        let speed = line("durable", &[(1.0, 900.0), (2.0, 950.0), (3.0, 700.0)]);
        let curve = line("durable", &[(0.0, 1.0), (0.5, 2.0), (0.9, 4.0), (0.99, 9.0), (1.0, 20.0)]);
        vec![
            Chart { title: "speed".to_owned(), x_name: "s", y_name: "MB/s", lines: vec![speed], of_percentiles: false },
            Chart { title: "latency".to_owned(), x_name: "%", y_name: "ms", lines: vec![curve], of_percentiles: true },
        ]
    }

    #[test]
    fn both_formats_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let svg = directory.path().join("a.svg");
        draw(&svg, &charts()).unwrap();
        let text = std::fs::read_to_string(&svg).unwrap();
        for word in ["<svg", "speed", "latency", "MB/s", "durable", "polyline", "99.9"] {
            assert!(text.contains(word), "{word} is not in {text}");
        }
        let png = directory.path().join("a.png");
        draw(&png, &charts()).unwrap();
        let bytes = std::fs::read(&png).unwrap();
        assert_eq!(&bytes[1..4], b"PNG");
        assert!(bytes.len() > 10_000, "it has something on it: {} bytes", bytes.len());
        assert!(draw(&directory.path().join("a.gif"), &charts()).unwrap_err().to_string().contains(".svg or .png"));
    }
}
