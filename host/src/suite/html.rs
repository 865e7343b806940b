//! The report as one page: styles and plots inside, nothing to load, no script.

use std::fmt::Write;

use palisade_evaluation::{CalibrationBin, Estimate, Point};

use super::measure::{Breakdown, Decisions, Example, Group, Measured, Report, ScoreReport, Slice, Trick};
use super::text::{skipped, threshold_name};

const STYLE: &str = include_str!("report.css");
/// A figure of a group.
type Of = fn(&Group) -> Option<Estimate>;
/// Side of a plot, and the margin for its axes.
const PLOT: f64 = 200.0;
const MARGIN: f64 = 34.0;

/// The page.
pub fn page(report: &Report) -> String {
    let release = &report.release;
    let title = escaped(&format!("{} {} on {}", release.name, release.version, report.suite));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <header>\n<h1>{title}</h1>\n<p>{}</p>\n<p class=\"quiet\">Release <code>{}</code>. {} texts. Figures come with intervals of 95 % \
         from {} bootstrap samples; where rows come in clusters, whole clusters are drawn. An interval of no width says that all \
         samples agree, not that the figure is exact.</p>\n",
        escaped(&report.about),
        escaped(&release.digest),
        report.texts,
        report.resamples
    );
    let skipped = skipped(report);
    if !skipped.is_empty() {
        out.push_str("<details><summary>Not measured, or not in full. Missing is not no.</summary><ul>");
        for line in skipped {
            let _ = write!(out, "<li>{}</li>", escaped(&line));
        }
        out.push_str("</ul></details>\n");
    }
    out.push_str("<nav><ul>");
    for measured in &report.measurements {
        let _ = write!(out, "<li><a href=\"#{0}\">{0}</a></li>", escaped(&measured.name));
    }
    out.push_str("</ul></nav>\n</header>\n<main>\n");
    for measured in &report.measurements {
        section(&mut out, measured);
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

/// A text that is nothing but text to a browser.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// A figure, and its interval in smaller print.
fn figure(estimate: Option<Estimate>) -> String {
    match estimate {
        None => "–".into(),
        Some(Estimate { value, interval: None }) => format!("{value:.3}"),
        Some(Estimate { value, interval: Some((low, high)) }) => {
            format!("{value:.3} <small>{low:.3}–{high:.3}</small>")
        }
    }
}

fn section(out: &mut String, measured: &Measured) {
    let clusters =
        if measured.clusters < measured.rows { format!(" in {} clusters", measured.clusters) } else { String::new() };
    let _ = write!(
        out,
        "<section id=\"{name}\">\n<h2>{name}</h2>\n<p>{}. <span class=\"quiet\">{}, {} rows{clusters}.</span></p>\n",
        escaped(&measured.title),
        escaped(&measured.source),
        measured.rows,
        name = escaped(&measured.name),
    );
    summary(out, &measured.scores);
    for breakdown in &measured.accuracy {
        accuracy(out, breakdown);
    }
    tricks(out, &measured.tricks);
    for score in &measured.scores {
        dialects(out, score);
        groups(out, score);
    }
    out.push_str("<div class=\"plots\">");
    for score in &measured.scores {
        plots(out, score);
    }
    out.push_str("</div>\n");
    decisions(out, &measured.scores);
    examples(out, &measured.examples);
    out.push_str("</section>\n");
}

fn table(out: &mut String, heads: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    out.push_str("<div class=\"wide\"><table><thead><tr>");
    for head in heads {
        let _ = write!(out, "<th>{head}</th>");
    }
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        out.push_str("<tr>");
        for cell in row {
            let _ = write!(out, "<td>{cell}</td>");
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>\n");
}

fn summary(out: &mut String, scores: &[ScoreReport]) {
    let rows = scores.iter().map(|score| {
        let labels: Vec<String> =
            score.labels.iter().map(|(label, threshold)| format!("{} ≥ {threshold:.3}", escaped(label))).collect();
        let own = score.decisions.first();
        vec![
            format!("{}<br><small>{}</small>", escaped(&score.name), labels.join(", ")),
            format!("{}<br><small>{} yes</small>", score.rows, score.positives),
            figure(score.roc_auc),
            figure(score.average_precision),
            figure(own.and_then(|own| own.f1)),
            figure(own.and_then(|own| own.macro_f1)),
            figure(own.and_then(|own| own.false_positive_rate)),
            figure(score.calibration_error),
        ]
    });
    let heads =
        ["score", "rows", "ROC AUC", "average precision", "F1", "macro F1", "false positives", "calibration error"];
    table(out, &heads, rows);
}

/// A bar from 0 to 1 with its interval, and the figure beside it.
fn bar(out: &mut String, name: &str, note: &str, estimate: Option<Estimate>, class: &str) {
    let _ = write!(out, "<div class=\"name\">{}<small>{}</small></div>", escaped(name), escaped(note));
    let Some(Estimate { value, interval }) = estimate else {
        out.push_str("<div></div><div class=\"figure\">–</div>");
        return;
    };
    let at = |share: f64| share.clamp(0.0, 1.0) * 100.0;
    let _ = write!(
        out,
        "<svg class=\"bar\" viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <rect class=\"track\" width=\"100\" height=\"10\"/><rect class=\"{class}\" width=\"{:.2}\" height=\"10\"/>",
        at(value)
    );
    if let Some((low, high)) = interval {
        let (low, high) = (at(low), at(high));
        let _ = write!(out, "<path class=\"interval\" d=\"M{low:.2} 5H{high:.2}M{low:.2} 2V8M{high:.2} 2V8\"/>");
    }
    let _ = write!(out, "</svg><div class=\"figure\">{}</div>", figure(estimate));
}

fn accuracy(out: &mut String, breakdown: &Breakdown) {
    let of = breakdown.score.as_ref().map_or_else(String::new, |score| format!(" of {score}"));
    let _ = write!(out, "<h3>Accuracy{} by {}</h3>\n<div class=\"bars\">", escaped(&of), escaped(&breakdown.by));
    for Slice { name, rows, decided_by, accuracy } in &breakdown.slices {
        let note = match (&breakdown.score, decided_by.as_slice()) {
            (None, [score]) => format!("{rows}, by {score}"),
            _ => rows.to_string(),
        };
        bar(out, if name.is_empty() { "–" } else { name }, &note, *accuracy, "fill");
    }
    out.push_str("</div>\n");
}

fn tricks(out: &mut String, tricks: &[Trick]) {
    let Some(first) = tricks.first() else { return };
    let _ = write!(
        out,
        "<h3>Recall that a spelling trick leaves</h3>\n<p class=\"quiet\">Recall without tricks: {}. A bar is recall with the trick over \
         recall without.</p>\n<div class=\"bars\">",
        figure(first.recall_plain)
    );
    for trick in tricks {
        bar(out, &trick.name, &trick.rows.to_string(), trick.kept, "fill");
    }
    out.push_str("</div>\n");
}

fn dialects(out: &mut String, score: &ScoreReport) {
    if score.dialects.is_empty() {
        return;
    }
    let _ = write!(out, "<h3>False positives of {} by dialect</h3>\n<div class=\"bars\">", escaped(&score.name));
    for dialect in &score.dialects {
        bar(out, &dialect.name, &dialect.negatives.to_string(), dialect.false_positive_rate, "fill bad");
    }
    out.push_str("</div>\n");
}

fn groups(out: &mut String, score: &ScoreReport) {
    if score.groups.is_empty() {
        return;
    }
    let name = escaped(&score.name);
    let _ = write!(
        out,
        "<h3>{name} by identity group</h3>\n<p class=\"quiet\">AUCs of Borkan et al. 2019. Subgroup: within the group. BPSN: its harmless texts against \
         harmful ones of others; low where the group's harmless texts score too high. BNSP: its harmful texts against harmless ones of \
         others; low where they score too low.</p>\n<div class=\"charts\">"
    );
    let charts: [(&str, &str, Of); 5] = [
        ("Subgroup AUC", "fill", |group| group.subgroup_auc),
        ("BPSN AUC", "fill", |group| group.bpsn_auc),
        ("BNSP AUC", "fill", |group| group.bnsp_auc),
        ("False positives", "fill bad", |group| group.false_positive_rate),
        ("Recall", "fill", |group| group.recall),
    ];
    for (title, class, of) in charts {
        if score.groups.iter().all(|group| of(group).is_none()) {
            continue;
        }
        let _ = write!(out, "<div><h4>{title}</h4><div class=\"bars\">");
        for group in &score.groups {
            let note = format!("{} of {} yes", group.positives, group.rows);
            bar(out, &group.name, &note, of(group), class);
        }
        out.push_str("</div></div>");
    }
    out.push_str("</div>\n");
}

fn x(share: f64) -> f64 {
    MARGIN + share.clamp(0.0, 1.0) * PLOT
}

fn y(share: f64) -> f64 {
    MARGIN / 2.0 + (1.0 - share.clamp(0.0, 1.0)) * PLOT
}

fn frame(out: &mut String, title: &str, across: &str, up: &str, inside: &str) {
    let (side, height) = (PLOT + MARGIN * 1.5, PLOT + MARGIN * 1.75);
    let _ = write!(
        out,
        "<figure><figcaption>{title}</figcaption><svg class=\"plot\" viewBox=\"0 0 {side} {height}\" role=\"img\" aria-label=\"{title}\">"
    );
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let _ = write!(
            out,
            "<path class=\"grid\" d=\"M{0:.1} {1:.1}V{2:.1}M{3:.1} {4:.1}H{5:.1}\"/>",
            x(tick),
            y(0.0),
            y(1.0),
            x(0.0),
            y(tick),
            x(1.0)
        );
    }
    for (tick, name) in [(0.0, "0"), (0.5, "0.5"), (1.0, "1")] {
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
            x(tick),
            y(0.0) + 12.0,
            x(0.0) - 4.0,
            y(tick) + 3.5
        );
    }
    let _ = write!(
        out,
        "{inside}<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{across}</text>\
         <text transform=\"translate(8 {:.1}) rotate(-90)\" text-anchor=\"middle\">{up}</text></svg></figure>",
        x(0.5),
        y(0.0) + 25.0,
        y(0.5)
    );
}

