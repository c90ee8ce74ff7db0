//! Who calls: the sample application's two accounts.

/// A known caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Account {
    pub(crate) id: &'static str,
    pub(crate) role: &'static str,
}

/// Why nobody is recognised.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum AuthError {
    #[error("send an `Authorization: Bearer …` header")]
    Missing,
    #[error("the `Authorization` header is not of the form `Bearer …`")]
    NotBearer,
    #[error("the bearer token is not known")]
    Unknown,
}

const ACCOUNTS: [(&str, Account); 2] = [
    ("token", Account { id: "admin-uuid", role: "admin" }),
    ("viewer-token", Account { id: "viewer-uuid", role: "viewer" }),
];

/// Recognises the caller by the value of the `Authorization` header.
pub(crate) fn verify(header: Option<&str>) -> Result<Account, AuthError> {
    let header = header.ok_or(AuthError::Missing)?;
    let (scheme, token) = header.split_once(' ').ok_or(AuthError::NotBearer)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(AuthError::NotBearer);
    }
    let token = token.trim();
    let found = ACCOUNTS.iter().find(|(known, _)| *known == token);
    found.map(|(_, account)| *account).ok_or(AuthError::Unknown)
}
