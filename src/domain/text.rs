//! Text from outside that is displayed: on pages, in logs, on a terminal.

use std::collections::BTreeSet;

use icu_properties::props::{
    DefaultIgnorableCodePoint, GeneralCategory, NoncharacterCodePoint, VariationSelector,
};
use icu_properties::{CodePointMapData, CodePointSetData};

const UNFIT: [GeneralCategory; 5] = [
    GeneralCategory::Control,
    GeneralCategory::Format,
    GeneralCategory::LineSeparator,
    GeneralCategory::ParagraphSeparator,
    GeneralCategory::PrivateUse,
];

/// Returns whether a character controls, hides or reorders the text around it, or shows nothing of its own: control and
/// format characters, line and paragraph separators, private use, noncharacters, and characters that Unicode lets a
/// font leave out (UAX #44, `Default_Ignorable_Code_Point`). Unassigned characters are fit: a later Unicode may assign
/// them.
pub fn is_unfit(c: char) -> bool {
    UNFIT.contains(&CodePointMapData::<GeneralCategory>::new().get(c))
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
        || CodePointSetData::new::<NoncharacterCodePoint>().contains(c)
}

/// Returns all characters for which [`is_unfit`] is true.
pub fn unfit_characters() -> BTreeSet<char> {
    let categories = CodePointMapData::<GeneralCategory>::new();
    let ranges = UNFIT.into_iter().flat_map(|category| categories.iter_ranges_for_value(category));
    let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>().iter_ranges();
    let noncharacters = CodePointSetData::new::<NoncharacterCodePoint>().iter_ranges();
    ranges.chain(ignorable).chain(noncharacters).flatten().filter_map(char::from_u32).collect()
}

/// Returns whether a text may be displayed as a name. Joiners are part of Persian and Indic names and of emoji, and
/// variation selectors of Japanese and Mongolian names and of emoji, so each may follow a visible character: first one
/// selector, then one joiner. Any more would only hide something. A name is only displayed, never compared.
pub fn is_name(text: &str) -> bool {
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if is_unfit(c) {
            return false;
        }
        rest.next_if(|c| is_selector(*c));
        rest.next_if(|c| is_joiner(*c));
    }
    text.chars().any(|c| !c.is_whitespace() && !is_unfit(c))
}

/// Returns whether a character selects a variant of the one before it.
pub fn is_selector(c: char) -> bool {
    CodePointSetData::new::<VariationSelector>().contains(c)
}

/// Returns whether a character joins or separates the letters around it.
pub fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Returns the text without its unfit characters.
pub fn visible(text: &str) -> String {
    text.chars().filter(|c| !is_unfit(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_and_reordering_characters_are_refused() {
        let bad = "\0\n\u{7f}\u{85}\u{ad}\u{34f}\u{600}\u{61c}\u{115f}\u{1160}\u{17b4}\u{180b}\u{180e}\
             \u{200b}\u{200d}\u{200e}\u{2028}\u{2029}\u{202e}\u{2060}\u{2065}\u{2069}\u{3164}\
             \u{e000}\u{fdd0}\u{fe00}\u{fe0f}\u{feff}\u{ffa0}\u{fff0}\u{fffb}\u{fffe}\u{1d173}\
             \u{1fffe}\u{e0001}\u{e0041}\u{e0100}\u{f0000}\u{10ffff}";
        for bad in bad.chars() {
            assert!(is_unfit(bad), "{bad:?}");
        }
        for good in "aÄЖغאकไ字𝔘é\u{301}\u{fffd}\u{20} \u{3000}👩\u{1f3fd}½".chars() {
            assert!(!is_unfit(good), "{good:?}");
        }
    }

    #[test]
    fn every_refused_character_is_listed() {
        let listed = unfit_characters();
        for c in ('\0'..='\u{ffff}').chain('\u{e0000}'..='\u{e0fff}') {
            assert_eq!(listed.contains(&c), is_unfit(c), "{c:?}");
        }
    }

    #[test]
    fn names_in_all_scripts_are_accepted() {
        for good in [
            "Anna Smith, anna@example.com",
            "Жанна д’Арк",
            "محمد",
            "می\u{200c}خواهم",
            "क\u{94d}\u{200d}ष",
            "යශෝධා ශ\u{dca}\u{200d}රී",
            "김민수",
            "山田 太郎",
            "渡邉\u{e0102}",
            "ᠮᠣᠩ\u{180b}ᠭ",
            "ฐานิตา",
            "👩\u{200d}❤\u{fe0f}\u{200d}👩",
            "👍🏽",
        ] {
            assert!(is_name(good), "{good:?}");
        }
        for bad in [
            "",
            " ",
            "\u{3000}",
            "\u{200d}a",
            "a\u{200d}\u{200d}b",
            "a\u{200d}\u{fe0f}b",
            " \u{200d}",
            "a\u{fe0e}\u{fe0f}",
            "a\u{61c}b",
            "a\u{202e}b",
            "a\u{3164}b",
            "a\u{e0041}b",
            "\u{115f}",
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
        assert_eq!(visible("a\u{202e}b\u{3164}c\n"), "abc");
    }
}
