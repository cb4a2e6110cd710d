//! Tables that fit the terminal.
//!
//! **Invariant:** a row is one line, whatever stands in its cells; no line is wider than the terminal unless `--wide` was
//! given or the output is no terminal. What is left out is named below the table. It never prints.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::output::{is_unprintable, readable};

/// A cell that is cut keeps at least so many columns.
const LEAST: usize = 20;

/// Spaces between two columns.
const GAP: usize = 2;

/// How important a column is: the least important, with the highest number, is left out first.
fn rank(head: &str) -> u8 {
    match head {
        "TITLE" | "NAME" | "NAMES" | "STATE" | "OUTCOME" | "VALUE" | "EVENT" => 1,
        "KB" | "RATE" | "ACTION" | "GROUPS" | "COMPUTERS" | "LAST CONTACT" | "NEEDED" | "FAILED"
        | "RESULT" => 2,
        "CLASSIFICATION" | "VIA" | "LAST USED" | "SYSTEM" | "BY" | "AT" | "SENT" | "WASTED" | "FROM" => 4,
        "ID" | "GUID" | "SHA-1" => 5,
        _ => 3,
    }
}

/// A part of an identity is of no use; other long texts may be cut.
fn may_be_cut(head: &str, natural: usize) -> bool {
    natural > LEAST && !matches!(head, "ID" | "GUID" | "SHA-1" | "UPDATE")
}

/// A cell as one line of printable text. Spaces before it are kept: they draw trees.
fn one_line(cell: &str) -> String {
    let indent = cell.len() - cell.trim_start_matches(' ').len();
    let mut out = " ".repeat(indent);
    for c in cell[indent..].chars() {
        let c = if is_unprintable(c) || c.is_whitespace() { ' ' } else { c };
        if c != ' ' || !out.ends_with(' ') {
            out.push(c);
        }
    }
    out.trim_end().to_owned()
}

/// The beginning of a text that is so wide at most, with a sign where something was cut.
fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if text.width() <= most {
        return text.into();
    }
    let mut kept = String::new();
    let mut width = 0;
    for c in text.chars() {
        let more = c.width().unwrap_or(0);
        if width + more + 1 > most {
            break;
        }
        width += more;
        kept.push(c);
    }
    kept.push('…');
    kept.into()
}

/// How wide each column is; `None` for one that is left out.
fn layout(head: &[&str], natural: &[usize], width: Option<usize>) -> Vec<Option<usize>> {
    let mut widths: Vec<Option<usize>> = natural.iter().copied().map(Some).collect();
    let Some(width) = width else { return widths };
    loop {
        let shown: Vec<usize> = (0..widths.len()).filter(|column| widths[*column].is_some()).collect();
        let sum = |widths: &[Option<usize>]| {
            widths.iter().flatten().sum::<usize>() + GAP * shown.len().saturating_sub(1)
        };
        let over = sum(&widths).saturating_sub(width);
        if over == 0 {
            return widths;
        }
        let cuttable: Vec<usize> =
            shown.iter().copied().filter(|column| may_be_cut(head[*column], natural[*column])).collect();
        let room: usize = cuttable.iter().map(|column| natural[*column] - LEAST).sum();
        if over <= room || shown.len() <= 1 {
            // the widest gives first
            for _ in 0..over {
                let widest = cuttable.iter().copied().max_by_key(|column| widths[*column]);
                let Some(column) = widest.or(shown.first().copied()) else { break };
                widths[column] = widths[column].map(|width| width.saturating_sub(1).max(1));
            }
            return widths;
        }
        let least = shown.iter().copied().skip(1).max_by_key(|column| (rank(head[*column]), *column));
        match least {
            Some(column) => widths[column] = None,
            None => return widths,
        }
    }
}

