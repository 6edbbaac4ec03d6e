//! Text for the eyes of somebody who decides by it.

use std::borrow::Cow;

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

/// Control and format characters, and those that only change how their neighbours look.
fn hides(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_mislead_is_spelt_out() {
        assert_eq!(visible("pay 10 \u{20ac} to J\u{fc}rgen \u{1f600}"), "pay 10 \u{20ac} to J\u{fc}rgen \u{1f600}");
        assert_eq!(visible("a\u{202e}b\u{200b}c\x1b[2Kd\ne\u{e0041}"), "a\\u{202e}b\\u{200b}c\\u{1b}[2Kd\\u{a}e\\u{e0041}");
    }
}
