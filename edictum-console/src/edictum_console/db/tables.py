"""
The tables, as Piccolo sees them; how they are made stands in ``migrations/``, and a test compares the two.

Only column types that both databases know.  Identifiers and times are always given by the code.  Lists and mappings are
JSON text.  Each table but ``tenants`` has a ``tenant_id``, and is reached through :mod:`edictum_console.db.scope` only.
"""

from __future__ import annotations

from datetime import UTC, datetime

from piccolo.columns import UUID, BigInt, Boolean, Integer, Text, Timestamptz, Varchar
from piccolo.columns.defaults.timestamptz import TimestamptzNow
from piccolo.table import Table

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TenantTable(Table):
    """
    What all tables have.
    """

    id = UUID(primary_key=True, default=None)
    tenant_id = UUID(default=None)
    created_at = Timestamptz(default=TimestamptzNow())


class Tenants(Table, tablename="tenants"):
    """
    Who shares a console; ``feed_seq`` numbers the rows of ``feed``.
    """

    id = UUID(primary_key=True, default=None)
    name = Varchar(255)
    settings = Text(default="{}")
    feed_seq = BigInt(default=0)
    created_at = Timestamptz(default=TimestamptzNow())


class Users(TenantTable, tablename="users"):
    """
    People.
    """

    email = Varchar(320)
    password_hash = Varchar(100)
    role = Varchar(16)
    disabled_at = Timestamptz(null=True, default=None)
    last_login_at = Timestamptz(null=True, default=None)


class Environments(TenantTable, tablename="environments"):
    """
    Places where agents run, such as staging and production.
    """

    name = Varchar(128)
    colour = Varchar(32, default="")
    protected = Boolean(default=False)
    event_retention_days = Integer(null=True, default=None)
    unmapped_users = Varchar(8, default="usual")


class ApiKeys(TenantTable, tablename="api_keys"):
    """
    Credentials of agents and scripts.
    """

    key_prefix = Varchar(255)
    key_hash = Varchar(100)
    env = Varchar(128)
    label = Varchar(255, default="")
    scopes = Text(default="[]")
    agent_pattern = Varchar(128, null=True, default=None)
    expires_at = Timestamptz(null=True, default=None)
    last_used_at = Timestamptz(null=True, default=None)
    revoked_at = Timestamptz(null=True, default=None)
    created_by = Varchar(320)
    signing_key_id = Varchar(64, null=True, default=None)


class UserSessions(TenantTable, tablename="user_sessions"):
    """
    Logins, where there is no Redis.
    """

    token_hash = Varchar(64)
    user_id = UUID(default=None)
    record = Text()
    expires_at = Timestamptz(default=_EPOCH)


class ScriptTokens(TenantTable, tablename="script_tokens"):
    """
    Tokens with which people's scripts use the console.
    """

    user_id = UUID(default=None)
    label = Varchar(255, default="")
    role = Varchar(16)
    refresh_hash = Varchar(64)
    replaced_hash = Varchar(64, null=True, default=None)
    refreshed_at = Timestamptz(null=True, default=None)
    expires_at = Timestamptz(default=_EPOCH)
    revoked_at = Timestamptz(null=True, default=None)


class SessionValues(TenantTable, tablename="session_values"):
    """
    What agents count and remember, where there is no Redis.
    """

    env = Varchar(128)
    key = Text()
    value = Text()
    expires_at = Timestamptz(default=_EPOCH)


class IdempotencyKeys(TenantTable, tablename="idempotency_keys"):
    """
    Answers to requests that may be repeated and must be done once.
    """

    key_id = UUID(default=None)
    key = Varchar(128)
    digest = Varchar(64)
    reply = Text()
    expires_at = Timestamptz(default=_EPOCH)


class Feed(TenantTable, tablename="feed"):
    """
    The outbox: changes that streams must learn of, in the order of their commits.
    """

    seq = BigInt(default=0)
    kind = Varchar(64)
    env = Varchar(128, null=True, default=None)
    agent_id = Varchar(128, null=True, default=None)
    payload = Text(default="{}")


class AdminAudit(TenantTable, tablename="admin_audit"):
    """
    Who administered what, each row chained to the one before.
    """

    seq = BigInt(default=0)
    actor = Varchar(320)
    action = Varchar(64)
    object = Varchar(320)
    details = Text(default="{}")
    request_id = Varchar(128, null=True, default=None)
    address = Varchar(64, null=True, default=None)
    prev_hash = Varchar(64)
    hash = Varchar(64)


class SigningKeys(TenantTable, tablename="signing_keys"):
    """
    Keys that sign rulesets, sealed.
    """

    key_id = Varchar(64)
    public_key = Varchar(64)
    private_key_sealed = Text()
    state = Varchar(16)
    cross_signature = Varchar(128, null=True, default=None)
    retires_at = Timestamptz(null=True, default=None)


class Bundles(TenantTable, tablename="bundles"):
    """
    Versions of rulesets; rows do not change.
    """

    name = Varchar(128)
    version = Integer()
    revision_hash = Varchar(64)
    yaml_text = Text()
    rule_count = Integer()
    note = Text()
    uploaded_by = Varchar(320)