fn line(points: &[Point]) -> String {
    let places: Vec<String> = points.iter().map(|point| format!("{:.1},{:.1}", x(point.x), y(point.y))).collect();
    format!("<polyline class=\"curve\" points=\"{}\"/>", places.join(" "))
}

fn plots(out: &mut String, score: &ScoreReport) {
    let name = escaped(&score.name);
    let diagonal = format!("<path class=\"guide\" d=\"M{:.1} {:.1}L{:.1} {:.1}\"/>", x(0.0), y(0.0), x(1.0), y(1.0));
    if !score.roc_curve.is_empty() {
        let inside = format!("{diagonal}{}", line(&score.roc_curve));
        frame(out, &format!("{name}: ROC"), "false positives", "true positives", &inside);
    }
    if !score.precision_recall_curve.is_empty() {
        #[expect(clippy::cast_precision_loss, reason = "counts of texts are far below 2^52")]
        let share = score.positives as f64 / score.rows.max(1) as f64;
        let rate = format!("<path class=\"guide\" d=\"M{:.1} {:.1}H{:.1}\"/>", x(0.0), y(share), x(1.0));
        frame(
            out,
            &format!("{name}: precision and recall"),
            "recall",
            "precision",
            &format!("{rate}{}", line(&score.precision_recall_curve)),
        );
    }
    if !score.calibration.is_empty() {
        let inside = format!("{diagonal}{}", reliability(&score.calibration));
        frame(out, &format!("{name}: calibration"), "mean score", "share that is so", &inside);
    }
}

