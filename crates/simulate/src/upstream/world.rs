//! The world that generated updates live in: Microsoft's own identities for what every site selects by, and
//! generated ones for the rest.

use uuid::Uuid;

use super::revision::{Clause, Kind, Revision};
use tailwater_domain::{CategoryKind, UpdateId, UpdateIdentity};

/// Architectures: name, the number by which rules know it, the name in file names.
pub(super) const ARCHITECTURES: [(&str, u32, &str); 3] =
    [("x64", 9, "x64"), ("ARM64", 12, "arm64"), ("x86", 0, "x86")];

/// Languages of titles: code, locale number, and how a monthly update is called in it.
pub(super) const LANGUAGES: [(&str, u32, &str); 8] = [
    ("en", 1033, "Cumulative Update for"),
    ("de", 1031, "Kumulatives Update für"),
    ("fr", 1036, "Mise à jour cumulative pour"),
    ("ja", 1041, "累積更新プログラム:"),
    ("es", 3082, "Actualización acumulativa para"),
    ("pt-br", 1046, "Atualização cumulativa para"),
    ("zh-cn", 2052, "累积更新："),
    ("cs", 1029, "Kumulativní aktualizace pro"),
];

/// Products: identity, title, first build that it runs on; 0 is no operating system.
const PRODUCTS: [(u128, &str, u32); 6] = [
    (0x72e7_624a_5b00_45d2_b92f_e561_c0a6_a160, "Windows 11", 22_000),
    (0xb3c7_5dc1_155f_4be4_b015_3f1a_9175_8e52, "Windows 10, version 1903 and later", 18_362),
    (0x8c3f_cc84_7410_4a95_8b89_a166_a019_0486, "Microsoft Defender Antivirus", 0),
    (0xf702_a48c_919b_45d6_9aef_ca42_48d5_0397, "Windows Server 2019", 17_763),
    (0x25ae_d893_7c2d_4a31_ae22_28ff_8ac1_50ed, "Office 2016", 0),
    (0xa3c2_375d_0c8a_42f9_bce0_2833_3e19_8407, "Windows 10", 10_240),
];

/// Where Defender's definitions belong in [`PRODUCTS`].
pub(super) const DEFENDER: usize = 2;

/// Classifications as Microsoft numbers them.
const CLASSIFICATIONS: [(u128, &str); 10] = [
    (0x0fa1_201d_4330_4fa8_8ae9_b877_473b_6441, "Security Updates"),
    (0xe6cf_1350_c01b_414d_a61f_263d_14d1_33b4, "Critical Updates"),
    (0x28bc_880e_0592_4cbf_8f95_c79b_1791_1d5f, "Update Rollups"),
    (0xcd5f_fd1e_e932_4e3a_bf74_18bf_0b1b_bd83, "Updates"),
    (0xe078_9628_ce08_4437_be74_2495_b842_f43b, "Definition Updates"),
    (0xb54e_7d24_7add_428f_8b75_90a3_96fa_584f, "Feature Packs"),
    (0x68c5_b0a3_d1a6_4553_ae49_01d3_a782_7828, "Service Packs"),
    (0xebfc_1fc5_71a4_4f7b_9aca_3b9a_5031_04a0, "Drivers"),
    (0xb483_2bd8_e735_4761_8daf_37f8_8227_6dab, "Tools"),
    (0x3689_bdc8_b205_4af4_8d4a_a639_24c5_e9d5, "Upgrades"),
];

const COMPANY: u128 = 0x5630_9036_4c77_4dd9_951a_99ee_9c24_6a94;
const WINDOWS: u128 = 0x6964_aab4_c5b5_43bd_a17d_ffb4_346a_8e1d;

/// The name space of generated identities.
const SPACE: Uuid = Uuid::from_u128(0x1d5a_c1b2_5f50_4d0e_9f5e_7461_696c_7761);

/// The identity that follows from a seed and a name.
pub(super) fn identity(seed: u64, name: &str) -> UpdateId {
    UpdateId(Uuid::new_v5(&SPACE, format!("{seed}/{name}").as_bytes()))
}

