CREATE TABLE tenants (
  id UUID PRIMARY KEY,
  name VARCHAR(255) NOT NULL,
  settings TEXT NOT NULL,
  feed_seq BIGINT NOT NULL,
  created_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE users (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  email VARCHAR(320) NOT NULL,
  password_hash VARCHAR(100) NOT NULL,
  role VARCHAR(16) NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
  disabled_at TIMESTAMPTZ,
  last_login_at TIMESTAMPTZ,
  UNIQUE (tenant_id, id)
);

-- Across tenants, because a login names no tenant.
CREATE UNIQUE INDEX users_email ON users (email);

CREATE TABLE environments (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  name VARCHAR(128) NOT NULL,
  colour VARCHAR(32) NOT NULL,
  protected BOOLEAN NOT NULL,
  event_retention_days INTEGER CHECK (event_retention_days > 0)
);

CREATE UNIQUE INDEX environments_name ON environments (tenant_id, name);

CREATE TABLE api_keys (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  key_prefix VARCHAR(255) NOT NULL,
  key_hash VARCHAR(100) NOT NULL,
  env VARCHAR(128) NOT NULL,
  label VARCHAR(255) NOT NULL,
  scopes TEXT NOT NULL,
  agent_pattern VARCHAR(128),
  expires_at TIMESTAMPTZ,
  last_used_at TIMESTAMPTZ,
  revoked_at TIMESTAMPTZ,
  created_by VARCHAR(320) NOT NULL
);

-- Across tenants, because a request's key is all that is known of who asks.
CREATE UNIQUE INDEX api_keys_prefix ON api_keys (key_prefix);

CREATE INDEX api_keys_tenant ON api_keys (tenant_id, created_at);

CREATE TABLE user_sessions (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL,
  created_at TIMESTAMPTZ NOT NULL,
  token_hash VARCHAR(64) NOT NULL,
  user_id UUID NOT NULL,
  record TEXT NOT NULL,
  expires_at TIMESTAMPTZ NOT NULL,
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);

CREATE UNIQUE INDEX user_sessions_token ON user_sessions (token_hash);

CREATE INDEX user_sessions_user ON user_sessions (tenant_id, user_id);

CREATE INDEX user_sessions_expiry ON user_sessions (expires_at);

CREATE TABLE session_values (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  env VARCHAR(128) NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  expires_at TIMESTAMPTZ NOT NULL
);

CREATE UNIQUE INDEX session_values_key ON session_values (tenant_id, env, key);

CREATE INDEX session_values_expiry ON session_values (expires_at);

CREATE TABLE idempotency_keys (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  key_id UUID NOT NULL,
  key VARCHAR(128) NOT NULL,
  digest VARCHAR(64) NOT NULL,
  reply TEXT NOT NULL,
  expires_at TIMESTAMPTZ NOT NULL
);

CREATE UNIQUE INDEX idempotency_keys_key ON idempotency_keys (tenant_id, key_id, key);

CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);

CREATE TABLE feed (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  seq BIGINT NOT NULL,
  kind VARCHAR(64) NOT NULL,
  env VARCHAR(128),
  agent_id VARCHAR(128),
  payload TEXT NOT NULL
);

CREATE UNIQUE INDEX feed_seq ON feed (tenant_id, seq);

CREATE INDEX feed_age ON feed (created_at);

CREATE TABLE admin_audit (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  seq BIGINT NOT NULL,
  actor VARCHAR(320) NOT NULL,
  action VARCHAR(64) NOT NULL,
  object VARCHAR(320) NOT NULL,
  details TEXT NOT NULL,
  request_id VARCHAR(128),
  address VARCHAR(64),
  prev_hash VARCHAR(64) NOT NULL,
  hash VARCHAR(64) NOT NULL
);

CREATE UNIQUE INDEX admin_audit_seq ON admin_audit (tenant_id, seq);
