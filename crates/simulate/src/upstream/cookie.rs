//! Cookies of the stand-in: readable, and proven by a keyed hash.

use jiff::Timestamp;

/// Bytes of the proof.
const PROOF: usize = 16;

/// Makes and checks cookies. The key follows from the seed, so that a restart is invisible.
pub(super) struct Baker {
    key: [u8; 32],
}

impl Baker {
    pub(super) fn new(seed: u64) -> Self {
        Self { key: *blake3::hash(format!("tailwater simulated upstream {seed}").as_bytes()).as_bytes() }
    }

    /// A cookie of a kind, for someone, until a time.
    pub(super) fn bake(&self, kind: char, whose: &str, until: Timestamp) -> Vec<u8> {
        let mut text = format!("{kind} {} {whose}", until.as_second()).into_bytes();
        let proof = blake3::keyed_hash(&self.key, &text);
        text.extend_from_slice(&proof.as_bytes()[..PROOF]);
        text
    }

    /// Whose cookie of this kind it is, if it is one and not past its time.
    pub(super) fn check(&self, kind: char, cookie: &[u8], now: Timestamp) -> Option<String> {
        let (text, proof) = cookie.split_at_checked(cookie.len().checked_sub(PROOF)?)?;
        // a stand-in need not hide how long a comparison takes
        if blake3::keyed_hash(&self.key, text).as_bytes()[..PROOF] != *proof {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let mut parts = text.splitn(3, ' ');
        let (found, until, whose) = (parts.next()?, parts.next()?.parse::<i64>().ok()?, parts.next()?);
        (found == kind.to_string() && now.as_second() < until).then(|| whose.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_cookies_pass_and_only_in_time() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let baker = Baker::new(1);
        let cookie = baker.bake('c', "me", at(100));
        assert_eq!(baker.check('c', &cookie, at(99)).as_deref(), Some("me"));
        assert_eq!(baker.check('c', &cookie, at(100)), None);
        assert_eq!(baker.check('a', &cookie, at(1)), None);
        assert_eq!(Baker::new(2).check('c', &cookie, at(1)), None);
        for junk in [&b""[..], b"AAA", b"longer than any proof is"] {
            assert_eq!(baker.check('c', junk, at(1)), None);
        }
    }
}