/// A dot for each bin, the larger the more rows it has.
fn reliability(bins: &[CalibrationBin]) -> String {
    #[expect(clippy::cast_precision_loss, reason = "counts of texts are far below 2^52")]
    let size = |rows: u64| 1.5 + (rows as f64).ln_1p();
    let dot = |bin: &CalibrationBin| {
        let (score, share) = (bin.mean_score?, bin.share_positive?);
        let title = format!("{} rows: mean score {score:.3}, share {share:.3}", bin.rows);
        let (x, y, size) = (x(score), y(share), size(bin.rows));
        Some(format!(
            "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{size:.1}\"><title>{title}</title></circle>"
        ))
    };
    bins.iter().filter_map(dot).collect()
}

fn decisions(out: &mut String, scores: &[ScoreReport]) {
    out.push_str("<h3>Decisions</h3>\n<div class=\"confusions\">");
    for score in scores {
        for at in &score.decisions {
            confusion(out, score, at);
        }
    }
    out.push_str("</div>\n");
}

fn confusion(out: &mut String, score: &ScoreReport, at: &Decisions) {
    let name = match at.threshold {
        None => "the release's threshold".into(),
        Some(_) => threshold_name(at),
    };
    let table = at.confusion;
    let _ = write!(
        out,
        "<table class=\"confusion\"><caption>{} at {name}</caption><thead><tr><td></td><th>flagged</th><th>not</th></tr></thead><tbody>\
         <tr><th>yes</th><td class=\"right\">{}</td><td class=\"wrong\">{}</td></tr>\
         <tr><th>no</th><td class=\"wrong\">{}</td><td class=\"right\">{}</td></tr></tbody>\
         <tfoot><tr><td colspan=\"3\">precision {}<br>recall {}</td></tr></tfoot></table>",
        escaped(&score.name),
        table.true_positives,
        table.false_negatives,
        table.false_positives,
        table.true_negatives,
        figure(at.precision),
        figure(at.recall),
    );
}

