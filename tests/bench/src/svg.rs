//! Line charts as SVG, readable on light and on dark ground.

use std::fmt::Write;

use crate::table::whole;

/// How the vertical axis divides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From zero, in even steps.
    Linear,
    /// By powers of ten.
    Log,
}

/// A line through points, by its name.
#[derive(Clone, Debug)]
pub struct Line {
    /// What the legend calls it.
    pub name: String,
    /// Points from left to right, all above zero.
    pub points: Vec<(f64, f64)>,
}

/// A chart; its horizontal axis divides by powers.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What it shows, with the unit of the vertical axis.
    pub title: String,
    /// What stands below the horizontal axis.
    pub x_label: String,
    /// Where the horizontal axis has marks, and what they say.
    pub x_ticks: Vec<(f64, String)>,
    /// How the vertical axis divides.
    pub y_scale: Scale,
    /// At most four.
    pub lines: Vec<Line>,
}

/// Draws the charts in rows of two.
pub fn draw(title: &str, charts: &[Chart]) -> String {
    let width = 2.0 * PANEL_WIDTH;
    let height = charts.len().div_ceil(2) as f64 * PANEL_HEIGHT;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"img\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n",
        escape(title)
    );
    for (index, chart) in charts.iter().enumerate() {
        let left = (index % 2) as f64 * PANEL_WIDTH;
        let top = (index / 2) as f64 * PANEL_HEIGHT;
        let _ = writeln!(out, "<g transform=\"translate({left} {top})\">");
        Panel::new(chart).draw(&mut out);
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

const PANEL_WIDTH: f64 = 440.0;
const PANEL_HEIGHT: f64 = 280.0;

/// Where the lines are, within a panel.
const LEFT: f64 = 64.0;
const RIGHT: f64 = PANEL_WIDTH - 32.0;
const TOP: f64 = 66.0;
const BOTTOM: f64 = PANEL_HEIGHT - 48.0;

/// Blue, orange, green and purple, a lighter shade of each on dark ground.
const STYLE: &str = "\
.ground{fill:#ffffff}\
text{font:12px system-ui,-apple-system,'Segoe UI',sans-serif;fill:#57606a}\
.title{font-size:13px;font-weight:600;fill:#1f2328}\
.grid{stroke:#d8dee4;stroke-width:1}\
.line{fill:none;stroke-width:2;stroke-linejoin:round}\
.s0{stroke:#0b62c4}.f0{fill:#0b62c4}.s1{stroke:#c2570c}.f1{fill:#c2570c}\
.s2{stroke:#1a7f4b}.f2{fill:#1a7f4b}.s3{stroke:#7a4bc2}.f3{fill:#7a4bc2}\
@media (prefers-color-scheme:dark){\
.ground{fill:#0d1117}text{fill:#9aa4af}.title{fill:#e6edf3}.grid{stroke:#2a313a}\
.s0{stroke:#6cb0ff}.f0{fill:#6cb0ff}.s1{stroke:#f59e62}.f1{fill:#f59e62}\
.s2{stroke:#5fcf95}.f2{fill:#5fcf95}.s3{stroke:#c0a0f5}.f3{fill:#c0a0f5}}";

/// A chart and the values at the ends of its axes.
struct Panel<'a> {
    chart: &'a Chart,
    x: (f64, f64),
    y: (f64, f64),
    y_ticks: Vec<f64>,
}

impl<'a> Panel<'a> {
    fn new(chart: &'a Chart) -> Self {
        let points = || chart.lines.iter().flat_map(|line| &line.points);
        let x = range(points().map(|point| point.0));
        let (low, high) = range(points().map(|point| point.1));
        let y_ticks = match chart.y_scale {
            Scale::Linear => even_steps(high),
            Scale::Log => decades(low, high),
        };
        let y = range(y_ticks.iter().copied());
        Self {
            chart,
            x,
            y,
            y_ticks,
        }
    }

