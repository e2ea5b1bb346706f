"""
The words of the ruleset language and its limits: data only, read by the reader, the schema and the migration.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

# Limits.  Every one of them is checked while a document is read, never during a tool call.
MAX_DOCUMENT_BYTES = 1_048_576
MAX_DOCUMENT_DEPTH = 100
MAX_DOCUMENT_NODES = 200_000
MAX_RULES = 2_000
MAX_ITEMS = 1_000
MAX_EXPRESSION_DEPTH = 50
MAX_PATTERN_LENGTH = 10_000
MAX_MESSAGE_LENGTH = 500

METADATA_NAME = r"[a-z0-9][a-z0-9._-]*"
RULE_ID = r"[a-z0-9][a-z0-9_-]*"

MODES = ("enforce", "observe")
RULE_TYPES = ("pre", "post", "session", "sandbox")
ACTIONS = {
    "pre": ("block", "ask"),
    "post": ("warn", "redact", "block"),
    "session": ("block",),
}
TIMEOUT_ACTIONS = ("block", "allow")
DEFAULT_TIMEOUT_SECONDS = 300
OUTSIDE_ACTIONS = ("block", "ask", "approve")
# Keys of a sandbox rule that list roots, those that switch something on, and what some keys need beside them.
SANDBOX_ROOTS = ("within", "read_within", "write_within")
SANDBOX_SWITCHES = ("allow_pipelines", "strict_interpreters", "require_match", "allow_userinfo", "block_private")
SANDBOX_NEEDS_ROOTS = ("not_within", "base", "require_match")
SANDBOX_NEEDS_DOMAINS = ("schemes", "allow_userinfo", "block_private")
SIDE_EFFECTS = ("pure", "read", "write", "irreversible")
OTEL_PROTOCOLS = ("grpc", "http")

# Keys of then.metadata that would be confused with what the decision itself reports.
RESERVED_METADATA = frozenset(("action", "error_detail", "message", "observed", "policy_error", "rule_id", "tags"))

OperandKind: TypeAlias = Literal["any", "bool", "text", "pattern", "number", "list", "texts", "patterns"]
BUILTIN_OPERATORS: dict[str, OperandKind] = {
    "exists": "bool",
    "equals": "any",
    "not_equals": "any",
    "in": "list",
    "not_in": "list",
    "contains": "text",
    "contains_any": "texts",
    "starts_with": "text",
    "ends_with": "text",
    "matches": "pattern",
    "matches_any": "patterns",
    "gt": "number",
    "gte": "number",
    "lt": "number",
    "lte": "number",
}
CONNECTIVES = frozenset(("all", "any", "not"))

# Selector root -> what may follow it: None is nothing, () is any non-empty path, otherwise one of the fields.
SELECTOR_ROOTS: dict[str, tuple[str, ...] | None] = {
    "environment": None,
    "tool": ("name",),
    "args": (),
    "principal": ("user_id", "service_id", "org_id", "role", "ticket_ref", "claims"),
    "output": ("text",),
    "result": (),
    "env": (),
    "metadata": (),
}
# Fields that are maps themselves: a path must follow them.
SELECTOR_MAPS = frozenset(("principal.claims",))
# Roots that have a value only after the tool ran.
AFTER_CALL_ROOTS = frozenset(("output", "result"))

# The older contract vocabulary, which the migration translates and the reader refuses.
OLD_KIND = "ContractBundle"
OLD_RULES_KEY = "contracts"
OLD_ACTION_KEY = "effect"
OLD_ACTIONS = {"deny": "block", "approve": "ask"}
OLD_MODES = {"shadow": "observe"}
OLD_SHADOW_PREFIX = "shadow"