fn examples(out: &mut String, examples: &[Example]) {
    if examples.is_empty() {
        return;
    }
    out.push_str("<details><summary>Texts that were decided wrongly</summary>");
    let rows = examples.iter().map(|example| {
        let wrong = if example.expected { "missed" } else { "flagged" };
        vec![
            escaped(&example.function),
            format!("{} {:.3}<br><small>{wrong}</small>", escaped(&example.score), example.value),
            format!("<span class=\"text\">{}</span>", escaped(&example.text)),
        ]
    });
    table(out, &["function", "score", "text"], rows);
    out.push_str("</details>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::measure::Release;

    #[test]
    fn nothing_in_a_text_is_markup() {
        assert_eq!(escaped("<b a='1' c=\"2\">&amp;"), "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;amp;");
        let hostile = "</style><script>alert(1)</script>";
        let example = Example {
            id: hostile.into(),
            function: hostile.into(),
            score: hostile.into(),
            value: 0.5,
            expected: true,
            text: hostile.into(),
        };
        let slice = Slice { name: hostile.into(), rows: 1, decided_by: vec![hostile.into()], accuracy: None };
        let measured = Measured {
            name: hostile.into(),
            title: hostile.into(),
            source: hostile.into(),
            rows: 1,
            clusters: 1,
            scores: Vec::new(),
            accuracy: vec![Breakdown { by: hostile.into(), score: None, slices: vec![slice] }],
            tricks: Vec::new(),
            examples: vec![example],
        };
        let report = Report {
            suite: hostile.into(),
            about: hostile.into(),
            release: Release { name: hostile.into(), version: hostile.into(), digest: hostile.into() },
            texts: 1,
            resamples: 1,
            skipped: Vec::new(),
            measurements: vec![measured],
        };
        let page = page(&report);
        assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<script"), "{page}");
        assert_eq!(page.matches("</style>").count(), 1);
        assert!(!page.contains("http"), "something to load");
    }
}
