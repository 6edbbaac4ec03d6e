//! The users of this machine: their passwords, and who gets in.

use std::sync::OnceLock;

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use sallyport_store::user::{self, Standing, User};
use sallyport_store::{Store, StoreError};
use tokio::sync::Semaphore;

use super::unguessable;

/// Fewest characters: what cannot be guessed where tries are limited (NIST SP 800-63B-4 §3.1.1.2 has 15 where a password is alone; 12
/// are what people accept who are not given a manager for them).
const SHORTEST: usize = 12;
/// Most bytes of a password: passphrases fit, and nobody makes us hash a book.
const LONGEST: usize = 1_024;
/// Longest name of a user, in bytes.
const LONGEST_NAME: usize = 64;
/// Passwords hashed at once: each takes a core for some 30 ms, and 19 MiB.
static HASHING: Semaphore = Semaphore::const_new(2);
/// For how many seconds an access token lives at most, and so for how long it is known that one was revoked: a day.
pub const LONGEST_TOKEN: i64 = 24 * 60 * 60;

/// In the place of a password's hash, for those who log in elsewhere.
const NO_PASSWORD: &str = "";

/// Who has logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) name: String,
    pub(super) groups: Vec<String>,
    /// As tokens in their name say it.
    pub(super) epoch: i64,
}

/// Why something could not be done with a user.
#[derive(Debug)]
pub enum AccountError {
    /// The name cannot be one.
    Name,
    /// The group cannot be one.
    Group,
    /// The password is too short or too long.
    Password,
    /// There is, or was, one of that name.
    Taken,
    /// There is none of that name.
    Unknown,
    /// They log in with a provider elsewhere.
    Elsewhere,
    /// The password could not be hashed.
    Hash,
    /// The store failed.
    Store(StoreError),
}

impl AccountError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Name => Some("up to 64 letters, digits, `.`, `-`, `_` and `@`, in lower case, beginning with a letter or digit"),
            Self::Group => Some("up to 64 letters, digits, `.`, `-`, `_`, `:` and `/`"),
            Self::Password => Some("at least 12 characters; four or five words make a good one"),
            Self::Taken => Some("a name is never given to somebody else, since what was kept for its holder would be theirs"),
            Self::Unknown => Some("`sallyport user list` shows who there is"),
            Self::Elsewhere => Some("`sallyport user disable` keeps them out, whatever their provider says"),
            Self::Hash => None,
            Self::Store(error) => error.hint(),
        }
    }
}

impl std::fmt::Display for AccountError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name => out.write_str("the name is none that a user can have"),
            Self::Group => out.write_str("the group is none that a user can be in"),
            Self::Password => write!(out, "the password has fewer than {SHORTEST} characters, or more than {LONGEST} bytes"),
            Self::Taken => out.write_str("there is, or was, a user of this name"),
            Self::Unknown => out.write_str("there is no user of this name"),
            Self::Elsewhere => out.write_str("they log in with a provider elsewhere, and have no password here"),
            Self::Hash => out.write_str("the password could not be hashed"),
            Self::Store(error) => error.fmt(out),
        }
    }
}

impl std::error::Error for AccountError {}

impl From<StoreError> for AccountError {
    fn from(error: StoreError) -> Self {
        if error.is_conflict() { Self::Taken } else { Self::Store(error) }
    }
}

/// Adds a user at `now`, in seconds since 1970.
///
/// # Errors
/// Where the name, a group or the password cannot be one, or the name was given before.
pub async fn add(store: &Store, name: &str, password: &str, is_admin: bool, groups: &[String], now: i64) -> Result<(), AccountError> {
    let is_part = |text: &str, more: &str| {
        text.len() <= LONGEST_NAME
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || more.as_bytes().contains(&byte))
    };
    if !is_part(name, ".-_@") || !name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return Err(AccountError::Name);
    }
    if groups.iter().any(|group| group.is_empty() || !is_part(&group.to_ascii_lowercase(), ".-_:/")) {
        return Err(AccountError::Group);
    }
    let (name, password) = (name.to_owned(), hash(password).await?);
    let user = User { name, password, is_admin, groups: groups.to_vec(), standing: Standing::Active, since: now, epoch: 0 };
    Ok(store.write(move |tables| user::add(tables, &user)).await?)
}

