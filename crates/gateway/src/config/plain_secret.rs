//! Finds secrets that stand in plain text where a reference should.

/// Words in the name of a variable or header whose value is a secret.
const NAMES: [&str; 12] = [
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "APIKEY",
    "API_KEY",
    "ACCESS_KEY",
    "PRIVATE_KEY",
    "CREDENTIAL",
    "AUTHORIZATION",
    "COOKIE",
];

/// How the keys of well-known services start, with the service that says so in its documentation.
const PREFIXES: [&str; 18] = [
    "ghp_",        // GitHub, personal token
    "gho_",        // GitHub, OAuth
    "ghs_",        // GitHub, app
    "github_pat_", // GitHub, fine-grained token
    "glpat-",      // GitLab
    "sk-",         // OpenAI, Anthropic
    "sk_live_",    // Stripe
    "rk_live_",    // Stripe, restricted
    "xoxb-",       // Slack, bot
    "xoxp-",       // Slack, user
    "xapp-",       // Slack, app
    "AKIA",        // AWS, long-lived key
    "AIza",        // Google
    "hf_",         // Hugging Face
    "npm_",        // npm
    "pypi-",       // PyPI
    "ntn_",        // Notion
    "lin_api_",    // Linear
];

/// The shortest text that is taken for a secret by its look alone: shorter ones are words and numbers.
const SHORTEST_BY_LOOK: usize = 20;

/// Bits a character above which a long text without spaces is random: English words stay below 3.5, base64 of random bytes comes
/// near 5 at 40 characters, hexadecimal digits near 3.8.
const RANDOM_BITS: f64 = 3.6;

/// Whether `value`, the value of `name`, is likely a secret.
#[must_use]
pub fn is_likely(name: &str, value: &str) -> bool {
    if value.is_empty() || is_harmless(value) {
        return false;
    }
    names_a_secret(name) || PREFIXES.iter().any(|prefix| value.starts_with(prefix)) || has_password(value) || looks_random(value)
}

/// Whether values of `name` are secrets by its name.
fn names_a_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase().replace('-', "_");
    NAMES.iter().any(|word| name.contains(word)) || name == "KEY" || name.ends_with("_KEY") || name.ends_with("_PAT")
}

/// Values that are no secret whatever their name: switches, small numbers, paths.
fn is_harmless(value: &str) -> bool {
    let is_path = value.starts_with(['/', '.', '~']) && value.contains('/');
    let is_switch = matches!(value.to_ascii_lowercase().as_str(), "true" | "false" | "yes" | "no" | "on" | "off" | "none" | "null");
    is_switch || is_path || (value.len() < 5 && value.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether `value` is a URL with a password in it.
fn has_password(value: &str) -> bool {
    url::Url::parse(value).is_ok_and(|url| url.password().is_some())
}

/// Whether `value` looks as if a machine had rolled dice for it.
fn looks_random(value: &str) -> bool {
    let unpadded = value.trim_end_matches('=');
    let word = unpadded.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+' | b'/' | b'.'));
    let mixed = value.bytes().any(|byte| byte.is_ascii_digit()) && value.bytes().any(|byte| byte.is_ascii_alphabetic());
    value.len() >= SHORTEST_BY_LOOK && word && mixed && !value.starts_with('-') && bits_per_character(value) > RANDOM_BITS
}

/// The Shannon entropy of the characters of `value`.
fn bits_per_character(value: &str) -> f64 {
    let mut counts = [0_u32; 256];
    value.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
    let length = f64::from(u32::try_from(value.len()).unwrap_or(u32::MAX));
    counts.iter().filter(|count| **count > 0).map(|count| f64::from(*count) / length).map(|share| -share * share.log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_by_name_prefix_and_look() {
        for (name, value) in [
            ("GITHUB_PERSONAL_ACCESS_TOKEN", "whatever"),
            ("Authorization", "Bearer abc"),
            ("X-API-Key", "12345678"),
            ("db_password", "letmein"),
            ("ANYTHING", "ghp_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            ("ANYTHING", "sk-ant-x"),
            ("DATABASE_URL", "postgres://me:hunter2@localhost/db"),
            ("ANYTHING", "f3b1c2d4e5a697887766554433221100aabbccdd"),
        ] {
            assert!(is_likely(name, value), "{name}={value}");
        }
    }

    #[test]
    fn settings_are_not_taken_for_secrets() {
        for (name, value) in [
            ("LOG_LEVEL", "debug"),
            ("MEMORY_FILE_PATH", "/home/me/project/memory-2024-01-02.json"),
            ("TOKEN_FILE", "/run/secrets/token"),
            ("MAX_TOKENS", "4096"),
            ("USE_TOKEN", "true"),
            ("NODE_OPTIONS", "--max-old-space-size=4096"),
            ("DATABASE_URL", "postgres://localhost/db"),
            ("GITHUB_HOST", "https://github.example.com/api/v3"),
            ("KEYBOARD", "us"),
            ("GITHUB_TOKEN", ""),
        ] {
            assert!(!is_likely(name, value), "{name}={value}");
        }
    }
}