/// What generated updates refer to.
pub(super) struct World {
    pub(super) products: Vec<Product>,
    pub(super) classifications: Vec<UpdateId>,
    pub(super) architectures: Vec<UpdateId>,
}

/// A product.
pub(super) struct Product {
    pub(super) id: UpdateId,
    pub(super) title: &'static str,
    /// The detectoid of its operating system, where it is one.
    pub(super) system: Option<UpdateId>,
}

const TRUE: &str = "<upd:IsInstalled><lar:True /></upd:IsInstalled>";

fn plain(
    id: UpdateId,
    revision: u32,
    kind: Kind,
    title: &str,
    rules: String,
    needs: &[UpdateId],
) -> Revision {
    let mut made = Revision::new(UpdateIdentity { update: id, revision }, kind);
    made.titles = vec![("en", title.to_owned())];
    made.rules = rules;
    made.prerequisites = needs.iter().map(|&id| Clause { any_of: vec![id], marked: None }).collect();
    made
}

impl World {
    /// The world and the revisions that describe it, prerequisites before what needs them.
    pub(super) fn new(seed: u64) -> (Self, Vec<Revision>) {
        let mut made = Vec::new();
        let windows = identity(seed, "detectoid/windows");
        let rule = |inside: &str| format!("<upd:IsInstalled>{inside}</upd:IsInstalled>");
        let platform = rule("<bar:Platform PlatformID=\"2\" />");
        made.push(plain(windows, 50, Kind::Detectoid, "Windows", platform, &[]));
        let mut architectures = Vec::new();
        for (name, code, _) in ARCHITECTURES {
            let id = identity(seed, &format!("detectoid/{name}"));
            let rules = rule(&format!("<bar:Processor Architecture=\"{code}\" />"));
            made.push(plain(id, 51, Kind::Detectoid, &format!("{name} processor"), rules, &[windows]));
            architectures.push(id);
        }
        for (code, lcid, _) in LANGUAGES {
            let id = identity(seed, &format!("detectoid/language/{code}"));
            let rules = rule(&format!("<bar:WindowsLanguage Language=\"{code}\" />"));
            let title = format!("Windows in language {lcid}");
            made.push(plain(id, 52, Kind::Detectoid, &title, rules, &[windows]));
        }
        let (company, family) = (UpdateId(Uuid::from_u128(COMPANY)), UpdateId(Uuid::from_u128(WINDOWS)));
        let others = identity(seed, "family/applications");
        let category = |kind| Kind::Category(kind);
        made.push(plain(company, 101, category(CategoryKind::Company), "Microsoft", TRUE.to_owned(), &[]));
        for (id, title) in [(family, "Windows"), (others, "Applications & Tools")] {
            made.push(plain(
                id,
                100,
                category(CategoryKind::ProductFamily),
                title,
                TRUE.to_owned(),
                &[company],
            ));
        }
        let products = PRODUCTS
            .iter()
            .map(|&(id, title, build)| {
                let id = UpdateId(Uuid::from_u128(id));
                let parent = if build == 0 { others } else { family };
                made.push(plain(id, 100, category(CategoryKind::Product), title, TRUE.to_owned(), &[parent]));
                let system = (build > 0).then(|| {
                    let system = identity(seed, &format!("detectoid/build/{build}"));
                    let rules = rule(&format!(
                        "<lar:And><bar:WindowsVersion Comparison=\"GreaterThanOrEqualTo\" MajorVersion=\"10\" \
                         MinorVersion=\"0\" BuildNumber=\"{build}\" /><lar:Not><lar:False /></lar:Not></lar:And>"
                    ));
                    let title = format!("Windows build {build} or later");
                    made.push(plain(system, 53, Kind::Detectoid, &title, rules, &[windows]));
                    system
                });
                Product { id, title, system }
            })
            .collect();
        let classifications = CLASSIFICATIONS
            .iter()
            .map(|&(id, title)| {
                let id = UpdateId(Uuid::from_u128(id));
                let kind = category(CategoryKind::Classification);
                made.push(plain(id, 100, kind, title, TRUE.to_owned(), &[]));
                id
            })
            .collect();
        (Self { products, classifications, architectures }, made)
    }
}
