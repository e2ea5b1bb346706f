-- What is sent of each event: many as one array of these cost the console half as much as an array for each column.
CREATE TYPE event_row AS (
  id UUID,
  day INTEGER,
  occurred_at BIGINT,
  agent_id VARCHAR(160),
  session_id VARCHAR(255),
  parent_session_id VARCHAR(255),
  call_id VARCHAR(255),
  tool_name VARCHAR(255),
  action VARCHAR(64),
  mode VARCHAR(16),
  rule_name VARCHAR(255),
  policy_version VARCHAR(255),
  principal_id VARCHAR(255),
  reason TEXT,
  duration_ms INTEGER,
  payload TEXT
);
