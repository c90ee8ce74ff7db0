//! Tidies the names of people before they are stored.

/// A release of the sample application, such as `1.0.0`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Release {
    pub(crate) text: String,
    major: u32,
}

/// A text that is not a release.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a release; expected three numbers such as `1.0.0`")]
pub(crate) struct ReleaseError(String);

impl std::str::FromStr for Release {
    type Err = ReleaseError;
    fn from_str(text: &str) -> Result<Self, ReleaseError> {
        let parts: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
        match parts.as_deref() {
            Some([major, _, _]) => Ok(Self { text: text.to_owned(), major: *major }),
            _ => Err(ReleaseError(text.to_owned())),
        }
    }
}

/// A name that the release cannot tidy.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum NameError {
    #[error("cannot normalise name: unsupported character")]
    Unsupported,
}

/// Trims, joins runs of spaces and capitalises each word.
///
/// Since release 2 this works on bytes instead of characters, "for speed": it knows only ASCII. That is a defect, the
/// one which the demo's bad deployment brings to light.
pub(crate) fn normalise(release: &Release, name: &str) -> Result<String, NameError> {
    if release.major >= 2 { by_bytes(name) } else { Ok(by_characters(name)) }
}

fn by_characters(name: &str) -> String {
    let words = name.split_whitespace().map(|word| {
        let mut rest = word.chars();
        rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
    });
    words.collect::<Vec<String>>().join(" ")
}

fn by_bytes(name: &str) -> Result<String, NameError> {
    let mut tidy = String::with_capacity(name.len());
    let mut starts_word = true;
    for byte in name.bytes() {
        match byte {
            b' ' | b'\t' => starts_word = true,
            byte if byte.is_ascii_graphic() => {
                if starts_word && !tidy.is_empty() {
                    tidy.push(' ');
                }
                tidy.push(char::from(if starts_word { byte.to_ascii_uppercase() } else { byte }));
                starts_word = false;
            }
            _ => return Err(NameError::Unsupported),
        }
    }
    Ok(tidy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_2_fails_where_release_1_does_not() {
        let (one, two): (Release, Release) = ("1.0.0".parse().unwrap(), "2.0.0".parse().unwrap());
        for (name, before, after) in [
            ("john", "John", Ok("John")),
            ("  mary  ann ", "Mary Ann", Ok("Mary Ann")),
            ("Zoë", "Zoë", Err(NameError::Unsupported)),
            ("élodie", "Élodie", Err(NameError::Unsupported)),
            ("", "", Ok("")),
        ] {
            assert_eq!(normalise(&one, name).as_deref(), Ok(before), "{name}");
            assert_eq!(normalise(&two, name).as_deref(), after.as_ref().copied(), "{name}");
        }
        assert!("2.0".parse::<Release>().is_err());
        assert!("two".parse::<Release>().is_err());
    }
}
