//! What is wrong with a configuration file, in words for the person who has to mend it.

use std::fmt;
use std::path::PathBuf;

/// One mistake: what it is about, where it stands, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The key, such as `pools[0].backends[2].weight`; empty where the text is not TOML.
    pub path: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong, with the value as it was written.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

/// All that is wrong with one file; at least one complaint, sorted by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaints {
    pub file: PathBuf,
    pub list: Vec<Complaint>,
}

/// What is wrong with one value, before it is known where the value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Continues a sentence that begins with the value: "has no port".
    pub problem: String,
    /// An order: "write ...".
    pub remedy: String,
}

impl Fault {
    pub fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

/// The column is shown only where no path says what the complaint is about.
impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            column,
            problem,
            remedy,
        } = self;
        let about = if path.is_empty() {
            format!("{line}:{column}: {problem}")
        } else {
            format!("{line}: {path}: {problem}")
        };
        let one_line = about.chars().count() + remedy.chars().count() <= ONE_LINE;
        let gap = if one_line { " " } else { "\n    " };

        write!(f, "{about};{gap}{remedy}")
    }
}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        for complaint in &self.list {
            writeln!(f, "{file}:{complaint}")?;
        }
        match self.list.len() {
            1 => write!(f, "1 problem in {file}"),
            count => write!(f, "{count} problems in {file}"),
        }
    }
}

impl std::error::Error for Complaints {}

/// The most characters of problem and remedy that share a line.
const ONE_LINE: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_one_problem_in_the_singular() {
        let complaints = Complaints {
            file: "a.toml".into(),
            list: vec![complaint("daemon.log", "write 1")],
        };

        assert_eq!(
            complaints.to_string(),
            "a.toml:3: daemon.log: 5 is odd; write 1\n1 problem in a.toml",
        );
    }

    #[test]
    fn shows_the_column_where_there_is_no_path() {
        assert_eq!(
            complaint("", "write 1").to_string(),
            "3:7: 5 is odd; write 1"
        );
    }

    #[test]
    fn gives_a_long_remedy_a_line_of_its_own() {
        let long = "x".repeat(ONE_LINE);

        assert_eq!(
            complaint("a", &long).to_string(),
            format!("3: a: 5 is odd;\n    {long}"),
        );
    }

    fn complaint(path: &str, remedy: &str) -> Complaint {
        Complaint {
            path: path.into(),
            line: 3,
            column: 7,
            problem: "5 is odd".into(),
            remedy: remedy.into(),
        }
    }
}
