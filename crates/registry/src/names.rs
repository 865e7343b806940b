//! Names, parsed by one rule each wherever they come from, so that none is ever more than one segment of a path.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Longest name of a model, version or alias, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Longest name of a file, in bytes.
const FILE_BYTES_MAX: usize = 128;

/// Checks a name against its rule; the error says the rule.
fn check(
    what: &str,
    name: &str,
    rule: &str,
    bytes_max: usize,
    first: fn(u8) -> bool,
    rest: fn(u8) -> bool,
) -> Result<()> {
    let is_plain = name.bytes().next().is_some_and(first) && name.bytes().all(rest);
    if is_plain && name.len() <= bytes_max && !name.contains("..") {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "{what} is {name:?}; it must start with {rule}, without `..`, and be at most {bytes_max} bytes long"
    )))
}

macro_rules! name {
    ($(#[$about:meta])* $name:ident, $what:literal, $rule:literal, $bytes_max:expr, $first:expr, $rest:expr) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses by the rule above.
            pub fn parse(name: &str) -> Result<Self> {
                check($what, name, $rule, $bytes_max, $first, $rest)?;
                Ok(Self(name.to_owned()))
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(name: &str) -> Result<Self> {
                Self::parse(name)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(name: String) -> Result<Self> {
                Self::parse(&name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

fn is_lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
}

name!(
    /// Name of a model: `[a-z0-9][a-z0-9._-]{0,63}`.
    ModelName, "the model's name", "a to z or 0 to 9 and hold only these and . _ -", NAME_BYTES_MAX,
    |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit(), is_lower
);
name!(
    /// A version: `[0-9][0-9A-Za-z.+_-]{0,63}`. It starts with a digit, which tells it from an alias. Ordered as semantic versions
    /// (<https://semver.org>) where both are such, and by bytes where not.
    Version, "the version", "a digit and hold only 0 to 9, letters and . + _ -", NAME_BYTES_MAX,
    |byte| byte.is_ascii_digit(), |byte| byte.is_ascii_alphanumeric() || b".+_-".contains(&byte)
);
name!(
    /// Name of an alias: `[a-z][a-z0-9._-]{0,63}`.
    AliasName, "the alias", "a to z and hold only a to z, 0 to 9 and . _ -", NAME_BYTES_MAX,
    |byte| byte.is_ascii_lowercase(), is_lower
);
name!(
    /// Name of a file of a version: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
    FileName, "the file's name", "a letter or digit and hold only these and . _ -", FILE_BYTES_MAX,
    |byte| byte.is_ascii_alphanumeric(), |byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
);

macro_rules! ordered_by_bytes {
    ($($name:ident)*) => {$(
        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.0.cmp(&other.0)
            }
        }
    )*};
}
ordered_by_bytes!(ModelName AliasName FileName);

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        // Those that are no semantic versions come first: one order for all, whatever is compared with what.
        let semantic = |version: &Self| semver::Version::parse(&version.0).ok();
        semantic(self).cmp(&semantic(other)).then_with(|| self.0.cmp(&other.0))
    }
}

/// One version of a model, by number or by what an alias points at: `name@version` or `name@alias`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The model.
    pub model: ModelName,
    /// Which of its versions.
    pub target: Target,
}

/// Which version of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// This one.
    Version(Version),
    /// The one that the alias points at.
    Alias(AliasName),
}

impl Reference {
    /// Parses `name@version` (what starts with a digit) or `name@alias`.
    pub fn parse(reference: &str) -> Result<Self> {
        let Some((model, target)) = reference.split_once('@') else {
            return Err(Error::Invalid(format!(
                "{reference:?} names no version: write name@version or name@alias, for example {reference}@champion"
            )));
        };
        let model = ModelName::parse(model)?;
        let target = if target.starts_with(|first: char| first.is_ascii_digit()) {
            Target::Version(Version::parse(target)?)
        } else {
            Target::Alias(AliasName::parse(target)?)
        };
        Ok(Self { model, target })
    }

    /// This version of a model.
    pub fn version(model: &ModelName, version: &Version) -> Self {
        Self { model: model.clone(), target: Target::Version(version.clone()) }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Version(version) => write!(formatter, "{}@{version}", self.model),
            Target::Alias(alias) => write!(formatter, "{}@{alias}", self.model),
        }
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(reference: &str) -> Result<Self> {
        Self::parse(reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_leave_its_folder_is_no_name() {
        for name in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "a\\b",
            "a..b",
            ".hidden",
            "-x",
            "a\0",
            "a b",
            "ä",
            "%2e%2e",
            &"a".repeat(129),
        ] {
            assert!(ModelName::parse(name).is_err(), "{name:?}");
            assert!(Version::parse(name).is_err(), "{name:?}");
            assert!(AliasName::parse(name).is_err(), "{name:?}");
            assert!(FileName::parse(name).is_err(), "{name:?}");
        }
        let message = ModelName::parse("../x").unwrap_err().to_string();
        assert!(message.contains("\"../x\"") && message.contains("a to z"), "{message}");
    }

    #[test]
    fn a_digit_tells_a_version_from_an_alias() {
        assert_eq!(Reference::parse("m@0.3.0").unwrap().target, Target::Version(Version::parse("0.3.0").unwrap()));
        assert_eq!(Reference::parse("m@v1").unwrap().target, Target::Alias(AliasName::parse("v1").unwrap()));
        assert!(Reference::parse("m@../x").is_err() && Reference::parse("../m@x").is_err());
        assert!(Reference::parse("m").unwrap_err().to_string().contains("m@champion"));
    }

    #[test]
    fn versions_are_ordered_as_semantic_versions() {
        let mut versions = ["0.10.0", "0.9.0", "1.0.0-rc.1", "2024-01", "1.0.0"].map(|v| Version::parse(v).unwrap());
        versions.sort();
        assert_eq!(versions.map(|v| v.to_string()), ["2024-01", "0.9.0", "0.10.0", "1.0.0-rc.1", "1.0.0"]);
    }
}
