ALTER TABLE agent_registrations ADD COLUMN ungoverned BOOLEAN NOT NULL DEFAULT FALSE;

CREATE INDEX approvals_age ON approvals (created_at);