    fn draw(&self, out: &mut String) {
        let chart = self.chart;
        text(out, (16.0, 26.0), "class=\"title\"", &chart.title);
        for &tick in &self.y_ticks {
            let y = self.place_y(tick);
            let _ = writeln!(out, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/>");
            let place = (LEFT - 8.0, y + 4.0);
            text(out, place, "text-anchor=\"end\"", &short(tick));
        }
        for (tick, label) in &chart.x_ticks {
            let place = (self.place_x(*tick), BOTTOM + 18.0);
            text(out, place, "text-anchor=\"middle\"", label);
        }
        let middle = (f64::midpoint(LEFT, RIGHT), BOTTOM + 38.0);
        text(out, middle, "text-anchor=\"middle\"", &chart.x_label);
        for (index, line) in chart.lines.iter().enumerate() {
            self.draw_line(out, index % 4, line);
        }
        if chart.lines.len() > 1 {
            self.draw_legend(out);
        }
    }

    fn draw_line(&self, out: &mut String, color: usize, line: &Line) {
        let places = line.points.iter();
        let places: Vec<_> = places
            .map(|&(x, y)| (self.place_x(x), self.place_y(y)))
            .collect();
        let path: Vec<_> = places
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let _ = writeln!(
            out,
            "<polyline class=\"line s{color}\" points=\"{}\"/>",
            path.join(" ")
        );
        for ((x, y), point) in places.iter().zip(&line.points) {
            let _ = writeln!(
                out,
                "<circle class=\"f{color}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\">\
                 <title>{}: {} at {}</title></circle>",
                escape(&line.name),
                short(point.1),
                short(point.0)
            );
        }
    }

    fn draw_legend(&self, out: &mut String) {
        let mut left = LEFT;
        for (index, line) in self.chart.lines.iter().enumerate() {
            let color = index % 4;
            let _ = writeln!(out, "<path class=\"line s{color}\" d=\"M{left} 46h16\"/>");
            text(out, (left + 22.0, 50.0), "", &line.name);
            left += 40.0 + 7.0 * line.name.chars().count() as f64;
        }
    }

    fn place_x(&self, value: f64) -> f64 {
        let (low, high) = self.x;
        LEFT + part(value.ln(), low.ln(), high.ln()) * (RIGHT - LEFT)
    }

    fn place_y(&self, value: f64) -> f64 {
        let (low, high) = self.y;
        let part = match self.chart.y_scale {
            Scale::Linear => part(value, low, high),
            Scale::Log => part(value.ln(), low.ln(), high.ln()),
        };
        BOTTOM - part * (BOTTOM - TOP)
    }
}

/// How far `value` is on the way from `low` to `high`.
fn part(value: f64, low: f64, high: f64) -> f64 {
    if high > low {
        (value - low) / (high - low)
    } else {
        0.5
    }
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    })
}

/// Zero and three to six even steps, the last of them at or above `high`.
fn even_steps(high: f64) -> Vec<f64> {
    let rough = high.max(f64::MIN_POSITIVE) / 4.0;
    let decade = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .map(|factor| factor * decade)
        .into_iter()
        .find(|&step| step >= rough)
        .unwrap_or(rough);
    let count = (high / step).ceil() as u32;
    (0..=count).map(|index| f64::from(index) * step).collect()
}

/// The powers of ten from at or below `low` to at or above `high`.
fn decades(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    (first..=last.max(first + 1))
        .map(|power| 10_f64.powi(power))
        .collect()
}

/// Writes a number as short as an axis wants it.
fn short(value: f64) -> String {
    let (divisor, unit) = match value {
        _ if value >= 1e6 => (1e6, "M"),
        _ if value >= 1e4 => (1e3, "k"),
        _ => (1.0, ""),
    };
    let scaled = value / divisor;
    // Three digits that count, without zeros behind the point.
    let places = match scaled {
        _ if scaled >= 100.0 || scaled == 0.0 => 0,
        _ => (2 - scaled.log10().floor() as i32).max(0) as usize,
    };
    let digits = format!("{scaled:.places$}");
    let digits = if places > 0 {
        digits.trim_end_matches('0').trim_end_matches('.')
    } else {
        &digits
    };
    if scaled >= 1_000.0 {
        return whole(scaled);
    }
    format!("{digits}{unit}")
}

fn text(out: &mut String, (x, y): (f64, f64), attributes: &str, words: &str) {
    let words = escape(words);
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{words}</text>"
    );
}

fn escape(words: &str) -> String {
    words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_reach_around_the_values() {
        assert_eq!(even_steps(9.0), [0.0, 2.5, 5.0, 7.5, 10.0]);
        assert_eq!(even_steps(1.0), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(decades(0.03, 20.0), [0.01, 0.1, 1.0, 10.0, 100.0]);
    }

    #[test]
    fn marks_are_short() {
        let marks = [0.0, 0.25, 0.01, 7.5, 100.0, 2_500.0, 15_000.0, 2e6].map(short);
        let expected = ["0", "0.25", "0.01", "7.5", "100", "2,500", "15k", "2M"];
        assert_eq!(marks, expected);
    }

    #[test]
    fn each_point_is_inside_its_panel() {
        let chart = Chart {
            title: "a < b".into(),
            x_label: "x".into(),
            x_ticks: vec![(1.0, "1".into()), (100.0, "100".into())],
            y_scale: Scale::Log,
            lines: vec![Line {
                name: "line".into(),
                points: vec![(1.0, 0.5), (10.0, 3.0), (100.0, 70.0)],
            }],
        };
        let panel = Panel::new(&chart);
        assert_eq!(panel.place_x(1.0), LEFT);
        assert_eq!(panel.place_x(100.0), RIGHT);
        assert!((panel.place_x(10.0) - f64::midpoint(LEFT, RIGHT)).abs() < 1e-9);
        assert!(panel.place_y(0.5) < BOTTOM && panel.place_y(70.0) > TOP);
        assert!(draw("t", &[chart]).contains("a &lt; b"));
    }
}
