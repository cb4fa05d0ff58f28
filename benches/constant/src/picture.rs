//! The report as a picture: memory over entries, and below what happened to each node meanwhile. It brings its own background, for light and for dark pages.

use std::fmt::Write as _;

use crate::application::COMMAND;
use crate::node::NODES;
use crate::report::{Report, Sample};
use crate::script::{Mark, What};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 540.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 928.0;
/// Of the chart.
const TOP: f64 = 84.0;
const BOTTOM: f64 = 344.0;
/// Of the lanes.
const LANES: f64 = 392.0;
const LANE: f64 = 30.0;
const MIB: f64 = 1024.0 * 1024.0;
/// Width of a letter, roughly.
const LETTER: f64 = 6.2;
/// What is shorter than this could not be seen.
const LEAST: f64 = 1.5;

const SHAPES: &str = "text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','DejaVu Sans',sans-serif}\
text.title{font-size:18px;font-weight:600}.line{fill:none;stroke-width:2}.through{stroke-dasharray:3 3}.dot{stroke-width:1.5}";

/// What has a colour: on light pages, and on dark ones.
const COLOURS: [(&str, &str, &str, &str); 16] = [
    (".page,.dot", "fill", "#ffffff", "#0d1117"),
    ("text", "fill", "#59636e", "#9198a1"),
    ("text.title,.full", "fill", "#1f2328", "#f0f6fc"),
    (".grid", "stroke", "#d1d9e0", "#3d444d"),
    (".through", "stroke", "#59636e", "#9198a1"),
    (".dot", "stroke", "#1f2328", "#f0f6fc"),
    (".process", "stroke", "#0969da", "#4493f8"),
    ("text.of-process", "fill", "#0969da", "#4493f8"),
    (".heap", "stroke", "#1a7f37", "#3fb950"),
    ("text.of-heap", "fill", "#1a7f37", "#3fb950"),
    (".nodes", "stroke", "#8250df", "#ab7df8"),
    ("text.of-nodes", "fill", "#8250df", "#ab7df8"),
    (".leads", "fill", "#54aeff", "#1f6feb"),
    (".cut", "fill", "#cf222e", "#f85149"),
    (".stall", "fill", "#bf8700", "#d29922"),
    (".crowd", "fill", "#8250df", "#ab7df8"),
];

/// From entries and bytes to places on the picture.
struct Scale {
    entries: f64,
    bytes: f64,
}

impl Scale {
    fn x(&self, entries: u64) -> f64 {
        LEFT + (RIGHT - LEFT) * (entries as f64 / self.entries).min(1.0)
    }

    fn y(&self, bytes: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * bytes / self.bytes
    }
}

/// The picture, as SVG.
#[must_use]
pub fn draw(report: &Report) -> String {
    let highest = report.samples().iter().filter_map(|sample| sample.resident).max().unwrap_or(0);
    let bytes = ((highest as f64).max(report.heap as f64) * 1.1 / MIB).ceil() * MIB;
    let scale = Scale { entries: report.applied().max(1) as f64, bytes };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Memory of a cluster over {} entries: constant\">\n\
         <style>{}</style>\n<rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\"/>\n",
        report.applied(),
        style()
    );
    text(&mut svg, "title", (LEFT, 34.0), &format!("{} entries through three nodes", grouped(report.applied())));
    let allocations = match report.allocations {
        0 => "no allocation".into(),
        1 => "one allocation".into(),
        more => format!("{} allocations", grouped(more)),
    };
    let summary = format!(
        "{allocations} after the start; {} elections, {} snapshots made, {} times a ring was full",
        report.count_of(What::Leads),
        grouped(report.saved),
        grouped(report.busy)
    );
    text(&mut svg, "", (LEFT, 56.0), &summary);
    axes(&mut svg, &scale);
    lines(&mut svg, &scale, report);
    lanes(&mut svg, &scale, report.marks());
    legend(&mut svg);
    svg.push_str("</svg>\n");
    svg
}

fn style() -> String {
    let rules = |colour: fn(&(&'static str, &'static str, &'static str, &'static str)) -> &'static str| {
        COLOURS.iter().map(|row| format!("{}{{{}:{}}}", row.0, row.1, colour(row))).collect::<String>()
    };
    format!("{SHAPES}{}@media(prefers-color-scheme:dark){{{}}}", rules(|row| row.2), rules(|row| row.3))
}

fn axes(svg: &mut String, scale: &Scale) {
    let top = (scale.bytes / MIB) as u32;
    for mib in 0..=top {
        let y = scale.y(f64::from(mib) * MIB);
        put(svg, format_args!("<path class=\"grid\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/>"));
        anchored(svg, "end", (LEFT - 8.0, y + 4.0), &if mib == 0 { "0".into() } else { format!("{mib} MiB") });
    }
    for tenth in (0..=10).step_by(2) {
        let entries = scale.entries as u64 / 10 * tenth;
        let (anchor, unit) = if tenth == 10 { ("end", " entries") } else { ("middle", "") };
        anchored(svg, anchor, (scale.x(entries), BOTTOM + 20.0), &format!("{}{unit}", short(entries)));
    }
}

