-- The tenant is not checked against its table for each event; it comes from a key, which was.
CREATE TABLE events (
  id UUID NOT NULL,
  tenant_id UUID NOT NULL,
  created_at TIMESTAMPTZ NOT NULL,
  day INTEGER NOT NULL,
  occurred_at BIGINT NOT NULL,
  env VARCHAR(128) NOT NULL,
  agent_id VARCHAR(160) NOT NULL,
  session_id VARCHAR(255),
  parent_session_id VARCHAR(255),
  call_id VARCHAR(255) NOT NULL,
  tool_name VARCHAR(255) NOT NULL,
  action VARCHAR(64) NOT NULL,
  mode VARCHAR(16) NOT NULL,
  rule_name VARCHAR(255),
  policy_version VARCHAR(255),
  principal_id VARCHAR(255),
  reason TEXT,
  duration_ms INTEGER,
  payload TEXT NOT NULL
);

-- Ids rise with the events' times, so this is also the order of every list.
CREATE UNIQUE INDEX events_key ON events (tenant_id, id, day);

CREATE INDEX events_session ON events (tenant_id, session_id, id) WHERE session_id IS NOT NULL;
