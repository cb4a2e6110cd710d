//! Who is let in, under both policies, whatever a server changes of what it shows.

use jiff::Timestamp;

use super::*;
use crate::http::PeerCertificate;
use tailwater_catalog::{Config, IdentifiedBy};
use tailwater_runtime::Clock;

fn gate(policy: Policy) -> (Gate, Catalog, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Timestamp::from_second(1_000_000).unwrap());
    let catalog = Catalog::open(Config::new(dir.path()), clock).unwrap();
    (Gate::new(policy, catalog.clone()), catalog, dir)
}

fn shown(token: Option<&str>) -> Proof {
    Proof {
        address: IpAddr::from([192, 0, 2, 7]),
        token: token.map(str::to_owned),
        certificate: None,
        who: Arc::default(),
    }
}

fn server(number: u128) -> ServerId {
    ServerId(uuid::Uuid::from_u128(number))
}

#[test]
fn an_open_gate_lets_in_whoever_is_not_revoked() {
    let (gate, catalog, _dir) = gate(Policy::Open);
    assert_eq!(gate.admit(&server(1), "a.example", &shown(None)).unwrap().name, "a.example");
    assert!(gate.check(&server(1), &shown(None)).is_ok());
    assert!(matches!(gate.check(&server(2), &shown(None)), Err(Denied::Unknown)));
    catalog.revoke_server("A.example").unwrap();
    assert!(matches!(gate.check(&server(1), &shown(None)), Err(Denied::Revoked)));
    assert!(matches!(gate.admit(&server(1), "a.example", &shown(None)), Err(Denied::Revoked)));
    catalog.allow_server(&server(1).to_string(), false).unwrap();
    assert!(gate.check(&server(1), &shown(None)).is_ok());
}

#[test]
fn enrolment_is_by_name_by_identity_or_by_token() {
    let (gate, catalog, _dir) = gate(Policy::Enrolled);
    let refused = gate.admit(&server(1), "a.example", &shown(None));
    assert!(matches!(refused, Err(Denied::NotEnrolled)));
    assert_eq!(catalog.refused_servers()[0].id, server(1));
    // by the name of one that was refused, which means that one and no other
    assert_eq!(catalog.allow_server("a.example", false).unwrap().server, Some(server(1)));
    assert!(gate.admit(&server(1), "a.example", &shown(None)).is_ok());
    assert!(gate.admit(&server(2), "a.example", &shown(None)).is_err());
    // by a name that nobody came by: the first who does
    assert_eq!(catalog.allow_server("b.example", false).unwrap().server, None);
    assert!(gate.admit(&server(3), "b.example", &shown(None)).is_ok());
    assert!(gate.admit(&server(4), "b.example", &shown(None)).is_err());
    // by token, whatever the name
    let token = catalog.allow_server("c.example", true).unwrap().token;
    assert!(gate.admit(&server(5), "c.example", &shown(None)).is_err());
    assert!(gate.admit(&server(5), "other.example", &shown(Some(&token))).is_ok());
    assert!(gate.check(&server(5), &shown(Some(&token))).is_ok());
    assert!(matches!(gate.check(&server(5), &shown(None)), Err(Denied::Token)));
    let certified = Proof { certificate: Some(PeerCertificate::new([6; 32], "d.example")), ..shown(None) };
    assert!(gate.admit(&server(6), "d.example", &certified).is_ok());
}

/// What of a server that was shut out is another one when it comes again.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Other {
    Identity,
    Name,
    Address,
    Certificate,
    Token,
}

/// Every set of what it may change, under both policies, with and without a certificate and a token: it gets in only
/// where nothing by which it is known is left and the policy lets strangers in.
#[test]
fn who_was_shut_out_stays_so_whatever_it_changes() {
    let all = [Other::Identity, Other::Name, Other::Address, Other::Certificate, Other::Token];
    let mut let_in = 0;
    for policy in [Policy::Open, Policy::Enrolled] {
        for (with_certificate, with_token) in [(false, false), (true, false), (false, true), (true, true)] {
            for set in 0..1_u32 << all.len() {
                let changed = |what: Other| {
                    all.iter().position(|one| *one == what).is_some_and(|at| set >> at & 1 == 1)
                };
                let (gate, catalog, _dir) = gate(policy);
                let token = catalog.allow_server("branch.example", with_token).unwrap().token;
                let certificate =
                    |key: u8, name: &str| with_certificate.then(|| PeerCertificate::new([key; 32], name));
                let first = Proof {
                    token: with_token.then_some(token),
                    certificate: certificate(1, "branch.example"),
                    ..shown(None)
                };
                gate.admit(&server(1), "branch.example", &first).unwrap();
                let revoked = catalog.revoke_server("branch.example").unwrap();
                let seen = &revoked.server.as_ref().unwrap().seen;
                let named = (seen.names.len(), seen.addresses.len(), seen.certificates.len());
                assert_eq!(named, (1, 1, usize::from(with_certificate)), "the administrator is told which");
                let again = Proof {
                    address: if changed(Other::Address) { [198, 51, 100, 9] } else { [192, 0, 2, 7] }.into(),
                    token: if changed(Other::Token) { None } else { first.token.clone() },
                    certificate: if changed(Other::Certificate) {
                        certificate(2, "other.example")
                    } else {
                        first.certificate
                    },
                    who: Arc::default(),
                };
                let id = if changed(Other::Identity) { server(2) } else { server(1) };
                let name = if changed(Other::Name) { "other.example" } else { "branch.example" };
                let outcome = gate.admit(&id, name, &again);
                let is_stranger = changed(Other::Identity)
                    && changed(Other::Name)
                    && changed(Other::Address)
                    && (changed(Other::Certificate) || !with_certificate)
                    && (changed(Other::Token) || !with_token);
                let gets_in = is_stranger && (policy == Policy::Open || with_certificate);
                assert_eq!(outcome.is_ok(), gets_in, "{policy:?} {set:05b} {outcome:?}");
                let_in += usize::from(gets_in);
                if !gets_in {
                    assert!(gate.check(&server(1), &again).is_err());
                    assert_eq!(catalog.refused_servers().last().unwrap().id, server(1));
                    // an explicit word lets it in again
                    catalog.allow_server(&id.to_string(), false).unwrap();
                    gate.admit(&id, name, &again).unwrap();
                    gate.check(&id, &again).unwrap();
                }
            }
        }
    }
    assert!(let_in > 0, "strangers were among them");
}