/// Three lines that do not rise, and one that does: what has gone through.
fn lines(svg: &mut String, scale: &Scale, report: &Report) {
    let through = scale.entries * COMMAND as f64;
    let out = (scale.bytes / COMMAND as f64) as u64;
    let end = scale.x(out);
    put(svg, format_args!("<path class=\"line through\" d=\"M{LEFT} {BOTTOM}L{end:.1} {TOP}\"/>"));
    text(svg, "", (end + 8.0, TOP + 14.0), &format!("commands applied: {:.0} MiB in the end", through / MIB));

    let nodes = report.sizes.ram() * NODES;
    let heap = |sample: &Sample| Some(sample.heap as f64);
    let resident = |sample: &Sample| sample.resident.map(|bytes| bytes as f64);
    let last = report.samples().last().and_then(resident).unwrap_or(0.0);
    let kib = |bytes: f64| grouped((bytes / 1024.0).round() as u64);
    line(svg, scale, "process", report, resident, &format!("the whole process: {} KiB", kib(last)));
    let label =
        format!("the heap, with logs and snapshots of all nodes on flash in RAM: {} KiB", kib(report.heap as f64));
    line(svg, scale, "heap", report, heap, &label);
    let label = format!("RAM of the three nodes, constant by type: {} KiB", kib(nodes as f64));
    line(svg, scale, "nodes", report, |_| Some(nodes as f64), &label);
}

fn line(
    svg: &mut String,
    scale: &Scale,
    class: &str,
    report: &Report,
    value: impl Fn(&Sample) -> Option<f64>,
    label: &str,
) {
    let points: Vec<_> = report.samples().iter().filter_map(|sample| Some((sample.applied, value(sample)?))).collect();
    let mut path = String::new();
    for (at, (applied, bytes)) in points.iter().enumerate() {
        // What lies between two equal ones adds nothing.
        let is_between =
            at > 0 && points[at - 1].1 == *bytes && points.get(at + 1).is_some_and(|next| next.1 == *bytes);
        if !is_between {
            let command = if path.is_empty() { 'M' } else { 'L' };
            _ = write!(path, "{command}{:.1} {:.1}", scale.x(*applied), scale.y(*bytes));
        }
    }
    put(svg, format_args!("<path class=\"line {class}\" d=\"{path}\"/>"));
    if let Some((_, bytes)) = points.last() {
        text(svg, &format!("of-{class}"), (LEFT + 120.0, scale.y(*bytes) - 6.0), label);
    }
}

/// What happened to each node.
fn lanes(svg: &mut String, scale: &Scale, marks: &[Mark]) {
    let middle = |node: usize| LANES + LANE * node as f64;
    for node in 0..NODES {
        let y = middle(node);
        anchored(svg, "end", (LEFT - 8.0, y + 4.0), &format!("node {node}"));
        put(svg, format_args!("<path class=\"grid\" d=\"M{LEFT} {y}H{RIGHT}\"/>"));
    }
    let end = scale.entries as u64;
    let until = |at: usize, ends: &dyn Fn(&Mark) -> bool| {
        marks.iter().skip(at + 1).find(|mark| ends(mark)).map_or(end, |mark| mark.applied)
    };
    let bar = |svg: &mut String, class: &str, mark: &Mark, until: u64, height: f64| {
        let (x, y) = (scale.x(mark.applied), middle(mark.node.get().into()) - height / 2.0);
        let width = (scale.x(until) - x).max(LEAST);
        put(
            svg,
            format_args!(
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\"/>"
            ),
        );
    };
    for (at, mark) in marks.iter().enumerate().filter(|(_, mark)| mark.what == What::Leads) {
        bar(svg, "leads", mark, until(at, &|next| next.what == What::Leads), 8.0);
    }
    for (at, mark) in marks.iter().enumerate() {
        let (x, y) = (scale.x(mark.applied), middle(mark.node.get().into()));
        match mark.what {
            What::CutOff => {
                bar(svg, "cut", mark, until(at, &|next| next.what == What::Back && next.node == mark.node), 16.0)
            }
            What::Stalled => bar(svg, "stall", mark, mark.applied, 16.0),
            What::Crowded => bar(svg, "crowd", mark, mark.applied, 16.0),
            What::CaughtUp => put(svg, format_args!("<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y}\" r=\"4\"/>")),
            What::Installed => put(svg, format_args!("<circle class=\"dot full\" cx=\"{x:.1}\" cy=\"{y}\" r=\"4\"/>")),
            What::Leads | What::Back | What::Saved => {}
        }
    }
}

fn legend(svg: &mut String) {
    let bars = [
        ("leads", "leads"),
        ("cut", "cut off, deaf, or its flash hangs"),
        ("stall", "applications stand still"),
        ("crowd", "more clients than the ring takes"),
    ];
    let (mut x, y) = (LEFT, HEIGHT - 48.0);
    for (class, label) in bars {
        put(svg, format_args!("<rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"12\" height=\"10\"/>", y - 9.0));
        text(svg, "", (x + 18.0, y), label);
        x += 46.0 + LETTER * label.len() as f64;
    }
    let dots = [("dot", "caught up from the leader's store"), ("dot full", "caught up by a snapshot")];
    let (mut x, y) = (LEFT, HEIGHT - 24.0);
    for (class, label) in dots {
        put(svg, format_args!("<circle class=\"{class}\" cx=\"{}\" cy=\"{}\" r=\"4\"/>", x + 6.0, y - 4.0));
        text(svg, "", (x + 18.0, y), label);
        x += 46.0 + LETTER * label.len() as f64;
    }
}

fn put(svg: &mut String, element: std::fmt::Arguments<'_>) {
    _ = writeln!(svg, "{element}");
}

fn text(svg: &mut String, class: &str, (x, y): (f64, f64), content: &str) {
    put(svg, format_args!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{content}</text>"));
}

fn anchored(svg: &mut String, anchor: &str, (x, y): (f64, f64), content: &str) {
    put(svg, format_args!("<text text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{content}</text>"));
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group)).collect();
    groups.join(",")
}

/// `4 M`, `200 k`.
fn short(number: u64) -> String {
    match number {
        0 => "0".into(),
        _ if number.is_multiple_of(1_000_000) => format!("{} M", number / 1_000_000),
        _ => format!("{} k", number / 1000),
    }
}
