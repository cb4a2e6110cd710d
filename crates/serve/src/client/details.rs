//! What an agent asks of revisions it knows: `GetExtendedUpdateInfo`, `GetExtendedUpdateInfo2`, `GetFileLocations`,
//! `RefreshCache` ([MS-WUSP] 3.1.5.8 to 3.1.5.10).
//!
//! **Invariant:** a revision of an update that is not offered to the computer's groups is out of scope, whatever is known
//! of it; older revisions of one that is are not, because agents hold them until their next scan. A location is given for every payload, held or not: it is fetched when it is asked for.

use std::collections::HashSet;

use super::address::Address;
use super::config::MAX_EXTENDED;
use super::scan::deployment_view;
use super::service::Service;
use crate::Response;
use crate::fault::Refusal;
use crate::soap::Exchange;
use tailwater_catalog::{CatalogError, DeploymentAction, Offer, PartKind, PartRef, Snapshot};
use tailwater_domain::{
    GroupId, Limit, RevisionId, Sha1Digest, UpdateId, UpdateIdentity, language_serves, limits,
};
use tailwater_wire::client_update::{
    self as wusp, Cookie, Extended2Answer, ExtendedAnswer, FileKey, FileLocation, FragmentType, GetExtended,
    GetExtended2, RefreshCache, RefreshRow, RevisionIdentity,
};

/// Digests in one `GetFileLocations`; each is looked up in the index.
const MAX_DIGESTS: usize = 2_000;
/// The first build of Windows 11 24H2 and Windows Server 2025.
const BUILD_24H2: i32 = 26_100;
/// Identities in one `RefreshCache`; agents send up to 200.
const MAX_REFRESHED: usize = 10_000;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_DIGESTS in "digests": "Digests of one GetFileLocations" => "the request is refused: InvalidParameters",
    MAX_REFRESHED in "identities": "Identities of one RefreshCache" => "the request is refused: InvalidParameters",
];

// not a limit: BUILD_24H2: a build of Windows

/// The fragments that are asked for, checked.
struct Wanted {
    types: Vec<FragmentType>,
    locales: Vec<String>,
}

impl Wanted {
    fn new(types: Option<Vec<FragmentType>>, locales: Option<Vec<String>>) -> Result<Self, Refusal> {
        let types = types.filter(|types| !types.is_empty()).ok_or(Refusal::Parameter("infoTypes"))?;
        let localized =
            types.iter().any(|kind| matches!(kind, FragmentType::LocalizedProperties | FragmentType::Eula));
        if localized && locales.as_ref().is_none_or(Vec::is_empty) {
            return Err(Refusal::Parameter("locales"));
        }
        Ok(Self { types, locales: locales.unwrap_or_default() })
    }

    fn has(&self, kind: FragmentType) -> bool {
        self.types.contains(&kind)
    }
}

impl Service {
    /// [MS-WUSP] 3.1.5.9
    pub(super) async fn get_extended(
        &self,
        exchange: &Exchange,
        address: &Address,
        request: GetExtended,
    ) -> Result<Response, Refusal> {
        let groups = self.groups(request.cookie.as_ref())?;
        let revisions = request.revisions.filter(|revisions| revisions.len() <= MAX_EXTENDED);
        let revisions = revisions.ok_or(Refusal::Parameter("revisionIDs"))?;
        let wanted = Wanted::new(request.types, request.locales)?;
        let address = address.clone();
        let extended = self
            .blocking(move |service| {
                let snapshot = service.0.catalog.snapshot();
                service.extended(&snapshot, &revisions, &groups, &wanted, &address)
            })
            .await?;
        self.element_answer(exchange, wusp::extended_answer(extended)).await
    }

    /// [MS-WUSP] 2.2.2.2.10: the same by identity, with the keys of encrypted payloads where they are asked for.
    pub(super) async fn get_extended2(
        &self,
        exchange: &Exchange,
        address: &Address,
        request: GetExtended2,
    ) -> Result<Response, Refusal> {
        let computer = self.claims(request.cookie.as_ref())?.computer;
        let groups = self.groups_of(&computer);
        let identities = request.identities.filter(|identities| identities.len() <= MAX_EXTENDED);
        let identities = identities.ok_or(Refusal::Parameter("updateIDs"))?;
        let wanted = Wanted::new(request.types, request.locales)?;
        let names_encryption = self.knows_encryption_details(&computer);
        let address = address.clone();
        let answer = move |service: &Self| {
            let snapshot = service.0.catalog.snapshot();
            let known = |identity: &RevisionIdentity| snapshot.find(&stored(identity)?).map(|id| id.0);
            let revisions: Vec<u32> = identities.iter().filter_map(known).collect();
            let extended = service.extended(&snapshot, &revisions, &groups, &wanted, &address)?;
            let told = |identity: &&RevisionIdentity| {
                let id = stored(identity).and_then(|identity| snapshot.find(&identity));
                id.is_some_and(|id| snapshot.is_encrypted(id) && snapshot.may_describe(id, &groups))
            };
            let encrypted = names_encryption.then(|| identities.iter().filter(told).copied().collect());
            let keys = if wanted.has(FragmentType::FileDecryption) {
                keys_of(&snapshot, &revisions, &groups)
            } else {
                Vec::new()
            };
            let ExtendedAnswer { updates, locations, .. } = extended;
            Ok::<_, CatalogError>(Extended2Answer { updates, locations, keys, encrypted })
        };
        let extended = self.blocking(move |service| answer(service)).await?;
        self.element_answer(exchange, wusp::extended2_answer(extended)).await
    }

