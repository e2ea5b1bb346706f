CREATE TABLE agent_registrations (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  env VARCHAR(128) NOT NULL,
  agent_id VARCHAR(128) NOT NULL,
  display_name VARCHAR(255) NOT NULL,
  operator_tags TEXT NOT NULL,
  reported_tags TEXT NOT NULL,
  tags_ignored BOOLEAN NOT NULL,
  bundle_name VARCHAR(128),
  requested_name VARCHAR(128),
  assigned_name VARCHAR(128),
  assigned_at TIMESTAMPTZ,
  applied_name VARCHAR(128),
  applied_revision VARCHAR(128),
  applied_at TIMESTAMPTZ,
  state VARCHAR(16) CHECK (state IN ('starting', 'applied', 'rejected', 'stopping')),
  last_error VARCHAR(2000),
  manifest TEXT,
  client VARCHAR(255),
  address VARCHAR(64),
  buffered_events BIGINT NOT NULL,
  dropped_events BIGINT NOT NULL,
  last_seen_at TIMESTAMPTZ NOT NULL
);

CREATE UNIQUE INDEX agent_registrations_agent ON agent_registrations (tenant_id, env, agent_id);

CREATE TABLE assignment_rules (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  env VARCHAR(128) NOT NULL,
  priority INTEGER NOT NULL,
  pattern VARCHAR(128) NOT NULL,
  tag_match TEXT NOT NULL,
  trusted_tags_only BOOLEAN NOT NULL,
  bundle_name VARCHAR(128) NOT NULL,
  enabled BOOLEAN NOT NULL,
  note VARCHAR(2000) NOT NULL,
  created_by VARCHAR(320) NOT NULL
);

CREATE UNIQUE INDEX assignment_rules_priority ON assignment_rules (tenant_id, env, priority);
