//! Which language a text is in.

/// What detection says of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detected {
    /// ISO 639-1 code.
    Language(&'static str),
    /// There are letters, but too few or too mixed to tell.
    Unsure,
    /// There is nothing in any script.
    Nothing,
}

/// Letters that a text in Latin script must have before a guess counts: shorter comments are guessed wrong too often.
const LETTERS_MIN: usize = 24;
/// Confidence (whatlang's, 0 to 1) from which a guess counts.
const CONFIDENCE_MIN: f64 = 0.9;

/// Bytes of a text that are looked at: more makes no guess surer, and takes time.
const BYTES_MAX: usize = 4096;

/// Detects the language of a text (by trigrams and script; the crate whatlang). A guess that does not count is
/// [`Detected::Unsure`], so that short and mixed comments are not refused for a language they are not in.
pub fn detect(text: &str) -> Detected {
    let text = text.get(..text.floor_char_boundary(BYTES_MAX)).unwrap_or(text);
    let Some(info) = whatlang::detect(text) else { return Detected::Nothing };
    let letters = text.chars().filter(|character| character.is_alphabetic()).take(LETTERS_MIN).count();
    let latin = info.script() == whatlang::Script::Latin;
    if latin && (letters < LETTERS_MIN || info.confidence() < CONFIDENCE_MIN) {
        return Detected::Unsure;
    }
    Detected::Language(code(info.lang()))
}

/// The primary part of a BCP 47 code, `en` of `en-US`.
pub fn primary(code: &str) -> &str {
    code.split(['-', '_']).next().unwrap_or(code)
}

/// ISO 639-1 code where there is one, else ISO 639-3.
fn code(language: whatlang::Lang) -> &'static str {
    const CODES: &[(&str, &str)] = &[
        ("afr", "af"),
        ("aka", "ak"),
        ("amh", "am"),
        ("ara", "ar"),
        ("aze", "az"),
        ("bel", "be"),
        ("ben", "bn"),
        ("bul", "bg"),
        ("cat", "ca"),
        ("ces", "cs"),
        ("cmn", "zh"),
        ("cym", "cy"),
        ("dan", "da"),
        ("deu", "de"),
        ("ell", "el"),
        ("eng", "en"),
        ("epo", "eo"),
        ("est", "et"),
        ("fin", "fi"),
        ("fra", "fr"),
        ("guj", "gu"),
        ("heb", "he"),
        ("hin", "hi"),
        ("hrv", "hr"),
        ("hun", "hu"),
        ("hye", "hy"),
        ("ind", "id"),
        ("ita", "it"),
        ("jav", "jv"),
        ("jpn", "ja"),
        ("kan", "kn"),
        ("kat", "ka"),
        ("khm", "km"),
        ("kor", "ko"),
        ("lat", "la"),
        ("lav", "lv"),
        ("lit", "lt"),
        ("mal", "ml"),
        ("mar", "mr"),
        ("mkd", "mk"),
        ("mya", "my"),
        ("nep", "ne"),
        ("nld", "nl"),
        ("nob", "nb"),
        ("ori", "or"),
        ("pan", "pa"),
        ("pes", "fa"),
        ("pol", "pl"),
        ("por", "pt"),
        ("ron", "ro"),
        ("rus", "ru"),
        ("sin", "si"),
        ("slk", "sk"),
        ("slv", "sl"),
        ("sna", "sn"),
        ("spa", "es"),
        ("srp", "sr"),
        ("swe", "sv"),
        ("tam", "ta"),
        ("tel", "te"),
        ("tgl", "tl"),
        ("tha", "th"),
        ("tuk", "tk"),
        ("tur", "tr"),
        ("ukr", "uk"),
        ("urd", "ur"),
        ("uzb", "uz"),
        ("vie", "vi"),
        ("yid", "yi"),
        ("zul", "zu"),
    ];
    let long = language.code();
    CODES.iter().find(|(known, _)| *known == long).map_or(long, |(_, short)| short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_of_the_library_has_a_short_code() {
        let long: Vec<_> =
            whatlang::Lang::all().iter().map(|lang| code(*lang)).filter(|code| code.len() != 2).collect();
        assert!(long.is_empty(), "{long:?}");
    }

    #[test]
    fn long_texts_are_told_apart_and_short_ones_are_not_guessed() {
        for (text, wanted) in [
            ("This is a perfectly ordinary sentence about the weather in the north.", Detected::Language("en")),
            ("Je ne suis pas du tout d'accord avec ce que vous avez écrit hier soir.", Detected::Language("fr")),
            ("Das ist wirklich eine sehr schöne Antwort, vielen Dank dafür und bis bald.", Detected::Language("de")),
            ("Это совсем не то, что я хотел сказать.", Detected::Language("ru")),
            ("これは日本語の文章です。", Detected::Language("ja")),
            ("You idiot", Detected::Unsure),
            ("lol", Detected::Unsure),
            ("1488 !!! 😀", Detected::Nothing),
            ("", Detected::Nothing),
        ] {
            assert_eq!(detect(text), wanted, "{text}");
        }
    }
}
