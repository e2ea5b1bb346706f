CREATE TABLE event_counts (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  env VARCHAR(128) NOT NULL,
  counts TEXT NOT NULL
);

CREATE INDEX event_counts_oldest ON event_counts (tenant_id, id);

CREATE TABLE event_rollups (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  span INTEGER NOT NULL,
  minute INTEGER NOT NULL,
  env VARCHAR(128) NOT NULL,
  agent_id VARCHAR(160) NOT NULL,
  tool_name VARCHAR(255) NOT NULL,
  action VARCHAR(64) NOT NULL,
  mode VARCHAR(16) NOT NULL,
  rule_name VARCHAR(255) NOT NULL,
  number BIGINT NOT NULL,
  duration_sum BIGINT NOT NULL
);

CREATE UNIQUE INDEX event_rollups_group
  ON event_rollups (tenant_id, minute, span, env, agent_id, tool_name, action, mode, rule_name);

CREATE TABLE rule_rollups (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  minute INTEGER NOT NULL,
  env VARCHAR(128) NOT NULL,
  rule_name VARCHAR(255) NOT NULL,
  evaluated BIGINT NOT NULL
);

CREATE UNIQUE INDEX rule_rollups_group ON rule_rollups (tenant_id, minute, env, rule_name);

CREATE TABLE workflow_snapshots (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  env VARCHAR(128) NOT NULL,
  agent_id VARCHAR(160) NOT NULL,
  session_id VARCHAR(255) NOT NULL,
  occurred_at BIGINT NOT NULL,
  snapshot TEXT NOT NULL
);

CREATE UNIQUE INDEX workflow_snapshots_session ON workflow_snapshots (tenant_id, env, agent_id, session_id);
