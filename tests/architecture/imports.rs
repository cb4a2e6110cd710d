//! What each source file of the rooms takes from which other one, read from its syntax: grouped imports, `super::super`, re-exports
//! and paths inside functions. Code of tests is left out: a test may look at everything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// The first part of a path that leads out of the rooms.
const ELSEWHERE: &str = "::";

/// A source file of a room.
struct Source {
    /// Its module's path, from its room: `["catalog", "snapshot"]`.
    module: Vec<String>,
    /// Modules that it hands on whole, by `pub use inner::*`.
    globs: Vec<Vec<String>>,
    /// Names that it brings into its scope by `use` or hands on, with the path behind each from the root; [`ELSEWHERE`] for other crates.
    scope: BTreeMap<String, Vec<String>>,
    /// Every path that it names, from the root: imports and uses in code.
    named: BTreeSet<Vec<String>>,
}

/// All sources of a library and what they import.
pub(crate) struct Imports {
    top: PathBuf,
    sources: BTreeMap<PathBuf, Source>,
    modules: BTreeMap<Vec<String>, PathBuf>,
}

impl Imports {
    /// Reads all sources below `top`, the folder of all rooms. Files of tests are left out.
    pub(crate) fn read(top: &Path) -> Self {
        let files = sources(top);
        let mut modules = BTreeMap::new();
        for file in files.iter().filter(|file| !is_test(file)) {
            modules.insert(module_of(file.strip_prefix(top).unwrap()), file.clone());
        }
        let sources = modules
            .iter()
            .map(|(module, file)| {
                (file.clone(), read(module.clone(), &std::fs::read_to_string(file).unwrap()))
            })
            .collect();
        Self { top: top.to_owned(), sources, modules }
    }

    /// Every path that `file` names, from the room: `["wire", "xml", "Tag"]`.
    pub(crate) fn each_path(&self) -> impl Iterator<Item = (&Path, &[String])> {
        self.sources.iter().flat_map(|(file, source)| {
            let inside = file.strip_prefix(&self.top).unwrap();
            source
                .named
                .iter()
                .filter(|path| path.first().is_none_or(|first| first != ELSEWHERE))
                .map(move |path| (inside, path.as_slice()))
        })
    }

    /// The file that defines what `path` names, re-exports followed.
    fn defined_in(&self, path: &[String], depth: usize) -> Option<&Path> {
        if path.first().is_some_and(|first| first == ELSEWHERE) {
            return None;
        }
        let (module, file) =
            (0..=path.len()).rev().find_map(|end| self.modules.get_key_value(&path[..end]))?;
        if module.is_empty() {
            return None;
        }
        let Some(name) = path.get(module.len()) else { return Some(file) };
        let source = &self.sources[file];
        if depth < 8 {
            // a child sees what its parent imports for itself, too
            if let Some(behind) = source.scope.get(name) {
                if behind.first().is_some_and(|first| first == ELSEWHERE) {
                    return None;
                }
                let whole: Vec<String> = behind.iter().chain(&path[module.len() + 1..]).cloned().collect();
                if whole != path {
                    return self.defined_in(&whole, depth + 1);
                }
            }
            for glob in &source.globs {
                let whole: Vec<String> = glob.iter().chain(&path[module.len()..]).cloned().collect();
                let behind = self.defined_in(&whole, depth + 1);
                if behind.is_some_and(|behind| defines(behind, name)) {
                    return behind;
                }
            }
        }
        Some(file)
    }

