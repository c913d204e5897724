//! The picture of a recovery.

use std::path::Path;

use plotters::prelude::*;

use crate::{SECOND, engine, policy::Choice, scenario::Scenario};

const LINES: [(Choice, RGBColor); 8] = [
    (Choice::Own, RGBColor(0, 90, 200)),
    (Choice::Bound(1.0), RGBColor(0, 150, 110)),
    (Choice::Bound(16.0), RGBColor(120, 190, 160)),
    (Choice::Envoy, RGBColor(150, 60, 170)),
    (Choice::Netflix, RGBColor(210, 120, 220)),
    (Choice::Haproxy, RGBColor(210, 120, 0)),
    (Choice::Bucket(1.0), RGBColor(230, 170, 60)),
    (Choice::Nothing, RGBColor(200, 30, 30)),
];
/// What the picture shows, in seconds.
const SPAN: usize = 400;

/// Writes the full restart of so many clients, one line for each policy, as an SVG.
///
/// # Errors
/// The file cannot be written.
pub fn plot(path: &Path, clients: u32) -> Result<(), String> {
    let mut scenario = Scenario::named("S1", clients, 1).ok_or("no such scenario")?;
    let from = (scenario.measured_from / SECOND) as usize;
    scenario.horizon = scenario.measured_from + (SPAN as u64 + 1) * SECOND;
    let root = SVGBackend::new(path, (960, 480)).into_drawing_area();
    draw(&root, &scenario, from, clients).map_err(|error| format!("{}: {error}", path.display()))
}

fn draw(
    root: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    scenario: &Scenario,
    from: usize,
    clients: u32,
) -> Result<(), Box<dyn std::error::Error>> {
    root.fill(&WHITE)?;
    let caption = format!("All endpoints restart at 0: {clients} clients, part of them with a session");
    let mut chart = ChartBuilder::on(root)
        .caption(caption, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..SPAN as f64, 0.0..100.0)?;
    chart.configure_mesh().x_desc("seconds").y_desc("%").light_line_style(WHITE).draw()?;
    for (policy, color) in LINES {
        let record = engine::run(scenario, policy, 1);
        let last = record.connected.last().copied().unwrap_or_default();
        let at = |second: usize| f64::from(*record.connected.get(from + second).unwrap_or(&last));
        let points = (0..=SPAN).map(|second| (second as f64, 100.0 * at(second) / f64::from(clients)));
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))?
            .label(policy.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    root.present()?;
    Ok(())
}
