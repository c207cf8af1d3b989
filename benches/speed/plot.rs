//! Draws a line for each contestant over some workloads, as SVG.

use crate::measured::short;
use std::fmt::Write;

pub struct Plot {
    pub title: &'static str,
    pub unit: &'static str,
    /// The workloads, from left to right.
    pub labels: Vec<String>,
    pub lines: Vec<(&'static str, Vec<f64>)>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 590.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 352.0;
/// The colours of Okabe and Ito, which people with any colour vision can tell apart. The first is
/// this library's.
const COLOURS: [&str; 6] = ["#d55e00", "#767676", "#0072b2", "#009e73", "#cc79a7", "#b58900"];

impl Plot {
    pub fn svg(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"13\" fill=\"#333\">\n<title>{0}</title>\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"24\" font-size=\"16\" font-weight=\"bold\">{0}</text>\n\
             <text x=\"{LEFT}\" y=\"43\" fill=\"#666\">{1}, logarithmic; lower is better</text>\n",
            self.title, self.unit
        );
        self.draw(&mut svg).expect("a string takes everything");
        svg + "</svg>\n"
    }

    fn draw(&self, svg: &mut String) -> std::fmt::Result {
        let values = || self.lines.iter().flat_map(|(_, values)| values).copied();
        let lowest = values().fold(f64::MAX, f64::min).log10().floor();
        let highest = values().fold(f64::MIN, f64::max).log10();
        let y = |value: f64| {
            BOTTOM - (value.log10() - lowest) / (highest - lowest) * (BOTTOM - TOP - 8.0)
        };
        let x = |at: usize| {
            LEFT + 24.0 + (RIGHT - LEFT - 48.0) * at as f64 / (self.labels.len() - 1) as f64
        };

        for power in lowest as i32..=highest.ceil() as i32 {
            for step in [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(power)) {
                if step.log10() > highest {
                    continue;
                }
                let y = y(step);
                writeln!(svg, "<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"#e4e4e4\"/>")?;
                writeln!(
                    svg,
                    "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{step}</text>",
                    LEFT - 8.0,
                    y + 4.5
                )?;
            }
        }
        for (at, label) in self.labels.iter().enumerate() {
            writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
                x(at),
                BOTTOM + 24.0
            )?;
        }

        let mut ends: Vec<(f64, usize)> = Vec::new();
        for (line, (_, values)) in self.lines.iter().enumerate().rev() {
            let (colour, width) = (COLOURS[line], if line == 0 { 3.5 } else { 2.0 });
            let points: Vec<(f64, f64)> =
                values.iter().enumerate().map(|(at, value)| (x(at), y(*value))).collect();
            let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let path = path.join(" ");
            writeln!(
                svg,
                "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" \
                 stroke-width=\"{width}\"/>"
            )?;
            for (x, y) in &points {
                writeln!(
                    svg,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{}\" fill=\"{colour}\"/>",
                    width + 1.0
                )?;
            }
            ends.push((points[points.len() - 1].1, line));
        }

        // Each name stands at the end of its line; names that would overlap are moved apart.
        ends.sort_by(|one, other| one.0.total_cmp(&other.0));
        for at in 1..ends.len() {
            ends[at].0 = ends[at].0.max(ends[at - 1].0 + 17.0);
        }
        let mut room = BOTTOM;
        for (y, _) in ends.iter_mut().rev() {
            *y = y.min(room);
            room = *y - 17.0;
        }
        for (y, line) in ends {
            let (name, values) = &self.lines[line];
            let weight = if line == 0 { "bold" } else { "normal" };
            let last = short(values[values.len() - 1]);
            writeln!(
                svg,
                "<text x=\"{}\" y=\"{:.1}\" fill=\"{}\" font-weight=\"{weight}\">\
                 {name} {last}</text>",
                RIGHT + 2.0,
                y + 4.5,
                COLOURS[line]
            )?;
        }
        Ok(())
    }
}
