//! What can only be part of bundles is offered, and counted, while a bundle in force needs it; and who wants to decide
//! on it by itself is given the reason that holds for what he wants.

use jiff::Timestamp;

use crate::tests::names::*;
use crate::tests::{House, ask, bundles, facts, fill, hidden, needs, update};
use crate::*;
use tailwater_domain::{Action, PublicationState, UpdateType};

fn software(number: u32) -> Facts {
    facts(number, 1, UpdateType::Software)
}

/// The member in question is always update 9.
fn member() -> Facts {
    hidden(software(9))
}

fn expired(mut facts: Facts, revision: u32) -> Facts {
    facts.identity.revision = revision;
    facts.publication_state = PublicationState::Expired;
    facts
}

/// A shape: what is there first, what happens then, what agents are told of the member in the end, and what the
/// refusals to approve, decline and hold it say; nothing where it can be decided on.
struct Row {
    name: &'static str,
    first: Vec<Facts>,
    then: fn(&Catalog),
    action: Option<DeploymentAction>,
    refusals: Option<[String; 3]>,
}

fn nothing(_: &Catalog) {}

#[expect(clippy::unnecessary_wraps, reason = "as the table wants it")]
fn by_itself(bundle: u32) -> Option<[String; 3]> {
    let bundle = update(bundle);
    Some(["approve", "decline", "hold"].map(|verb| format!("`tailwater updates {verb} {bundle}`")))
}

#[expect(clippy::unnecessary_wraps, reason = "as the table wants it")]
fn formerly(bundle: u32, why: &str) -> Option<[String; 3]> {
    let which = format!("only part of the bundle {}, which {why}", update(bundle));
    Some([
        format!("cannot be approved: it is {which}; no bundle in force brings it"),
        format!("need not be declined: it is {which}, so it is offered to nobody"),
        format!("need not be held: it is {which}, so it is offered to nobody"),
    ])
}

fn withdraw(catalog: &Catalog, number: u32) {
    let identity = UpdateIdentity { update: update(number), revision: 1 };
    let activation = Activation { withdraw: vec![identity], ..Activation::default() };
    catalog.staging().unwrap().activate(activation).unwrap();
}

fn around(number: u32, member: u32) -> Facts {
    bundles(software(number), &[(member, 1)])
}

const EXPIRED: &str = "was expired by its publisher";