    /// The circles of files that import each other, of more than `most` files; the largest first, files from the top folder.
    pub(crate) fn circles(&self, most: usize) -> Vec<BTreeMap<PathBuf, BTreeSet<PathBuf>>> {
        let mut edges: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
        for (file, source) in &self.sources {
            let to = source
                .named
                .iter()
                .filter_map(|path| self.defined_in(path, 0))
                .filter(|other| *other != file.as_path());
            edges.insert(file, to.collect());
        }
        let inside = |file: &Path| file.strip_prefix(&self.top).unwrap().to_owned();
        let mut circles: Vec<_> = components(&edges)
            .into_iter()
            .filter(|circle| circle.len() > most)
            .map(|circle| {
                let tied = |file| {
                    edges[file]
                        .iter()
                        .filter(|other| circle.contains(*other))
                        .map(|other| inside(other))
                        .collect()
                };
                circle.iter().map(|file| (inside(file), tied(*file))).collect()
            })
            .collect();
        circles.sort_by_key(|circle: &BTreeMap<_, _>| std::cmp::Reverse(circle.len()));
        circles
    }
}

/// Whether a file has an item of this name.
fn defines(file: &Path, name: &str) -> bool {
    let text = std::fs::read_to_string(file).unwrap();
    ["struct ", "enum ", "fn ", "type ", "trait ", "const "]
        .iter()
        .any(|kind| text.contains(&format!("{kind}{name}")))
}

/// All source files below a folder.
pub(crate) fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Whether a file holds tests alone, by its name or its folder's.
pub(crate) fn is_test(file: &Path) -> bool {
    file.iter().any(|part| {
        let part = part.to_string_lossy();
        let stem = part.strip_suffix(".rs").unwrap_or(&part);
        stem == "tests" || stem.ends_with("_tests") || stem == "suite" || stem == "fuzzing"
    })
}

/// `catalog/src/snapshot/mod.rs` is the module `catalog::snapshot`: paths begin with the room.
fn module_of(inside: &Path) -> Vec<String> {
    let mut parts: Vec<String> =
        inside.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    assert_eq!(parts.remove(1), "src", "{}", inside.display());
    if parts.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|what| what.is_ident("test") || what.is_ident("fuzzing"))
    })
}

struct Reader {
    file: Vec<String>,
    module: Vec<String>,
    /// The modules that the file declares.
    children: BTreeSet<String>,
    source: Source,
}

impl Reader {
    /// From the room, or nothing for what another crate or the scope of a function means.
    fn rooted(&self, path: &[String]) -> Option<Vec<String>> {
        let first = path.first()?.as_str();
        let mut base = self.module.clone();
        let rest = match first {
            "crate" => {
                base.truncate(1);
                &path[1..]
            }
            "self" => &path[1..],
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                base.truncate(base.len().checked_sub(ups)?);
                &path[ups..]
            }
            _ => {
                base = vec![first.strip_prefix("tailwater_")?.to_owned()];
                &path[1..]
            }
        };
        base.extend(rest.iter().cloned());
        Some(base)
    }

    /// A module of this file may be named without `self`; everything else is another crate's.
    fn without_self(&self, path: Vec<String>) -> Vec<String> {
        if path.first().is_some_and(|first| self.children.contains(first)) {
            self.module.iter().cloned().chain(path).collect()
        } else {
            std::iter::once(ELSEWHERE.to_owned()).chain(path).collect()
        }
    }

    fn tree(&mut self, tree: &syn::UseTree, before: &mut Vec<String>, is_public: bool) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.tree(&path.tree, before, is_public);
                before.pop();
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(tree, before, is_public);
                }
            }
            syn::UseTree::Name(name) => self.import(before, &name.ident.to_string(), None, is_public),
            syn::UseTree::Rename(rename) => {
                self.import(before, &rename.ident.to_string(), Some(rename.rename.to_string()), is_public);
            }
            syn::UseTree::Glob(_) => {
                let path = self.rooted(before).unwrap_or_else(|| self.without_self(before.clone()));
                if is_public { self.source.globs.push(path) } else { _ = self.source.named.insert(path) }
            }
        }
    }

    fn import(&mut self, before: &[String], name: &str, renamed: Option<String>, is_public: bool) {
        let mut path = before.to_vec();
        if name != "self" {
            path.push(name.to_owned());
        }
        let known = renamed.unwrap_or_else(|| path.last().cloned().unwrap_or_default());
        let path = self.rooted(&path).unwrap_or_else(|| self.without_self(path));
        if !is_public {
            self.source.named.insert(path.clone());
        }
        if self.module == self.file {
            self.source.scope.insert(known, path);
        }
    }
}

