//! Values of the configuration, their secrets filled in at the moment of use.

use sallyport_secrets::resolve;

use crate::plan::{Part, Template};
use crate::upstream::health::Outage;

/// The text of `template` with its secrets in it.
///
/// # Errors
/// Where a secret cannot be had: names the reference, never a value.
pub(super) fn filled_in(template: &Template) -> Result<String, Outage> {
    let mut text = String::new();
    for part in template.parts() {
        match part {
            Part::Text(plain) => text.push_str(plain),
            Part::Secret(reference) => {
                let secret = resolve(reference).map_err(|error| Outage { hint: Some(error.hint()), ..Outage::new(error.to_string()) })?;
                text.push_str(secret.expose());
            }
        }
    }
    Ok(text)
}