fn not_in_force() -> Vec<Row> {
    let row = |name, first, then, action, refusals| Row { name, first, then, action, refusals };
    vec![
        row(
            "the only bundle expires",
            vec![around(1, 9), member()],
            |catalog| {
                fill(catalog, vec![expired(around(1, 9), 2)]);
            },
            None,
            formerly(1, EXPIRED),
        ),
        row(
            "the bundle was expired when it came",
            vec![expired(around(1, 9), 1), member()],
            nothing,
            None,
            formerly(1, EXPIRED),
        ),
        row(
            "the bundle expires and names nothing any more",
            vec![around(1, 9), member()],
            |catalog| {
                fill(catalog, vec![expired(software(1), 2)]);
            },
            None,
            formerly(1, EXPIRED),
        ),
        row(
            "two bundles expire",
            vec![around(1, 9), around(2, 9), member()],
            |catalog| {
                fill(catalog, vec![expired(around(1, 9), 2), expired(around(2, 9), 2)]);
            },
            None,
            formerly(2, EXPIRED),
        ),
        row(
            "the bundle around its bundle expires",
            vec![around(1, 2), hidden(around(2, 9)), member()],
            |catalog| {
                fill(catalog, vec![expired(around(1, 2), 2)]);
            },
            None,
            formerly(1, EXPIRED),
        ),
        row(
            "the bundle inside was expired when it came",
            vec![around(1, 2), expired(hidden(around(2, 9)), 1), member()],
            nothing,
            None,
            formerly(2, EXPIRED),
        ),
        row(
            "a newer revision no longer contains it",
            vec![around(1, 9), member()],
            |catalog| {
                fill(catalog, vec![facts(1, 2, UpdateType::Software)]);
            },
            None,
            formerly(1, "no longer contains it since its newer revision"),
        ),
        row(
            "the bundle is withdrawn",
            vec![around(1, 9), member()],
            |catalog| withdraw(catalog, 1),
            None,
            formerly(1, "was withdrawn by the upstream, or is no longer selected"),
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn others() -> Vec<Row> {
    let row = |name, first, then, action, refusals| Row { name, first, then, action, refusals };
    let declined = |bundle: u32| {
        let reasons = formerly(bundle, "was declined").unwrap();
        let [_, decline, hold] = reasons;
        Some([format!("`tailwater updates approve {}` takes that back", update(bundle)), decline, hold])
    };
    vec![
        row(
            "the revision that is named is not the one that expired",
            vec![around(1, 2), hidden(around(2, 9)), member()],
            |catalog| {
                fill(catalog, vec![expired(hidden(around(2, 9)), 2)]);
            },
            Some(DeploymentAction::Bundle),
            by_itself(1),
        ),
        row(
            "the bundle is in force",
            vec![around(1, 9), member()],
            nothing,
            Some(DeploymentAction::Bundle),
            by_itself(1),
        ),
        row(
            "one of two bundles expires",
            vec![around(1, 9), around(2, 9), member()],
            |catalog| {
                fill(catalog, vec![expired(around(1, 9), 2)]);
            },
            Some(DeploymentAction::Bundle),
            by_itself(2),
        ),
        row(
            "inside a bundle inside",
            vec![around(1, 2), hidden(around(2, 9)), member()],
            nothing,
            Some(DeploymentAction::Bundle),
            by_itself(1),
        ),
        row(
            "the bundle is declined",
            vec![around(1, 9), member()],
            |catalog| drop(catalog.decline(&update(1), "admin")),
            None,
            declined(1),
        ),
        row(
            "one of two is declined",
            vec![around(1, 9), around(2, 9), member()],
            |catalog| drop(catalog.decline(&update(1), "admin")),
            Some(DeploymentAction::Bundle),
            by_itself(2),
        ),
        row(
            "the bundle is held",
            vec![around(1, 9), member()],
            |catalog| drop(catalog.hold(&update(1), None, "", "admin")),
            Some(DeploymentAction::Bundle),
            by_itself(1),
        ),
        row(
            "no bundle was ever there",
            vec![member()],
            nothing,
            None,
            Some([
                "cannot be approved: it is made to be part of bundles, and no bundle here contains it"
                    .to_owned(),
                "need not be declined: it is made to be part of bundles, no bundle here contains it"
                    .to_owned(),
                "need not be held: it is made to be part of bundles, no bundle here contains it".to_owned(),
            ]),
        ),
        row(
            "another update needs it",
            vec![expired(around(1, 9), 1), member(), needs(software(3), &[&[9]])],
            nothing,
            Some(DeploymentAction::Evaluate),
            formerly(1, EXPIRED),
        ),
        row(
            "what needs it is declined",
            vec![expired(around(1, 9), 1), member(), needs(software(3), &[&[9]])],
            |catalog| drop(catalog.decline(&update(3), "admin")),
            None,
            formerly(1, EXPIRED),
        ),
        row(
            "it can be deployed by itself",
            vec![expired(around(1, 9), 1), software(9)],
            nothing,
            Some(DeploymentAction::PreDeploymentCheck),
            None,
        ),
        row(
            "a category",
            vec![facts(9, 1, UpdateType::Category)],
            nothing,
            Some(DeploymentAction::Evaluate),
            Some(
                ["approved", "declined", "held"]
                    .map(|done| format!("only evaluate it, so it cannot be {done}")),
            ),
        ),
        row(
            "a detectoid",
            vec![facts(9, 1, UpdateType::Detectoid)],
            nothing,
            Some(DeploymentAction::Evaluate),
            Some(
                ["approved", "declined", "held"]
                    .map(|done| format!("only evaluate it, so it cannot be {done}")),
            ),
        ),
    ]
}

fn refusal<T>(outcome: Result<T, CatalogError>) -> Option<String> {
    outcome.err().map(|error| error.to_string())
}

/// A computer says that it needs update 9, as one that was offered it does.
fn needs_it(catalog: &Catalog, instance: u128) {
    let pc = ComputerId("pc".to_owned());
    catalog.enrol(&pc, "pc.example.test", None).unwrap();
    let event = Event {
        instance: uuid::Uuid::from_u128(instance),
        id: 156,
        namespace: 1,
        source: 101,
        at: Timestamp::from_second(1_790_000_000).unwrap(),
        update: None,
        result: 0,
        app: String::new(),
        replacements: Vec::new(),
        misc: vec![format!("U={}", update(9))],
    };
    catalog.report(&Caller::default(), &pc, vec![event]).unwrap();
}

#[test]
fn what_no_bundle_in_force_needs_is_neither_offered_nor_counted_and_each_refusal_says_why() {
    for Row { name, first, then, action, refusals } in not_in_force().into_iter().chain(others()) {
        let house = House::new();
        let catalog = house.open();
        fill(&catalog, first);
        needs_it(&catalog, 1);
        then(&catalog);
        let told = ask(&catalog, &[], &[], &[]);
        let id = catalog.snapshot().latest(&update(9)).unwrap();
        let offer = told.new.iter().find(|offer| offer.id == id).map(|offer| offer.deployment.action);
        assert_eq!(offer, action, "{name}");
        for again in 0..2 {
            let needed = catalog.update(&update(9), None).unwrap().unwrap().row.counts.needed;
            let listed = UpdateQuery {
                state: Some(UpdateState::Needed),
                hidden: true,
                update_type: Some(catalog.snapshot().revision(id).unwrap().update_type),
                ..UpdateQuery::default()
            };
            let listed = catalog.updates(&listed).unwrap().total;
            let counted = u32::from(action.is_some());
            assert_eq!((needed, listed), (counted, counted as usize), "{name}, round {again}");
            // the same computer again, before it scanned anew
            needs_it(&catalog, 2);
        }
        let computer = catalog.computers(&ComputerQuery::default()).unwrap().rows.remove(0);
        assert_eq!(computer.counts.needed, u32::from(action.is_some()), "{name}: of the computer");
        let all = GroupId::ALL_COMPUTERS;
        let refused = [
            refusal(catalog.approve(&update(9), &all, Action::Install, None, "admin")),
            refusal(catalog.decline(&update(9), "admin")),
            refusal(catalog.hold(&update(9), None, "", "admin")),
        ];
        match refusals {
            Some(expected) => {
                for (said, expected) in refused.iter().zip(expected) {
                    assert!(
                        said.as_deref().is_some_and(|said| said.contains(&expected)),
                        "{name}: {said:?}, not {expected:?}"
                    );
                }
            }
            None => assert_eq!(refused, [None, None, None], "{name}"),
        }
        let shown = catalog.update(&update(9), None).unwrap().unwrap().row;
        if action.is_none() {
            assert_eq!(shown.withheld[0].reason, Reason::NotNeeded, "{name}");
            let listed = catalog.updates(&UpdateQuery::default()).unwrap().rows;
            assert!(
                !listed.iter().any(|row| row.identity.update == update(9)),
                "{name}: it is no update of its own"
            );
        }
    }
}