    /// Whether a computer may run a system that knows what Windows 11 24H2 added; older ones are sent nothing that they
    /// do not know.
    fn knows_encryption_details(&self, computer: &tailwater_domain::ComputerId) -> bool {
        let build = self.0.catalog.computer(computer).and_then(|known| Some(known.info.as_ref()?.os_build));
        build.filter(|build| *build > 0).is_none_or(|build| build >= BUILD_24H2)
    }

    /// [MS-WUSP] 3.1.5.10
    pub(super) async fn get_file_locations(
        &self,
        address: &Address,
        cookie: Option<&Cookie>,
        digests: Option<Vec<Vec<u8>>>,
    ) -> Result<String, Refusal> {
        let claims = self.claims(cookie)?;
        let wrong = || Refusal::Parameter("fileDigests");
        let digests = digests.filter(|digests| digests.len() <= MAX_DIGESTS).ok_or_else(wrong)?;
        let digests: Option<Vec<Sha1Digest>> =
            digests.into_iter().map(|digest| digest.try_into().ok().map(Sha1Digest)).collect();
        let digests = digests.ok_or_else(wrong)?;
        let address = address.clone();
        let locations = self.blocking(move |service| service.locations(&digests, &address)).await?;
        Ok(wusp::file_locations_answer(&locations, &self.sealed(&claims)))
    }

    /// [MS-WUSP] 3.1.5.8
    ///
    /// Members of bundles are left out, as real servers do: agents find them through their bundle. So is what came
    /// after the cookie was made: the answer brings no new cookie, and agents are given it with their next scan.
    pub(super) fn refresh_cache(&self, request: &RefreshCache) -> Result<String, Refusal> {
        let claims = self.claims(request.cookie.as_ref())?;
        let groups = self.groups_of(&claims.computer);
        let identities = request.identities.as_ref().filter(|identities| identities.len() <= MAX_REFRESHED);
        let identities = identities.ok_or(Refusal::Parameter("globalIDs"))?;
        let snapshot = self.0.catalog.snapshot();
        let offered = |identity: &RevisionIdentity| {
            let id = snapshot.find(&stored(identity)?)?;
            snapshot.appeared(id).filter(|appeared| *appeared <= claims.given.change)?;
            let offer = snapshot.offer(id, &groups)?;
            (offer.deployment.action != DeploymentAction::Bundle).then_some((*identity, offer))
        };
        let offers: Vec<(RevisionIdentity, Offer)> = identities.iter().filter_map(offered).collect();
        let rows: Vec<RefreshRow<'_>> = offers
            .iter()
            .map(|(identity, offer)| RefreshRow {
                id: offer.id.0,
                identity: *identity,
                is_leaf: offer.is_leaf,
                deployment: deployment_view(offer),
            })
            .collect();
        Ok(wusp::refresh_cache_answer(&rows, claims.version))
    }

    fn groups(&self, cookie: Option<&Cookie>) -> Result<Vec<GroupId>, Refusal> {
        Ok(self.groups_of(&self.claims(cookie)?.computer))
    }

    fn groups_of(&self, computer: &tailwater_domain::ComputerId) -> Vec<GroupId> {
        self.0.catalog.computer(computer).map(|computer| computer.groups.clone()).unwrap_or_default()
    }

    /// Fragments and locations: all Extended ones first, by revision, as real servers do.
    fn extended(
        &self,
        snapshot: &Snapshot,
        revisions: &[u32],
        groups: &[GroupId],
        wanted: &Wanted,
        address: &Address,
    ) -> Result<ExtendedAnswer<PartRef>, CatalogError> {
        let mut asked = revisions.to_vec();
        asked.sort_unstable();
        asked.dedup();
        let (known, out_of_scope): (Vec<u32>, Vec<u32>) =
            asked.into_iter().partition(|&id| snapshot.may_describe(RevisionId(id), groups));
        let mut updates = Vec::new();
        for (fragment, kind) in
            [(FragmentType::Core, PartKind::Core), (FragmentType::Extended, PartKind::Extended)]
        {
            if wanted.has(fragment) {
                let part = |&id: &u32| Some((id, snapshot.part(RevisionId(id), &kind)?));
                updates.extend(known.iter().filter_map(part));
            }
        }
        for fragment in [FragmentType::LocalizedProperties, FragmentType::Eula] {
            if wanted.has(fragment) {
                for &id in &known {
                    let default = self.0.catalog.facts(RevisionId(id))?;
                    let default = default.as_ref().map_or("en", |stored| &stored.facts.default_language);
                    let parts = localized(snapshot, RevisionId(id), fragment, &wanted.locales, default);
                    updates.extend(parts.into_iter().map(|part| (id, part)));
                }
            }
        }
        let locations = self.locations_of(&known, address)?;
        Ok(ExtendedAnswer { updates, locations, out_of_scope })
    }

