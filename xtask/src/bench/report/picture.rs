//! The picture: what a balancer adds to a message, in time and in CPU.

use std::fmt::Write as _;

use super::super::contender::Contender;
use super::super::scenario::{Broker, Scenario};
use super::table::{Entry, Table};

const WIDTH: f64 = 760.0;
const MARGIN: f64 = 24.0;
const NAMES: f64 = 150.0;
const FIGURES: f64 = 70.0;
const ROW: f64 = 26.0;
const BAR: f64 = 18.0;
const HEAD: f64 = 64.0;
const PANEL_HEAD: f64 = 40.0;

/// The case that is shown.
const CONNECTIONS: usize = 50;

/// One group of bars.
struct Panel {
    title: String,
    bars: Vec<(Contender, f64)>,
    digits: usize,
}

/// None where the case that is shown has not been measured.
pub(super) fn draw(tables: &[Table], subtitle: &str) -> Option<String> {
    let is_shown = |table: &&Table| {
        table.cell.scenario == Scenario::Rtt
            && table.cell.connections == CONNECTIONS
            && table.cell.broker == Broker::StandIn
    };
    let table = tables.iter().find(is_shown)?;
    let floor = table.floor()?.cpu()?.median;
    let panels = [
        panel(
            table,
            "Round trip, median, in µs",
            |entry| Some(entry.of(|round| round.p50_us)?.median),
            0,
        ),
        panel(
            table,
            "CPU that the balancer costs, for each message, in µs",
            |entry| Some((entry.cpu()?.median - floor).max(0.0)),
            1,
        ),
    ];
    let rows: usize = panels.iter().map(|panel| panel.bars.len()).sum();
    let height = HEAD + panels.len() as f64 * PANEL_HEAD + rows as f64 * ROW + MARGIN;

    let mut svg = String::new();
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>"
    )
    .ok()?;
    let title = format!(
        "What a balancer adds: {CONNECTIONS} connections, {} bytes there and back",
        table.cell.bytes
    );
    text(&mut svg, [MARGIN, 30.0], "17", "#1b1f24", &title)?;
    text(&mut svg, [MARGIN, 50.0], "11", "#656d76", subtitle)?;
    let mut top = HEAD;
    for panel in &panels {
        text(
            &mut svg,
            [MARGIN, top + 24.0],
            "13",
            "#1b1f24",
            &panel.title,
        )?;
        top += PANEL_HEAD;
        top = bars(&mut svg, panel, top)?;
    }
    svg += "</svg>\n";
    Some(svg)
}

fn panel(
    table: &Table,
    title: &str,
    figure: impl Fn(&Entry) -> Option<f64>,
    digits: usize,
) -> Panel {
    let bar = |entry: &Entry| Some((entry.contender, figure(entry)?));
    Panel {
        title: title.to_owned(),
        bars: table.entries.iter().filter_map(bar).collect(),
        digits,
    }
}

/// Draws one under the other; tells where they end.
fn bars(svg: &mut String, panel: &Panel, mut top: f64) -> Option<f64> {
    let longest = panel.bars.iter().map(|bar| bar.1).fold(0.0, f64::max);
    let room = WIDTH - 2.0 * MARGIN - NAMES - FIGURES;
    for (contender, value) in &panel.bars {
        let width = (value / longest.max(f64::MIN_POSITIVE) * room).max(1.0);
        let left = MARGIN + NAMES;
        let base = top + BAR * 0.75;
        text(svg, [MARGIN, base], "13", "#1b1f24", contender.name())?;
        writeln!(
            svg,
            "<rect x=\"{left}\" y=\"{top}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\" \
             fill=\"{}\"/>",
            colour(*contender)
        )
        .ok()?;
        let figure = format!("{value:.*}", panel.digits);
        text(svg, [left + width + 8.0, base], "13", "#1b1f24", &figure)?;
        top += ROW;
    }
    Some(top)
}

fn text(svg: &mut String, [x, y]: [f64; 2], size: &str, fill: &str, words: &str) -> Option<()> {
    let words = words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" fill=\"{fill}\">{words}</text>"
    )
    .ok()
}

fn colour(contender: Contender) -> &'static str {
    match contender {
        Contender::Forward => "#afb8c1",
        Contender::SluiceSplice => "#0969da",
        Contender::SluiceSockmap | Contender::SluiceCopy => "#80bbff",
        Contender::HaproxyOne | Contender::Haproxy | Contender::Nginx => "#d4a72c",
    }
}
