//! Exit codes: what a script can tell from one number.

use std::process::ExitCode;

use crate::fault::Class;
use crate::operations::{ErrorKind, OperationError};

/// How a command ended, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Exit {
    /// 0: everything asked for is done.
    #[default]
    Done,
    /// 4: some recordings failed; the others are done.
    SomeFailed,
    /// 5: the surroundings did not allow it: disk, permission, store, watch limit. Queued work stays queued.
    Environment,
    /// 6: another process owns the state directory and does not answer.
    StateInUse,
    /// 3: the configuration is wrong; nothing was started.
    Configuration,
    /// 2: the command line is wrong; nothing was started.
    Usage,
    /// 130: interrupted; what was begun is continued at the next start.
    Interrupted,
    /// 1: a fault of the program itself.
    Internal,
}

impl Exit {
    /// All of them, from best to worst.
    pub const ALL: [Self; 8] = [
        Self::Done,
        Self::SomeFailed,
        Self::Environment,
        Self::StateInUse,
        Self::Configuration,
        Self::Usage,
        Self::Interrupted,
        Self::Internal,
    ];

    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Internal => 1,
            Self::Usage => 2,
            Self::Configuration => 3,
            Self::SomeFailed => 4,
            Self::Environment => 5,
            Self::StateInUse => 6,
            Self::Interrupted => 130,
        }
    }

    /// The worse of two, in the order of [`ALL`](Self::ALL): a run in which one recording failed and the store could not be reached ends with 5.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        self.max(other)
    }

    /// How a command ends that stopped at an error of that class.
    ///
    /// What is transient and still failed when the command ended is the surroundings: the same command later succeeds.
    pub const fn of_class(class: Class) -> Self {
        match class {
            Class::Cancelled => Self::Interrupted,
            Class::Transient | Class::Environment => Self::Environment,
            Class::Permanent => Self::SomeFailed,
        }
    }
}

impl From<&OperationError> for Exit {
    fn from(error: &OperationError) -> Self {
        match error.kind {
            ErrorKind::Invalid
            | ErrorKind::NotFound
            | ErrorKind::Unauthorized
            | ErrorKind::Forbidden
            | ErrorKind::WrongMethod => Self::Usage,
            ErrorKind::Configuration | ErrorKind::NotSupported => Self::Configuration,
            ErrorKind::StateInUse | ErrorKind::RootInUse => Self::StateInUse,
            ErrorKind::Failed | ErrorKind::Store | ErrorKind::OtherNode | ErrorKind::NodeAway | ErrorKind::Pending => {
                Self::of_class(error.class)
            }
            ErrorKind::Internal => Self::Internal,
        }
    }
}

impl From<Class> for Exit {
    fn from(class: Class) -> Self {
        Self::of_class(class)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Extend<Exit> for Exit {
    fn extend<T: IntoIterator<Item = Exit>>(&mut self, exits: T) {
        *self = exits.into_iter().fold(*self, Self::merge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_the_documented_ones() {
        let codes = Exit::ALL.map(Exit::code);
        assert_eq!(codes, [0, 4, 5, 6, 3, 2, 130, 1]);
    }

    #[test]
    fn the_worst_wins_whatever_the_order() {
        for (i, better) in Exit::ALL.into_iter().enumerate() {
            for worse in &Exit::ALL[i..] {
                assert_eq!((better.merge(*worse), worse.merge(better)), (*worse, *worse));
            }
        }
        let mut exit = Exit::default();
        exit.extend([Exit::Environment, Exit::Done, Exit::SomeFailed]);
        assert_eq!(exit, Exit::Environment);
    }

    #[test]
    fn a_class_says_how_the_command_ends() {
        assert_eq!(Exit::from(Class::Permanent).code(), 4);
        assert_eq!(Exit::from(Class::Environment).code(), 5);
        assert_eq!(Exit::from(Class::Transient).code(), 5);
        assert_eq!(Exit::from(Class::Cancelled).code(), 130);
    }
}
