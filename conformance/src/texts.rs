//! Ten thousand texts that are the same on every machine: words and what people do to them, every script, and what no keyboard has.
//!
//! Most are as short as comments are, a few reach every limit. They come out of a seed, of the repository's own list of words, and of
//! the golden cases.

/// What the texts start from. Another seed gives other texts; no score depends on it.
const SEED: u64 = 0x5061_6c69_7361_6465;

/// The words that the release's normalisation knows, each with a number behind it.
const WORDS: &str = include_str!("../../crates/core/words.txt");

/// Ranges of characters: scripts, and what stands between, on, and in the place of letters.
const SCRIPTS: &[&[(u32, u32)]] = &[
    &[(0xc0, 0x24f), (0x1e00, 0x1eff)],                          // Latin with diacritics
    &[(0x370, 0x3ff), (0x1f00, 0x1fff)],                         // Greek
    &[(0x400, 0x52f)],                                           // Cyrillic
    &[(0x531, 0x58f), (0x10a0, 0x10ff)],                         // Armenian, Georgian
    &[(0x591, 0x5f4)],                                           // Hebrew
    &[(0x600, 0x6ff), (0xfb50, 0xfdff)],                         // Arabic
    &[(0x900, 0x97f)],                                           // Devanagari
    &[(0x980, 0xdff)],                                           // Bengali to Sinhala
    &[(0xe00, 0xe7f), (0xe80, 0xeff)],                           // Thai, Lao
    &[(0xf00, 0xfff), (0x1000, 0x109f), (0x1780, 0x17ff)],       // Tibetan, Myanmar, Khmer
    &[(0x1200, 0x139f)],                                         // Ethiopic
    &[(0x3041, 0x30ff), (0x31f0, 0x31ff)],                       // Kana
    &[(0x4e00, 0x9fff), (0x3400, 0x4dbf), (0x2_0000, 0x2_a6df)], // Chinese characters
    &[(0xf900, 0xfaff), (0x2_f800, 0x2_fa1f)],                   // and those that stand for others
    &[(0xac00, 0xd7a3)],                                         // Hangul, as syllables
    &[(0x1100, 0x11ff)],                                         // and as parts of them
    &[(0x1_f300, 0x1_faff), (0x2600, 0x27bf)],                   // emoji and signs
    &[(0x1_f1e6, 0x1_f1ff)],                                     // flags
    &[(0x300, 0x36f), (0x483, 0x489), (0x1ab0, 0x1aff), (0x20d0, 0x20f0)], // combining marks
    &[(0x200b, 0x200f), (0x202a, 0x202e), (0x2060, 0x206f), (0xad, 0xad), (0xfeff, 0xfeff)], // invisible, directions
    &[(0xfe00, 0xfe0f), (0xe_0100, 0xe_01ef)],                   // variants
    &[(0x1_d400, 0x1_d7ff), (0x2100, 0x214f)],                   // mathematical letters
    &[(0xff01, 0xffee), (0x2460, 0x24ff), (0x1_f100, 0x1_f1ac)], // wide, circled, squared
    &[(0x1_0400, 0x1_044f), (0x1_2000, 0x1_23ff), (0x1_3000, 0x1_342e)], // Deseret, cuneiform, hieroglyphs
    &[(0xe000, 0xf8ff), (0xf_0000, 0xf_fffd), (0x10_0000, 0x10_fffd)], // private use
    &[(0x378, 0x379), (0xfdd0, 0xfdef), (0xfffe, 0xffff), (0x5_0000, 0x5_ffff)], // unassigned, no characters
    &[(0, 0x1f), (0x7f, 0x9f)],                                  // controls
    &[(0x21, 0x40), (0x5b, 0x60), (0x7b, 0x7e), (0x2010, 0x2027), (0x3000, 0x303f)], // marks and digits
];
/// What separates words.
const SPACES: &[&str] =
    &["\t", "\n", "\r\n", "\u{a0}", "\u{2028}", "\u{3000}", "  ", ", ", ". ", "! ", "?! ", "-", "…", "/"];
