//! Spelling tricks that hide a word from a filter and leave it readable to people.

/// A trick: a word in, its disguise out. The same word always gets the same.
pub type Trick = fn(&str) -> String;

/// All tricks by name.
pub const TRICKS: [(&str, Trick); 12] = [
    ("digits for letters", |word| {
        mapped(word, &[('a', "4"), ('e', "3"), ('i', "1"), ('o', "0"), ('s', "5"), ('t', "7")])
    }),
    ("spaces", |word| joined(word, " ")),
    ("full stops", |word| joined(word, ".")),
    ("zero-width characters", |word| joined(word, "\u{200b}")),
    ("stars for vowels", |word| mapped(word, &[('a', "*"), ('e', "*"), ('i', "*"), ('o', "*"), ('u', "*")])),
    ("Cyrillic look-alikes", |word| {
        mapped(
            word,
            &[
                ('a', "а"),
                ('c', "с"),
                ('e', "е"),
                ('i', "і"),
                ('o', "о"),
                ('p', "р"),
                ('s', "ѕ"),
                ('x', "х"),
                ('y', "у"),
            ],
        )
    }),
    ("mathematical letters", |word| word.chars().map(mathematical).collect()),
    ("a letter missing", |word| without(word, middle(word))),
    ("two letters swapped", swapped),
    ("letters repeated", |word| {
        word.chars().enumerate().map(|(n, c)| c.to_string().repeat(if n == middle(word) { 4 } else { 1 })).collect()
    }),
    ("mixed case", |word| {
        word.chars()
            .enumerate()
            .map(|(n, c)| if n % 2 == 0 { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() })
            .collect()
    }),
    ("emoji around it", |word| format!("🌸{word}🌸")),
];

fn mapped(word: &str, map: &[(char, &str)]) -> String {
    word.chars()
        .map(|char| match map.iter().find(|(from, _)| *from == char.to_ascii_lowercase()) {
            Some((_, to)) => (*to).to_owned(),
            None => char.to_string(),
        })
        .collect()
}

fn joined(word: &str, between: &str) -> String {
    word.chars().map(String::from).collect::<Vec<_>>().join(between)
}

/// Mathematical bold; what has none stays.
fn mathematical(char: char) -> char {
    let bold = match char {
        'a'..='z' => 0x1_d41a + (u32::from(char) - u32::from('a')),
        'A'..='Z' => 0x1_d400 + (u32::from(char) - u32::from('A')),
        other => u32::from(other),
    };
    char::from_u32(bold).unwrap_or(char)
}

/// A place within the word: people read by the first and the last letter.
fn middle(word: &str) -> usize {
    word.chars().count() / 2
}

fn without(word: &str, place: usize) -> String {
    word.chars().enumerate().filter(|(n, _)| *n != place).map(|(_, char)| char).collect()
}

fn swapped(word: &str) -> String {
    let mut chars: Vec<char> = word.chars().collect();
    let place = middle(word);
    if place >= 1 && place < chars.len() {
        chars.swap(place - 1, place);
    }
    chars.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::TRICKS;

    #[test]
    fn each_trick_does_what_its_name_says() {
        let found: Vec<String> = TRICKS.iter().map(|(_, trick)| trick("Vermin")).collect();
        let expected = [
            "V3rm1n",
            "V e r m i n",
            "V.e.r.m.i.n",
            "V\u{200b}e\u{200b}r\u{200b}m\u{200b}i\u{200b}n",
            "V*rm*n",
            "Vеrmіn",
            "𝐕𝐞𝐫𝐦𝐢𝐧",
            "Verin",
            "Vemrin",
            "Vermmmmin",
            "vErMiN",
            "🌸Vermin🌸",
        ];
        assert_eq!(found, expected);
    }
}