impl<'a> Visit<'a> for Reader {
    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        if !is_for_tests(&item.attrs) {
            self.tree(&item.tree, &mut Vec::new(), !matches!(item.vis, syn::Visibility::Inherited));
        }
    }

    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        if is_for_tests(&item.attrs) {
            return;
        }
        if item.content.is_some() {
            self.module.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }

    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'a syn::ItemImpl) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    /// `pub(super)` says who may see an item, and uses nothing.
    fn visit_visibility(&mut self, _visibility: &'a syn::Visibility) {}

    fn visit_path(&mut self, path: &'a syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let Some(path) = self.rooted(&parts) {
            self.source.named.insert(path);
        } else if parts.len() > 1 {
            // `snapshot::view(…)`: a module of this file's, or one that it brought in
            let path = self.module.iter().cloned().chain(parts).collect();
            self.source.named.insert(path);
        }
        visit::visit_path(self, path);
    }
}

fn read(module: Vec<String>, text: &str) -> Source {
    let syntax = syn::parse_file(text).unwrap();
    let source =
        Source { module: module.clone(), globs: Vec::new(), scope: BTreeMap::new(), named: BTreeSet::new() };
    let children = syntax
        .items
        .iter()
        .filter_map(|item| match item {
            syn::Item::Mod(item) => Some(item.ident.to_string()),
            _ => None,
        })
        .collect();
    let mut reader = Reader { file: module.clone(), module, children, source };
    reader.visit_file(&syntax);
    let mut source = reader.source;
    // what is named through a module that was brought in means the path behind that
    let through: Vec<Vec<String>> = source
        .named
        .iter()
        .filter_map(|path| {
            let inside = path.strip_prefix(source.module.as_slice())?;
            let behind = source
                .scope
                .get(inside.first()?)
                .filter(|behind| *behind != path && behind[0] != ELSEWHERE)?;
            Some(behind.iter().chain(&inside[1..]).cloned().collect())
        })
        .collect();
    source.named.extend(through);
    source
}

/// Strongly connected components (Tarjan 1972), iterative enough for some hundred files.
fn components<'a>(edges: &BTreeMap<&'a Path, BTreeSet<&'a Path>>) -> Vec<BTreeSet<&'a Path>> {
    struct Walk<'a, 'e> {
        edges: &'e BTreeMap<&'a Path, BTreeSet<&'a Path>>,
        index: BTreeMap<&'a Path, usize>,
        low: BTreeMap<&'a Path, usize>,
        stack: Vec<&'a Path>,
        found: Vec<BTreeSet<&'a Path>>,
    }
    impl<'a> Walk<'a, '_> {
        fn visit(&mut self, file: &'a Path) {
            let at = self.index.len();
            self.index.insert(file, at);
            self.low.insert(file, at);
            self.stack.push(file);
            for other in self.edges.get(file).into_iter().flatten() {
                if !self.index.contains_key(other) {
                    self.visit(other);
                    self.low.insert(file, self.low[file].min(self.low[other]));
                } else if self.stack.contains(other) {
                    self.low.insert(file, self.low[file].min(self.index[other]));
                }
            }
            if self.low[file] == at {
                let from = self.stack.iter().position(|other| *other == file).unwrap();
                self.found.push(self.stack.split_off(from).into_iter().collect());
            }
        }
    }
    let mut walk =
        Walk { edges, index: BTreeMap::new(), low: BTreeMap::new(), stack: Vec::new(), found: Vec::new() };
    for file in edges.keys() {
        if !walk.index.contains_key(file) {
            walk.visit(file);
        }
    }
    walk.found
}