/// What looks like a letter, for those that have something.
const LIKE: &[(char, char)] = &[
    ('a', 'а'),
    ('e', 'е'),
    ('o', 'о'),
    ('i', '1'),
    ('s', '$'),
    ('a', '@'),
    ('o', '0'),
    ('e', '3'),
    ('c', 'ϲ'),
    ('x', '×'),
];

/// `count` texts, the cases' own first.
pub(crate) fn texts(cases: &[String], count: usize) -> Vec<String> {
    let words: Vec<&str> = WORDS.lines().filter_map(|line| line.split(' ').next()).collect();
    let mut maker = Maker { random: Random(SEED), words, cases };
    let generated = std::iter::repeat_with(|| maker.text());
    cases.iter().cloned().chain(generated).take(count).collect()
}

/// `SplitMix64` (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `end`, which is left out.
    fn below(&mut self, end: usize) -> usize {
        let scaled = u128::from(self.next()) * (end as u128);
        usize::try_from(scaled >> 64).unwrap_or(0)
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// 1 to `most`, rather few than many.
    fn few(&mut self, most: usize) -> usize {
        let below = 1 + self.below(most);
        1 + self.below(below)
    }

    fn pick<T: Copy + Default>(&mut self, all: &[T]) -> T {
        let place = self.below(all.len());
        all.get(place).copied().unwrap_or_default()
    }
}

struct Maker<'a> {
    random: Random,
    words: Vec<&'a str>,
    cases: &'a [String],
}

