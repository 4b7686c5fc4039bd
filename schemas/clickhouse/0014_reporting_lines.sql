-- Which managers and teams a user had, and which team a team was a part of, each with the time it was said of: oldest first. Rows written
-- before have none, and are read by what holds today.
ALTER TABLE users ADD COLUMN IF NOT EXISTS team_history Array(Tuple(DateTime64(6, 'UTC'), String)) AFTER custom;

ALTER TABLE users ADD COLUMN IF NOT EXISTS manager_id_history Array(Tuple(DateTime64(6, 'UTC'), String)) AFTER team_history;

ALTER TABLE teams ADD COLUMN IF NOT EXISTS parent_history Array(Tuple(DateTime64(6, 'UTC'), String)) AFTER custom;
