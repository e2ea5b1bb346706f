CREATE TABLE approvals (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  env VARCHAR(128) NOT NULL,
  agent_id VARCHAR(128) NOT NULL,
  key_id UUID NOT NULL,
  session_id VARCHAR(255),
  call_id VARCHAR(255),
  tool_name VARCHAR(255) NOT NULL,
  tool_args TEXT NOT NULL,
  args_digest VARCHAR(64) NOT NULL,
  message TEXT NOT NULL,
  rule_name VARCHAR(255),
  policy_version VARCHAR(128),
  principal TEXT,
  metadata TEXT,
  status VARCHAR(16) NOT NULL CHECK (status IN ('pending', 'approved', 'denied', 'timed_out', 'cancelled')),
  timeout_seconds INTEGER NOT NULL,
  timeout_action VARCHAR(16) NOT NULL CHECK (timeout_action IN ('block', 'allow')),
  expires_at TIMESTAMPTZ NOT NULL,
  decided_by VARCHAR(320),
  claimed_by VARCHAR(255),
  decided_at TIMESTAMPTZ,
  decided_via VARCHAR(64),
  decision_reason TEXT,
  last_polled_at TIMESTAMPTZ
);

CREATE INDEX approvals_newest ON approvals (tenant_id, env, status, id);

CREATE INDEX approvals_expiry ON approvals (status, expires_at);