/// Whether it is the name of somebody for whom a provider elsewhere vouches: what it calls them, `|`, and its own name.
fn is_vouched(name: &str) -> bool {
    name.contains('|')
}

/// Gives a user another password, logs them out everywhere and ends what clients had in their name.
///
/// # Errors
/// Where the password cannot be one, or nobody has that name.
pub async fn set_password(store: &Store, name: &str, password: &str, now: i64) -> Result<(), AccountError> {
    if is_vouched(name) {
        return Err(AccountError::Elsewhere);
    }
    let (name, password) = (name.to_owned(), hash(password).await?);
    let change = store.write(move |tables| {
        let there = user::set_password(tables, &name, &password)?;
        user::end_all(tables, &name, now + LONGEST_TOKEN)?;
        Ok(there)
    });
    if change.await? { Ok(()) } else { Err(AccountError::Unknown) }
}

/// Lets a user in, or out: then they are logged out everywhere, and what clients had in their name ends. Those for whom a provider vouches can
/// be kept out before they ever came; says whether somebody was known by that name.
///
/// # Errors
/// Where nobody has that name.
pub async fn set_standing(store: &Store, name: &str, standing: Standing, now: i64) -> Result<bool, AccountError> {
    let name = name.to_owned();
    let is_kept_out = standing == Standing::Disabled && is_vouched(&name);
    let change = store.write(move |tables| {
        let there = user::set_standing(tables, &name, standing)?;
        let is_new = is_kept_out && user::find(tables, &name)?.is_none();
        if is_new {
            user::add(tables, &vouched(name.clone(), Vec::new(), standing, now))?;
        }
        if standing != Standing::Active {
            user::end_all(tables, &name, now + LONGEST_TOKEN)?;
        }
        Ok((there, is_new))
    });
    match change.await? {
        (there, is_new) if there || is_new => Ok(there),
        _ => Err(AccountError::Unknown),
    }
}

/// What was ended in somebody's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How many families of tokens there were. Those of none ended, too.
    pub families: usize,
    /// Whether somebody was known by that name.
    pub was_known: bool,
}

/// Ends every token in a user's name, of whichever grant. Those for whom a provider vouches may have some without ever having logged in here;
/// they are users from now on, so that it is known in which epoch their tokens were made.
///
/// # Errors
/// Where nobody has that name.
pub async fn end_tokens(store: &Store, name: &str, now: i64) -> Result<Ended, AccountError> {
    let name = name.to_owned();
    let change = store.write(move |tables| {
        let was_known = user::find(tables, &name)?.is_some();
        if !was_known && is_vouched(&name) {
            user::add(tables, &vouched(name.clone(), Vec::new(), Standing::Active, now))?;
        }
        let families = user::end_tokens(tables, &name, now + LONGEST_TOKEN)?;
        Ok(families.map(|families| Ended { families, was_known }))
    });
    change.await?.ok_or(AccountError::Unknown)
}

/// Somebody who logs in with a provider.
fn vouched(name: String, groups: Vec<String>, standing: Standing, since: i64) -> User {
    User { name, password: NO_PASSWORD.to_owned(), is_admin: false, groups, standing, since, epoch: 0 }
}

/// Everybody there is, by name.
///
/// # Errors
/// Where the store cannot be read.
pub async fn list(store: &Store) -> Result<Vec<User>, StoreError> {
    store.read(user::list).await
}

/// The active user whose name and password these are. A name that nobody has takes as long as a wrong password, by the same path.
pub(super) async fn log_in(store: &Store, name: &str, password: &str) -> Result<Option<Person>, AccountError> {
    let asked = name.to_owned();
    let user = store.read(move |tables| user::find(tables, &asked)).await?;
    let kept = match &user {
        Some(user) if user.password != NO_PASSWORD => user.password.clone(),
        _ => nobodys()?.to_owned(),
    };
    let is_right = verify(password, kept).await?;
    Ok(user.filter(|user| is_right && user.standing == Standing::Active).map(Person::of))
}

