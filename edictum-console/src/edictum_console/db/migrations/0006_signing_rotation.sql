ALTER TABLE signing_keys ADD COLUMN cross_signature VARCHAR(128);

ALTER TABLE signing_keys ADD COLUMN retires_at TIMESTAMPTZ;

ALTER TABLE api_keys ADD COLUMN signing_key_id VARCHAR(64);

CREATE INDEX signing_keys_overlap ON signing_keys (state, retires_at);
