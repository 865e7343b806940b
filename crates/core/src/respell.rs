//! Misspelt words back to the words they stand for, by the list of words that the training texts use (`words.txt`, written by
//! `training/run words`).
//!
//! [`respell`] looks at one word. A word that the list knows well, or that the base model's vocabulary holds, stays. Otherwise these are undone, where the result is a word that is much
//! more common than what was written: masked letters (`st*pid`), letters written twice (`stuupid`), one letter left out (`stpid`), and two
//! neighbours exchanged (`stuipd`). First letters stay, and so do ends of words: both change meaning more often than they hide it.

use std::sync::LazyLock;

use fst::raw::{Fst, Node, Output};

/// Words to how common they are, twice the binary logarithm of the number of training texts that hold them, plus [`STAYS`].
static WORDS: LazyLock<Option<Fst<&'static [u8]>>> =
    LazyLock::new(|| Fst::new(include_bytes!(concat!(env!("OUT_DIR"), "/words.fst")).as_slice()).ok());

/// Added to the number of a word that is spelt right whatever the training texts say.
const STAYS: u64 = 64;
/// How common a word is that others are taken for, at least (32 texts).
const COMMON: u64 = 10;
/// How much more common than what was written, for a word on the list (45 times as many texts).
const MORE_COMMON: u64 = 11;
/// Letters of the shortest word that is read as a misspelt one. One less that has no vowel may stand for a word that people mask.
const LETTERS_MIN: usize = 4;
/// Letters of the longest.
const LETTERS_MAX: usize = 20;
/// Pairs of equal letters of which each may be one letter.
const PAIRS_MAX: usize = 4;
/// Masked letters in a word that is on the list, at most.
const MASKED_MAX: usize = 2;

/// What masks stand for first, in this order where a mask fits several: words that people mask.
const SWEARING: &[&str] = &[
    "fuck",
    "shit",
    "bitch",
    "cunt",
    "ass",
    "dick",
    "fucking",
    "fucked",
    "fucker",
    "fuckers",
    "fucks",
    "asshole",
    "assholes",
    "bitches",
    "bullshit",
    "shitty",
    "motherfucker",
    "motherfucking",
    "pussy",
    "cock",
    "bastard",
    "bastards",
    "damn",
    "dumbass",
    "jackass",
    "piss",
    "pissed",
    "tits",
    "cum",
    "porn",
    "sex",
    "rape",
    "raped",
    "rapist",
];
/// Then these, where two letters can be seen.
const SLURS: &[&str] = &[
    "whore", "whores", "slut", "sluts", "nigger", "niggers", "nigga", "niggas", "faggot", "faggots", "fag", "fags",
    "retard", "retards", "retarded", "tranny", "kike", "kikes",
];

fn is_mask(letter: u8) -> bool {
    matches!(letter, b'*' | b'#' | b'%' | b'^')
}

/// The word that `word` (small ASCII letters, and signs that mask letters) is written for; `None` where it stays.
pub(crate) fn respell(word: &str) -> Option<String> {
    let letters = word.as_bytes();
    if letters.len() > LETTERS_MAX || !letters.first()?.is_ascii_lowercase() {
        return None;
    }
    if letters.iter().any(|&letter| is_mask(letter)) {
        return unmasked(letters);
    }
    if letters.len() < LETTERS_MIN {
        let hides = letters.len() + 1 == LETTERS_MIN && !letters.iter().any(|letter| b"aeiouy".contains(letter));
        return if hides && !is_right(letters) { with_a_letter_of_a_masked_word(letters) } else { None };
    }
    let known = commonness(letters);
    if is_right(letters) || known == 0 && is_a_form(letters) {
        return None;
    }
    let mut best = Best::new(if known == 0 { COMMON } else { known + MORE_COMMON });
    if known == 0 {
        without_pairs(letters, &mut best);
    }
    with_one_more(letters, &mut best);
    with_neighbours_exchanged(letters, &mut best);
    best.word()
}

/// Whether the word is on the list, and not as a rare one.
pub(crate) fn is_common(word: &str) -> bool {
    commonness(word.as_bytes()) >= COMMON
}

/// Whether the word is on the list at all.
pub(crate) fn is_known(word: &str) -> bool {
    number(word.as_bytes()) > 0
}

/// Whether people mask the word.
pub(crate) fn is_masked(word: &str) -> bool {
    SWEARING.contains(&word) || SLURS.contains(&word)
}

/// Whether the word is not read as a misspelt one.
fn is_right(word: &[u8]) -> bool {
    number(word) >= COMMON + 2
}

/// The most common of the words that were tried; of equally common ones the first in the alphabet.
struct Best {
    at_least: u64,
    found: Option<(u64, Vec<u8>)>,
}

impl Best {
    fn new(at_least: u64) -> Self {
        Self { at_least, found: None }
    }

