//! Names without what changes from release to release: versions, dates, KB numbers, digests.
//!
//! **Invariant:** the same text always gives the same folded one; two names of which only a version differs fold to
//! the same. Architectures are never folded. Pure.

/// Words with digits that say what a payload is for, not which release it is of.
const ARCHITECTURES: [&str; 13] = [
    "x64", "x86", "amd64", "arm64", "arm", "ia64", "i386", "win32", "win64", "amd64fre", "x86fre",
    "arm64fre", "wow64",
];

/// Digits in a row from which a number is a build or an article, whatever stands around it.
const LONG: usize = 5;

/// Hexadecimal digits in a row from which a word is a digest.
const DIGEST: usize = 8;

// not a limit: DIGEST: what a name means

/// How much is folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fold {
    /// What is a version or date by its looks: short numbers such as those of `Windows 11` and `24H2` stay.
    Versions,
    /// Every number but those of architectures.
    Numbers,
}

/// The words of a text: runs of letters and digits; `.` and `-` belong to them between two digits.
fn words(text: &str) -> Vec<String> {
    let text: Vec<char> = text.chars().take(super::MAX_NAME).flat_map(char::to_lowercase).collect();
    let digit = |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(char::is_ascii_digit);
    let (mut found, mut word) = (Vec::new(), String::new());
    for (at, &c) in text.iter().enumerate() {
        let joins = matches!(c, '.' | '-') && digit(at.checked_sub(1)) && digit(Some(at + 1));
        if c.is_alphanumeric() || joins {
            word.push(c);
        } else if !word.is_empty() {
            found.push(std::mem::take(&mut word));
        }
    }
    found.extend((!word.is_empty()).then_some(word));
    found
}

fn is_number(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-'))
}

/// Three or more parts are a version or a date, as is a year with a month.
fn is_version(word: &str) -> bool {
    let parts: Vec<&str> = word.split(['.', '-']).collect();
    parts.len() > 2 || (parts.len() == 2 && word.contains('-') && parts[0].len() == 4)
}

fn is_digest(word: &str) -> bool {
    word.len() >= DIGEST
        && word.chars().all(|c| c.is_ascii_hexdigit())
        && word.chars().any(|c| c.is_ascii_digit())
}

/// Replaces runs of at least `least` digits.
fn without_runs(word: &str, least: usize) -> String {
    let (mut out, mut run) = (String::new(), String::new());
    for c in word.chars().chain(['\0']) {
        if c.is_ascii_digit() {
            run.push(c);
            continue;
        }
        if run.len() >= least {
            out.push('#');
        } else {
            out.push_str(&run);
        }
        run.clear();
        if c != '\0' {
            out.push(c);
        }
    }
    out
}

fn folded(word: &str, fold: Fold) -> String {
    if ARCHITECTURES.contains(&word) {
        return word.to_owned();
    }
    let kb = word.strip_prefix("kb").is_some_and(|rest| !rest.is_empty() && is_number(rest));
    if kb || is_digest(word) || (is_number(word) && (fold == Fold::Numbers || is_version(word))) {
        return if kb { "kb#".to_owned() } else { "#".to_owned() };
    }
    match fold {
        Fold::Versions if is_number(word) && without_runs(word, LONG).contains('#') => "#".to_owned(),
        Fold::Versions => without_runs(word, LONG),
        Fold::Numbers => without_runs(word, 1),
    }
}

/// The folded words, with single spaces between them.
pub(super) fn fold(text: &str, fold: Fold) -> String {
    let words: Vec<String> = words(text).iter().map(|word| folded(word, fold)).collect();
    words.join(" ")
}

/// The numbers of a text in order, those of architectures left out: what tells releases of one thing apart.
pub(super) fn numbers(text: &str) -> Vec<u64> {
    let words = words(text).into_iter().filter(|word| !ARCHITECTURES.contains(&word.as_str()));
    words
        .flat_map(|word| {
            let runs = word.split(|c: char| !c.is_ascii_digit()).map(|run| run.parse().ok());
            runs.flatten().collect::<Vec<u64>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_one_thing_fold_to_the_same() {
        let same = [
            (
                "Security Intelligence Update - KB2267602 (Version 1.459.547.0) - Current Channel (Broad)",
                "Security Intelligence Update - KB2267602 (Version 1.459.1002.0) - Current Channel (Broad)",
            ),
            (
                "2026-10 Cumulative Update for Windows 11, version 24H2 for x64-based Systems (KB5066835) (26100.6899)",
                "2026-11 Cumulative Update for Windows 11, version 24H2 for x64-based Systems (KB5068861) (26100.7171)",
            ),
            (
                "AM Engine 1.1.26080.3 for Defender amd64fre Broad",
                "AM Engine 1.1.26090.1 for Defender amd64fre Broad",
            ),
            ("windows11.0-kb5066835-x64.cab", "windows11.0-kb5068861-x64.cab"),
            ("AM_Delta_Patch_1.459.500.0.exe", "AM_Delta_Patch_1.459.547.0.exe"),
            ("am_delta_3f0c6a530f0b4c6f.exe", "am_delta_8a4e6d616368696e.exe"),
        ];
        for (one, other) in same {
            assert_eq!(fold(one, Fold::Versions), fold(other, Fold::Versions));
        }
    }

    #[test]
    fn different_things_stay_different() {
        let different = [
            (
                "Cumulative Update for Windows 11, version 24H2",
                "Cumulative Update for Windows 11, version 25H2",
            ),
            ("Windows 10 Version 22H2 for x64", "Windows 10 Version 22H2 for ARM64"),
            ("Office 2016", "Office 2019"),
            ("Engine for Defender amd64fre Broad", "Engine for Defender x86fre Broad"),
            ("Current Channel (Broad)", "Current Channel (Staged)"),
        ];
        for (one, other) in different {
            assert_ne!(fold(one, Fold::Versions), fold(other, Fold::Versions));
        }
        assert_eq!(fold("Edge Version 119 x64", Fold::Numbers), fold("Edge Version 120 x64", Fold::Numbers));
        assert_ne!(fold("Edge Version 119 x64", Fold::Numbers), fold("Edge Version 119 x86", Fold::Numbers));
    }

    #[test]
    fn numbers_order_the_patches_of_a_release() {
        assert_eq!(numbers("Patch 1.459.500.0 for amd64fre"), [1, 459, 500, 0]);
        assert!(numbers("am_9.exe") < numbers("am_10.exe"));
    }
}
