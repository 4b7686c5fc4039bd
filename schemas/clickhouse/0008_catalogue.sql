-- The catalogue by which an epoch is counted. Epochs written before this column have the metrics of that time, all of them in their
-- first version: none had changed when the column was added.
ALTER TABLE epochs
    ADD COLUMN IF NOT EXISTS catalogue String DEFAULT '{"close_rate":1,"cycle_length":1,"lead_source":1,"upsell":1,"win_rate":1}' COMMENT 'JSON: the metrics it counts, each with the version of its formula',
    ADD COLUMN IF NOT EXISTS stood_at  Nullable(Int64) COMMENT 'not NULL if the epochs before it are counted on by nobody: up to when (µs) they are complete, 0 if that is not known';

-- The time up to which everything is folded: what is newer is incomplete. An epoch that no program continues is complete up to
-- where it was left, though the shards go on.
CREATE VIEW watermark AS
SELECT toDateTime(intDiv(least(
    min(append_time),
    (
        SELECT if(count() = 0, 9223372036854775807, min(ifNull(e.stood_at, 0)))
        FROM epochs AS e FINAL
        WHERE e.stood_at IS NOT NULL AND e.epoch > (SELECT epoch FROM current_epoch)
    )
), 1000000)) AS watermark
FROM checkpoints FINAL
WHERE generation = (SELECT generation FROM current_epoch);