impl Maker<'_> {
    fn text(&mut self) -> String {
        match self.random.below(100) {
            0..45 => {
                let words = self.random.few(20);
                self.sentence(words)
            }
            45..60 => self.changed_case(),
            60..85 => self.joined(8, |maker| if maker.random.one_in(8) { maker.family() } else { maker.letters() }),
            85..93 => self.joined(12, |maker| if maker.random.one_in(2) { maker.letters() } else { maker.word() }),
            93..96 => {
                let count = self.random.few(30);
                (0..count).map(|_| self.any_character()).collect()
            }
            96 => {
                let words = 150 + self.random.below(300);
                self.sentence(words)
            }
            97 => self.repeated(),
            98 => self.joined(30, |maker| maker.random.pick(SPACES).to_owned()),
            _ => {
                (0..self.random.below(4)).map(|_| self.random.pick(&[' ', '\n', '\u{200b}', '\u{301}', '\0'])).collect()
            }
        }
    }

    fn sentence(&mut self, words: usize) -> String {
        let mut sentence = String::new();
        for _ in 0..words {
            let word = self.word();
            sentence.push_str(&word);
            let space = if self.random.one_in(8) { self.random.pick(SPACES) } else { " " };
            sentence.push_str(space);
        }
        sentence
    }

    /// A word of the list, every third one as people write words that they hide or shout.
    fn word(&mut self) -> String {
        let word = self.random.pick(&self.words);
        match self.random.below(24) {
            0 => word.to_uppercase(),
            1 => {
                let mut characters = word.chars();
                let first = characters.next().into_iter().flat_map(char::to_uppercase);
                first.chain(characters).collect()
            }
            2 => word.chars().flat_map(|c| [c, ' ']).collect(),
            3 => {
                let times = self.random.few(6);
                let at = self.random.below(word.len());
                word.chars()
                    .enumerate()
                    .flat_map(|(i, c)| std::iter::repeat_n(c, if i == at { times } else { 1 }))
                    .collect()
            }
            4 => word
                .chars()
                .map(|c| LIKE.iter().find(|(letter, _)| *letter == c).map_or(c, |(_, like)| *like))
                .collect(),
            5 => word.chars().flat_map(|c| [c, '\u{200b}']).collect(),
            6 => {
                let marks: &[(u32, u32)] = &[(0x300, 0x36f)];
                word.chars().flat_map(|c| [c, self.character(marks)]).collect()
            }
            7 => self.changed(word),
            _ => word.to_owned(),
        }
    }

    /// A golden case's text with some characters changed; not those that are long on purpose.
    fn changed_case(&mut self) -> String {
        let place = self.random.below(self.cases.len());
        let mut case = self.cases.get(place).cloned().unwrap_or_default();
        if case.len() > 500 {
            case = self.sentence(3);
        }
        let times = self.random.few(4);
        for _ in 0..times {
            case = self.changed(&case);
        }
        case
    }

    /// A text with one character left out, exchanged, written anew or put in.
    fn changed(&mut self, text: &str) -> String {
        let mut characters: Vec<char> = text.chars().collect();
        let at = self.random.below(characters.len().max(1));
        let new = self.any_character();
        match self.random.below(4) {
            0 if at < characters.len() => drop(characters.remove(at)),
            1 if at + 1 < characters.len() => characters.swap(at, at + 1),
            2 => characters.get_mut(at).into_iter().for_each(|character| *character = new),
            _ => characters.insert(at, new),
        }
        characters.into_iter().collect()
    }

    /// Up to `most` pieces, with spaces or without.
    fn joined(&mut self, most: usize, mut piece: impl FnMut(&mut Self) -> String) -> String {
        let count = self.random.few(most);
        let mut text = String::new();
        for _ in 0..count {
            text.push_str(&piece(self));
            if !self.random.one_in(4) {
                text.push(' ');
            }
        }
        text
    }

    /// Some characters of one script.
    fn letters(&mut self) -> String {
        let script = self.random.pick(SCRIPTS);
        let count = self.random.few(10);
        (0..count).map(|_| self.character(script)).collect()
    }

    /// Emoji joined to one, some with a skin's colour or a variant.
    fn family(&mut self) -> String {
        let mut family = String::new();
        let count = self.random.few(4);
        for place in 0..count {
            if place > 0 {
                family.push('\u{200d}');
            }
            let emoji = self.random.pick(&['👩', '👨', '👧', '🧑', '💻', '🚒', '❤', '🏳', '🌈', '🐈']);
            family.push(emoji);
            let behind = self.random.pick(&["", "", "\u{1f3fb}", "\u{1f3ff}", "\u{fe0f}", "\u{fe0e}", "\u{20e3}"]);
            family.push_str(behind);
        }
        family
    }

    /// One piece many times, up to more than is read of a text.
    fn repeated(&mut self) -> String {
        let piece = match self.random.below(3) {
            0 => self.word(),
            1 => self.any_character().to_string(),
            _ => self.random.pick(&["(", "[SEP]", "a ", "##a", "!", "👍", "e\u{301}", ". "]).to_owned(),
        };
        let longest = if self.random.one_in(8) { 24_000 } else { 1_500 };
        let bytes = 1 + self.random.below(longest);
        piece.repeat(bytes.div_ceil(piece.len().max(1)))
    }

    fn any_character(&mut self) -> char {
        let script = match self.random.below(4) {
            0 => &[(0, 0x10_ffff)],
            1 => self.random.pick(SCRIPTS),
            _ => &[(0x20, 0x7e)][..],
        };
        self.character(script)
    }

    fn character(&mut self, ranges: &[(u32, u32)]) -> char {
        let (first, last) = self.random.pick(ranges);
        let offset = self.random.below((last - first + 1) as usize);
        u32::try_from(offset).ok().and_then(|offset| char::from_u32(first + offset)).unwrap_or('\u{fffd}')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_are_the_same_each_time_and_begin_with_the_cases() {
        let cases = ["You are all very kind.".to_owned(), "Who wrote this?".to_owned()];
        let all = texts(&cases, 2_000);
        assert_eq!(all.len(), 2_000);
        assert_eq!(all[..2], cases);
        assert_eq!(all, texts(&cases, 2_000));
        assert_eq!(all[..500], texts(&cases, 500));
    }

    #[test]
    fn the_texts_hold_every_script_and_every_length() {
        let all = texts(&["You are all very kind.".to_owned()], 10_000);
        for script in SCRIPTS {
            let holds = |text: &String| {
                text.chars().any(|c| script.iter().any(|&(first, last)| (first..=last).contains(&u32::from(c))))
            };
            assert!(all.iter().filter(|text| holds(text)).count() >= 100, "{script:x?}");
        }
        for length in [0..1, 1..4, 4..40, 40..200, 200..1_000, 1_000..20_481, 20_481..30_000] {
            assert!(all.iter().any(|text| length.contains(&text.len())), "{length:?}");
        }
        let distinct: std::collections::HashSet<&String> = all.iter().collect();
        assert!(distinct.len() > 9_500, "{}", distinct.len());
    }
}
