//! How much memory values hold, for whoever remembers them within a room in bytes.
//!
//! **Invariant:** every value that a document can make long is counted. It never counts the value itself: that is
//! `size_of`.

use super::{
    Approval, BundleClause, DriverFacts, Encryption, Facts, FileDeclaration, PrerequisiteClause, Sha1Digest,
    Title, UpdateId, UpdateIdentity,
};

/// What an allocation takes beside its bytes.
const ALLOCATION: usize = 16;

// not a limit: ALLOCATION: what an allocation is reckoned with

/// What a value holds beside itself.
pub trait HeapBytes {
    /// Bytes of all that it owns elsewhere.
    fn heap_bytes(&self) -> usize;
}

macro_rules! nothing_beside {
    ($($of:ty),+) => {
        $(impl HeapBytes for $of {
            fn heap_bytes(&self) -> usize {
                0
            }
        })+
    };
}

nothing_beside!(u8, UpdateId, UpdateIdentity, Sha1Digest);

impl HeapBytes for String {
    fn heap_bytes(&self) -> usize {
        if self.capacity() == 0 { 0 } else { self.capacity() + ALLOCATION }
    }
}

impl<T: HeapBytes> HeapBytes for Option<T> {
    fn heap_bytes(&self) -> usize {
        self.as_ref().map_or(0, T::heap_bytes)
    }
}

impl<T: HeapBytes> HeapBytes for Vec<T> {
    fn heap_bytes(&self) -> usize {
        let own = if self.capacity() == 0 { 0 } else { self.capacity() * size_of::<T>() + ALLOCATION };
        own + self.iter().map(T::heap_bytes).sum::<usize>()
    }
}

impl<A: HeapBytes, B: HeapBytes> HeapBytes for (A, B) {
    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes() + self.1.heap_bytes()
    }
}

impl HeapBytes for PrerequisiteClause {
    fn heap_bytes(&self) -> usize {
        self.any_of.heap_bytes()
    }
}

impl HeapBytes for BundleClause {
    fn heap_bytes(&self) -> usize {
        self.any_of.heap_bytes()
    }
}

impl HeapBytes for FileDeclaration {
    fn heap_bytes(&self) -> usize {
        self.name.heap_bytes() + self.patching.heap_bytes()
    }
}

impl HeapBytes for Title {
    fn heap_bytes(&self) -> usize {
        self.language.heap_bytes() + self.text.heap_bytes()
    }
}

impl HeapBytes for DriverFacts {
    fn heap_bytes(&self) -> usize {
        let Self {
            hardware_id,
            class,
            date,
            version: _,
            provider,
            manufacturer,
            model,
            computer_hardware_ids,
            distribution_ids,
            feature_scores,
        } = self;
        let texts = [hardware_id, class, date, provider, manufacturer, model];
        texts.into_iter().map(String::heap_bytes).sum::<usize>()
            + computer_hardware_ids.heap_bytes()
            + distribution_ids.heap_bytes()
            + feature_scores.heap_bytes()
    }
}

impl HeapBytes for Encryption {
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Files(files) => files.heap_bytes(),
            Self::None | Self::Unmarked => 0,
        }
    }
}

impl HeapBytes for Approval {
    fn heap_bytes(&self) -> usize {
        self.made_by.heap_bytes()
    }
}

impl HeapBytes for Facts {
    fn heap_bytes(&self) -> usize {
        let Self {
            identity: _,
            update_type: _,
            explicitly_deployable: _,
            publication_state: _,
            eula_id,
            creation_date,
            default_language,
            category: _,
            prerequisites,
            bundled,
            supersedes,
            files,
            titles,
            kb_articles,
            bulletins,
            severity,
            drivers,
            uninstallable: _,
            languages,
            encryption,
            kept,
        } = self;
        let texts = eula_id.heap_bytes()
            + creation_date.heap_bytes()
            + default_language.heap_bytes()
            + severity.heap_bytes();
        let lists = [kb_articles, bulletins, languages].into_iter().map(Vec::heap_bytes).sum::<usize>();
        texts
            + lists
            + prerequisites.heap_bytes()
            + bundled.heap_bytes()
            + supersedes.heap_bytes()
            + files.heap_bytes()
            + titles.heap_bytes()
            + drivers.heap_bytes()
            + encryption.heap_bytes()
            + kept.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_counted_at_every_depth() {
        assert_eq!((String::new().heap_bytes(), Vec::<String>::new().heap_bytes()), (0, 0));
        let nested: Vec<(String, u8)> = vec![("x".repeat(1_000), 7); 10];
        let bytes = nested.heap_bytes();
        assert!((10_000..12_000).contains(&bytes), "{bytes}");
        let ids = PrerequisiteClause { any_of: vec![UpdateId(uuid::Uuid::nil()); 1_000], is_category: false };
        assert!(ids.heap_bytes() >= 1_000 * size_of::<UpdateId>());
        assert_eq!(Some(ids.clone()).heap_bytes(), ids.heap_bytes());
    }
}
