//! The chart: for each workload how often the kernel's time each peer takes, on a logarithmic scale.

use std::fmt::Write as _;

use super::report::Report;

const ROW: f64 = 30.0;
const LEFT: f64 = 170.0;
const WIDTH: f64 = 620.0;
const TOP: f64 = 70.0;
const COLOURS: [(&str, &str); 3] = [
    ("plyfs", "#1b7f5c"),
    ("fuse-overlayfs 1", "#c9853d"),
    ("fuse-overlayfs 2", "#a3506f"),
];
/// Ratios at the two ends.
const ENDS: (f64, f64) = (0.5, 128.0);

/// Draws the first part of a report, one file system and user, that has ratios.
pub fn draw(report: &Report) -> String {
    let first = report
        .rows
        .iter()
        .find(|line| line.row.median("kernel").is_some());
    let rows: Vec<_> = report
        .rows
        .iter()
        .map(|line| &line.row)
        .filter(|row| row.median("kernel").is_some())
        .filter(|row| {
            first.is_some_and(|line| {
                line.row.file_system == row.file_system && line.row.user == row.user
            })
        })
        .collect();
    let height = TOP + ROW * rows.len() as f64 + 20.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        LEFT + WIDTH + 60.0
    );
    let title = first.map_or_else(String::new, |line| {
        format!(
            "{}, {}; {}",
            line.row.file_system, line.row.user, report.date
        )
    });
    text(
        &mut svg,
        10.0,
        20.0,
        "start",
        &format!("Time as a multiple of the kernel overlay's ({title})"),
    );
    for (i, (name, colour)) in COLOURS.iter().enumerate() {
        let x = LEFT + i as f64 * 150.0;
        bar(&mut svg, x, 32.0, 12.0, colour);
        text(&mut svg, x + 18.0, 42.0, "start", name);
    }
    let mut tick = ENDS.0;
    while tick <= ENDS.1 {
        let x = LEFT + place(tick);
        let colour = if tick == 1.0 { "#444" } else { "#ddd" };
        push(
            &mut svg,
            format_args!("<path d=\"M{x:.1} {TOP}V{height}\" stroke=\"{colour}\"/>"),
        );
        text(&mut svg, x, TOP - 6.0, "middle", &tick.to_string());
        tick *= 2.0;
    }
    for (i, row) in rows.iter().enumerate() {
        let y = TOP + ROW * i as f64;
        text(&mut svg, LEFT - 8.0, y + 19.0, "end", &row.workload);
        for (n, (name, colour)) in COLOURS.iter().enumerate() {
            let Some(ratio) = row.ratio(name, "kernel") else {
                continue;
            };
            let (end, y) = (place(ratio), y + 3.0 + n as f64 * 8.0);
            let one = place(1.0);
            bar(
                &mut svg,
                LEFT + one.min(end),
                y,
                (end - one).abs().max(1.0),
                colour,
            );
            if ratio > ENDS.1 {
                text(
                    &mut svg,
                    LEFT + WIDTH + 4.0,
                    y + 8.0,
                    "start",
                    &format!("{ratio:.0}"),
                );
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Where a ratio is, from the left end.
fn place(ratio: f64) -> f64 {
    let (low, high) = ENDS;
    let part = (ratio.clamp(low, high) / low).log2() / (high / low).log2();
    part * WIDTH
}

fn bar(svg: &mut String, x: f64, y: f64, width: f64, colour: &str) {
    push(
        svg,
        format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"7\" fill=\"{colour}\"/>"
        ),
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, what: &str) {
    push(
        svg,
        format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{what}</text>"),
    );
}

fn push(svg: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let written = writeln!(svg, "{what}");
    debug_assert!(written.is_ok());
}