    fn offer(&mut self, commonness: u64, word: impl FnOnce() -> Vec<u8>) {
        let (most, first) = self.found.as_ref().map_or((self.at_least, None), |(most, first)| (*most, Some(first)));
        if commonness < most {
            return;
        }
        let word = word();
        if commonness > most || first.is_none_or(|first| word < *first) {
            self.found = Some((commonness, word));
        }
    }

    fn word(self) -> Option<String> {
        String::from_utf8(self.found?.1).ok()
    }
}

/// A place in the map, with the sum of the numbers on the way there.
#[derive(Clone, Copy)]
struct Place {
    node: Node<'static>,
    sum: Output,
}

impl Place {
    fn root() -> Option<Self> {
        Some(Self { node: WORDS.as_ref()?.root(), sum: Output::zero() })
    }

    fn step(self, letter: u8) -> Option<Self> {
        self.node.find_input(letter).and_then(|transition| self.along(transition))
    }

    fn walk(self, letters: &[u8]) -> Option<Self> {
        letters.iter().try_fold(self, |place, &letter| place.step(letter))
    }

    fn along(self, transition: usize) -> Option<Self> {
        let transition = self.node.transition(transition);
        Some(Self { node: WORDS.as_ref()?.node(transition.addr), sum: self.sum.cat(transition.out) })
    }

    /// Every letter that may follow, with where it leads.
    fn following(self) -> impl Iterator<Item = (u8, Self)> {
        (0..self.node.len()).filter_map(move |i| Some((self.node.transition(i).inp, self.along(i)?)))
    }

    /// The number of the word that ends here; 0 where none does.
    fn number(self) -> u64 {
        if self.node.is_final() { self.sum.cat(self.node.final_output()).value() } else { 0 }
    }

    fn commonness(self) -> u64 {
        self.number() % STAYS
    }
}

fn number(word: &[u8]) -> u64 {
    Place::root().and_then(|root| root.walk(word)).map_or(0, Place::number)
}

fn commonness(word: &[u8]) -> u64 {
    number(word) % STAYS
}

/// Whether the word is a common one with an ending.
fn is_a_form(word: &[u8]) -> bool {
    const ENDINGS: &[&[u8]] = &[
        b"s", b"es", b"d", b"ed", b"ing", b"in", b"r", b"er", b"ers", b"ly", b"y", b"ish", b"ness", b"able", b"ism",
        b"ist", b"less",
    ];
    ENDINGS
        .iter()
        .filter_map(|ending| word.strip_suffix(*ending))
        .any(|stem| stem.len() >= 3 && commonness(stem) >= COMMON)
}

/// Each of two equal letters that follow each other may be one.
fn without_pairs(word: &[u8], best: &mut Best) {
    let pairs: Vec<usize> = (1..word.len()).filter(|&i| word.get(i) == word.get(i - 1)).collect();
    if pairs.is_empty() || pairs.len() > PAIRS_MAX {
        return;
    }
    for chosen in 1..1_u32 << pairs.len() {
        let dropped = |i: usize| pairs.iter().enumerate().any(|(n, &pair)| pair == i && chosen & (1 << n) != 0);
        let shorter: Vec<u8> = (0..word.len()).filter(|&i| !dropped(i)).filter_map(|i| word.get(i).copied()).collect();
        best.offer(commonness(&shorter), || shorter);
    }
}

/// One letter more, neither the first nor the last.
fn with_one_more(word: &[u8], best: &mut Best) {
    let Some(mut place) = Place::root() else { return };
    for i in 0..word.len() {
        let (before, behind) = word.split_at(i);
        if i > 0 {
            for (letter, next) in place.following() {
                if let Some(end) = next.walk(behind) {
                    best.offer(end.commonness(), || [before, &[letter], behind].concat());
                }
            }
        }
        match behind.first().and_then(|&letter| place.step(letter)) {
            Some(next) => place = next,
            None => return,
        }
    }
}

/// The word that people mask of which one letter, neither the first nor the last, is left out.
fn with_a_letter_of_a_masked_word(word: &[u8]) -> Option<String> {
    let lacks_one = |whole: &&&str| {
        whole.len() == word.len() + 1
            && (1..word.len()).any(|i| whole.bytes().take(i).chain(whole.bytes().skip(i + 1)).eq(word.iter().copied()))
    };
    SWEARING.iter().chain(SLURS).find(lacks_one).map(|whole| (*whole).to_owned())
}

fn with_neighbours_exchanged(word: &[u8], best: &mut Best) {
    for i in 1..word.len() {
        let mut exchanged = word.to_vec();
        exchanged.swap(i - 1, i);
        if exchanged != word {
            best.offer(commonness(&exchanged), || exchanged);
        }
    }
}

