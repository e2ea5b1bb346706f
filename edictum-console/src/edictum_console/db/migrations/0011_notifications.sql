CREATE TABLE notification_channels (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  name VARCHAR(255) NOT NULL,
  channel_type VARCHAR(16) NOT NULL
    CHECK (channel_type IN ('telegram', 'slack_app', 'slack', 'discord', 'webhook', 'email')),
  config_sealed TEXT NOT NULL,
  filters TEXT NOT NULL,
  enabled BOOLEAN NOT NULL,
  disabled_reason VARCHAR(255),
  failure_count INTEGER NOT NULL,
  last_test_at TIMESTAMPTZ,
  last_test_ok BOOLEAN,
  created_by VARCHAR(320) NOT NULL,
  UNIQUE (tenant_id, id)
);

CREATE UNIQUE INDEX notification_channels_name ON notification_channels (tenant_id, name);

CREATE TABLE notification_deliveries (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  channel_id UUID NOT NULL,
  subject_id UUID NOT NULL,
  kind VARCHAR(32) NOT NULL,
  content TEXT NOT NULL,
  edits UUID,
  status VARCHAR(16) NOT NULL CHECK (status IN ('waiting', 'sent', 'failed', 'dropped')),
  attempt INTEGER NOT NULL,
  next_at TIMESTAMPTZ NOT NULL,
  expires_at TIMESTAMPTZ,
  sent_at TIMESTAMPTZ,
  external_ref VARCHAR(255),
  error VARCHAR(255),
  FOREIGN KEY (tenant_id, channel_id) REFERENCES notification_channels (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX notification_deliveries_channel ON notification_deliveries (tenant_id, channel_id, id);

CREATE INDEX notification_deliveries_subject ON notification_deliveries (tenant_id, subject_id);

-- Across tenants: for the worker, and for removing what is old.
CREATE INDEX notification_deliveries_due ON notification_deliveries (status, next_at);

CREATE INDEX notification_deliveries_age ON notification_deliveries (created_at);

CREATE TABLE approval_action_tokens (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  approval_id UUID NOT NULL,
  channel_id UUID NOT NULL,
  decision VARCHAR(16) NOT NULL CHECK (decision IN ('approved', 'denied')),
  token_hash VARCHAR(64) NOT NULL,
  expires_at TIMESTAMPTZ NOT NULL,
  used_at TIMESTAMPTZ,
  FOREIGN KEY (tenant_id, channel_id) REFERENCES notification_channels (tenant_id, id) ON DELETE CASCADE
);

CREATE UNIQUE INDEX approval_action_tokens_hash ON approval_action_tokens (tenant_id, token_hash);

CREATE INDEX approval_action_tokens_approval ON approval_action_tokens (tenant_id, approval_id);

CREATE INDEX approval_action_tokens_expiry ON approval_action_tokens (expires_at);

CREATE TABLE channel_identities (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  channel_id UUID NOT NULL,
  external_user_id VARCHAR(64) NOT NULL,
  user_id UUID NOT NULL,
  created_by VARCHAR(320) NOT NULL,
  FOREIGN KEY (tenant_id, channel_id) REFERENCES notification_channels (tenant_id, id) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);

CREATE UNIQUE INDEX channel_identities_person ON channel_identities (tenant_id, channel_id, external_user_id);

ALTER TABLE environments ADD COLUMN unmapped_users VARCHAR(8) NOT NULL DEFAULT 'usual'
  CHECK (unmapped_users IN ('usual', 'allow', 'deny'));
