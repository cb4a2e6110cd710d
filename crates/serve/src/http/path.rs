//! The path of a request, as IIS takes it: the one place where what was sent becomes what is looked up.
//!
//! **Invariant:** a path that comes out is `/` or has segments, each decoded once, none of them empty, `.` or `..`, none
//! with a slash, a backslash or a control character. What would climb above the root, or cannot be decoded, names
//! nothing. It never looks at the query, and never at letter case: that is for whoever compares.

use std::borrow::Cow;

use http::Uri;

/// The path of a request's target, in whichever form it came (RFC 9112 3.2). `None` when it names nothing.
pub(crate) fn of(target: &Uri) -> Option<Cow<'_, str>> {
    normal(target.path())
}

/// Runs of slashes, `/./` and a slash at the end are left out, `/x/../` is taken back, percent-encoded characters are
/// decoded. An encoded slash is refused, because it would move the borders of segments.
fn normal(path: &str) -> Option<Cow<'_, str>> {
    if is_normal(path) {
        return Some(Cow::Borrowed(path));
    }
    let mut segments: Vec<Cow<'_, str>> = Vec::new();
    for segment in path.strip_prefix('/')?.split('/') {
        let segment = decoded(segment)?;
        match &*segment {
            "" | "." => {}
            ".." => drop(segments.pop()?),
            _ => segments.push(segment),
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in &segments {
        normal.push('/');
        normal.push_str(segment);
    }
    if normal.is_empty() {
        normal.push('/');
    }
    Some(Cow::Owned(normal))
}

/// Whether nothing of it need be changed: the usual request costs one pass. A segment with a dot in front takes the
/// long way.
fn is_normal(path: &str) -> bool {
    let plain = |byte: u8| byte >= b' ' && byte != 0x7f && byte < 0x80 && byte != b'%' && byte != b'\\';
    let after_slash = |pair: &[u8]| pair[0] != b'/' || (pair[1] != b'/' && pair[1] != b'.');
    let bytes = path.as_bytes();
    bytes.first() == Some(&b'/')
        && bytes.iter().all(|byte| plain(*byte))
        && bytes.windows(2).all(after_slash)
        && (bytes.len() == 1 || bytes.last() != Some(&b'/'))
}

/// One segment, percent-decoded (RFC 3986 2.1). `None` when it cannot be, or holds what no segment may.
fn decoded(segment: &str) -> Option<Cow<'_, str>> {
    let text = if segment.contains('%') {
        let mut bytes = Vec::with_capacity(segment.len());
        let mut rest = segment.as_bytes();
        while let Some((&first, after)) = rest.split_first() {
            rest = after;
            if first != b'%' {
                bytes.push(first);
                continue;
            }
            let (digits, after) = rest.split_first_chunk::<2>()?;
            let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
            bytes.push(u8::try_from(high? * 16 + low?).ok()?);
            rest = after;
        }
        Cow::Owned(String::from_utf8(bytes).ok()?)
    } else {
        Cow::Borrowed(segment)
    };
    let legal = |c: char| c != '/' && c != '\\' && !c.is_control();
    text.chars().all(legal).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use tailwater_domain::{ContentPath, Sha1Digest};

    /// Repeatable: a failing test prints its round.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % limit as u64).unwrap()
        }

        fn one_in(&mut self, many: usize) -> bool {
            self.below(many) == 0
        }
    }

    const SERVED: [&str; 9] = [
        "/ClientWebService/client.asmx",
        "/SimpleAuthWebService/SimpleAuth.asmx",
        "/ReportingWebService/ReportingWebService.asmx",
        "/ServerSyncWebService/ServerSyncWebService.asmx",
        "/DssAuthWebService/DssAuthWebService.asmx",
        "/Content/49/A379D5526FB3A7A0423DA1CD7FC3182A8D448449.cab",
        "/selfupdate/wuident.cab",
        "/tailwater/v1/changes",
        "/",
    ];

    /// The same path as somebody else might write it.
    fn decorated(path: &str, dice: &mut Dice) -> String {
        let mut text = String::new();
        for segment in path.split('/').skip(1) {
            text.push('/');
            while dice.one_in(3) {
                text.push_str(["/", "./", "%2e/", "x/../", "%78y/%2E%2e/", "a/b/../.././"][dice.below(6)]);
            }
            for c in segment.chars() {
                let c = if dice.one_in(4) { c.to_ascii_uppercase() } else { c };
                match dice.below(8) {
                    0 => write!(text, "%{:02x}", c as u32).unwrap(),
                    1 => write!(text, "%{:02X}", c as u32).unwrap(),
                    _ => text.push(c),
                }
            }
        }
        while dice.one_in(3) {
            text.push_str(["/", "/.", "/%2e/", "//", "/x/.."][dice.below(5)]);
        }
        text
    }

    #[test]
    fn however_a_path_is_decorated_it_is_the_same_path() {
        let mut dice = Dice(20_261_130);
        for round in 0..20_000 {
            let path = SERVED[round % SERVED.len()];
            let text = decorated(path, &mut dice);
            let found = normal(&text).unwrap_or_else(|| panic!("round {round}: {text} names nothing"));
            assert!(found.eq_ignore_ascii_case(path), "round {round}: {text} is taken for {found}");
        }
    }

    #[test]
    fn whatever_is_sent_no_segment_leads_anywhere_else() {
        let parts = [
            "/", "/", "/", "..", ".", "%2e", "%2E%2e", "%2f", "%5c", "\\", "%00", "%0a", "%7f", "%25", "%",
            "%4", "%zz", "%c3%a9", "%c3", "Content", "49", "etc", "passwd", "%u00e9", "\u{e9}", ";",
            "\u{7f}",
        ];
        let mut dice = Dice(7);
        for round in 0..50_000 {
            let text: String = std::iter::once("/")
                .chain((0..dice.below(12)).map(|_| parts[dice.below(parts.len())]))
                .collect();
            let Some(found) = normal(&text) else { continue };
            assert!(found.starts_with('/'), "round {round}: {text} is taken for {found}");
            for segment in found.split('/').skip(1).filter(|_| found != "/") {
                let dots = matches!(segment, "" | "." | "..");
                let odd = segment.chars().any(|c| c == '\\' || c.is_control());
                // what stands there was sent in one segment
                let sent = text.split('/').any(|sent| decoded(sent).is_some_and(|sent| sent == segment));
                assert!(!dots && !odd && sent, "round {round}: {text} is taken for {found}");
            }
        }
    }

    #[test]
    fn what_would_move_borders_or_climb_names_nothing() {
        for path in [
            "",
            "Content/49",
            "*",
            "/..",
            "/../Content",
            "/Content/../../x",
            "/%2e%2e/x",
            "/Content%2f49/x",
            "/Content/49%5Cx",
            "/Content\\49",
            "/Content/%00",
            "/Content/x%0d%0aHost:",
            "/Content/%",
            "/Content/%4",
            "/Content/%zz",
            "/Content/%+1",
            "/Content/%c3",
            "/Content/\u{80}",
        ] {
            assert_eq!(normal(path), None, "{path:?}");
        }
        // decoded once
        assert_eq!(normal("/Content/%252e%252e/x").as_deref(), Some("/Content/%2e%2e/x"));
        assert_eq!(normal("/Content/%252f").as_deref(), Some("/Content/%2f"));
        let whole: Uri = "http://updates.example:8530//Content/./x?y=/../z".parse().unwrap();
        assert_eq!(of(&whole).as_deref(), Some("/Content/x"));
        let bare: Uri = "http://updates.example:8530".parse().unwrap();
        assert_eq!(of(&bare).as_deref(), Some("/"));
    }

    #[test]
    fn every_address_that_is_written_is_read() {
        let mut dice = Dice(6);
        let alphabet: Vec<char> =
            ".....-_~ %/\\:;?#&+'\"<>|*abcXYZ019\u{0}\n\u{7f}\u{e9}\u{301}\u{4e2d}\u{202e}\u{1f600}"
                .chars()
                .collect();
        for round in 0..20_000_u32 {
            let length = if dice.one_in(50) { dice.below(400) } else { dice.below(20) };
            let name: String = (0..length).map(|_| alphabet[dice.below(alphabet.len())]).collect();
            let mut sha1 = [0; 20];
            sha1.fill_with(|| u8::try_from(dice.below(256)).unwrap());
            let written = ContentPath::of(Sha1Digest(sha1), &name);
            let target: Uri = format!("http://updates.example:8530{}", written.encoded())
                .parse()
                .unwrap_or_else(|_| panic!("round {round}: {name:?} gives no address"));
            let path = of(&target).unwrap_or_else(|| panic!("round {round}: {name:?}: {target}"));
            assert_eq!(ContentPath::read(&path), Some(written), "round {round}: {name:?}: {target}");
        }
    }
}