class BundleSignatures(TenantTable, tablename="bundle_signatures"):
    """
    Signatures of versions, one for each key that signed.
    """

    bundle_id = UUID(default=None)
    key_id = Varchar(64)
    signature = Varchar(128)


class Deployments(TenantTable, tablename="deployments"):
    """
    What was deployed where; the highest number of an environment and name is what runs.
    """

    env = Varchar(128)
    bundle_id = UUID(default=None)
    bundle_name = Varchar(128)
    bundle_version = Integer()
    revision_hash = Varchar(64)
    deployment_seq = Integer()
    kind = Varchar(16)
    key_id = Varchar(64)
    envelope = Text()
    envelope_signature = Varchar(128)
    note = Text()
    deployed_by = Varchar(320)


class Contracts(TenantTable, tablename="contracts"):
    """
    Versions of the library's rules; but for ``is_latest``, rows do not change.
    """

    contract_id = Varchar(128)
    version = Integer()
    type = Varchar(16)
    name = Varchar(255)
    description = Text()
    tags = Text(default="[]")
    definition = Text()
    is_latest = Boolean(default=True)
    created_by = Varchar(320)


class Compositions(TenantTable, tablename="compositions"):
    """
    Rulesets that are put together from the library.
    """

    name = Varchar(128)
    description = Text()
    defaults_mode = Varchar(16)
    update_strategy = Varchar(16, default="manual")
    tools = Text(default="{}")
    observability = Text(default="{}")
    revision = Integer(default=1)
    created_by = Varchar(320)
    updated_at = Timestamptz(default=_EPOCH)
    updated_by = Varchar(320)


class CompositionItems(TenantTable, tablename="composition_items"):
    """
    What a composition is put together from, in order.
    """

    composition_id = UUID(default=None)
    position = Integer()
    contract_id = Varchar(128)
    version = Integer(null=True, default=None)
    mode = Varchar(16, null=True, default=None)
    enabled = Boolean(default=True)


class CompositionBuilds(TenantTable, tablename="composition_builds"):
    """
    Versions of rulesets that came from a composition, with the versions of contracts in them.
    """

    composition_id = UUID(default=None)
    bundle_id = UUID(default=None)
    contents = Text(default="[]")


class Approvals(TenantTable, tablename="approvals"):
    """
    Requests to people, and what came of them.
    """

    env = Varchar(128)
    agent_id = Varchar(128)
    key_id = UUID(default=None)
    session_id = Varchar(255, null=True, default=None)
    call_id = Varchar(255, null=True, default=None)
    tool_name = Varchar(255)
    tool_args = Text(default="{}")
    args_digest = Varchar(64)
    message = Text()
    rule_name = Varchar(255, null=True, default=None)
    policy_version = Varchar(128, null=True, default=None)
    principal = Text(null=True, default=None)
    metadata = Text(null=True, default=None)
    status = Varchar(16, default="pending")
    timeout_seconds = Integer()
    timeout_action = Varchar(16)
    expires_at = Timestamptz(default=_EPOCH)
    decided_by = Varchar(320, null=True, default=None)
    claimed_by = Varchar(255, null=True, default=None)
    decided_at = Timestamptz(null=True, default=None)
    decided_via = Varchar(64, null=True, default=None)
    decision_reason = Text(null=True, default=None)
    last_polled_at = Timestamptz(null=True, default=None)


class NotificationChannels(TenantTable, tablename="notification_channels"):
    """
    Where people are told of requests; how a channel is reached is sealed as a whole.
    """

    name = Varchar(255)
    channel_type = Varchar(16)
    config_sealed = Text()
    filters = Text(default="{}")
    enabled = Boolean(default=True)
    disabled_reason = Varchar(255, null=True, default=None)
    failure_count = Integer(default=0)
    last_test_at = Timestamptz(null=True, default=None)
    last_test_ok = Boolean(null=True, default=None)
    created_by = Varchar(320)


class NotificationDeliveries(TenantTable, tablename="notification_deliveries"):
    """
    Messages to channels: those that wait, and what became of the others.

    ``edits`` names the delivery whose message is changed; ``external_ref`` is what the channel calls a message.
    """

    channel_id = UUID(default=None)
    subject_id = UUID(default=None)
    kind = Varchar(32)
    content = Text()
    edits = UUID(null=True, default=None)
    status = Varchar(16, default="waiting")
    attempt = Integer(default=0)
    next_at = Timestamptz(default=_EPOCH)
    expires_at = Timestamptz(null=True, default=None)
    sent_at = Timestamptz(null=True, default=None)
    external_ref = Varchar(255, null=True, default=None)
    error = Varchar(255, null=True, default=None)


class ApprovalActionTokens(TenantTable, tablename="approval_action_tokens"):
    """
    What buttons in messages hold, as hashes; each decides one request in one way.
    """

    approval_id = UUID(default=None)
    channel_id = UUID(default=None)
    decision = Varchar(16)
    token_hash = Varchar(64)
    expires_at = Timestamptz(default=_EPOCH)
    used_at = Timestamptz(null=True, default=None)


