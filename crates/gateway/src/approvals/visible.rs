//! Text for the eyes of somebody who decides by it.

use std::borrow::Cow;

use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup};
use icu_properties::{CodePointMapData, CodePointSetData};

/// The text with all that is invisible, steers a terminal, or turns the order of what follows spelt out (`\u{202e}`): whoever made the
/// call wrote it, and wants it approved.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(hides) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.chars().flat_map(|character| if hides(character) { character.escape_unicode().collect() } else { vec![character] }).collect(),
    )
}

/// Categories (UAX #44) of which nothing is seen, or nobody can say what: `Cc`, `Cf`, `Cn`, `Co`, `Zl`, `Zp`, and `Zs`, wide blanks.
const UNSEEN: GeneralCategoryGroup = GeneralCategoryGroup::Other.union(GeneralCategoryGroup::Separator);

/// Whether nothing is seen of the character, or it only changes how its neighbours look.
fn hides(character: char) -> bool {
    if matches!(character, ' '..='~') {
        return false;
    }
    UNSEEN.contains(CodePointMapData::<GeneralCategory>::new().get(character))
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character)
        || is_blank(character)
}

/// Letters and symbols without ink, which no property tells of: Braille without dots, a note without a head, fillers and blanks of scripts.
fn is_blank(character: char) -> bool {
    matches!(character, '\u{2800}' | '\u{1d159}' | '\u{13441}' | '\u{13442}' | '\u{16fe4}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_mislead_is_spelt_out() {
        assert_eq!(visible("pay 10 \u{20ac} to J\u{fc}rgen \u{1f600}"), "pay 10 \u{20ac} to J\u{fc}rgen \u{1f600}");
        assert_eq!(visible("a\u{202e}b\u{200b}c\x1b[2Kd\ne\u{e0041}"), "a\\u{202e}b\\u{200b}c\\u{1b}[2Kd\\u{a}e\\u{e0041}");
    }

    #[test]
    fn nothing_invisible_stays_whatever_it_is_called() {
        let hidden = [
            "\u{ad}\u{600}\u{110bd}\u{1bca0}\u{1d173}\u{13430}\u{e0001}",   // formats
            "\u{2028}\u{2029}\u{a0}\u{2003}\u{3000}",                       // lines, paragraphs, wide blanks
            "\u{e000}\u{f0000}\u{10fffd}\u{378}\u{fffe}\u{e0080}\u{50000}", // private, and unassigned
            "\u{34f}\u{115f}\u{1160}\u{17b4}\u{180f}\u{2065}\u{3164}\u{fe0f}\u{ffa0}", // to be ignored
            "\u{2800}\u{1d159}\u{13441}\u{13442}\u{16fe4}",                 // blank
            "\0\t\x7f\u{85}",                                               // controls
        ];
        for character in hidden.into_iter().flat_map(str::chars) {
            assert_eq!(visible(&character.to_string()), character.escape_unicode().to_string());
        }
        for seen in ["SELECT 1 -- a~b", "\u{645}\u{631}\u{62d}\u{628}\u{627}", "\u{65e5}\u{672c}", "e\u{301}", "\u{915}\u{94d}\u{937}"] {
            assert_eq!(visible(seen), seen);
        }
    }
}