/// The user for whom a provider elsewhere vouches, with the groups that they have now. `None` where they may not come in any more.
pub(super) async fn keep_vouched(store: &Store, name: String, groups: Vec<String>, now: i64) -> Result<Option<Person>, StoreError> {
    let kept = store.write(move |tables| {
        let Some(user) = user::find(tables, &name)? else {
            let user = vouched(name, groups, Standing::Active, now);
            return user::add(tables, &user).map(|()| user);
        };
        user::set_groups(tables, &name, &groups)?;
        Ok(User { groups, ..user })
    });
    Ok(Some(kept.await?).filter(|user| user.standing == Standing::Active).map(Person::of))
}

/// The active user of that name.
pub(super) async fn find(store: &Store, name: &str) -> Result<Option<Person>, StoreError> {
    let name = name.to_owned();
    let user = store.read(move |tables| user::find(tables, &name)).await?;
    Ok(user.filter(|user| user.standing == Standing::Active).map(Person::of))
}

/// Somebody for whom a provider vouches, with whatever it says; `None` where that user is shut out here.
pub(super) async fn vouched_for(store: &Store, name: &str) -> Result<Option<Person>, StoreError> {
    let asked = name.to_owned();
    let user = store.read(move |tables| user::find(tables, &asked)).await?;
    Ok(match user {
        Some(user) => (user.standing == Standing::Active).then(|| Person::of(user)),
        None => Some(Person { name: name.to_owned(), groups: Vec::new(), epoch: 0 }),
    })
}

/// Whether a token in somebody's name that was made in that epoch is good, as far as it lies with them. Of those for whom a provider vouches
/// there are some who never logged in here.
pub(super) fn stands(user: Option<&User>, name: &str, epoch: i64) -> bool {
    match user {
        Some(user) => user.standing == Standing::Active && user.epoch == epoch,
        None => is_vouched(name) && epoch == 0,
    }
}

impl Person {
    fn of(user: User) -> Self {
        let mut groups = user.groups;
        if user.is_admin {
            groups.push("admin".to_owned());
        }
        Self { name: user.name, groups, epoch: user.epoch }
    }
}

/// The parameters that OWASP's list and RFC 9106 §4 allow with the least memory: logins at once must not take a small machine's.
fn argon2() -> Argon2<'static> {
    const MEMORY_KIB: u32 = 19 * 1024;
    let params = Params::new(MEMORY_KIB, 2, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

async fn hash(password: &str) -> Result<String, AccountError> {
    if password.chars().count() < SHORTEST || password.len() > LONGEST {
        return Err(AccountError::Password);
    }
    let password = password.to_owned();
    on_a_thread(move || hash_now(&password)).await
}

fn hash_now(password: &str) -> Result<String, AccountError> {
    let random = unguessable::bytes().map_err(|_| AccountError::Hash)?;
    let salt = SaltString::encode_b64(random.first_chunk::<16>().unwrap_or(&[0; 16])).map_err(|_| AccountError::Hash)?;
    argon2().hash_password(password.as_bytes(), &salt).map(|hash| hash.to_string()).map_err(|_| AccountError::Hash)
}

async fn verify(password: &str, kept: String) -> Result<bool, AccountError> {
    if password.len() > LONGEST {
        return Ok(false);
    }
    let password = password.to_owned();
    on_a_thread(move || {
        let kept = PasswordHash::new(&kept).map_err(|_| AccountError::Hash)?;
        Ok(argon2().verify_password(password.as_bytes(), &kept).is_ok())
    })
    .await
}

/// A hash that no password fits, made like every other.
fn nobodys() -> Result<&'static str, AccountError> {
    static NOBODYS: OnceLock<String> = OnceLock::new();
    if NOBODYS.get().is_none() {
        let made = hash_now(&unguessable::text().map_err(|_| AccountError::Hash)?)?;
        let _ = NOBODYS.set(made); // another login was as quick
    }
    NOBODYS.get().map(String::as_str).ok_or(AccountError::Hash)
}

/// Prepares what the first login of an unknown name would otherwise wait for.
pub(super) fn warm_up() {
    drop(tokio::task::spawn_blocking(nobodys));
}

async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T, AccountError> + Send + 'static) -> Result<T, AccountError> {
    let _turn = HASHING.acquire().await;
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(AccountError::Hash))
}
