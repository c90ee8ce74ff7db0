//! Users, and the table that holds them.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use serde::{Deserialize, Serialize};

/// What a caller sends to create a user.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewUser {
    pub(crate) email: String,
    pub(crate) first_name: String,
    #[serde(default)]
    pub(crate) last_name: Option<String>,
}

/// A stored user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) email: String,
    pub(crate) first_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_name: Option<String>,
    pub(crate) created_at: String,
}

/// One page of users, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Page {
    pub(crate) users: Vec<User>,
    /// Pass as `after` to get the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<i64>,
}

/// Why a body does not describe a user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidUser {
    #[error("the body is not the JSON of a user: {0}")]
    Json(#[from] serde_json::Error),
    #[error("`{0}` is not an e-mail address")]
    Email(String),
    #[error("`{field}` must have 1 to {limit} characters")]
    Length { field: &'static str, limit: usize },
}

/// Why a user was not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InsertError {
    #[error("a user with the e-mail address `{0}` exists already")]
    Exists(String),
    #[error("the database refused: {0}")]
    Database(#[from] rusqlite::Error),
}

const NAME_LIMIT: usize = 100;
const EMAIL_LIMIT: usize = 254;
/// Most users on one page.
pub(crate) const PAGE_LIMIT: u32 = 100;

impl NewUser {
    /// Reads and checks a request body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, InvalidUser> {
        let user: Self = serde_json::from_slice(body)?;
        let length = |field, text: &str| {
            let count = text.trim().chars().count();
            if count == 0 || count > NAME_LIMIT {
                Err(InvalidUser::Length { field, limit: NAME_LIMIT })
            } else {
                Ok(())
            }
        };
        length("firstName", &user.first_name)?;
        if let Some(last_name) = &user.last_name {
            length("lastName", last_name)?;
        }
        if !is_email(&user.email) {
            return Err(InvalidUser::Email(user.email.chars().take(EMAIL_LIMIT).collect()));
        }
        Ok(user)
    }
}

/// One `@` with something sensible on both sides; real checks send a message.
fn is_email(text: &str) -> bool {
    let Some((name, domain)) = text.split_once('@') else { return false };
    let plain = |part: &str| !part.is_empty() && !part.contains('@') && !part.contains(char::is_whitespace);
    let dotted = domain.split('.').count() >= 2 && domain.split('.').all(|label| !label.is_empty());
    text.len() <= EMAIL_LIMIT && plain(name) && plain(domain) && dotted
}

/// How often opening is tried while others do the same; SQLite's own patience does not cover the change to WAL.
const OPEN_ATTEMPTS: u32 = 100;
const OPEN_PAUSE: Duration = Duration::from_millis(30);

/// Opens one connection to the database file that all replicas share, creating the table when needed. Blocks for some
/// seconds at worst: replicas that start together on a new file stand in each other's way.
pub(crate) fn open(path: &Path) -> rusqlite::Result<Connection> {
    let mut attempt = 1;
    loop {
        match try_open(path) {
            Err(rusqlite::Error::SqliteFailure(failure, _))
                if attempt < OPEN_ATTEMPTS
                    && matches!(failure.code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) =>
            {
                attempt += 1;
                std::thread::sleep(OPEN_PAUSE);
            }
            result => return result,
        }
    }
}

fn try_open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(2))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // Several processes have several connections each; the default of 2 MB for each adds up.
    connection.pragma_update(None, "cache_size", -256)?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS users (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            email TEXT NOT NULL UNIQUE COLLATE NOCASE,
            first_name TEXT NOT NULL,
            last_name TEXT,
            created_at TEXT NOT NULL
        )",
    )?;
    Ok(connection)
}

pub(crate) fn insert(connection: &mut Connection, user: &User) -> Result<(), InsertError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO users (id, email, first_name, last_name, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    match statement.execute(params![user.id, user.email, user.first_name, user.last_name, user.created_at]) {
        Ok(_) => Ok(()),
        Err(rusqlite::Error::SqliteFailure(failure, _)) if failure.code == ErrorCode::ConstraintViolation => {
            Err(InsertError::Exists(user.email.clone()))
        }
        Err(error) => Err(InsertError::Database(error)),
    }
}

