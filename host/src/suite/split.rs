//! Which part of a data set a text belongs to: by a hash of what it says, as `training/palisade_training/data.py` has it.

use sha2::{Digest, Sha256};
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// The form in which two texts count as the same: lower case, runs of anything but letters and digits as one space.
pub fn normalised(text: &str) -> String {
    let mut form = String::with_capacity(text.len());
    for char in text.to_lowercase().chars() {
        // Python's `str.isalnum` is true for the general categories L and N, and for no other.
        if matches!(char.general_category_group(), GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number) {
            form.push(char);
        } else if !form.is_empty() && !form.ends_with(' ') {
            form.push(' ');
        }
    }
    form.truncate(form.trim_end_matches(' ').len());
    if form.is_empty() { text.to_owned() } else { form }
}

/// Where a text stands: its bucket, and its place in an order that has nothing to do with the buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    order: u64,
    bucket: u64,
}

impl Place {
    /// The place of a [`normalised`] text.
    pub fn of(normalised: &str) -> Self {
        let digest = Sha256::digest(normalised);
        let number =
            |from: usize| digest.iter().skip(from).take(8).fold(0, |number, &byte| (number << 8) | u64::from(byte));
        Self { bucket: number(0), order: number(8) }
    }

    /// The bucket, of so many.
    pub fn bucket(self, buckets: u64) -> u64 {
        self.bucket % buckets.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, normalised};

    /// Forms and buckets (of 10) from `data.py`'s `normalised` and `bucket_of`.
    #[test]
    fn texts_are_split_as_in_training() {
        for (text, form, bucket) in EXAMPLES {
            assert_eq!(normalised(text), form, "{text:?}");
            assert_eq!(Place::of(&normalised(text)).bucket(10), bucket, "{text:?}");
        }
    }

    const EXAMPLES: [(&str, &str, u64); 14] = [
        ("Thank you, all!", "thank you all", 1),
        ("  You ARE\tan_idiot...\n", "you are an idiot", 5),
        (
            "\u{130}stanbul \u{39f}\u{394}\u{39f}\u{3a3} Stra\u{df}e \u{1c5}",
            "i stanbul \u{3bf}\u{3b4}\u{3bf}\u{3c2} stra\u{df}e \u{1c6}",
            5,
        ),
        ("\u{1f642}", "\u{1f642}", 6),
        ("\u{2026}", "\u{2026}", 5),
        ("", "", 2),
        (
            "na\u{ef}ve caf\u{e9} \u{2014} 5\u{bd} \u{2177} \u{2460} \u{3280} \u{4e8c}",
            "na\u{ef}ve caf\u{e9} 5\u{bd} \u{2177} \u{2460} \u{3280} \u{4e8c}",
            4,
        ),
        (
            "\u{939}\u{93f}\u{928}\u{94d}\u{926}\u{940} \u{92e}\u{947}\u{902} \u{932}\u{93f}\u{916}\u{93e}",
            "\u{939} \u{928} \u{926} \u{92e} \u{932} \u{916}",
            2,
        ),
        ("f.a.k.e  __text__", "f a k e text", 6),
        ("e\u{301} o\u{308} \u{200b}zero\u{200d}", "e o zero", 7),
        ("\u{24b6} \u{aa} \u{ba} \u{2b0} \u{b9}", "\u{aa} \u{ba} \u{2b0} \u{b9}", 0),
        ("\u{391}\u{3a3}. \u{3a3}\u{391} \u{3a3}", "\u{3b1}\u{3c2} \u{3c3}\u{3b1} \u{3c3}", 6),
        (
            "\u{663}\u{664} \u{9e9} \u{1d7d9} \u{1d400} \u{a66e}",
            "\u{663}\u{664} \u{9e9} \u{1d7d9} \u{1d400} \u{a66e}",
            9,
        ),
        (" a ", "a", 0),
    ];
}