class ChannelIdentities(TenantTable, tablename="channel_identities"):
    """
    Which person of the console somebody in a channel is.
    """

    channel_id = UUID(default=None)
    external_user_id = Varchar(64)
    user_id = UUID(default=None)
    created_by = Varchar(320)


class Events(TenantTable, tablename="events"):
    """
    The decision log, divided by months of ``day`` on Postgres.

    The id is made of the event's own time and of what names it: the same event has the same id, and ids rise with time.
    ``day`` is the event's own, too, such as 20260131; ``occurred_at`` counts microseconds since 1970, because both
    databases calculate with it in the same way.
    """

    day = Integer()
    occurred_at = BigInt()
    env = Varchar(128)
    agent_id = Varchar(160)
    session_id = Varchar(255, null=True, default=None)
    parent_session_id = Varchar(255, null=True, default=None)
    call_id = Varchar(255)
    tool_name = Varchar(255)
    action = Varchar(64)
    mode = Varchar(16)
    rule_name = Varchar(255, null=True, default=None)
    policy_version = Varchar(255, null=True, default=None)
    principal_id = Varchar(255, null=True, default=None)
    reason = Text(null=True, default=None)
    duration_ms = Integer(null=True, default=None)
    payload = Text(default="{}")


class EventCounts(TenantTable, tablename="event_counts"):
    """
    What batches of events add to the statistics, until it is added; ``counts`` is JSON.
    """

    env = Varchar(128)
    counts = Text()


class EventRollups(TenantTable, tablename="event_rollups"):
    """
    How many events there were; ``minute`` counts from 1970, and ``span`` says for how many minutes a row stands.
    """

    span = Integer()
    minute = Integer()
    env = Varchar(128)
    agent_id = Varchar(160)
    tool_name = Varchar(255)
    action = Varchar(64)
    mode = Varchar(16)
    rule_name = Varchar(255, default="")
    number = BigInt()
    duration_sum = BigInt()


class RuleRollups(TenantTable, tablename="rule_rollups"):
    """
    How often rules were evaluated in an hour that begins with ``minute``.
    """

    minute = Integer()
    env = Varchar(128)
    rule_name = Varchar(255)
    evaluated = BigInt()


class WorkflowSnapshots(TenantTable, tablename="workflow_snapshots"):
    """
    The last workflow state of each session, from its events.
    """

    env = Varchar(128)
    agent_id = Varchar(160)
    session_id = Varchar(255)
    occurred_at = BigInt()
    snapshot = Text()


class AgentRegistrations(TenantTable, tablename="agent_registrations"):
    """
    Agents that were seen, what operators say about them, and what they said last.
    """

    env = Varchar(128)
    agent_id = Varchar(128)
    display_name = Varchar(255, default="")
    operator_tags = Text(default="{}")
    reported_tags = Text(default="{}")
    tags_ignored = Boolean(default=False)
    bundle_name = Varchar(128, null=True, default=None)
    requested_name = Varchar(128, null=True, default=None)
    assigned_name = Varchar(128, null=True, default=None)
    assigned_at = Timestamptz(null=True, default=None)
    applied_name = Varchar(128, null=True, default=None)
    applied_revision = Varchar(128, null=True, default=None)
    applied_at = Timestamptz(null=True, default=None)
    state = Varchar(16, null=True, default=None)
    last_error = Varchar(2000, null=True, default=None)
    manifest = Text(null=True, default=None)
    client = Varchar(255, null=True, default=None)
    address = Varchar(64, null=True, default=None)
    buffered_events = BigInt(default=0)
    dropped_events = BigInt(default=0)
    ungoverned = Boolean(default=False)
    last_seen_at = Timestamptz(default=_EPOCH)


class AssignmentRules(TenantTable, tablename="assignment_rules"):
    """
    Which ruleset agents run that name none; the lowest priority of an environment that matches wins.
    """

    env = Varchar(128)
    priority = Integer()
    pattern = Varchar(128)
    tag_match = Text(default="{}")
    trusted_tags_only = Boolean(default=False)
    bundle_name = Varchar(128)
    enabled = Boolean(default=True)
    note = Varchar(2000, default="")
    created_by = Varchar(320)


ALL_TABLES: tuple[type[Table], ...] = (
    Tenants,
    Users,
    Environments,
    ApiKeys,
    UserSessions,
    SessionValues,
    IdempotencyKeys,
    Feed,
    AdminAudit,
    SigningKeys,
    Bundles,
    BundleSignatures,
    Deployments,
    Approvals,
    Events,
    EventCounts,
    EventRollups,
    RuleRollups,
    WorkflowSnapshots,
    AgentRegistrations,
    AssignmentRules,
    Contracts,
    Compositions,
    CompositionItems,
    CompositionBuilds,
    ScriptTokens,
    NotificationChannels,
    NotificationDeliveries,
    ApprovalActionTokens,
    ChannelIdentities,
)
