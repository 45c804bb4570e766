"""What pydantic finds wrong with a value, in plain words."""

from __future__ import annotations

from pydantic_core import ErrorDetails

from training.schema import GUILD_PATTERN, JOB_NAME_PATTERN, RUN_PATTERN, SLUG_PATTERN

_PATTERNS = {
    JOB_NAME_PATTERN: "must be 1 to 40 letters, digits, - and _, beginning with a letter or a digit",
    SLUG_PATTERN: "must be 1 to 40 small letters, digits, - and _, beginning with a letter or a digit",
    RUN_PATTERN: "must be a job's id of 12 small letters and digits",
    GUILD_PATTERN: "may only hold letters, digits, - and _, at most 40 of them",
}
_KINDS = {
    "missing": "is required",
    "extra_forbidden": "is not known here",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "model_type": "must be an object with named values",
    "model_attributes_type": "must be an object with named values",
    "json_invalid": "is not JSON",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
}


def in_words(detail: ErrorDetails) -> str:
    """What one of pydantic's complaints asks for, to be read after the value's name; without a full stop."""
    context = {
        name: f"{value:g}" if isinstance(value, float) else value for name, value in detail.get("ctx", {}).items()
    }
    if detail["type"] == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], "has characters that it may not have")
    if detail["type"] in _KINDS:
        return _KINDS[detail["type"]].format(**context).rstrip(".")
    return detail["msg"].rstrip(".")
