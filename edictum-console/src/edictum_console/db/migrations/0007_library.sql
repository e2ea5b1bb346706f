CREATE TABLE contracts (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  contract_id VARCHAR(128) NOT NULL,
  version INTEGER NOT NULL CHECK (version > 0),
  type VARCHAR(16) NOT NULL CHECK (type IN ('pre', 'post', 'session', 'sandbox')),
  name VARCHAR(255) NOT NULL,
  description TEXT NOT NULL,
  tags TEXT NOT NULL,
  definition TEXT NOT NULL,
  is_latest BOOLEAN NOT NULL,
  created_by VARCHAR(320) NOT NULL
);

CREATE UNIQUE INDEX contracts_version ON contracts (tenant_id, contract_id, version);

-- One counts as the newest.
CREATE UNIQUE INDEX contracts_latest ON contracts (tenant_id, contract_id) WHERE is_latest;

CREATE TABLE compositions (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  name VARCHAR(128) NOT NULL,
  description TEXT NOT NULL,
  defaults_mode VARCHAR(16) NOT NULL CHECK (defaults_mode IN ('enforce', 'observe')),
  tools TEXT NOT NULL,
  observability TEXT NOT NULL,
  revision INTEGER NOT NULL CHECK (revision > 0),
  created_by VARCHAR(320) NOT NULL,
  updated_at TIMESTAMPTZ NOT NULL,
  updated_by VARCHAR(320) NOT NULL,
  UNIQUE (tenant_id, id)
);

CREATE UNIQUE INDEX compositions_name ON compositions (tenant_id, name);

CREATE TABLE composition_items (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  composition_id UUID NOT NULL,
  position INTEGER NOT NULL,
  contract_id VARCHAR(128) NOT NULL,
  version INTEGER,
  mode VARCHAR(16) CHECK (mode IN ('enforce', 'observe')),
  enabled BOOLEAN NOT NULL,
  FOREIGN KEY (tenant_id, composition_id) REFERENCES compositions (tenant_id, id) ON DELETE CASCADE
);

CREATE UNIQUE INDEX composition_items_position ON composition_items (tenant_id, composition_id, position);

CREATE INDEX composition_items_contract ON composition_items (tenant_id, contract_id);

CREATE TABLE composition_builds (
  id UUID PRIMARY KEY,
  tenant_id UUID NOT NULL REFERENCES tenants (id),
  created_at TIMESTAMPTZ NOT NULL,
  composition_id UUID NOT NULL,
  bundle_id UUID NOT NULL,
  contents TEXT NOT NULL,
  FOREIGN KEY (tenant_id, composition_id) REFERENCES compositions (tenant_id, id) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, bundle_id) REFERENCES bundles (tenant_id, id)
);

CREATE UNIQUE INDEX composition_builds_bundle ON composition_builds (tenant_id, composition_id, bundle_id);