/// Users stored after the one with the sequence number `after`.
pub(crate) fn page(connection: &mut Connection, after: i64, limit: u32) -> rusqlite::Result<Page> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, id, email, first_name, last_name, created_at FROM users WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let rows = statement.query_map(params![after, limit], |row| Ok((row.get::<_, i64>(0)?, user(row)?)))?;
    let rows: Vec<(i64, User)> = rows.collect::<rusqlite::Result<_>>()?;
    let is_full = u32::try_from(rows.len()).is_ok_and(|count| count == limit);
    let next = rows.last().filter(|_| is_full).map(|(seq, _)| *seq);
    Ok(Page { users: rows.into_iter().map(|(_, user)| user).collect(), next })
}

pub(crate) fn find(connection: &mut Connection, id: &str) -> rusqlite::Result<Option<User>> {
    let mut statement = connection
        .prepare_cached("SELECT seq, id, email, first_name, last_name, created_at FROM users WHERE id = ?1")?;
    statement.query_row(params![id], user).optional()
}

fn user(row: &rusqlite::Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        id: row.get(1)?,
        email: row.get(2)?,
        first_name: row.get(3)?,
        last_name: row.get(4)?,
        created_at: row.get(5)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_checked_before_anything_is_stored() {
        for (case, body, error) in [
            ("the example", r#"{"email": "user@example.com", "firstName": "John"}"#, None),
            ("with a last name", r#"{"email": "a@b.co", "firstName": "Zoë", "lastName": "Q"}"#, None),
            ("no e-mail", r#"{"firstName": "John"}"#, Some("missing field `email`")),
            (
                "bad e-mail",
                r#"{"email": "user@example", "firstName": "John"}"#,
                Some("`user@example` is not an e-mail"),
            ),
            ("two at signs", r#"{"email": "a@b@c.de", "firstName": "John"}"#, Some("is not an e-mail")),
            ("empty name", r#"{"email": "a@b.co", "firstName": " "}"#, Some("`firstName` must have 1 to 100")),
            ("unknown field", r#"{"email": "a@b.co", "firstName": "J", "admin": true}"#, Some("unknown field `admin`")),
            ("not JSON", "email=a@b.co", Some("is not the JSON of a user")),
        ] {
            match (NewUser::parse(body.as_bytes()), error) {
                (Ok(_), None) => {}
                (Err(found), Some(want)) => assert!(found.to_string().contains(want), "{case}: {found}"),
                (found, _) => panic!("{case}: {found:?}"),
            }
        }
    }

    #[test]
    fn an_address_is_stored_once_whatever_its_case() {
        let dir = tempfile::tempdir().unwrap();
        let mut connection = open(&dir.path().join("users.db")).unwrap();
        let user = |id: &str, email: &str| User {
            id: id.to_owned(),
            email: email.to_owned(),
            first_name: "John".to_owned(),
            last_name: None,
            created_at: "2024-01-25T14:30:45Z".to_owned(),
        };
        insert(&mut connection, &user("1", "a@b.co")).unwrap();
        assert!(matches!(insert(&mut connection, &user("2", "A@b.co")), Err(InsertError::Exists(_))));
        insert(&mut connection, &user("3", "c@b.co")).unwrap();
        let first = page(&mut connection, 0, 1).unwrap();
        assert_eq!(first.users[0].id, "1");
        assert_eq!(page(&mut connection, first.next.unwrap(), 5).unwrap().users[0].id, "3");
        assert_eq!(find(&mut connection, "3").unwrap().unwrap().email, "c@b.co");
        assert_eq!(find(&mut connection, "9").unwrap(), None);
    }

    #[test]
    fn replicas_that_start_together_all_open_the_new_file() {
        for round in 0..10 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("users.db");
            let opening: Vec<_> = (0..8)
                .map(|_| {
                    std::thread::spawn({
                        let path = path.clone();
                        move || open(&path).map(drop)
                    })
                })
                .collect();
            for thread in opening {
                thread.join().unwrap().unwrap_or_else(|error| panic!("round {round}: {error}"));
            }
        }
    }
}
