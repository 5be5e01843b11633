# SPDX-License-Identifier: Apache-2.0
"""The errors that medix_verl raises deliberately.

    MedixError
    |-- ConfigError(ValueError)      a recipe, an option or a flag is wrong
    |-- DataError(ValueError)        a row, a picture or a file cannot be used
    |-- EncoderError(RuntimeError)   the embedding model cannot be loaded or used
    |-- JudgeError(RuntimeError)     a judge could not be asked or gave no readable verdict
    |-- UnscoredError(RuntimeError)  an answer has no score: the trajectory must be dropped, not scored 0
    |-- RunStoppedError(RuntimeError) medix_verl stopped a run: too many unscored answers, or no progress
    `-- SetupError(RuntimeError)     something that the command needs is missing on the machine

A message is one line: what was got, what is accepted, what to type. Each class also inherits the standard class that
other code expects, and can be pickled with one string argument, because Ray sends errors between processes.
"""

__all__ = [
    "ConfigError",
    "DataError",
    "EncoderError",
    "JudgeError",
    "MedixError",
    "RunStoppedError",
    "SetupError",
    "UnscoredError",
]


class MedixError(Exception):
    """Base of all errors raised by medix_verl."""


class ConfigError(MedixError, ValueError):
    """A recipe, an option or a flag has a value that is not accepted."""


class DataError(MedixError, ValueError):
    """A row, a picture or a data file cannot be used; the message contains the row's id or the line's number."""


class EncoderError(MedixError, RuntimeError):
    """The embedding model could not be loaded, or failed on a text."""


class JudgeError(MedixError, RuntimeError):
    """A judge could not be reached, or its reply could not be read as a verdict."""


class UnscoredError(MedixError, RuntimeError):
    """An answer could not be scored. verl's V1 trainer drops the trajectory whose reward raises."""


class RunStoppedError(MedixError, RuntimeError):
    """The run was stopped on purpose: too many unscored answers, or no progress for too long."""


class SetupError(MedixError, RuntimeError):
    """Something that the command needs is not installed or not prepared on this machine."""