#[test]
fn an_address_that_others_come_from_shuts_nobody_out() {
    let (gate, catalog, dir) = gate(Policy::Open);
    gate.admit(&server(1), "a.example", &shown(None)).unwrap();
    gate.admit(&server(2), "b.example", &shown(None)).unwrap();
    let revoked = catalog.revoke_server("a.example").unwrap();
    assert_eq!((revoked.shared, revoked.also), (vec![shown(None).address], Vec::new()));
    assert!(gate.check(&server(2), &shown(None)).is_ok());
    gate.admit(&server(3), "c.example", &shown(None)).unwrap();
    // one that has its name is shut out with it, and named
    gate.admit(&server(4), "d.example", &shown(None)).unwrap();
    gate.admit(&server(5), "D.example", &shown(None)).unwrap();
    let revoked = catalog.revoke_server(&server(4).to_string()).unwrap();
    assert_eq!(revoked.also, [server(5)]);
    assert!(matches!(gate.check(&server(5), &shown(None)), Err(Denied::RevokedAs { .. })));
    // that outlives the process, and that what it told is forgotten
    catalog.forget_server(&server(4)).unwrap();
    drop((gate, catalog));
    let catalog = Catalog::open(Config::new(dir.path()), Clock::system()).unwrap();
    let gate = Gate::new(Policy::Open, catalog);
    assert!(matches!(gate.check(&server(4), &shown(None)), Err(Denied::Revoked)));
    let again = gate.admit(&server(6), "d.example", &shown(None));
    assert!(matches!(again, Err(Denied::RevokedAs { by: IdentifiedBy::Name, .. })));
}

#[test]
fn a_server_is_bound_to_the_certificate_it_came_with() {
    let (gate, catalog, _dir) = gate(Policy::Open);
    let with = |key: u8, name: &str| Proof {
        certificate: Some(PeerCertificate::new([key; 32], name)),
        ..shown(None)
    };
    gate.admit(&server(1), "a.example", &with(1, "a.example")).unwrap();
    assert!(gate.check(&server(1), &with(1, "a.example")).is_ok());
    assert!(gate.check(&server(1), &with(2, "A.example")).is_ok(), "a renewed one for the same name");
    assert!(gate.check(&server(1), &with(1, "b.example")).is_ok(), "another name, the same key");
    for other in [shown(None), with(3, "b.example"), with(3, "")] {
        assert!(matches!(gate.check(&server(1), &other), Err(Denied::Certificate)));
        assert!(matches!(gate.admit(&server(1), "a.example", &other), Err(Denied::Certificate)));
    }
    catalog.allow_server("a.example", false).unwrap();
    assert!(gate.admit(&server(1), "a.example", &shown(None)).is_ok(), "an administrator said so");
}

#[test]
fn decisions_outlive_the_process() {
    let (gate, catalog, dir) = gate(Policy::Enrolled);
    let token = catalog.allow_server("a.example", true).unwrap().token;
    catalog.allow_server("b.example", false).unwrap();
    assert!(gate.admit(&server(1), "a.example", &shown(Some(&token))).is_ok());
    drop((gate, catalog));
    let catalog = Catalog::open(Config::new(dir.path()), Clock::system()).unwrap();
    let gate = Gate::new(Policy::Enrolled, catalog.clone());
    assert!(gate.check(&server(1), &shown(Some(&token))).is_ok());
    assert_eq!(catalog.invitations()[0].name, "b.example");
    assert!(gate.admit(&server(2), "b.example", &shown(None)).is_ok());
}

#[test]
fn an_address_names_a_server_only_while_one_comes_from_it() {
    let (gate, _catalog, _dir) = gate(Policy::Open);
    gate.admit(&server(1), "a.example", &shown(None)).unwrap();
    assert_eq!(gate.server_at(shown(None).address), Some(server(1)));
    gate.admit(&server(2), "b.example", &shown(None)).unwrap();
    assert_eq!(gate.server_at(shown(None).address), None);
}
