//! What an agent's cookies say ([MS-WUSP] 3.1.5.3, 3.1.5.4).
//!
//! **Invariant:** a cookie is read only after its seal was checked. Nothing here decides whether its time is over.

use jiff::Timestamp;

use crate::cookie::{CookieError, Kind, PLACE_LEN, Sealer, push_name, push_place};
use tailwater_catalog::Place;
use tailwater_domain::ComputerId;
use tailwater_wire::client_update::ProtocolVersion;

/// What a cookie says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claims {
    /// When it was made.
    pub(super) issued: Timestamp,
    /// Until when it is good. Use does not move it.
    pub(super) expires: Timestamp,
    /// `LastChange` of the configuration the agent knows.
    pub(super) config: Timestamp,
    /// How much of the decisions the agent has seen.
    pub(super) change_number: u64,
    /// For which groups it has seen them ([`tailwater_catalog::Snapshot::reach_of`]); none in cookies of earlier versions.
    pub(super) reach: Option<u64>,
    /// Up to where this store gave it numbers of revisions.
    pub(super) given: Place,
    /// What the agent speaks.
    pub(super) version: ProtocolVersion,
    /// Whose it is.
    pub(super) computer: ComputerId,
}

impl Claims {
    /// The sealed cookie.
    pub(super) fn seal(&self, sealer: &Sealer, kind: Kind) -> Vec<u8> {
        let mut says = Vec::with_capacity(3 * 8 + 8 + PLACE_LEN + 4 + 1 + self.computer.0.len());
        for time in [self.issued, self.expires, self.config] {
            says.extend_from_slice(&time.as_millisecond().to_le_bytes());
        }
        says.extend_from_slice(&self.change_number.to_le_bytes());
        push_place(&mut says, &self.given);
        says.extend_from_slice(&self.version.major.to_le_bytes());
        says.extend_from_slice(&self.version.minor.to_le_bytes());
        push_name(&mut says, &self.computer.0);
        says.extend(self.reach.map(u64::to_le_bytes).into_iter().flatten());
        sealer.seal(kind, &says)
    }

    /// What a cookie of this kind says.
    ///
    /// # Errors
    /// When this server did not seal it.
    pub(super) fn open(sealer: &Sealer, kind: Kind, cookie: &[u8]) -> Result<Self, CookieError> {
        sealer.open(kind, cookie, |mut says| {
            let (issued, expires, config) = (says.time()?, says.time()?, says.time()?);
            let change_number = u64::from_le_bytes(says.bytes()?);
            let given = says.place(change_number)?;
            let major = u16::from_le_bytes(says.bytes()?);
            let version = ProtocolVersion { major, minor: u16::from_le_bytes(says.bytes()?) };
            let computer = ComputerId(says.name_before()?);
            let reach = if says.is_empty() { None } else { Some(u64::from_le_bytes(says.bytes()?)) };
            let claims = Self { issued, expires, config, change_number, reach, given, version, computer };
            if says.is_empty() { Ok(claims) } else { Err(CookieError::Forged) }
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use tailwater_catalog::SEAL_KEY;

    fn claims() -> Claims {
        Claims {
            issued: Timestamp::from_second(1_000).unwrap(),
            expires: Timestamp::from_second(4_600).unwrap(),
            config: Timestamp::from_millisecond(77_123).unwrap(),
            change_number: 42,
            reach: Some(7),
            given: Place { change: 43, mark: 99 },
            version: ProtocolVersion { major: 2, minor: 90 },
            computer: ComputerId("e1da06a3-5601-43c9-bac3-52d5db701494".to_owned()),
        }
    }

    fn sealer(key: u8, server: u128) -> Sealer {
        Sealer::fixed([key; SEAL_KEY], Uuid::from_u128(server))
    }

    #[test]
    fn what_was_sealed_is_read_back() {
        let sealed = claims().seal(&sealer(1, 1), Kind::Service);
        assert_eq!(Claims::open(&sealer(1, 1), Kind::Service, &sealed), Ok(claims()));
        let earlier = Claims { reach: None, ..claims() };
        assert_eq!(
            Claims::open(&sealer(1, 1), Kind::Service, &earlier.seal(&sealer(1, 1), Kind::Service)),
            Ok(earlier),
            "a cookie that was made before groups were in it"
        );
    }

    #[test]
    fn a_cookie_of_before_there_were_places_is_read() {
        let ours = sealer(1, 1);
        // as the second layout, without the sixteen bytes of the place
        let now = claims().seal(&ours, Kind::Service);
        let says = &now[3 + 1 + 1 + 16..now.len() - 32];
        let old = ours.seal_as(1, Kind::Service, &[&says[..32], &says[48..]].concat());
        let given = Place { change: 42, mark: 0 };
        assert_eq!(Claims::open(&ours, Kind::Service, &old), Ok(Claims { given, ..claims() }));
        let newer = ours.seal_as(3, Kind::Service, says);
        assert_eq!(Claims::open(&ours, Kind::Service, &newer), Err(CookieError::Forged));
    }

    #[test]
    fn no_bit_can_be_changed_and_no_byte_left_out() {
        let ours = sealer(1, 1);
        let sealed = claims().seal(&ours, Kind::Service);
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Claims::open(&ours, Kind::Service, &changed), Err(CookieError::Forged), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert_eq!(
                Claims::open(&ours, Kind::Service, &sealed[..len]),
                Err(CookieError::Forged),
                "length {len}"
            );
        }
    }

    #[test]
    fn kinds_keys_and_servers_are_kept_apart() {
        let sealed = claims().seal(&sealer(1, 1), Kind::Service);
        assert_eq!(Claims::open(&sealer(1, 1), Kind::Authorization, &sealed), Err(CookieError::Forged));
        assert_eq!(Claims::open(&sealer(2, 1), Kind::Service, &sealed), Err(CookieError::Forged));
        assert_eq!(Claims::open(&sealer(1, 2), Kind::Service, &sealed), Err(CookieError::OtherServer));
    }
}