/// The lines of a table, for a terminal of this width; times are shown as local ones.
pub(super) fn lines(head: &[&str], rows: &[Vec<String>], width: Option<usize>) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| one_line(&readable(cell))).collect()).collect();
    let mut natural: Vec<usize> = head.iter().map(|cell| cell.width()).collect();
    for row in &rows {
        for (width, cell) in natural.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let widths = layout(head, &natural, width);
    let last = widths.iter().rposition(Option::is_some);
    let mut out = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut written = String::new();
        for (column, (cell, width)) in cells.zip(&widths).enumerate() {
            let Some(width) = *width else { continue };
            let cell = cut(cell, width);
            written.push_str(&cell);
            if Some(column) != last {
                written.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width()) + GAP));
            }
        }
        out.push_str(written.trim_end());
        out.push('\n');
    };
    line(&mut head.iter().copied());
    for row in &rows {
        line(&mut row.iter().map(String::as_str));
    }
    let hidden: Vec<&str> =
        head.iter().zip(&widths).filter(|(_, width)| width.is_none()).map(|(head, _)| *head).collect();
    if !hidden.is_empty() && !rows.is_empty() {
        out.push_str(&cut(
            &format!("(--wide also shows {})", hidden.join(", ")),
            width.unwrap_or(usize::MAX),
        ));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: [&str; 5] = ["UPDATE", "STATE", "KB", "CLASSIFICATION", "TITLE"];

    fn rows() -> Vec<Vec<String>> {
        let row = |title: &str| {
            ["6964aab4-c5b5-43bd-a17d-ffb4346a8e1d", "approved", "KB5031356", "Security Updates", title]
                .map(str::to_owned)
                .to_vec()
        };
        vec![
            row("2026-11 Cumulative Update for Windows 11 Version 25H2 for x64-based Systems (KB5031356)"),
            row("two\r\nlines\u{2028}and\u{85}more\ttabs"),
            row("累積更新プログラム、とても長い名前のためにここで切られるはずです、そしてまだ続きます"),
            row("e\u{301}\u{301}\u{301} \u{202E}backwards\u{202C} \u{1b}[31mred\u{7}"),
            row(""),
        ]
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_no_row_has_two_lines() {
        for width in 1..200 {
            let text = lines(&HEAD, &rows(), Some(width));
            for line in text.lines() {
                assert!(line.width() <= width, "{width}: {line:?} is {}", line.width());
            }
            let hidden = usize::from(text.contains("--wide") || text.lines().count() > rows().len() + 1);
            assert_eq!(text.lines().count(), 1 + rows().len() + hidden, "{width}: {text}");
            assert!(!text.chars().any(|c| c != '\n' && is_unprintable(c)), "{text:?}");
        }
        let whole = lines(&HEAD, &rows(), None);
        assert!(whole.contains("(KB5031356)") && !whole.contains('…') && !whole.contains("--wide"));
    }

    #[test]
    fn spaces_before_a_name_draw_a_tree() {
        let rows = ["All", "  Office", "    Front  Desk "].map(|name| vec![name.to_owned(), "1".to_owned()]);
        let text = lines(&["GROUP", "COMPUTERS"], &rows, Some(40));
        let shown: Vec<&str> = text.lines().skip(1).map(|line| line.trim_end_matches(['1', ' '])).collect();
        assert_eq!(shown, ["All", "  Office", "    Front Desk"]);
    }

    #[test]
    fn what_matters_stays_longest() {
        let columns = |width| {
            let text = lines(&HEAD, &rows(), Some(width));
            text.lines().next().unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(columns(160), ["UPDATE", "STATE", "KB", "CLASSIFICATION", "TITLE"]);
        assert!(columns(80).contains(&"TITLE".to_owned()));
        assert!(!columns(80).contains(&"CLASSIFICATION".to_owned()));
        // identities are whole or not there
        for width in 1..200 {
            let text = lines(&HEAD, &rows(), Some(width));
            let part = text.contains("6964") && !text.contains("6964aab4-c5b5-43bd-a17d-ffb4346a8e1d");
            assert!(!part || width < 40, "{width}: {text}");
        }
    }
}
