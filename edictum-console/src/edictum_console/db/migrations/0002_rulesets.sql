CREATE TABLE signing_keys (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  key_id VARCHAR(64) NOT NULL,
  public_key VARCHAR(64) NOT NULL,
  private_key_sealed TEXT NOT NULL,
  state VARCHAR(16) NOT NULL CHECK (state IN ('active', 'retiring', 'revoked'))
);

CREATE UNIQUE INDEX signing_keys_key ON signing_keys (tenant_id, key_id);

-- One signs.
CREATE UNIQUE INDEX signing_keys_active ON signing_keys (tenant_id) WHERE state = 'active';

CREATE TABLE bundles (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  name VARCHAR(128) NOT NULL,
  version INTEGER NOT NULL CHECK (version > 0),
  revision_hash VARCHAR(64) NOT NULL,
  yaml_text TEXT NOT NULL,
  rule_count INTEGER NOT NULL,
  note TEXT NOT NULL,
  uploaded_by VARCHAR(320) NOT NULL,
  UNIQUE (tenant_id, id)
);

CREATE UNIQUE INDEX bundles_version ON bundles (tenant_id, name, version);

CREATE TABLE bundle_signatures (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  bundle_id UUID NOT NULL,
  key_id VARCHAR(64) NOT NULL,
  signature VARCHAR(128) NOT NULL,
  FOREIGN KEY (tenant_id, bundle_id) REFERENCES bundles (tenant_id, id)
);

CREATE UNIQUE INDEX bundle_signatures_key ON bundle_signatures (tenant_id, bundle_id, key_id);

CREATE TABLE deployments (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  env VARCHAR(128) NOT NULL,
  bundle_id UUID NOT NULL,
  bundle_name VARCHAR(128) NOT NULL,
  bundle_version INTEGER NOT NULL,
  revision_hash VARCHAR(64) NOT NULL,
  deployment_seq INTEGER NOT NULL CHECK (deployment_seq > 0),
  kind VARCHAR(16) NOT NULL CHECK (kind IN ('deploy', 'rollback', 'resign')),
  key_id VARCHAR(64) NOT NULL,
  envelope TEXT NOT NULL,
  envelope_signature VARCHAR(128) NOT NULL,
  note TEXT NOT NULL,
  deployed_by VARCHAR(320) NOT NULL,
  FOREIGN KEY (tenant_id, bundle_id) REFERENCES bundles (tenant_id, id)
);

CREATE UNIQUE INDEX deployments_seq ON deployments (tenant_id, env, bundle_name, deployment_seq);

CREATE INDEX deployments_newest ON deployments (tenant_id, id);
