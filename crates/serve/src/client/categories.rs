//! `StartCategoryScan` ([MS-WUSP] 3.1.5.6): which categories a filtered scan should name.
//!
//! **Invariant:** the answer depends on the catalog's categories only; no cookie is asked for, because none is sent.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::service::Service;
use crate::fault::Refusal;
use tailwater_domain::{CategoryKind, Limit, UpdateId, limits};
use tailwater_wire::client_update::{CategoryRelationship, CategoryScanAnswer, StartCategoryScan};

/// From this many categories on, WSUS refuses ([MS-WUSP] note 52).
const TOO_MANY: usize = 200;

pub(super) const LIMITS: &[Limit] = limits![
    TOO_MANY in "categories": "Categories of one scan" => "the request is refused: InvalidParameters",
];

impl Service {
    /// [MS-WUSP] 3.1.5.6
    pub(super) fn start_category_scan(&self, request: StartCategoryScan) -> Result<String, Refusal> {
        let requested = request.requested.filter(|requested| requested.len() < TOO_MANY);
        let requested = requested.ok_or(Refusal::Parameter("requestedCategories"))?;
        let snapshot = self.0.catalog.snapshot();
        let kind = |category: Uuid| {
            let id = snapshot.latest(&UpdateId(category))?;
            snapshot.revision(id)?.category
        };
        Ok(prefer(&requested, kind).encode())
    }
}

fn prefer(
    requested: &[CategoryRelationship],
    kind: impl Fn(Uuid) -> Option<CategoryKind>,
) -> CategoryScanAnswer {
    let mut answer = CategoryScanAnswer::default();
    let mut groups: BTreeMap<i32, Vec<(Uuid, Option<CategoryKind>)>> = BTreeMap::new();
    for relationship in requested {
        let kind = kind(relationship.category);
        if kind.is_none() && !answer.in_error.contains(&relationship.category) {
            answer.in_error.push(relationship.category);
        }
        groups.entry(relationship.group).or_default().push((relationship.category, kind));
    }
    groups.retain(|_, group| group.iter().all(|(_, kind)| kind.is_some()));
    for group in groups.values() {
        use CategoryKind::{Classification, Product};
        let ([(product, Some(Product))]
        | [(product, Some(Product)), (_, Some(Classification))]
        | [(_, Some(Classification)), (product, Some(Product))]) = group[..]
        else {
            answer.preferred.clear();
            return answer;
        };
        if !answer.preferred.contains(&product) {
            answer.preferred.push(product);
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requested (group, category), preferred, in error.
    type Row<'a> = (&'a [(i32, u128)], &'a [u128], &'a [u128]);

    #[test]
    fn products_are_preferred_and_strange_groups_clear_the_list() {
        // 1x products, 2x classifications, 3x families, anything else unknown
        let kind = |id: Uuid| match id.as_u128() / 10 {
            1 => Some(CategoryKind::Product),
            2 => Some(CategoryKind::Classification),
            3 => Some(CategoryKind::ProductFamily),
            _ => None,
        };
        let table: [Row<'_>; 7] = [
            (&[(0, 10)], &[10], &[]),
            (&[(0, 10), (0, 20)], &[10], &[]),
            (&[(0, 20), (0, 10), (1, 11)], &[10, 11], &[]),
            (&[(0, 10), (0, 99), (1, 11)], &[11], &[99]),
            (&[(0, 10), (1, 30)], &[], &[]),
            (&[(0, 10), (0, 11)], &[], &[]),
            (&[], &[], &[]),
        ];
        for (requested, preferred, in_error) in table {
            let requested: Vec<_> = requested
                .iter()
                .map(|&(group, id)| CategoryRelationship { group, category: Uuid::from_u128(id) })
                .collect();
            let ids = |ids: &[u128]| ids.iter().map(|&id| Uuid::from_u128(id)).collect::<Vec<_>>();
            let answer = prefer(&requested, kind);
            assert_eq!((answer.preferred, answer.in_error), (ids(preferred), ids(in_error)), "{requested:?}");
        }
    }
}
