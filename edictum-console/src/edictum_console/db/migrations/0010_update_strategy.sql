ALTER TABLE compositions ADD COLUMN update_strategy VARCHAR(16) NOT NULL DEFAULT 'manual'
  CHECK (update_strategy IN ('manual', 'notify', 'auto'));