/// The word behind a mask: a word that people mask, of which a run of signs hides as many letters or fewer, or else a common one, each sign for a
/// letter. A mask at the end may be a footnote, or stress: only what people mask is read into it, and one sign behind a whole word is none.
fn unmasked(pattern: &[u8]) -> Option<String> {
    let letters = pattern.iter().filter(|&&sign| !is_mask(sign)).count();
    let masked = pattern.len() - letters;
    let (&last, whole) = pattern.split_last()?;
    if is_mask(last) && masked == 1 && number(whole) > 0 {
        return None;
    }
    let candidates = || SWEARING.iter().chain(SLURS.iter().filter(|_| letters > 1));
    let fits = |word: &&&str| {
        word.len() == pattern.len() && word.bytes().zip(pattern).all(|(letter, &sign)| is_mask(sign) || letter == sign)
    };
    if let Some(word) =
        candidates().find(fits).or_else(|| candidates().find(|word| fits_shorter(pattern, word.as_bytes())))
    {
        return Some((*word).to_owned());
    }
    if is_mask(last) || letters < 3 || masked > MASKED_MAX {
        return None;
    }
    let mut best = Best::new(COMMON);
    fill(Place::root()?, pattern, &mut Vec::with_capacity(pattern.len()), &mut best);
    best.word()
}

/// Offers every word that fits the pattern, each sign for a letter.
fn fill(place: Place, pattern: &[u8], word: &mut Vec<u8>, best: &mut Best) {
    let Some((&sign, rest)) = pattern.split_first() else {
        best.offer(place.commonness(), || word.clone());
        return;
    };
    let mut go = |letter: u8, next: Place| {
        word.push(letter);
        fill(next, rest, word, best);
        word.pop();
    };
    if is_mask(sign) {
        place.following().for_each(|(letter, next)| go(letter, next));
    } else if let Some(next) = place.step(sign) {
        go(sign, next);
    }
}

/// Whether a pattern that ends with a letter fits a word where each run of its signs stands for one letter or more, up to their number.
fn fits_shorter(pattern: &[u8], word: &[u8]) -> bool {
    let (Some((&sign, rest)), Some((&letter, behind))) = (pattern.split_first(), word.split_first()) else {
        return pattern.is_empty() && word.is_empty();
    };
    if !is_mask(sign) {
        return sign == letter && fits_shorter(rest, behind);
    }
    // The sign hides a letter; of a run, those behind it may hide none.
    let run = rest.iter().take_while(|&&sign| is_mask(sign)).count();
    run < rest.len() && (0..=run).any(|dropped| rest.get(dropped..).is_some_and(|rest| fits_shorter(rest, behind)))
}

#[cfg(test)]
mod tests {
    use super::{WORDS, is_common, respell};

    #[test]
    fn the_list_is_there() {
        assert!(WORDS.as_ref().is_some_and(|words| words.len() > 10_000 && words.verify().is_ok()));
        assert!(is_common("people") && !is_common("pqople"));
    }

    #[test]
    fn words_stay() {
        for word in [
            "hello",
            "idiots",
            "ssd",
            "xhtml",
            "shh",
            "tyranny",
            "tranny",
            "looser",
            "lmao",
            "coffee",
            "running",
            "xyzzyx",
            "a",
            "",
            "kangaroo",
            "bookkeeper",
        ] {
            assert_eq!(respell(word), None, "{word}");
        }
    }

    #[test]
    fn misspelt_words() {
        for (written, meant) in [
            ("stpid", "stupid"),
            ("stuupid", "stupid"),
            ("iidiioot", "idiot"),
            ("idoit", "idiot"),
            ("mroon", "moron"),
            ("ashole", "asshole"),
            ("btch", "bitch"),
            ("sht", "shit"),
            ("biitch", "bitch"),
        ] {
            assert_eq!(respell(written).as_deref(), Some(meant), "{written}");
        }
    }

    #[test]
    fn masked_words() {
        for (written, meant) in [
            ("f*ck", "fuck"),
            ("f**k", "fuck"),
            ("f***", "fuck"),
            ("s#it", "shit"),
            ("b**ch", "bitch"),
            ("c**t", "cunt"),
            ("st*pid", "stupid"),
            ("id*ot", "idiot"),
            ("f***ing", "fucking"),
            ("sh**t", "shit"),
            ("f****king", "fucking"),
        ] {
            assert_eq!(respell(written).as_deref(), Some(meant), "{written}");
        }
        for (written, meant) in
            [("cnt", "cunt"), ("n****r", "nigger"), ("b****", "bitch"), ("r****d", "retard"), ("a*****e", "asshole")]
        {
            assert_eq!(respell(written).as_deref(), Some(meant), "{written}");
        }
        for written in
            ["price***", "a*b", "x*y*z", "*", "n*", "*not", "as*", "dam*", "k***", "such*", "s*#*#*#*abcdefg"]
        {
            assert_eq!(respell(written), None, "{written}");
        }
    }
}