    fn locations_of(&self, revisions: &[u32], address: &Address) -> Result<Vec<FileLocation>, CatalogError> {
        let mut seen = HashSet::new();
        let mut locations = Vec::new();
        for &id in revisions {
            let Some(stored) = self.0.catalog.facts(RevisionId(id))? else { continue };
            for file in &stored.facts.files {
                if seen.insert(file.sha1) {
                    locations.push(FileLocation {
                        digest: file.sha1.base64(),
                        url: address.of_file(file, &stored.file_urls),
                    });
                }
            }
        }
        Ok(locations)
    }

    fn locations(
        &self,
        digests: &[Sha1Digest],
        address: &Address,
    ) -> Result<Vec<FileLocation>, CatalogError> {
        let mut seen = HashSet::new();
        let mut locations = Vec::new();
        for digest in digests.iter().filter(|&&digest| seen.insert(digest)) {
            if let Some(file) = self.0.catalog.file(digest)? {
                let urls = [tailwater_catalog::FileUrl {
                    sha1: *digest,
                    mu_url: file.mu_url,
                    uss_url: file.uss_url,
                }];
                locations.push(FileLocation {
                    digest: digest.base64(),
                    url: address.of_file(&file.declaration, &urls),
                });
            }
        }
        Ok(locations)
    }
}

/// The keys of what may be described of these revisions, each payload once.
fn keys_of(snapshot: &Snapshot, revisions: &[u32], groups: &[GroupId]) -> Vec<FileKey> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for &id in revisions.iter().filter(|&&id| snapshot.may_describe(RevisionId(id), groups)) {
        for (sha1, key) in snapshot.payload_keys(RevisionId(id)) {
            if let Some(key) = key.filter(|_| seen.insert(sha1)) {
                found.push(FileKey { digest: sha1.base64(), key: key.clone() });
            }
        }
    }
    found
}

fn stored(identity: &RevisionIdentity) -> Option<UpdateIdentity> {
    let revision = u32::try_from(identity.revision).ok()?;
    Some(UpdateIdentity { update: UpdateId(identity.update), revision })
}

/// The fragments of a revision in the languages that serve the locales asked for, and in English, which the
/// specification wants always there; the document's own language when it has neither.
fn localized(
    snapshot: &Snapshot,
    id: RevisionId,
    fragment: FragmentType,
    locales: &[String],
    default: &str,
) -> Vec<PartRef> {
    let there: Vec<(String, PartRef)> = snapshot
        .parts(id)
        .into_iter()
        .filter_map(|(kind, part)| match kind {
            PartKind::Localized(language) if fragment == FragmentType::LocalizedProperties => {
                Some((language, part))
            }
            PartKind::Eula(language) if fragment == FragmentType::Eula => Some((language, part)),
            _ => None,
        })
        .collect();
    chosen(&there, locales, default)
}

fn chosen<P: Copy>(there: &[(String, P)], locales: &[String], default: &str) -> Vec<P> {
    let pick = |wanted: &dyn Fn(&str) -> bool| -> Vec<P> {
        there.iter().filter(|(language, _)| wanted(language)).map(|&(_, part)| part).collect()
    };
    let asked = |language: &str| locales.iter().any(|locale| language_serves(language, locale));
    let found = pick(&|language| asked(language) || language.eq_ignore_ascii_case("en"));
    if found.is_empty() { pick(&|language| language.eq_ignore_ascii_case(default)) } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_those_asked_for_and_english_or_else_the_documents_own() {
        let there: Vec<(String, &str)> =
            ["en", "de", "pt", "pt-br"].iter().map(|&language| (language.to_owned(), language)).collect();
        let table: [(&[&str], &[&str]); 4] = [
            (&["en-US", "en"], &["en"]),
            (&["de-DE"], &["en", "de"]),
            (&["pt-BR"], &["en", "pt", "pt-br"]),
            (&["xx"], &["en"]),
        ];
        for (locales, expected) in table {
            let locales: Vec<String> = locales.iter().map(|&locale| locale.to_owned()).collect();
            assert_eq!(chosen(&there, &locales, "de"), expected, "{locales:?}");
        }
        assert_eq!(chosen(&there[1..2], &["fr".to_owned()], "DE"), ["de"]);
    }
}
