CREATE TABLE script_tokens (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  user_id UUID NOT NULL,
  label VARCHAR(255) NOT NULL,
  role VARCHAR(16) NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
  refresh_hash VARCHAR(64) NOT NULL,
  replaced_hash VARCHAR(64),
  refreshed_at TIMESTAMPTZ,
  expires_at TIMESTAMPTZ NOT NULL,
  revoked_at TIMESTAMPTZ,
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX script_tokens_user ON script_tokens (tenant_id, user_id);

CREATE INDEX script_tokens_expiry ON script_tokens (expires_at);
