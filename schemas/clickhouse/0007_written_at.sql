-- When ClickHouse inserted each row of the rollups, so that a reader reads only new rows. Older rows get the
-- smallest time, stored in their parts: a default evaluated when they are read would make them new with every reading.
ALTER TABLE rollups
    ADD COLUMN IF NOT EXISTS written_at DateTime64(6, 'UTC') DEFAULT toDateTime64(0, 6, 'UTC') COMMENT 'by ClickHouse''s clock; 0 for what is older than this column';

ALTER TABLE rollups MATERIALIZE COLUMN written_at SETTINGS mutations_sync = 2;

ALTER TABLE rollups
    MODIFY COLUMN written_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC') COMMENT 'by ClickHouse''s clock; 0 for what is older than this column';

ALTER TABLE rollups ADD INDEX IF NOT EXISTS written_at_range written_at TYPE minmax GRANULARITY 1;

ALTER TABLE rollups MATERIALIZE INDEX written_at_range SETTINGS mutations_sync = 2;
